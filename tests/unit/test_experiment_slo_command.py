"""`vagus experiment slo`: the command, and how it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from tests.fixtures.slo_results_made import run_of
from vagus.cli.experiment import slo_results
from vagus.cli.experiment.slo import command
from vagus.cli.experiment.slo_results import Results
from vagus.errors import ConfigError

APPLICATION = """
name: x
entry: front
services: [{name: front, command: [a]}, {name: store, command: [a], scales: false}]
requests: [{name: read, path: /}]
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.yaml"
    path.write_text(APPLICATION)
    (tmp_path / "trace.txt").write_text("1\n2\n3\n")
    (tmp_path / "inject.yaml").write_text(
        'name: c\ninjections: [{type: cpu, intensity: 1 cores, target: "service:store", duration: 5s}]\n'
    )
    return path


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--policies", "nobody"), "there is no variant 'nobody'"),
        (("--policies", "ddpg"), "variant ddpg: checkpoint: there is no file"),
        (("--policies", "none", "--minutes", "0"), "--minutes: 0 is not between"),
        (("--policies", "none", "--slo", "0.1"), "--slo: 0.1 is not between"),
        (("--policies", "none", "--rate", "0"), "--rate: 0 is not between"),
        (("--policies", "none", "--warm", "1s"), "--warm: 1 is not between"),
        (("--policies", "none", "--trace", "{folder}/no.txt"), "cannot read"),
        (("--policies", "none", "--inject", "{folder}/no.yaml"), "no.yaml"),
        (
            ("--policies", "none", "--inject", "{folder}/inject.yaml", "--minutes", "0.05"),
            "no injection ends within 3 s",
        ),
        (("--variants", "{folder}/app.yaml"), "unknown field"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    options: tuple[str, ...], said: str, app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.cli.experiment.slo.run_all", lambda *_: pytest.fail("it started"))
    given = [option.format(folder=tmp_path) for option in options]
    done = CliRunner().invoke(command, ["--app", str(app), "-o", str(tmp_path / "out"), *given])
    assert isinstance(done.exception, ConfigError)
    assert said in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_tuning_needs_a_grid(app: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(command, ["--app", str(app), "--tune", "-o", str(tmp_path / "out")])
    assert "--tune runs the grid of --variants FILE" in done.output


def test_a_folder_with_results_is_gone_on_with_only_when_told(
    app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[list[tuple[str, int]]] = []

    def run_all(output: Path, found: Results, todo: Any, *_: Any) -> Results:
        asked.append([(turn.variant, turn.seed) for turn in todo])
        runs = tuple(run_of(turn.variant, turn.seed, 1, None) for turn in todo)
        done = msgspec.structs.replace(found, runs=(*found.runs, *runs))
        slo_results.save(output, done)
        return done

    monkeypatch.setattr("vagus.cli.experiment.slo.run_all", run_all)
    monkeypatch.setattr("vagus.cli.experiment.slo_report.write_report", lambda folder: folder / "report.html")
    out = tmp_path / "out"
    given = ["--app", str(app), "--trace", str(tmp_path / "trace.txt"), "-o", str(out), "--json"]
    first = CliRunner().invoke(command, [*given, "--policies", "none"])
    assert first.exit_code == 0, first.exception
    assert [row["variant"] for row in json.loads(first.stdout)["rows"]] == ["none"]
    assert (out / "trace.txt").read_text() == "1\n2\n3\n"
    refused = CliRunner().invoke(command, [*given, "--policies", "none"])
    assert "has results already; --resume" in str(refused.exception)
    more = CliRunner().invoke(command, [*given, "--policies", "none,captain", "--seeds", "2", "--resume"])
    assert more.exit_code == 0, more.exception
    assert asked == [[("none", 1)], [("captain", 1), ("captain", 2), ("none", 2)]]
    app.write_text(APPLICATION + "users: 7\n")
    other = CliRunner().invoke(command, [*given, "--policies", "none", "--resume"])
    assert "has results of another app.yaml: it was changed since" in str(other.exception)
    app.write_text(APPLICATION)
    (tmp_path / "trace.txt").write_text("1\n2\n4\n")
    changed = CliRunner().invoke(command, [*given, "--policies", "none", "--resume"])
    assert "trace.txt is another than the one that is given now" in str(changed.exception)


def test_runs_that_went_wrong_are_named_at_the_end(app: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run_all(output: Path, found: Results, *_: Any) -> Results:
        done = msgspec.structs.replace(found, runs=(run_of("none", 1, 1, None, error="it broke"),))
        slo_results.save(output, done)
        return done

    monkeypatch.setattr("vagus.cli.experiment.slo.run_all", run_all)
    monkeypatch.setattr("vagus.cli.experiment.slo_report.write_report", lambda folder: folder / "report.html")
    done = CliRunner().invoke(command, ["--app", str(app), "--policies", "none", "-o", str(tmp_path / "out")])
    assert "1 of 1 runs went wrong, such as none, seed 1: it broke; --resume does them again" in str(done.exception)
