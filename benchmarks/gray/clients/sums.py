"""Asks PostgreSQL for sums that take it a few milliseconds; gives up after a second, which is its users' patience."""

import pg8000.dbapi

import vagus
from benchmarks.gray.clients.loop import Step, forever


def connect(name: str, host: str, port: int) -> Step:
    held: list[pg8000.dbapi.Connection] = []

    @vagus.observe(f"postgres@{name}", "sum")
    def step() -> None:
        try:
            if not held:
                held.append(pg8000.dbapi.connect("app", host=host, port=port, database="postgres", timeout=1))
            cursor = held[0].cursor()
            cursor.execute("SELECT sum(sqrt(n)) FROM generate_series(1, 20000) n")
            cursor.fetchall()
            held[0].commit()
        except Exception:
            held.clear()
            raise

    return step


if __name__ == "__main__":
    forever(connect)
