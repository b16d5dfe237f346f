"""`vagus sql`: over a node's folder and over a gateway, in every format."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest
from click.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, serving

from vagus.cli import cli
from vagus.model import Event, Field, Stream
from vagus.store import Store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    now_ns = time.time_ns()
    with Store.open(tmp_path / "store" / "collector") as store:
        stream = store.declare(Stream("a", "host.cpu", (Field("user", "ratio"),)))
        for k in range(5):
            store.append(stream, now_ns - (5 - k) * 10**9, (k / 4,))
        store.put("event", Event(now_ns - 10**9, "app.start", "a", fields={"VAL": 2}), t_ns=now_ns - 10**9)
        store.flush()
    return tmp_path / "store"


def run(*args: object) -> Result:
    return CliRunner().invoke(cli, ["sql", *map(str, args)])


def test_a_folder_answers_in_every_format(folder: Path, tmp_path: Path) -> None:
    select = "SELECT time, node, user FROM host.cpu ORDER BY t_ns"
    found = json.loads(run(select, "--store", folder, "--json").stdout)
    assert [row["user"] for row in found["rows"]] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert found["rows"][0]["time"].endswith("Z")
    shown = run(select, "--store", folder)
    assert shown.stdout.splitlines()[0].split() == ["time", "node", "user"]
    assert "5 rows" in shown.stderr
    csv = run(select, "--store", folder, "--format", "csv").stdout
    assert csv.splitlines()[0] == '"time","node","user"'
    for suffix in ("csv", "json", "arrow", "parquet"):
        path = tmp_path / f"out.{suffix}"
        assert run(select, "--store", folder, "-o", path).exit_code == 0
        assert path.stat().st_size > 0
    assert pyarrow.parquet.read_table(tmp_path / "out.parquet").num_rows == 5
    assert pa.ipc.open_stream(tmp_path / "out.arrow").read_all().num_rows == 5


def test_events_of_a_folder(folder: Path) -> None:
    result = run("SELECT event, fields->>'VAL' AS v FROM events", "--store", folder, "--json")
    assert json.loads(result.stdout) == {"rows": [{"event": "app.start", "v": "2"}]}


def test_a_folder_without_stores_is_no_empty_answer(folder: Path) -> None:
    result = run("SELECT count(*) FROM events", "--store", folder.parent)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "HOME/nodes/NODE/store is expected" in result.stderr


def test_rows_wider_than_the_terminal_are_a_block_each() -> None:
    import io

    from rich.console import Console

    from vagus.cli.sql import _print

    to = Console(file=io.StringIO(), width=30, force_terminal=True, color_system=None)
    _print(to, ("time", "mem_available"), [("2026-11-22T00:48:11Z", 21253398528)], {"mem_available"})
    assert to.file.getvalue().split() == ["time", "2026-11-22T00:48:11Z", "mem_available", "21253398528"]


def test_over_a_gateway() -> None:
    span = ("--start", str(NOW_NS - 100 * 10**9), "--end", str(NOW_NS + 1))
    with serving() as served:
        given = ("--url", served.url, "--token", TOKEN)
        result = run("SELECT max(jiffies) AS j FROM host.cpu", *span, *given, "--json")
        assert json.loads(result.stdout) == {"rows": [{"j": 59 * 100 + 2**60}]}, result.stderr
        wrong = run("SELECT * FROM nowhere", *given)
        assert wrong.exit_code == 1
        assert "host.cpu" in wrong.stderr
        assert "Traceback" not in wrong.stderr


@pytest.mark.parametrize(
    "args", [("SELECT 1", "--format", "arrow"), ("SELECT 1", "--since", "1h", "--start", "2026-01-01")]
)
def test_wrong_usage(args: tuple[str, ...]) -> None:
    assert run(*args).exit_code == 2
