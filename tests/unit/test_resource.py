"""Meter, resource controller, a step of any controller, loading, doubts, receipts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from vagus.actuators import Plan, Usage
from vagus.clock import NS
from vagus.config import ControllerSettings, LimitSettings
from vagus.controllers import Controller, View
from vagus.controllers.doubts import doubts_of
from vagus.controllers.guard import Guard
from vagus.controllers.load import find, load
from vagus.controllers.receipts import describe, worth_storing
from vagus.controllers.resource import Meter, ResourceController
from vagus.controllers.run import Bench, Planned, run_step, settle
from vagus.controllers.view import Snapshot
from vagus.errors import ActuateError, ConfigError, PolicyError, Unsupported
from vagus.model import (
    Action,
    Event,
    Field,
    Inference,
    Metric,
    Receipt,
    Report,
    Sample,
    Status,
    Stream,
    Target,
    Verdict,
)
from vagus.policies.throttle import ThrottleTarget

T_NS = 1_700_000_000 * NS
WEB = Target("cgroup", "web")


class Fake:
    """An actuator over a dict."""

    name = "fake"
    dry = False

    def __init__(self, limit: float | None = 2.0, error: ActuateError | None = None) -> None:
        self.limit = limit
        self.error = error

    def supports(self, target: Target) -> tuple[str, ...]:
        return ("cpu_cores",)

    def usage(self, target: Target) -> Usage:
        return Usage(0.0)

    def read(self, target: Target, resource: str) -> float | None:
        if target.name == "gone":
            raise ActuateError("the group gone does not exist")
        return self.limit

    def plan(self, action: Action) -> Plan:
        if self.error:
            raise self.error
        return Plan((), ())


class Mine:
    """A user's controller that returns what it was given."""

    period_s = 1.0

    def __init__(self, directives: Iterable[Any] = ()) -> None:
        self.directives = directives

    def step(self, view: View) -> Iterable[Any]:
        return self.directives


def bench(actuator: Fake | None = None, armed: bool = False, doubts: tuple[str, ...] = ()) -> Bench:
    return Bench("c", Guard({}, {"cpu_cores": 4}), actuator or Fake(), armed, 0, doubts)


def view(**more: Any) -> Snapshot:
    return Snapshot("n", T_NS, **more)


# --- meter and resource controller -----------------------------------------------------------------------------------


def test_the_meter_takes_differences() -> None:
    meter = Meter()
    assert meter.read(Usage(10.0, 100, 20), 2.0, 0) == {}
    signals = meter.read(Usage(13.0, 118, 25, memory_bytes=5.0), 2.0, 2 * NS)
    assert signals == {
        "usage_cores": 1.5,
        "limit_cores": 2.0,
        "throttled_ratio": 5 / 20,  # of the periods that passed, also the idle ones that the kernel does not count
        "elapsed_s": 2.0,
        "memory_bytes": 5.0,
    }
    assert meter.read(Usage(0.0, 0, 0), None, 3 * NS)["usage_cores"] == 0.0
    assert meter.read(Usage(0.0, 0, 0), None, 3 * NS) == {}


def test_the_meter_says_what_it_does_not_know() -> None:
    meter = Meter()
    meter.read(Usage(1.0), None, 0)
    signals = meter.read(Usage(2.0), None, NS)
    assert math.isnan(signals["limit_cores"])
    assert math.isnan(signals["throttled_ratio"])


def test_a_policy_becomes_an_action() -> None:
    controller = ResourceController({WEB: ThrottleTarget()}, 1.0)
    assert list(controller.step(view())) == []
    signals = {"usage_cores": 2.0, "limit_cores": 2.0, "throttled_ratio": 0.8, "elapsed_s": 1.0}
    (action,) = controller.step(view(signals=signals))
    assert isinstance(action, Action)
    assert (action.target, action.resource, action.value) == (WEB, "cpu_cores", pytest.approx(3.0))
    assert action.reason == "throttle: uses 2.00 cores, throttled in 80% of periods"
    assert list(controller.step(view(signals={**signals, "throttled_ratio": 0.1}))) == []
    other = ResourceController({WEB: ThrottleTarget()}, 1.0)
    other.restore(controller.state())
    assert other.state() == controller.state()
    with pytest.raises(PolicyError):
        list(controller.step(view(signals={**signals, "usage_cores": math.nan})))


# --- view ------------------------------------------------------------------------------------------------------------


