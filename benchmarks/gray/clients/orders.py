"""Reads and writes orders in PostgreSQL, over a connection that it keeps, and opens anew when it breaks."""

import pg8000.dbapi

import vagus
from benchmarks.gray.clients.loop import Step, forever


def connect(name: str, host: str, port: int) -> Step:
    held: list[pg8000.dbapi.Connection] = []
    reading, writing = (vagus.observe(f"postgres@{name}", context) for context in ("read", "write"))

    def step() -> None:
        try:
            if not held:
                with reading:
                    held.append(pg8000.dbapi.connect("app", host=host, port=port, database="postgres"))
                cursor = held[0].cursor()
                cursor.execute("CREATE TABLE IF NOT EXISTS orders (id serial, item text)")
                held[0].commit()
            cursor = held[0].cursor()
            with reading:
                cursor.execute("SELECT max(id) FROM orders")
                cursor.fetchall()
            with writing:
                cursor.execute("INSERT INTO orders (item) VALUES (%s)", ("a pencil",))
                held[0].commit()
        except pg8000.dbapi.Error:
            held.clear()
            raise

    return step


if __name__ == "__main__":
    forever(connect)
