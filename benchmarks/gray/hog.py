"""A program that leaks connections to PostgreSQL: opens them until there are no more, and keeps them.

    python -m benchmarks.gray.hog ADDRESS PORT

Prints how many it has when it is refused the first time, and takes every one that is freed from then on.
"""

import sys
import time

import pg8000.dbapi


def main() -> None:
    held: list[pg8000.dbapi.Connection] = []
    told = False
    while True:
        try:
            held.append(pg8000.dbapi.connect("app", host=sys.argv[1], port=int(sys.argv[2]), database="postgres"))
        except (pg8000.dbapi.Error, OSError):
            if not told:
                print(len(held), flush=True)
                told = True
            time.sleep(0.02)


if __name__ == "__main__":
    main()
