"""The example of decisions: its players do well, its settings find the groups of its world, its trace is its world's."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from random import Random
from typing import Any

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.config import Config, load
from vagus.controllers.decide.checked import check_decide
from vagus.controllers.decide.grouping import compile_grouping, grouping_of, rules_of
from vagus.controllers.decide.history import History
from vagus.controllers.decide.partition import learn
from vagus.controllers.decide.records import Grouping, Outcome

EXAMPLE = Path(__file__).parents[2] / "examples/decide"


@pytest.fixture(scope="module")
def world() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE / "world.py"))


def play(home: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLE / "players.py"), *arguments],
        env={**{k: v for k, v in os.environ.items() if not k.startswith("VAGUS_")}, "VAGUS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def score(line: str) -> float:
    return float(line.removeprefix("score ").partition(":")[0])


def test_in_process_the_players_find_the_best_networks(tmp_path: Path) -> None:
    head, *rows, last = play(tmp_path, "--in-process", "--for", "200")
    assert head.split() == ["seconds", "quality", "random", "best"]
    assert len(rows) == 20
    assert score(last) > 0.8


def test_without_a_running_vagus_the_default_is_used_and_said(tmp_path: Path) -> None:
    *_, result, told = play(tmp_path, "--for", "0.3", "--rate", "20")
    assert score(result) < 0.5
    assert told.startswith("0 answered by a gateway, 6 by the default: no gateway")


def test_the_trace_is_what_the_world_says(world: dict[str, Any]) -> None:
    assert (EXAMPLE / "trace.csv").read_text().splitlines() == world["trace"](600)


def test_replayed_auto_is_ahead_of_any_single_network(tmp_path: Path) -> None:
    words = [
        "replay",
        str(EXAMPLE / "trace.csv"),
        "--policy",
        "auto,pytheas",
        "--noise",
        "0.5",
        "--rate",
        "5",
        "--json",
    ]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    scores = {one["policy"]: one["score"] for one in found["policies"]}
    assert scores["auto"] > found["static_score"] + 0.1
    assert scores["pytheas"] < 0.1  # its bonus of 1000 drowns qualities of 0 to 5


def test_which_features_matter_is_learned(world: dict[str, Any]) -> None:
    settings = load(EXAMPLE / "vagus.yaml", Config).decide.learn
    rng, history, arms = Random(1), History(settings.features, settings.history), world["ARMS"]
    for number in range(4000):
        features = world["session"](rng)
        arm = rng.choice(arms)
        worth = world["worth"](features["city"], features["isp"], arm, number / 60)
        history.add([Outcome("", arm, worth + rng.gauss(0.0, world["NOISE"]), 1 / 3, features, arms)])
    found = learn(history, settings, Grouping())
    assert found.grouping is not None
    assert found.features == ("city", "isp")
    group = compile_grouping(found.grouping)
    assert group({"city": "Lima", "isp": "10"}) == group({"city": "Oslo", "isp": "20"})
    assert len({group({"city": city, "isp": "10"}) for city in ("Bern", "Lima", "Oslo")}) == 3


def test_the_published_tree_is_the_one_of_rules_yaml() -> None:
    config = load(EXAMPLE / "rules.yaml", Config)
    check_decide(config, "rules.yaml")
    ours = compile_grouping(grouping_of(config.decide))
    published = compile_grouping(
        Grouping(rules=rules_of(json.loads((EXAMPLE / "published.json").read_text())), fallback=config.decide.fallback)
    )
    for features in ({"city": "Bern"}, {"city": "Oslo", "isp": "10"}, {"city": "Oslo", "isp": 20}, {"city": "Lima"}):
        assert ours(features) == published(features) != ""
    assert ours({"city": "Oslo", "isp": "7"}) == "oslo"
    assert published({"city": "Oslo", "isp": "7"}) == "city=Oslo"  # the published form has no `rest`


@pytest.mark.parametrize("path", sorted(EXAMPLE.glob("*.*")), ids=lambda p: p.name)
def test_each_has_its_line_in_the_readme(path: Path) -> None:
    assert path.name == "README.md" or path.name in (EXAMPLE / "README.md").read_text()
