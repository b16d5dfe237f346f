"""Feature 11, db: a table of a feed in SQLite and DuckDB, made as the values want it, the same after a replay."""

from __future__ import annotations

import math
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from feed_items import at, context, item

from vagus.errors import ConfigError, StoreError
from vagus.feeds import Item, Shape
from vagus.feeds.tools import db as db_module
from vagus.feeds.tools.columns import columns_of, flat, wider
from vagus.feeds.tools.db import Db

duckdb = pytest.importorskip("duckdb")
FILES = ["comon.db", "comon.duckdb"]


class Disk(msgspec.Struct):
    free_bytes: int
    name: str | None = None


class Report(msgspec.Struct):
    date: float
    vm_stat: list[int]
    disk: Disk
    location: str = ""
    rwfs: int | None = None


def report(n: int = 0, **fields: Any) -> Report:
    return Report(1202486984.5 + n, [10, 14, n], Disk(1 << 40, "sda"), "here", **fields)


def ask(path: Path, sql: str) -> list[tuple[Any, ...]]:
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            found: list[tuple[Any, ...]] = connection.execute(sql).fetchall()
            return found
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_rows_of_items_and_of_failures(tmp_path: Path, name: str) -> None:
    tool = Db(context(tmp_path), file=name)
    tool.take(item(report(), 0))
    tool.take(item(report(1, rwfs=221), 0, "http://b/"))
    tool.take(item(None, 4))
    assert not (tmp_path / name).exists()  # it waits for its batch
    tool.tick(at(6))
    sql = (
        "SELECT location, due_ns, net, data, date, vm_stat, disk_free_bytes, disk_name, value_location, rwfs FROM comon"
    )
    assert ask(tmp_path / name, sql + " ORDER BY due_ns, location") == [
        ("http://a.example:3121/", at(0), "ok", "Good", 1202486984.5, "[10,14,0]", 1 << 40, "sda", "here", None),
        ("http://b/", at(0), "ok", "Good", 1202486985.5, "[10,14,1]", 1 << 40, "sda", "here", 221),
        ("http://a.example:3121/", at(4), "timeout", "None", *(None,) * 6),
    ]
    tool.finish(at(7))


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_is_the_same_after_a_replay(tmp_path: Path, name: str) -> None:
    items = [item(report(n), n, f"http://{n % 3}/", part=str(n % 2)) for n in range(30)] + [item(None, 40)]
    for _ in range(3):
        tool = Db(context(tmp_path), file=name)
        for one in items + items[:5]:
            tool.take(one)
        tool.finish(at(50))
    assert ask(tmp_path / name, "SELECT count(*) FROM comon") == [(31,)]
    better = Db(context(tmp_path), file=name)  # parsed anew, by a format that was mended
    better.take(item(report(100), 0, "http://0/", part="0"))
    better.finish(at(50))
    assert ask(tmp_path / name, "SELECT count(*), max(date) FROM comon") == [(31, 1202487084.5)]


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_new_columns_and_wider_types_as_they_come(tmp_path: Path, name: str) -> None:
    tool = Db(context(tmp_path), file=name, every=0)
    values: list[Any] = [
        {"load": 1},
        {"load": 1.5, "up": True},
        {"load": None, "new": "x"},
        {"up": 3, "LOAD": 2, "Net": 1, "net_b": {"a": {"b": [1, {"c": 2}]}}},
        {"big": 1 << 63, "huge": 1 << 2000, "nan": math.nan, "inf": math.inf},
        {"late": None},
        {"late": b"\xff\x00"},
        {'"; DROP TABLE comon; --': 7, "select": 8, "5minload": 9, "": 10, "é": "\ud800\0z"},
        7,
        ("left", {"right": 2.5}),
        [1, 2],
    ]
    for n, value in enumerate(values):
        tool.take(item(value, n))
    tool.finish(at(99))
    rows = ask(tmp_path / name, "SELECT load, up, new, value_Net, net_b_a_b FROM comon ORDER BY due_ns")
    assert [row[0] for row in rows[:4]] == [1, 1.5, None, 2]
    assert rows[1][1] == 1
    assert rows[3][1:] == (3, None, 1, '[1,{"c":2}]')
    found = ask(tmp_path / name, 'SELECT big, late, "select", _5minload FROM comon ORDER BY due_ns')
    assert found[4][0] == float(1 << 63)
    assert found[6][1] == b"\xff\x00"
    assert found[7][2:] == (8, 9)
    [both] = ask(tmp_path / name, "SELECT _0, _1_right FROM comon WHERE _1_right IS NOT NULL")
    assert both == ("left", 2.5)
    assert sorted(ask(tmp_path / name, "SELECT value FROM comon WHERE value IS NOT NULL"), key=str) in (
        [("7",), ("[1,2]",)],
        [("[1,2]",), (7,)],
    )


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_a_column_that_becomes_text(tmp_path: Path, name: str) -> None:
    for value in (1, 2.5, "many"):
        tool = Db(context(tmp_path), file=name)
        tool.take(item({"n": value}, value if isinstance(value, (int, float)) else 9))
        tool.finish(at(10))
    assert [str(row[0]) for row in ask(tmp_path / name, "SELECT n FROM comon ORDER BY due_ns")] in (
        ["1", "2.5", "many"],
        ["1.0", "2.5", "many"],
    )


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_table_from_the_formats_shape(tmp_path: Path, name: str) -> None:
    disk = Shape("record", "Disk", (("free_bytes", Shape("int", unit="bytes")), ("name", Shape("string"))))
    shape = Shape(
        "record",
        "R",
        (
            ("date", Shape("time")),
            ("ok", Shape("bool")),
            ("tags", Shape("list", parts=(("", Shape("string")),))),
            ("disk", Shape("optional", parts=(("", disk),))),
        ),
    )
    tool = Db(context(tmp_path, shape), file=name, table="nodes")
    tool.take(item(None, 0))
    tool.finish(at(1))
    assert ask(tmp_path / name, "SELECT date, ok, tags, disk_free_bytes, disk_name FROM nodes") == [(None,) * 5]


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_keeps_what_it_is_told_to(tmp_path: Path, name: str) -> None:
    tool = Db(context(tmp_path), file=name, keep="1h", every=0, failures=False)
    tool.take(item({"a": 1}, 0))
    tool.take(item(None, 10))
    tool.take(item({"a": 2}, 3500))
    tool.take(item({"a": 3}, 4000))
    tool.finish(at(4000))
    assert ask(tmp_path / name, "SELECT a FROM comon ORDER BY a") == [(2,), (3,)]


