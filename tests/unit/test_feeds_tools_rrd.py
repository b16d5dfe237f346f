"""Feature 11, rrd: files that rrdtool reads, by location, from a feed's numbers."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from feed_items import T0, at, context, item

from vagus.errors import ConfigError, StoreError
from vagus.feeds.tools.rrd import Rrd
from vagus.feeds.tools.rrdtool import ds_name

needed = pytest.mark.skipif(shutil.which("rrdtool") is None, reason="rrdtool is not installed")


def fetch(path: Path, start: int, end: int, kind: str = "AVERAGE") -> dict[int, list[float]]:
    """What rrdtool itself reads."""
    args = ["rrdtool", "fetch", path, kind, "--start", str(T0 + start), "--end", str(T0 + end)]
    done = subprocess.run(args, capture_output=True, text=True, check=True)
    rows = [line.partition(": ") for line in done.stdout.splitlines() if ": " in line]
    return {int(t) - T0: [float(v) for v in values.split()] for t, _, values in rows}


def info(path: Path) -> str:
    return subprocess.run(["rrdtool", "info", path], capture_output=True, text=True, check=True).stdout


@needed
def test_feature_11_rrd_a_file_for_each_location(tmp_path: Path) -> None:
    tool = Rrd(context(tmp_path, period_s=10), fields=["load1", "vm_stat[2]"], folder="my rrds")
    for n in range(31):
        tool.take(item({"load1": n / 2, "vm_stat": [0, 1, 2]}, 10 * n, "http://a:3121/"))
        tool.take(item({"load1": 100}, 10 * n, "http://b:3121/?x=';rm -rf"))
    tool.take(item(None, 320, "http://a:3121/"))
    tool.finish(at(330))
    paths = sorted((tmp_path / "my rrds").iterdir())
    assert [path.suffix for path in paths] == [".rrd"] * 2
    assert "step = 10\n" in info(paths[0])
    assert "minimal_heartbeat = 20\n" in info(paths[0])
    rows = fetch(paths[0], 100, 200)
    assert rows[200] == pytest.approx([10.0, 2.0])
    assert fetch(paths[1], 100, 200)[200][0] == 100


@needed
def test_feature_11_rrd_goes_on_after_a_restart_and_ignores_a_replay(tmp_path: Path) -> None:
    items = [item({"load1": n}, 10 * n) for n in range(1, 40)]
    for run in range(3):
        tool = Rrd(context(tmp_path, period_s=10), fields=["load1"])
        for one in items[: 20 + 10 * run]:
            tool.take(one)
        tool.finish(at(400))
    [path] = (tmp_path / "rrd").iterdir()
    assert [row[0] for t, row in sorted(fetch(path, 300, 380).items()) if 310 <= t <= 380] == pytest.approx(
        [31, 32, 33, 34, 35, 36, 37, 38]
    )
    assert "last_update = 1700000390\n" in info(path)


@needed
def test_feature_11_rrd_all_numbers_and_new_ones_as_they_come(tmp_path: Path) -> None:
    tool = Rrd(context(tmp_path), step="10s", flush=0)
    tool.take(item({"a": 1, "text": "x", "deep": {"b": True}}, 0))
    tool.take(item({"a": 2, "a_very_long_name_of_a_field": 3.5, "deep": {"b": False}}, 10))
    for n in range(2, 6):
        tool.take(item({"a": 2, "a_very_long_name_of_a_field": 3.5}, 10 * n))
    tool.finish(at(60))
    [path] = (tmp_path / "rrd").iterdir()
    long = ds_name("a_very_long_name_of_a_field")
    names = ["a", "deep_b", long]
    assert all(f"ds[{name}].index" in info(path) for name in names)
    row = fetch(path, 30, 50)[50]
    assert sorted(value for value in row if value == value) == [2, 3.5]


@needed
def test_feature_11_rrd_counters_and_archives_of_ones_own(tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "fields": {"bytes": "net.rx"},
        "types": {"bytes": "counter"},
        "archives": ["AVERAGE:0.5:1:50", "MAX:0.5:6:10"],
    }
    tool = Rrd(context(tmp_path), step=10, **options)
    for n in range(20):
        tool.take(item({"net": {"rx": 1000 * n + 0.2}}, 10 * n))
    tool.finish(at(200))
    [path] = (tmp_path / "rrd").iterdir()
    assert fetch(path, 100, 150)[150] == pytest.approx([100.0])
    assert 'ds[bytes].type = "COUNTER"' in info(path)
    assert path.stat().st_size < 3000
    assert fetch(path, 60, 180, "MAX")


@needed
def test_feature_11_rrd_graph_is_a_png(tmp_path: Path) -> None:
    tool = Rrd(context(tmp_path), fields=["load1"], step=10, graph="10m")
    for n in range(30):
        tool.take(item({"load1": n}, 10 * n))
    tool.finish(at(300))
    [png] = (tmp_path / "rrd").glob("*.png")
    assert png.read_bytes().startswith(b"\x89PNG\r\n")
    assert sorted(path.suffix for path in (tmp_path / "rrd").iterdir()) == [".png", ".rrd"]


@needed
def test_feature_11_rrd_writes_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vagus.feeds.tools import rrdtool

    ran: list[int] = []
    real = rrdtool.run

    def run(program: str, folder: Path, commands: Any) -> Any:
        ran.append(len(commands))
        return real(program, folder, commands)

    monkeypatch.setattr(rrdtool, "run", run)
    tool = Rrd(context(tmp_path), fields=["load1"], step=1, flush="1m")
    for n in range(59):
        for node in range(10):
            tool.take(item({"load1": n}, n, f"http://{node}/"))
    assert ran == []
    tool.tick(at(61))
    assert ran == [20]  # one process: ten files made, ten updates


@needed
def test_feature_11_rrd_that_does_not_answer_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = Rrd(context(tmp_path), fields=["load1"], step=10)
    tool.take(item({"load1": 1}, 0))
    monkeypatch.setattr("vagus.feeds.tools.rrdtool.TIMEOUT_S", 0.001)
    with pytest.raises(StoreError, match="did not answer"):
        tool.tick(at(20))
    monkeypatch.undo()
    tool.take(item({"load1": 2}, 20))
    tool.tick(at(40))
    [path] = (tmp_path / "rrd").glob("*.rrd")
    assert "last_update = 1700000020\n" in info(path)


@needed
def test_feature_11_rrd_what_is_refused_is_told(tmp_path: Path) -> None:
    (tmp_path / "rrd").mkdir()
    tool = Rrd(context(tmp_path), fields=["load1"], max_files=2)
    tool.take(item({"load1": 1}, 0, "a"))
    (tmp_path / "rrd/a.rrd").write_text("no rrd")
    with pytest.raises(StoreError, match=r"a\.rrd is no file of rrdtool"):
        tool.tick(at(20))
    (tmp_path / "rrd/a.rrd").unlink()
    tool.tick(at(40))
    tool.take(item({"load1": 1}, 50, "b"))
    with pytest.raises(StoreError, match="max_files"):
        tool.take(item({"load1": 1}, 50, "c"))
    tool.finish(at(60))
    assert sorted(path.name for path in (tmp_path / "rrd").iterdir()) == ["a.rrd", "b.rrd"]


def test_feature_11_rrd_without_rrdtool_is_a_config_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="rrdtool is not installed"):
        Rrd(context(tmp_path), fields=["load1"])


@needed
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"folder": "../x"}, "leaves its folder"),
        ({"fields": ["a b"]}, "fields: expression"),
        ({"step": "often"}, "step"),
        ({"archives": ["AVERAGE:0.5:1:10 RRA:x"]}, "is not like AVERAGE"),
        ({"types": {"a": "number"}}, "types"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_feature_11_rrd_refuses_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Rrd(context(tmp_path), **options)


def test_names_of_data_sources() -> None:
    fields = ["load1", "load.1", "load_1", "a" * 19, "a" * 20, "a" * 21, "5minload", "é", "x y", "x_y"]
    names = [ds_name(field) for field in fields]
    assert len(set(names)) == len(fields)
    assert all(0 < len(name) <= 19 and name.replace("_", "").isascii() for name in names)
    assert names[0] == "load1"