def test_a_view_is_plain_data() -> None:
    cpu = Stream("n", "host.cpu", (Field("user"), Field("system")))
    disk = Stream("n", "host.disk", (Field("read_bytes"),), {"dev": "vda"})
    inference = Inference("db@2", T_NS, Status.UNHEALTHY, {}, ())
    event = Event(T_NS, "x", "n")
    seen = view(samples=[Sample(cpu, T_NS, (1, 2.5)), Sample(disk, T_NS, (7,))], inferences=[inference], events=[event])
    assert seen.last("host.cpu.system") == 2.5
    assert seen.last("host.*") == 1.0
    assert math.isnan(seen.last("net.*"))
    assert seen.all("host.disk{dev=~'vd.*'}".replace("'", '"')) == {'host.disk.read_bytes{dev="vda",node="n"}': 7.0}
    assert seen.status("db@2") is Status.UNHEALTHY
    assert seen.status("db@3") is Status.NA
    assert (seen.inferences(), seen.receipts(), seen.events()) == ((inference,), (), (event,))
    with pytest.raises(ConfigError):
        seen.last("host cpu")


# --- a step ----------------------------------------------------------------------------------------------------------


def test_dry_says_what_it_would_do() -> None:
    outcome = run_step(Mine([Action(WEB, "cpu_cores", 2.5, "busy")]), view(), bench())
    (receipt,) = outcome.receipts
    assert (receipt.before, receipt.requested, receipt.after, receipt.dry) == (2.0, 2.5, 2.5, True)
    assert not outcome.planned
    assert describe(receipt) == "would set cpu_cores of cgroup:web to 2.5 (now 2): busy"


def test_armed_plans_and_settles() -> None:
    outcome = run_step(Mine([Action(WEB, "cpu_cores", 8.0)]), view(), bench(armed=True))
    (planned,) = outcome.planned
    assert isinstance(planned, Planned)
    assert planned.action.value == 3.0  # half as much again at once
    receipt = settle(planned, 3.0)
    assert (receipt.dry, receipt.requested, receipt.after) == (False, 8.0, 3.0)
    assert "at most 50% at once" in describe(receipt)
    assert describe(settle(planned, 2.0, "EINVAL")) == "could not set cpu_cores of cgroup:web to 8: EINVAL"


def test_every_kind_of_directive_finds_its_place() -> None:
    report, event = Report("c", "db@2", T_NS, {"x": Metric(Status.HEALTHY)}), Event(T_NS, "x", "n")
    outcome = run_step(Mine(iter([report, event])), view(), bench())
    assert (outcome.reports, outcome.events, outcome.failure) == ([report], [event], "")


def test_doubts_hold() -> None:
    outcome = run_step(Mine([Action(WEB, "cpu_cores", 3)]), view(), bench(armed=True, doubts=("stale",)))
    (receipt,) = outcome.receipts
    assert (receipt.note, receipt.after) == ("held: stale", 2.0)
    assert describe(receipt) == "cpu_cores of cgroup:web stays at 2 [held: stale]"


@pytest.mark.parametrize("armed", [False, True])
def test_unsupported_is_a_receipt_with_the_reason(armed: bool) -> None:
    actuator = Fake(None, Unsupported("mounted read-only; run on the host"))
    (receipt,) = run_step(Mine([Action(WEB, "cpu_cores", 3)]), view(), bench(actuator, armed)).receipts
    assert receipt.error == "Unsupported: mounted read-only; run on the host"
    assert receipt.after == (None if armed else 3)
    assert ("cannot be armed here" in describe(receipt)) is not armed
    gone = run_step(Mine([Action(Target("cgroup", "gone"), "cpu_cores", 3)]), view(), bench(armed=armed))
    assert gone.receipts[0].error == "the group gone does not exist"


class Raises:
    period_s = 1.0

    def step(self, view: View) -> Iterable[Any]:
        yield Action(WEB, "cpu_cores", 3)
        raise RuntimeError("mine is broken")


@pytest.mark.parametrize(
    ("controller", "words"),
    [
        (Raises(), "RuntimeError: mine is broken"),
        (Mine([1]), "returned a int"),
        (Mine(None), "NoneType"),  # type: ignore[arg-type]
        (Mine(Event(T_NS, "x", "n") for _ in iter(int, 1)), "more than 1000"),
    ],
)
def test_a_broken_controller_acts_not_at_all(controller: Controller, words: str) -> None:
    outcome = run_step(controller, view(), bench(armed=True))
    assert words in outcome.failure
    assert outcome[:4] == ([], [], [], [])


# --- loading ---------------------------------------------------------------------------------------------------------

SOURCE = """
class Mine:
    period_s = 0.5
    def __init__(self, goal=1.0): self.goal = goal
    def step(self, view): return ()

class Policy:
    name = "mine"
    def __init__(self, **options): self.options = options
    def step(self, signals): return 1.0

class Wild:
    period_s = -1
    def step(self, view): return ()

thing = 3
"""


