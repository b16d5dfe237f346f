"""A service that says what it sees of its database: in-situ observation, in the three forms of `vagus.observe`.

python examples/service/orders.py        then: vagus health orders-db
"""

from __future__ import annotations

import asyncio
import sqlite3

import vagus


@vagus.observe("orders-db", context="write", observer="orders")
def place(db: sqlite3.Connection, item: str) -> None:
    """A decorated function: it returns, and the database is well in `write`; it raises, and that is evidence."""
    with db:
        db.execute("insert into orders values (?)", (item,))


@vagus.observe("orders-db", context="report", observer="orders")
async def report(db: sqlite3.Connection) -> int:
    """Coroutines alike; one that hangs is reported as PENDING after three seconds."""
    await asyncio.sleep(0)
    return int(db.execute("select count(*) from no_such_table").fetchone()[0])


def main() -> None:
    db = sqlite3.connect(":memory:")
    db.execute("create table orders (item text)")
    for item in ("tea", "milk"):
        place(db, item)
    with vagus.observe("orders-db", context="read", observer="orders"):
        print([row[0] for row in db.execute("select item from orders")])
    try:
        asyncio.run(report(db))
    except sqlite3.OperationalError as error:
        print(f"the report failed ({error}): orders-db is UNHEALTHY in `report`, well in `read` and `write`")


if __name__ == "__main__":
    main()
