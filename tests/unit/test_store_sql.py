"""SQL over streams and records: what becomes a table, with which types; what is refused and how it is told."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from vagus.errors import ConfigError, Unsupported
from vagus.model import Event, Field, Level, Metric, Report, SensorInfo, Status, Stream
from vagus.store.batch import Batch
from vagus.store.sql import mentions, query

T0 = 1_700_000_000 * 10**9
FIELDS = (Field("user", "ratio"), Field("jiffies", "", "u8", True))
EVENT = Event(T0, "app.start", "a", Level.ERROR, "app", {"VAL": 3, "DST": "10.1.1.11"})


class Tables:
    """Two hosts' CPU, one with a label that is named like a field, and an event; counts what is read."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self.all = [
            _batch(Stream("a", "host.cpu", FIELDS, {"core": "0"}), 0),
            _batch(Stream("b", "host.cpu", (*FIELDS, Field("steal", "ratio")), {"core": "1", "user": "x"}), 5),
            _batch(Stream("a", "net.tcp.more", FIELDS), 0),
            _batch(Stream("a", "app", FIELDS), 0),
        ]

    def sensors(self) -> list[SensorInfo]:
        return [SensorInfo(b.stream, T0, T0 + 10**9, len(b)) for b in self.all]

    def batches(self, kind: str) -> list[Batch]:
        self.read.append(kind)
        return [b for b in self.all if b.stream.kind == kind]

    def records(self, kind: str) -> list[object]:
        self.read.append(kind)
        found = {"event": [EVENT], "report": [Report("o", "s", T0, {"c": Metric(Status.HEALTHY, 1.0)})]}
        return list(found.get(kind, []))


def _batch(stream: Stream, offset: int) -> Batch:
    floats = np.array([0.1, np.nan, 0.3]) + offset
    columns = [floats if f.dtype == "f8" else np.arange(3).astype("u8") + 2**63 for f in stream.fields]
    return Batch(stream, T0 + np.arange(3) * 10**9, tuple(columns))


def rows(statement: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = query(statement, Tables()).to_pylist()
    return found


def test_a_kind_is_a_table_with_time_node_labels_and_typed_fields() -> None:
    table = query("SELECT * FROM host.cpu ORDER BY node, t_ns", Tables())
    assert table.column_names == ["time", "t_ns", "node", "core", "label_user", "user", "jiffies", "steal"]
    assert str(table.schema.field("time").type) == "timestamp[us, tz=UTC]"
    first, last = table.to_pylist()[0], table.to_pylist()[-1]
    assert (first["t_ns"], first["node"], first["core"], first["user"], first["jiffies"]) == (T0, "a", "0", 0.1, 2**63)
    assert (first["steal"], first["label_user"]) == (None, None)  # of the other stream only
    assert (last["label_user"], last["steal"]) == ("x", 5.3)


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ('SELECT count(*) AS n, count("user") AS known FROM "host.cpu"', [{"n": 6, "known": 4}]),  # NaN is NULL
        ("SELECT max(jiffies) AS n FROM HOST.CPU", [{"n": 2**63 + 2}]),  # exact beyond 2**53
        ('SELECT count(*) AS n FROM net."tcp.more"', [{"n": 3}]),
        ("SELECT count(*) AS n FROM app", [{"n": 3}]),
        (
            "SELECT fields->>'DST' AS d, (fields->>'VAL')::INT AS v, level FROM events",
            [{"d": "10.1.1.11", "v": 3, "level": "error"}],
        ),
        ("SELECT contexts->'c'->>'status' AS s FROM reports", [{"s": "HEALTHY"}]),
        ("SELECT count(*) AS n FROM receipts", [{"n": 0}]),
        (
            "SELECT kind, fields FROM sensors WHERE node = 'b'",
            [{"kind": "host.cpu", "fields": ["user", "jiffies", "steal"]}],
        ),
        (
            "SELECT a.core FROM host.cpu a JOIN app b USING (node, t_ns) WHERE a.t_ns = 1700000001000000000",
            [{"core": "0"}],
        ),
        ("SELECT date_trunc('minute', time)::VARCHAR AS m FROM app LIMIT 1", [{"m": "2023-11-14 22:13:00+00"}]),
        ("PIVOT app ON node USING count(*)", None),
        ("DESCRIBE app", None),
    ],
)
def test_statements(statement: str, expected: list[dict[str, object]] | None) -> None:
    found = rows(statement)
    assert found == expected if expected is not None else found


def test_only_what_a_statement_names_is_read() -> None:
    tables = Tables()
    told: list[str] = []
    query("SELECT 1 FROM app, events", tables, told.append)
    assert tables.read == ["app", "event"]
    assert told == ["app: 3 rows of 1 streams", "events: 1 rows"]


@pytest.mark.parametrize(
    ("text", "name", "found"),
    [
        ("from host.cpu", "host.cpu", True),
        ('from "host"."cpu"', "host.cpu", True),
        ('from "host.cpu"', "host.cpu", True),
        ("from host . cpu", "host.cpu", True),
        ("from host.cpus", "host.cpu", False),
        ("from xhost.cpu", "host.cpu", False),
        ("from a.host.cpu", "host.cpu", False),
    ],
)
def test_mentions(text: str, name: str, found: bool) -> None:
    assert mentions(text, name) is found


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("", "1 to"),
        ("x" * 200_000, "1 to"),
        ("SELEC 1", "syntax error"),
        ("SELECT 1; SELECT 2", "one statement"),
        ("SELECT * FROM nowhere", r"nowhere.*tables.*host\.cpu"),
        ("SELECT nocolumn FROM app", "nocolumn"),
        ("SELECT * FROM read_csv('/etc/passwd')", "disabled"),
        ("COPY (SELECT 1) TO '/tmp/vagus-never.csv'", "disabled"),
        ("INSTALL httpfs", "disabled"),
        ("ATTACH '/tmp/vagus-never.db'", "disabled"),
        ("SET enable_external_access = true", "locked"),
    ],
)
def test_what_is_no_query_of_ours_is_refused(statement: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        rows(statement)
    assert not Path("/tmp/vagus-never.csv").exists()
    assert not Path("/tmp/vagus-never.db").exists()


def test_without_duckdb_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(Unsupported, match=r"vagus\[sql\]"):
        rows("SELECT 1")


def test_show_tables_lists_what_there_is_and_reads_nothing() -> None:
    source = Tables()
    found = query(" show tables;", source).to_pylist()
    assert found[:3] == [
        {"name": "app", "streams": 1, "fields": 2},
        {"name": "host.cpu", "streams": 2, "fields": 3},
        {"name": "net.tcp.more", "streams": 1, "fields": 2},
    ]
    assert {row["name"] for row in found[3:]} == {"events", "receipts", "decisions", "rewards", "reports", "sensors"}
    assert source.read == []


def test_a_table_that_is_not_there_names_the_one_that_was_meant() -> None:
    with pytest.raises(ConfigError, match=r"did you mean host\.cpu"):
        query("SELECT * FROM host.cpus", Tables())
    with pytest.raises(ConfigError, match=r"tables here: app, host\.cpu, .*SHOW TABLES"):
        query("SELECT * FROM zzz", Tables())
