"""A program that leaks connections to PostgreSQL: opens them until there are no more, and keeps them.

    python -m benchmarks.gray.hog ADDRESS PORT
"""

import contextlib
import sys
import time

import pg8000.dbapi


def main() -> None:
    held = []
    while True:
        try:
            held.append(pg8000.dbapi.connect("app", host=sys.argv[1], port=int(sys.argv[2]), database="postgres"))
        except (pg8000.dbapi.Error, OSError):
            time.sleep(0.02)  # it takes the next one that is freed
        else:
            with contextlib.suppress(BrokenPipeError):
                print(len(held), flush=True)


if __name__ == "__main__":
    main()
