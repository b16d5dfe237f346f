"""Counts visits in PostgreSQL, with a connection for each, as scripts behind a web server do."""

import pg8000.dbapi

import vagus
from benchmarks.gray.clients.loop import Step, forever


def connect(name: str, host: str, port: int) -> Step:
    @vagus.observe(f"postgres@{name}", "visit")
    def step() -> None:
        connection = pg8000.dbapi.connect("app", host=host, port=port, database="postgres")
        try:
            connection.cursor().execute("SELECT 1")
        finally:
            connection.close()

    return step


if __name__ == "__main__":
    forever(connect)
