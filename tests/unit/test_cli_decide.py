"""`vagus decide` and its commands against a small real HTTP server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_gateway import NOW_NS, NS, Gateway, serve
from click.testing import CliRunner

from vagus.cli.decide import decide
from vagus.controllers.decide.trace import LoggedTrace, read_trace
from vagus.model import Logged


def a_decision(number: int, **more: Any) -> Logged:
    """Arm a earns 1, arm b 2; every third has no reward; drawn by halves."""
    arm = "ab"[number % 2]
    reward = None if number % 3 == 0 else 1.0 + number % 2
    t_ns = NOW_NS - number * NS
    given = {"reward": reward, "reward_t_ns": t_ns + NS if reward else 0, "arms": ("a", "b"), **more}
    return Logged(f"d{number}", t_ns, "zurich", arm, 0.5, 7, **given)


class Deciding(Gateway):
    """A gateway whose log can be asked for in pages, newest first."""

    def __init__(self, decisions: list[Logged]) -> None:
        super().__init__()
        self.decisions = decisions
        self.answers["/v1/decide/explain"] = {
            "group": "zurich",
            "way": ["isp=10"],
            "version": 12,
            "policy": "ucb",
            "options": {"bonus": 0.5},
            "leader": "b",
            "epoch": 3,
            "rewards": 40,
            "arms": [
                {"arm": "cdn-a", "probability": 0.2, "figures": {"mean": 1.0, "evidence": 11.5, "bonus": 0.25}},
                {"arm": "cdn-b", "probability": 0.8, "figures": {"mean": 2.0, "evidence": 28.0, "bonus": None}},
            ],
            "sets": [{"cdn-a": 1.0}],
            "contextual": False,
            "note": "",
        }

    def answer(self, path: str, params: dict[str, str]) -> tuple[int, str, bytes]:
        if path != "/v1/decide/log":
            return super().answer(path, params)
        end_ns = int(params.get("end") or NOW_NS + NS)
        found = [d for d in self.decisions if d.t_ns < end_ns and params.get("group", d.group) == d.group]
        self.answers[path] = {"decisions": found[: int(params["limit"])], "partial": False, "missing": []}
        return super().answer(path, params)


@pytest.fixture
def gateway() -> Iterator[Deciding]:
    with serve(Deciding([a_decision(number) for number in range(90)])) as served:
        assert isinstance(served, Deciding)
        yield served


# --- draw -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [("a", "b"), ("draw", "a", "b"), ("-f", "x=1", "a", "b"), ("--json", "a", "b"), ("draw", "log", "explain")],
)
def test_arms_are_drawn_from(gateway: Deciding, words: tuple[str, ...]) -> None:
    result = gateway.run("decide", *words)
    assert result.exit_code == 0, result.output
    method, path, _, body = gateway.asked[-1]
    assert (method, path) == ("POST", "/v1/decide")
    assert body["arms"] == [word for word in words if not word.startswith(("-", "x=")) and word != "draw"]


def test_help_is_of_the_group_or_of_the_command(gateway: Deciding) -> None:
    for words in (("decide", "--help"), ("decide", "-h")):
        text = gateway.run(*words).stdout
        assert all(name in text for name in ("draw", "log", "evaluate", "explain"))
    for name in ("draw", "log", "evaluate", "explain"):
        text = gateway.run("decide", name, "--help").stdout
        assert "Examples:" in text
        assert "--json" in text
    assert gateway.run("decide").exit_code in (0, 2)
    assert gateway.run("decide", "--nonsense").exit_code == 2
    assert not gateway.asked


# --- log --------------------------------------------------------------------------------------------------------------


def test_log_prints_the_newest_at_the_end(gateway: Deciding) -> None:
    result = gateway.run("decide", "log", "--limit", "4")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["time", "group", "arm", "probability", "reward", "after", "of", "decision_id"]
    assert [line.split()[-1] for line in lines[1:]] == ["d3", "d2", "d1", "d0"]
    assert lines[-2].split()[2:8] == ["zurich", "b", "0.5", "2", "1.0s", "a,"]
    assert lines[-1].split()[5] == "–"
    assert "4 decisions, 2 with a reward" in result.stderr


def test_log_as_csv_is_a_trace(gateway: Deciding, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    result = gateway.run("decide", "log", "--csv", "--since", "10m")
    assert result.exit_code == 0, result.output
    file.write_text(result.stdout)
    trace = read_trace(file)
    assert isinstance(trace, LoggedTrace)
    assert (len(trace.reward), trace.groups, set(trace.arms)) == (60, ("zurich",), {"a", "b"})
    assert trace.propensity.tolist() == [0.5] * 60
    assert (trace.t_s[1:] > trace.t_s[:-1]).all()
    assert "60 decisions with a reward, of 90" in result.stderr


def test_log_comes_in_pages(gateway: Deciding, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.cli.decide_log.PAGE", 20)
    for since in (["--since", "24h"], ["--start", str(NOW_NS - 3600 * NS)]):
        gateway.asked.clear()
        document = json.loads(gateway.run("decide", "log", "--json", "--limit", "75", *since).stdout)
        assert [d["decision_id"] for d in document["decisions"]] == [f"d{n}" for n in range(75)]
        assert [params["limit"] for _, _, params, _ in gateway.asked] == ["20", "20", "20", "18"]
        ends = [params.get("end") for _, _, params, _ in gateway.asked]
        assert ends[:2] == [None, str(NOW_NS - 19 * NS + 1)]
    everything = json.loads(gateway.run("decide", "log", "--json", "--limit", "1000", "--group", "zurich").stdout)
    assert len(everything["decisions"]) == 90


def test_log_of_nothing_and_wrong_usage(gateway: Deciding) -> None:
    result = gateway.run("decide", "log", "--group", "x")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no decisions in that time" in result.stderr
    assert gateway.run("decide", "log", "--csv", "--json").exit_code == 2
    assert gateway.run("decide", "log", "--limit", "0").exit_code == 2
    assert gateway.run("decide", "log", "--since", "1h", "--start", str(NOW_NS - NS)).exit_code == 2


# --- evaluate ---------------------------------------------------------------------------------------------------------


def test_evaluate_by_the_log(gateway: Deciding) -> None:
    result = gateway.run("decide", "evaluate", "--policy", "logged,uniform,greedy,static", "--since", "24h")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    order = [line.split()[0] for line in lines[1:6]]
    assert order[:2] in (["static:b", "greedy"], ["greedy", "static:b"])
    assert order[-1] == "static:a"
    assert "60 rewarded decisions of 1 group" in result.stderr
    asked = gateway.asked[-1][2]
    assert (asked["since"], asked["limit"]) == ("24h", "10000")


def test_evaluate_as_json(gateway: Deciding) -> None:
    result = gateway.run("decide", "evaluate", "--policy", "static:b,ucb", "--json", "--group", "zurich")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    static, ucb = document["policies"]
    assert static["dr"]["estimate"] == pytest.approx(2.0, abs=0.05)
    assert static["ess"] == pytest.approx(30)
    assert static["learned"] is None
    assert 0 < ucb["learned"] < 60
    assert document["mean_reward"] == pytest.approx(1.5)
    assert gateway.asked[-1][2]["group"] == "zurich"


def test_evaluate_a_file_without_a_gateway(gateway: Deciding, tmp_path: Path) -> None:
    file = tmp_path / "log.csv"
    file.write_text(gateway.run("decide", "log", "--csv").stdout)
    gateway.asked.clear()
    picture = tmp_path / "policies.png"
    result = gateway.run("decide", "evaluate", "--file", str(file), "--policy", "greedy,uniform", "-o", str(picture))
    assert result.exit_code == 0, result.output
    assert not gateway.asked
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_evaluate_says_what_is_wrong(gateway: Deciding, tmp_path: Path) -> None:
    full = tmp_path / "full.csv"
    full.write_text("t_s,group,a,b\n0,g,1,2\n")
    for words, error in (
        (["--policy", "ucbb"], "'ucbb' is no policy; there are: logged, greedy, static:ARM"),
        (["--policy", "linear"], "weighs features"),
        (["--policy", "static:z"], "the log has no such arm; there are: "),
        (["--policy", "ucb", "--option", "nonsense=1"], "does not take these options"),
        (["--file", str(full)], "`vagus replay` replays it; a log is needed here"),
        (["--file", str(tmp_path / "none.csv")], "cannot read"),
        (["-o", str(tmp_path / "x.jpg")], "only PNG"),
    ):
        result = gateway.run("decide", "evaluate", *words)
        assert result.exit_code in (1, 2), words
        assert error in " ".join(result.stderr.split()), words
    gateway.decisions = [a_decision(3)]
    result = gateway.run("decide", "evaluate", "--policy", "uniform")
    assert "1 decision in that time, none with a reward yet" in result.stderr


# --- explain ----------------------------------------------------------------------------------------------------------


def test_explain_shows_what_made_the_probabilities(gateway: Deciding) -> None:
    result = gateway.run("decide", "explain", "-f", "isp=10", "-f", "vip=true", "-f", "load=0.5")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "group zurich"
    assert lines[1] == "  by isp=10"
    assert lines[2] == "  ucb (bonus=0.5), led by b, epoch 3, 40 rewards, table version 12"
    assert lines[3].split() == ["arm", "probability", "mean", "evidence", "bonus"]
    assert lines[4].split() == ["cdn-b", "0.8", "2", "28"]
    assert lines[5].split() == ["cdn-a", "0.2", "1", "11.5", "0.25"]
    assert lines[6] == "  of these alone: cdn-a 1"
    assert gateway.asked[-1][2] == {"feature": "isp=10"}  # the first of three


def test_explain_by_name(gateway: Deciding) -> None:
    assert json.loads(gateway.run("decide", "explain", "zurich", "--json").stdout)["leader"] == "b"
    assert gateway.asked[-1][2] == {"group": "zurich"}
    assert gateway.run("decide", "explain", "zurich", "-f", "a=b").exit_code == 2
    assert gateway.run("decide", "explain", "-f", "a").exit_code == 2


@pytest.mark.parametrize(("typed", "meant"), [("evalute", "evaluate"), ("logs", "log"), ("explian", "explain")])
def test_a_slip_of_the_hand_is_no_decision(typed: str, meant: str) -> None:
    done = CliRunner().invoke(decide, [typed])
    assert done.exit_code == 2
    assert f"did you mean `vagus decide {meant}`" in done.output
