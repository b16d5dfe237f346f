"""`vagus train`: a short training, what it leaves, how it goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from vagus.cli import cli
from vagus.cli import train as command
from vagus.policies.ddpg import DDPG

FILE = """
name: short
world: {period: 1s}
episodes: 2
steps: 15
evaluate: 1
evaluate_every: 1
bootstrap: {rule: tower, episodes: 1, imitations: 20, updates: 5}
options: {updates: 1}
compare: [aimd]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "train.yaml"
    path.write_text(FILE)
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, arguments)], catch_exceptions=False)


def told(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_it_trains_compares_draws_and_goes_on(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = told(run(file, "-o", out, "--json"))
    assert first["episodes"] == len(first["rows"]) == 2
    assert first["bootstrap"]["transitions"] == 10 * 14
    assert set(first["others"]) == {"aimd"}
    assert first["best"]["reward"] == max(row["evaluated"]["reward"] for row in first["rows"])
    assert Path(first["curves"]).read_bytes().startswith(b"\x89PNG")
    assert DDPG.load(out / "ddpg.npz").action_dim == 1
    assert (out / "ddpg.npz").stat().st_size < 200_000
    assert len(list(out.glob("state-*.npz"))) == 1, "the checkpoint before is gone"
    more = told(run(file, "--resume", out, "--episodes", 3, "--json"))
    assert [row["episode"] for row in more["rows"]] == [1, 2, 3]
    assert more["rows"][:2] == first["rows"]
    again = run(file, "-o", out)
    assert again.exit_code == 1
    assert "--resume" in again.output


def test_lines_where_there_is_no_terminal(file: Path, tmp_path: Path) -> None:
    result = run(file, "-o", tmp_path / "out", "--episodes", 1)
    assert result.exit_code == 0, result.output
    assert "episode 1/1: reward" in result.stderr
    assert "ddpg (best)" in result.stdout
    assert "aimd" in result.stdout


def test_ctrl_c_ends_it_after_saving(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vagus.environments import training

    played = training.play

    def interrupted(*given: Any, **more: Any) -> Any:
        if calls and calls.pop():
            raise KeyboardInterrupt
        return played(*given, **more)

    calls = [True, False, False, False, False]  # the rule's, the first evaluation, episode 1, its evaluation; then
    monkeypatch.setattr(training, "play", interrupted)
    result = run(file, "-o", tmp_path / "out", "--json")
    assert result.exit_code == command.INTERRUPTED
    document = json.loads(result.stdout)
    assert document["interrupted"]
    assert document["episodes"] == 1
    monkeypatch.setattr(training, "play", played)
    assert told(run(file, "--resume", tmp_path / "out", "--json"))["episodes"] == 2


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("episodes: 0", "episodes"),
        ("world: {rate_hz: {low: 9, high: 3}}", "low is above high"),
        ("world: {application: nothing}", "to simulate"),
        ("world: {kind: live}", "world.controller"),
        ("options: {model: none}", "all or each"),
        ("bootstrap: {rule: none}", "none"),
        ("unknown: 1", "unknown"),
    ],
)
def test_what_is_wrong_is_said(file: Path, tmp_path: Path, text: str, words: str) -> None:
    file.write_text(text)
    result = run(file, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert words in result.output


def test_what_cannot_be_resumed_is_said(file: Path, tmp_path: Path) -> None:
    assert "begin without --resume" in run(file, "--resume", tmp_path / "nothing").output
    out = tmp_path / "out"
    told(run(file, "-o", out, "--episodes", 1, "--json"))
    file.write_text(FILE.replace("steps: 15", "steps: 20"))
    assert "other settings" in run(file, "--resume", out).output
    file.write_text(FILE)
    (out / "train.json").write_text("{")
    assert "damaged" in run(file, "--resume", out).output
