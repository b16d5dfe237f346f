"""`vagus store`: beside a writer in another process, on damaged files, in every format."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner, Result

from vagus.cli import cli
from vagus.clock import NS
from vagus.model import Event, Field, Stream
from vagus.store import Store, export
from vagus.store.checkpoint import DATA

T0 = 1_700_000_000 * NS

WRITER = """
import sys
from vagus.model import Event, Field, Stream
from vagus.store import Store
import numpy as np
store = Store.open(sys.argv[1])
rng = np.random.default_rng(1)
stream = store.declare(Stream("n1", "host.load", (Field("one"),)))
print("open", flush=True)
k = 0
for line in sys.stdin:
    for _ in range(5):
        k += 1
        store.extend(stream, 1_800_000_000_000_000_000 + k * 1000 + np.arange(900), rng.normal(size=(900, 1)))
        store.put("event", Event(1_800_000_000_000_000_000 + k, "busy", "n1"), t_ns=1_800_000_000_000_000_000 + k)
        store.flush()
    print(k, flush=True)
"""


def fill(path: Path) -> None:
    with Store.open(path) as store:
        load = store.declare(Stream("n1", "host.load", (Field("one"), Field("jobs", "", "u8", True))))
        t_ns = T0 + np.arange(3000) * NS
        store.extend(load, t_ns, (np.random.default_rng(1).normal(size=3000), np.arange(3000, dtype=np.uint64)))
        for k in range(20):
            event = Event(T0 + k, "log.line" if k % 2 else "disk.full", "n1", fields={"VAL": k, "DST": f"h{k % 3}"})
            store.put("event", event, t_ns=event.t_ns)
        store.flush()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    fill(tmp_path / "nodes" / "n1" / "store" / "collector")
    with Store.open(tmp_path / "nodes" / "n1" / "store" / "observer") as store:
        store.save("x", b"y")
        store.put("event", Event(T0 + 5, "log.other", "n1", fields={"VAL": 9}), t_ns=T0 + 5)
    return tmp_path


def run(home: Path, *args: str) -> Result:
    return CliRunner().invoke(cli, ["--home", str(home), "store", *args])


@pytest.fixture
def writer(home: Path) -> Iterator[subprocess.Popen[str]]:
    path = home / "nodes" / "n1" / "store" / "collector"
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "open\n"
    yield process
    process.communicate(timeout=20)


def test_stats_and_verify_of_all_stores(home: Path) -> None:
    result = run(home, "stats")
    assert result.exit_code == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == ["store", "n1/collector", "n1/observer"]
    (collector, observer) = json.loads(run(home, "stats", "--json").stdout)["stores"]
    assert (collector["values"], collector["kinds"], collector["streams"]) == (6000, {"event": 20}, 1)
    assert (collector["first_ns"], collector["last_ns"]) == (T0, T0 + 2999 * NS)
    assert observer["records"] == 1
    result = run(home, "verify")
    assert result.exit_code == 0
    assert result.stdout.count("whole") == 2


def test_all_but_compact_work_beside_a_writer(home: Path, writer: subprocess.Popen[str]) -> None:
    assert writer.stdin is not None
    assert writer.stdout is not None
    for turn in range(3):
        print(file=writer.stdin, flush=True)  # five commits, while we read
        verified = run(home, "verify", "--json")
        assert json.loads(verified.stdout)["ok"], verified.stdout
        figures = json.loads(run(home, "stats", "--json").stdout)["stores"][0]
        assert figures["readers"] > 0
        assert figures["holders"] == []  # the writer's own hold is no reader's
        assert run(home, "export", "host.load", "--format", "msgpack").exit_code == 0
        assert writer.stdout.readline() == f"{5 * (turn + 1)}\n"
    result = run(home, "compact", "--json")
    assert result.exit_code == 1
    answer = json.loads(result.stdout)
    (refused,) = answer["refused"]
    assert f"pid {writer.pid}" in refused["error"]
    assert "stop it" in refused["error"]
    assert [Path(s["path"]).name for s in answer["stores"]] == ["observer"]
    assert "vagus down" in run(home, "compact").stderr


def test_compact_makes_files_small(home: Path) -> None:
    path = home / "nodes" / "n1" / "store" / "collector"
    with Store.open(path) as store:
        store.save("big", bytes(8 << 20))
        store.flush()
        store.save("big", b"")
    size = (path / DATA).stat().st_size
    result = run(home, "compact", str(path), "--json")
    assert result.exit_code == 0, result.stderr
    (entry,) = json.loads(result.stdout)["stores"]
    assert entry["after_bytes"] < entry["before_bytes"] - (4 << 20)
    assert (path / DATA).stat().st_size <= entry["after_bytes"] < size
    assert json.loads(run(home, "stats", str(path), "--json").stdout)["stores"][0]["values"] == 6000


def test_damage_is_told_and_ends_with_1(home: Path) -> None:
    path = home / "nodes" / "n1" / "store" / "observer"
    os.truncate(path / DATA, 100)
    result = run(home, "verify")
    assert result.exit_code == 1
    assert "damaged" in result.stdout
    assert "Move the folder away" in result.stdout
    assert "whole" in result.stdout  # the other one
    assert run(home, "stats", str(path)).exit_code == 1


def test_samples_in_every_format(home: Path, tmp_path: Path) -> None:
    end = "2023-11-14T22:14:20Z"  # the first minute
    result = run(home, "export", "host.load", "--end", end)
    rows = list(csv.reader(io.StringIO(result.stdout)))
    assert len(rows) == 61
    assert rows[1][0] == "2023-11-14T22:13:20.000Z"
    packed = tmp_path / "x.msgpack"
    assert run(home, "export", "host.load.jobs", "--start", str(T0), "-o", str(packed)).exit_code == 0
    (batch,) = export.from_msgpack(packed.read_bytes())
    assert batch.column("jobs")[-1] == 2999
    assert json.loads(run(home, "export", "host.load", "--limit", "2", "--json").stdout)[0]["t_ns"] == [
        T0 + 2998 * NS,
        T0 + 2999 * NS,
    ]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(home, "export", "host.*", "-o", str(tmp_path / "x.parquet"), "--rate").exit_code == 0
    assert parquet.read_table(tmp_path / "x.parquet").num_rows == 2999
    text = run(home, "export", "host.load", "--format", "openmetrics", "--limit", "1").stdout
    named = tmp_path / "x.openmetrics"
    assert run(home, "export", "host.load", "--limit", "1", "-o", str(named)).exit_code == 0
    assert named.read_text() == text
    assert text.endswith("# EOF\n")
    empty = run(home, "export", "nothing.*")
    assert (empty.exit_code, "no samples match" in empty.stderr) == (1, True)


def test_events_in_every_format(home: Path, tmp_path: Path) -> None:
    asked = ("export", "log.*", "--events", "--where", "VAL>=9")
    rows = list(csv.DictReader(io.StringIO(run(home, *asked).stdout)))
    assert [(row["event"], row["VAL"]) for row in rows] == [
        ("log.other", "9"),  # of the observer's store: by time among the others
        *(("log.line", str(k)) for k in range(9, 20, 2)),
    ]
    found = json.loads(run(home, *asked, "--limit", "2", "--format", "json").stdout)
    assert [event["fields"]["VAL"] for event in found] == [17, 19]
    assert run(home, *asked, "-o", str(tmp_path / "x.msgpack")).exit_code == 0
    assert len(msgspec.msgpack.decode((tmp_path / "x.msgpack").read_bytes(), type=list[Event])) == 7
    parquet = pytest.importorskip("pyarrow.parquet")
    assert run(home, *asked, "-o", str(tmp_path / "x.parquet")).exit_code == 0
    assert parquet.read_table(tmp_path / "x.parquet").column("event").to_pylist()[0] == "log.other"


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (("stats", "/nowhere"), 1, "there is no store at /nowhere"),
        (("export", "host.*", "--where", "a=1"), 2, "give --events too"),
        (("export", "host.*", "--events", "--format", "openmetrics"), 2, "events can be written as"),
        (("export", "host.*", "--events", "--where", "a"), 1, "predicate 'a'"),
        (("export", "{", "--since", "1h"), 1, "selector"),
        (("export", "host.*", "-o", "/nowhere/x.csv"), 1, "there is no folder"),
        (("export", "host.*", "--json", "--format", "csv"), 2, "exclude each other"),
        (("export", "host.*", "-o", "x.foo"), 1, "x.foo: name it .csv, "),
    ],
)
def test_wrong_usage_says_what_to_do(home: Path, args: tuple[str, ...], code: int, says: str) -> None:
    result = run(home, *args)
    assert (result.exit_code, says in result.stderr) == (code, True), result.stderr
