"""`vagus localize --live` of a real gateway over a node in memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, Served, serving

from vagus.cli import cli
from vagus.clock import NS
from vagus.controllers.localise import Ranking, Suspect

FEATURES = {"ri": 0.9, "ci": 2.0, "excess_ms": 40.0, "gap_ms": 3.0, "ratio": 5.0, "requests": 50.0}
CART = Suspect("cart-1", 0.8, FEATURES, "cpu", "adds 40 ms", 0.97)
DB = Suspect("db-1", 0.2, {**FEATURES, "ci": float("nan")}, "", "adds little")


def ranked(ago_s: int, *suspects: Suspect) -> Ranking:
    return Ranking(NOW_NS - ago_s * NS, suspects, 50, bool(suspects), 20.0, 90.0)


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as gateway:
        gateway.backend.ranked = [ranked(5, CART, DB), ranked(15), ranked(25, DB)]
        yield gateway


def run(served: Served, *args: str) -> Any:
    return CliRunner().invoke(cli, ["--url", served.url, "--token", TOKEN, "localize", *args])


def test_the_latest_ranking(served: Served) -> None:
    done = run(served, "--live")
    assert done.exit_code == 0, done.output
    assert "cart-1" in done.output
    assert "0.97" in done.output
    assert "50 requests" in done.output
    assert "db-1" not in run(served, "--live", "--top", "1").output


def test_recent_ones_are_a_line_each(served: Served) -> None:
    lines = run(served, "--live", "--since", "20s").output.splitlines()
    assert len(lines) == 3
    assert "cart-1 80% (cpu), db-1 20%" in lines[1]
    assert "as usual" in lines[2]


def test_json_is_the_gateways_answer(served: Served) -> None:
    answer = json.loads(run(served, "--live", "--json").output)
    assert answer["rankings"][0]["suspects"][0]["component"] == "cart-1"
    assert answer["rankings"][0]["suspects"][1]["features"]["ci"] is None


def test_nothing_yet_and_nobody_there(served: Served) -> None:
    served.backend.ranked = []
    done = run(served, "--live")
    assert done.exit_code == 0
    assert "no ranking yet" in done.output
    served.backend.ranked = None
    done = run(served, "--live")
    assert done.exit_code != 0
    assert "nothing localises here" in done.output
    assert "Traceback" not in done.output


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ((), "or --live"),
        (("x.csv",), "or --live"),
        (("--live", "x.csv"), "--live goes with"),
        (("--live", "--label", "a"), "--live goes with"),
        (("x.csv", "--normal", "y.csv", "--since", "5m"), "--since goes with --live"),
        (("--live", "--since", "soon"), "soon"),
    ],
)
def test_slips(served: Served, args: tuple[str, ...], says: str) -> None:
    done = run(served, *args)
    assert done.exit_code == 2
    assert says in done.output
