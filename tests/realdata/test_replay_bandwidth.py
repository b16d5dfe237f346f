"""`vagus replay` on measured throughput: mobile and fixed, as they are given out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.controllers.decide.throughput import read_bins, read_throughputs

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "bandwidth"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent: real data is not part of the project"),
]


def replay(*words: object) -> dict[str, object]:
    result = CliRunner().invoke(cli, ["replay", "--traces", *map(str, words), "--json"])
    assert result.exit_code == 0, result.output
    document: dict[str, object] = json.loads(result.stdout)
    return document


def test_every_file_is_read_in_bins_that_keep_its_mean() -> None:
    for path in sorted(DATA.glob("*_*")):
        lines = [tuple(map(float, line.split())) for line in path.read_text().splitlines() if line.strip()]
        bins = read_bins(path)
        assert len(bins) == int(lines[-1][0] - lines[0][0]) + 1
        mean = sum(mbps for _, mbps in lines) / len(lines)
        assert bins.mean() == pytest.approx(mean, rel=0.35), path.name


def test_fives_of_the_fixed_set() -> None:
    traces, left = read_throughputs(sorted(DATA.glob("fcc*")), 5)
    assert [len(trace.arms) for trace in traces] == [5] * 7
    assert len(left) == 3


@pytest.mark.parametrize("name", ["norway", "fcc"])
def test_a_policy_that_learns_is_between_random_and_the_oracle(name: str) -> None:
    files = sorted(DATA.glob(f"{name}*"))[:5]
    document = replay(*files, "--policy", "ucb,uniform", "--delay", "2s", "--rate", 10, "--noise", 0.1)
    scores = {each["policy"]: each["score"] for each in document["policies"]}  # type: ignore[attr-defined]
    assert abs(scores["uniform"]) < 0.1
    assert 0.4 < scores["ucb"] <= 1.0


def test_players_of_a_policy_that_learns_are_better_off() -> None:
    files = sorted(DATA.glob("norway*"))[:5]
    document = replay(*files, "--player", "--rate", 4, "--policy", "ucb,uniform")
    ucb, uniform = document["policies"]  # type: ignore[misc]
    assert ucb["mean_quality"] > uniform["mean_quality"] + 1.0  # type: ignore[has-type]
    assert ucb["mean_join_s"] < uniform["mean_join_s"]  # type: ignore[has-type]
    assert ucb["rebuffering_ratio"] < uniform["rebuffering_ratio"]  # type: ignore[has-type]
