"""Feature 11, plot: a PNG that is whole at any time and does not grow."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from feed_items import T0, at, context, item

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.feeds.tools.plot import Plot
from vagus.feeds.tools.plot_lines import Line, Lines


def pixels(path: Path) -> Any:
    """The picture as matplotlib reads it: height × width × 4."""
    from matplotlib import image

    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    return image.imread(path)


def test_feature_11_plot_of_fields_over_time(tmp_path: Path) -> None:
    tool = Plot(context(tmp_path), file="plots/load.png", fields=["load1", "vm_stat[0]"], every="60s", width=600)
    for n in range(50):
        tool.take(item({"load1": n, "vm_stat": [n % 3]}, n, "http://a/"))
        tool.take(item({"load1": 50 - n} if n % 7 else None, n, "http://$b_$_^{/"))
    path = tmp_path / "plots/load.png"
    tool.tick(at(50))
    picture = pixels(path)
    assert picture.shape == (750, 600, 4)
    assert len({tuple(pixel) for pixel in picture[:, :, :3].reshape(-1, 3).round(2)}) > 10  # lines of two colours
    before = path.read_bytes()
    tool.take(item({"load1": 1000}, 51, "http://a/"))
    tool.tick(at(100))
    assert path.read_bytes() == before  # at most every 60 s
    tool.tick(at(110))
    after = path.read_bytes()
    assert after != before
    tool.tick(at(1000))
    assert path.read_bytes() == after  # nothing came
    assert [entry.name for entry in path.parent.iterdir()] == ["load.png"]


def test_feature_11_plot_of_all_numbers_whatever_the_names(tmp_path: Path) -> None:
    tool = Plot(context(tmp_path), file="x.png", width=300, height=200, title="_$\\frac{")
    tool.take(item(None, 0))
    tool.take(item({f"{n}$_{{": n for n in range(30)}, 1, "http://\u4e2d\x1b$/"))
    tool.take(item("text", 2))
    tool.finish(at(3))
    assert pixels(tmp_path / "x.png").shape == (1060, 300, 4)


def test_feature_11_plot_of_nothing_but_failures(tmp_path: Path) -> None:
    tool = Plot(context(tmp_path), file="x.png", fields=["a"])
    tool.tick(at(0))
    assert not (tmp_path / "x.png").exists()
    tool.take(item(None, 0))
    tool.finish(at(3))
    assert pixels(tmp_path / "x.png").shape == (450, 1200, 4)


def test_feature_11_plot_imports_matplotlib_only_to_draw(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from vagus.feeds import ToolContext
from vagus.feeds.tools import make_tool
for name, options in (("plot", {"file": "x.png"}), ("alert", {"when": "a > 1"}), ("db", {"file": "x.db"}),
                      ("rss", {"file": "x", "title": "t"}), ("archive", {})):
    make_tool(name, options, ToolContext("f", Path(sys.argv[1])))
print(*{"matplotlib", "duckdb", "pyarrow", "aiohttp", "numpy", "smtplib", "ray"} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


def test_feature_11_plot_thinning_keeps_a_spike() -> None:
    line = Line(50)
    for n in range(10_000):
        line.add(n, 100.0 if n == 5_001 else math.sin(n / 500))
    assert max(line.values) == 100.0


def test_feature_11_plot_lines_are_bounded_in_number_and_make_room() -> None:
    lines = Lines(3, 10, 60.0)
    for n in range(5):
        lines.add(f"k{n}", [("a", 1.0)], T0 * NS)
    assert [key for key, _, _ in lines.at(T0 * NS)] == ["k0", "k1", "k2"]
    assert lines.left_out == 2
    lines.add("k0", [("a", 1.0)], at(100))
    assert [key for key, _, _ in lines.at(at(100))] == ["k0"]
    lines.add("k4", [("a", 1.0)], at(101))
    assert [key for key, _, _ in lines.at(at(101))] == ["k0", "k4"]
    assert lines.left_out == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "file"),
        ({"file": "x.svg"}, r"NAME\.png"),
        ({"file": "../x.png"}, "leaves its folder"),
        ({"file": "x.png", "fields": ["a ="]}, "fields: expression"),
        ({"file": "x.png", "fields": list("abcdefghi")}, "at most 8"),
        ({"file": "x.png", "every": 0}, "too short"),
        ({"file": "x.png", "points": 1}, "points"),
    ],
)
def test_feature_11_plot_refuses_wrong_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Plot(context(tmp_path), **options)