def settings(policy: str = "throttle", **more: Any) -> ControllerSettings:
    return ControllerSettings(name="c", policy=policy, target="cgroup:web", **more)


def test_loading(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SOURCE)
    assert load(settings(period="250ms")).period_s == 0.25
    mine: Any = load(settings(f"{file}:Mine", options={"goal": 3}))
    assert (mine.period_s, mine.goal) == (0.5, 3)
    policy = load(settings(f"{file}:Policy", limits={"memory_bytes": LimitSettings(min=1, max=2)}))
    assert isinstance(policy, ResourceController)
    assert policy.resource == "memory_bytes"
    assert load(settings(), Mine()).period_s == 1.0
    assert isinstance(load(settings("vagus.policies.throttle:ThrottleTarget")), ResourceController)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("nope", "no 'nope'"),
        ("{file}:Nope", "does not load"),
        ("{file}:thing", "not a class"),
        ("{file}:Wild", "period_s=-1"),
        ("{dir}/absent.py:Mine", "not a Python file"),
        ("vagus.absent:Mine", "does not load"),
        ("{dir}/broken.py:Mine", "SyntaxError"),
        ("builtins:object", "no method step"),
    ],
)
def test_loading_says_what_is_wrong(tmp_path: Path, policy: str, words: str) -> None:
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "broken.py").write_text("class")
    with pytest.raises(ConfigError, match=words):
        load(settings(policy.format(file=tmp_path / "mine.py", dir=tmp_path)))


def test_options_that_do_not_fit(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not take the options \['goal'\]"):
        load(settings(options={"goal": 3}))
    with pytest.raises(ConfigError, match="one resource"):
        load(settings(limits={"a": LimitSettings(min=1, max=2), "b": LimitSettings(min=1, max=2)}))
    assert find("vagus.policies.throttle:ThrottleTarget") is ThrottleTarget


def test_the_documented_example_runs() -> None:
    page = (Path(__file__).parents[2] / "docs/controller.md").read_text()
    names: dict[str, Any] = {}
    exec(page.split("```python")[1].split("```")[0], names)
    controller = load(settings(options={"headroom": 0.5}), names["Headroom"])
    assert list(controller.step(view())) == []
    action, report = controller.step(view(signals={"usage_cores": 2.0}))
    assert isinstance(action, Action)
    assert (str(action.target), action.value) == ("cgroup:vagus/web", 3.0)
    assert isinstance(report, Report)


# --- doubts and receipts -----------------------------------------------------------------------------------------------


def verdict(subject: str, context: str, status: Status) -> Inference:
    return Inference(subject, T_NS, status, {context: Verdict(status, 0)}, ())


def test_doubts_are_about_the_means_only() -> None:
    fresh = [Sample(Stream("n", "host.cpu", (Field("user"),)), T_NS - NS, (1,))]
    assert doubts_of("n", T_NS, fresh, [verdict("web", "read", Status.DEAD)], 5) == []
    assert doubts_of("n", T_NS, fresh, [verdict("node:n", "cpu_pressure", Status.UNHEALTHY)], 5) == []
    assert doubts_of("n", T_NS, fresh, [verdict("node:m", "gossip", Status.DEAD)], 5) == []
    found = doubts_of("n", T_NS, fresh, [verdict("node:n", "gossip", Status.DYING)], 5)
    assert found == ["node:n is DYING in gossip"]
    assert doubts_of("n", T_NS + 10 * NS, fresh, [], 5) == ["the newest sample is 11.0 s old"]
    assert doubts_of("n", T_NS, [], [], 5) == ["the collector has no samples"]


def test_only_news_is_stored() -> None:
    first = Receipt(T_NS, "n", "c", "fake", WEB, "cpu_cores", 2.0, 3.0, 3.0, dry=True)

    def later(seconds: float = 1, **changes: Any) -> Receipt:
        return msgspec.structs.replace(first, t_ns=T_NS + round(seconds * NS), **changes)

    assert worth_storing(first, None)
    assert not worth_storing(later(), first)
    assert not worth_storing(later(after=3.05), first)
    assert worth_storing(later(after=3.07), first)
    assert worth_storing(later(after=None), first)
    assert worth_storing(later(60), first)
    assert worth_storing(later(error="x"), first)
    assert worth_storing(later(note="held: x"), first)
    assert worth_storing(later(dry=False), first)
    acted = later(dry=False)
    assert worth_storing(later(2, dry=False), acted)  # a write is always kept


def test_bytes_are_told_in_mebibytes() -> None:
    receipt = Receipt(T_NS, "n", "c", "fake", WEB, "memory_bytes", None, 2**20, 3 * 2**20, dry=True)
    assert describe(receipt) == "would set memory_bytes of cgroup:web to 3.0 MiB (now no limit)"