def test_feature_11_db_locked_is_told_and_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.feeds.tools.db_sqlite.BUSY_S", 0.05)
    tool = Db(context(tmp_path), file="comon.db", every="1s")
    tool.take(item({"a": 1}, 0))
    tool.tick(at(2))
    other = sqlite3.connect(tmp_path / "comon.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    tool.take(item({"a": 2}, 3))
    with pytest.raises(StoreError, match="another program writes it"):
        tool.tick(at(5))
    assert list(tool.tick(at(5.5))) == []  # not yet
    other.execute("COMMIT")
    other.close()
    tool.tick(at(7))
    assert ask(tmp_path / "comon.db", "SELECT a FROM comon ORDER BY a") == [(1,), (2,)]
    tool.finish(at(8))


HOLDER = "import duckdb, sys; c = duckdb.connect(sys.argv[1]); print('open', flush=True); sys.stdin.read(); c.close()"


def test_feature_11_duckdb_held_by_another_process_is_told_and_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "comon.duckdb"
    tool = Db(context(tmp_path), file=str(path), every="1s")
    with subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=-1, stdout=-1, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        tool.take(item({"a": 1}, 0))
        with pytest.raises(StoreError, match="another program has it open"):
            tool.tick(at(2))
        holder.communicate()
    tool.tick(at(4))
    assert ask(path, "SELECT a FROM comon") == [(1,)]  # and others may read between batches


def test_feature_11_db_full_is_told_and_what_waits_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(db_module, "MAX_WAITING", 50)
    tool = Db(context(tmp_path), file="comon.db", every="1s", max_bytes=40_000)
    tool.take(item({"a": "x"}, 0))
    tool.tick(at(2))
    for n in range(100):
        tool.take(item({"a": "y" * 2000}, 3 + n / 1000))
    with pytest.raises(StoreError, match=r"no room.*max_bytes"):
        tool.tick(at(5))
    assert tool.lost == 50
    assert ask(tmp_path / "comon.db", "SELECT a FROM comon") == [("x",)]  # all of a batch or nothing
    with pytest.raises(StoreError, match="no room"):
        tool.finish(at(6))


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_of_something_else_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no database at all, but long enough to be looked at\n" * 100)
    tool = Db(context(tmp_path), file=name)
    tool.take(item({"a": 1}, 0))
    with pytest.raises(StoreError, match=name):
        tool.finish(at(1))
    path = tmp_path / f"other{Path(name).suffix}"
    if path.suffix == ".db":
        sqlite3.connect(path).execute("CREATE TABLE comon (a)").connection.close()
    else:
        with duckdb.connect(str(path)) as connection:
            connection.execute("CREATE TABLE comon (a INT)")
    tool = Db(context(tmp_path), file=path)
    tool.take(item({"a": 1}, 0))
    with pytest.raises(StoreError, match="has no feed, location"):
        tool.finish(at(1))


def test_feature_11_db_two_feeds_in_one_file(tmp_path: Path) -> None:
    tools = [Db(context(tmp_path, feed=feed), file="all.db", every=0) for feed in ("comon", "ping-1", "3rd")]
    for n in range(10):
        for tool in tools:
            tool.take(item({"a": n}, n))
    for tool in tools:
        tool.finish(at(20))
    for table in ("comon", "ping_1", "_3rd"):
        assert ask(tmp_path / "all.db", f"SELECT count(*), sum(a) FROM {table}") == [(10, 45)]


def test_feature_11_sqlite_reads_while_it_is_written_by_its_own_program(tmp_path: Path) -> None:
    tool = Db(context(tmp_path), file="comon.db", every=0)
    tool.take(item({"a": 1}, 0))
    shown = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sqlite3,sys;print(sqlite3.connect(sys.argv[1]).execute('select a from comon').fetchall())",
            tmp_path / "comon.db",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "[(1,)]\n"
    tool.finish(at(1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "file"),
        ({"file": "../x.db"}, "leaves its folder"),
        ({"file": "x.db", "engine": "oracle"}, "engine"),
        ({"file": "x.db", "table": "a b"}, "no name of a table"),
        ({"file": "x.db", "table": "sqlite_x"}, "no name of a table"),
        ({"file": "x.db", "every": "often"}, "every"),
        ({"file": "x.duckdb", "max_bytes": 5}, "max_bytes"),
    ],
)
def test_feature_11_db_refuses_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Db(context(tmp_path), **options)


def test_feature_11_duckdb_missing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(ConfigError, match="vagus\\[sql\\]"):
        Db(context(tmp_path), file="x.duckdb")


@pytest.mark.parametrize("name", FILES)
def test_feature_11_db_a_note_of_broken_text_keeps_no_row_back(tmp_path: Path, name: str) -> None:
    tool = Db(context(tmp_path), file=name)
    one = item({"a": 1})
    tool.take(Item(msgspec.structs.replace(one.meta, note="half of \ud800"), one.value))
    tool.finish(at(9))
    assert ask(tmp_path / name, "SELECT note FROM comon") == [("half of ?",)]


def test_columns_are_bounded_and_unique() -> None:
    assert len(flat({f"k{n}": n for n in range(5000)})) == 500
    deep: Any = 1
    for _ in range(100):
        deep = {"a": deep}
    assert flat(deep) == {}
    assert flat({"load": 1, "Load": 2, "LOAD": 3}) == {"load": 1, "Load_2": 2, "LOAD_3": 3}
    assert flat(None) == {}
    assert wider("bool", "bytes") == "string"
    assert columns_of(Shape("float")) == {"value": "float"}
    assert columns_of(Shape("union", parts=(("A", Shape("record")),))) == {}
