"""Replicas by commands and by a registered tunable; steps that run, and that wait."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from vagus.actuators.apply import apply
from vagus.actuators.replicas import Replicas
from vagus.client.tunable_server import TunableServer
from vagus.client.tunables import tunable
from vagus.config import ActSettings, Config, ScaleSettings, decode
from vagus.errors import ActuateError, ConfigError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.undo import Step, perform, undo

WEB = Target("replicas", "web")


class Orchestrator:
    """Keeps a number in a file; `set` may refuse above 5, `get` may lag behind by some looks."""

    def __init__(self, folder: Path) -> None:
        self.wish, self.lag = folder / "wish", folder / "lag"
        self.wish.write_text("2")
        self.lag.write_text("0")
        self.get = folder / "get.py"
        self.get.write_text(
            f"import pathlib; lag = pathlib.Path({str(self.lag)!r}); wish = pathlib.Path({str(self.wish)!r})\n"
            "left = int(lag.read_text())\n"
            "lag.write_text(str(max(0, left - 1)))\n"
            "print(2 if left else wish.read_text())\n"
        )
        self.set = folder / "set.py"
        self.set.write_text(
            "import pathlib, sys\n"
            "number = int(sys.argv[1].partition('=')[2])\n"
            "if number > 5: sys.exit('quota: at most 5 replicas')\n"
            f"pathlib.Path({str(self.wish)!r}).write_text(str(number))\n"
        )

    def settings(self, **more: object) -> ScaleSettings:
        fast = (sys.executable, "-I", "-S")
        return ScaleSettings(
            get=(*fast, str(self.get)), set=(*fast, str(self.set), "--replicas={replicas}"), **{"high": 9, **more}
        )

    def actuator(self, **more: object) -> Replicas:
        made = Replicas()
        made.configure(ActSettings(scale={"web": self.settings(**more)}), Path("/nonexistent"))
        return made


@pytest.fixture
def orchestrator(tmp_path: Path) -> Orchestrator:
    return Orchestrator(tmp_path)


def test_commands_count_and_set_and_restore(orchestrator):
    replicas = orchestrator.actuator()
    assert replicas.supports(WEB) == ("replicas",)
    assert replicas.read(WEB, "replicas") == 2.0
    plan = replicas.plan(Action(WEB, "replicas", 4.0))
    assert orchestrator.wish.read_text() == "2"
    apply(plan)
    assert orchestrator.wish.read_text() == "4"
    assert plan.shown(replicas.read(WEB, "replicas"))
    assert [step.op for step in plan.steps] == ["run", "scaled"]
    assert [(step.op, step.path) for step in plan.undo] == [("run", "replicas:web")]
    assert undo(plan.undo) == []
    assert orchestrator.wish.read_text() == "2"


def test_it_is_waited_for(orchestrator):
    plan = orchestrator.actuator().plan(Action(WEB, "replicas", 4.0))
    orchestrator.lag.write_text("3")
    apply(plan)
    assert orchestrator.lag.read_text() == "0"


def test_what_does_not_come_in_time_is_taken_back(orchestrator):
    plan = orchestrator.actuator(within="0.01s").plan(Action(WEB, "replicas", 4.0))
    orchestrator.lag.write_text("100")
    with pytest.raises(Rejected, match=r"after 0\.01 s there are 2, says"):
        apply(plan)
    assert orchestrator.wish.read_text() == "2"


def test_what_is_not_waited_for_is_not_judged(orchestrator):
    plan = orchestrator.actuator(within=0).plan(Action(WEB, "replicas", 4.0))
    apply(plan)
    assert [step.op for step in plan.steps] == ["run"]
    assert plan.shown(2.0)


def test_the_commands_words_are_quoted(orchestrator):
    with pytest.raises(Rejected, match="quota: at most 5 replicas"):
        apply(orchestrator.actuator().plan(Action(WEB, "replicas", 6.0)))
    assert orchestrator.wish.read_text() == "2"


@pytest.mark.parametrize("value", [0.0, 10.0, -3.0, 2.5, float("nan"), float("inf")])
def test_only_whole_numbers_within_bounds(orchestrator, value):
    with pytest.raises(Rejected, match=r"allows 1 to 9|whole number"):
        orchestrator.actuator().plan(Action(WEB, "replicas", value))
    with pytest.raises(Unsupported, match="no limit to lift"):
        orchestrator.actuator().plan(Action(WEB, "replicas", None))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("print('two')", "printed 'two', not one whole number"),
        ("print(-1)", "not one whole number"),
        ("print('9' * 100)", "not one whole number"),
        ("import sys; sys.exit('no such service')", "no such service"),
        ("import time; time.sleep(30)", "did not end within 0.1 s"),
    ],
)
def test_a_command_that_does_not_count(orchestrator, text, words):
    orchestrator.get.write_text(text)
    with pytest.raises(ActuateError, match=f"cannot count replicas:web: .*{words}"):
        orchestrator.actuator(timeout="0.1s" if "sleep" in text else "10s").read(WEB, "replicas")


def test_a_command_that_is_missing_is_no_sign_that_the_service_is_gone(tmp_path):
    step = Step("run", "replicas:web", json.dumps([str(tmp_path / "nope")]))
    [(_, why)] = undo([step])
    assert "missing" in why


def test_what_is_not_set_up_is_said(orchestrator):
    replicas = orchestrator.actuator()
    with pytest.raises(Unsupported, match=r"set act\.scale\.db in vagus.yaml, or register a tunable"):
        replicas.supports(Target("replicas", "db"))
    with pytest.raises(Unsupported, match="scales replicas:SERVICE, not pid:1"):
        replicas.read(Target("pid", "1"), "replicas")
    with pytest.raises(Unsupported, match="only replicas"):
        replicas.plan(Action(WEB, "cpu_cores", 1.0))


def test_a_tunable_named_replicas_is_the_hook(tmp_path):
    folder, number = tmp_path / "tunables", [3]
    server = TunableServer(lambda: folder)
    common = {"get": lambda: number[0], "set": lambda v: number.__setitem__(0, v), "service": "web", "server": server}
    tunable("replicas", low=1, high=8, whole=True, **common)
    assert server.wait(5)
    replicas = Replicas()
    replicas.configure(ActSettings(), tmp_path)
    assert replicas.read(WEB, "replicas") == 3.0
    plan = replicas.plan(Action(WEB, "replicas", 5.0))
    apply(plan)
    assert number == [5]
    assert undo(plan.undo) == []
    assert number == [3]
    with pytest.raises(Rejected, match="its service takes 1 to 8"):
        replicas.plan(Action(WEB, "replicas", 9.0))
    server.close()


@pytest.mark.parametrize(
    "value", ["", "{}", "[]", '{"get": ["true"], "is": "x", "within_s": 1, "timeout_s": 1}', '{"get": 3, "is": 1}']
)
def test_malformed_steps(value):
    for op in ("scaled", "resized", "tunable", "http"):
        with pytest.raises(Rejected, match=r"malformed|no http://"):
            perform(Step(op, "replicas:web", value))


def test_the_settings():
    text = b"act: {scale: {web: {get: [count], set: [scale, '{replicas}'], within: 3s}}}"
    assert decode(text, Config, "x").act.scale["web"].within == "3s"
    for wrong, words in (
        (b"act: {scale: {web: {get: [a], set: [b]}}}", "holds {replicas}"),
        (b"act: {scale: {web: {get: [], set: ['{replicas}']}}}", "length"),
        (b"act: {scale: {web: {get: a b, set: ['{replicas}']}}}", "array"),
        (b"act: {scale: {web: {get: [a], set: ['{replicas}'], low: 3, high: 2}}}", "low 3 is above high 2"),
        (b"act: {scale: {web: {get: [a], set: ['{replicas}'], within: soon}}}", "within"),
        (b"act: {kubernetes: {url: 'ftp://x'}}", "url"),
    ):
        with pytest.raises(ConfigError, match=words):
            decode(wrong, Config, "x")
