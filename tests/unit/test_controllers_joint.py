"""Several targets steered by one policy, what it is told, and the shield around one that learns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import pytest

from vagus.config import ControllerSettings, GuardSettings, LimitSettings, ObjectiveSettings
from vagus.controllers.joint import JointController
from vagus.controllers.load import calibrated, load, targets_of
from vagus.controllers.objective import Objective
from vagus.controllers.resource import ResourceController
from vagus.controllers.uses import Uses
from vagus.controllers.view import Snapshot
from vagus.errors import ConfigError, PolicyError
from vagus.model import Action, Field, Sample, Stream, Target
from vagus.policies import Field as Ground
from vagus.policies import Wish

NS = 1_000_000_000
A, B = Target("cgroup", "app/a"), Target("cgroup", "app/b")
SCALE = Target("replicas", "a")


class Says:
    """Wishes what the test says, and remembers what it was told."""

    name = "says"
    learned = False
    acts_on = (str(SCALE),)

    def __init__(self, field: Ground, rng: np.random.Generator, **options: Any) -> None:
        self.field = field
        self.options = options
        self.wishes: list[Wish] = []
        self.seen: Mapping[str, Mapping[str, float]] = {}
        self.objective: Mapping[str, float] = {}
        self.force: Mapping[tuple[str, str], float] = {}

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        self.seen, self.objective = signals, objective
        return self.wishes

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        self.force = dict(wishes)

    def state(self) -> dict[str, Any]:
        return {"n": 1}

    def restore(self, state: Mapping[str, Any]) -> None:
        self.restored = state


class Learns(Says):
    learned = True


def signals(usage: float, limit: float, throttled: float = 0.0) -> dict[str, float]:
    return {
        "usage_cores": usage,
        "limit_cores": limit,
        "limit_cpu_cores": limit,
        "throttled_ratio": throttled,
        "elapsed_s": 1.0,
        "memory_bytes": 1e6,
    }


def view(by_target: dict[Target, dict[str, float]], objective: dict[str, float] | None = None) -> Snapshot:
    return Snapshot("n", 0, by_target=by_target, objective=objective)


def settings(**more: Any) -> ControllerSettings:
    given: dict[str, Any] = {
        "name": "c",
        "targets": (str(A), str(B)),
        "limits": {"cpu_cores": LimitSettings(min=0.1, max=2.0)},
        **more,
    }
    return ControllerSettings(**given)


def made(kind: type, **more: Any) -> tuple[JointController, Any]:
    controller = load(settings(**more), kind)
    assert isinstance(controller, JointController)
    return controller, controller.policy


def test_a_joint_policy_gets_its_ground_its_signals_and_what_is_in_force():
    controller, policy = made(Says, options={"x": 1})
    assert policy.field == Ground((str(A), str(B)), {"cpu_cores": (0.1, 2.0)})
    assert policy.options == {"x": 1}
    policy.wishes = [Wish(str(B), "cpu_cores", 0.7, "why", 0.8)]
    seen = {A: signals(0.1, 0.5), B: {}, SCALE: {"limit_replicas": 3.0}}
    (action,) = controller.step(view(seen, {"slo_s": 0.2}))
    assert action == Action(B, "cpu_cores", 0.7, "says: why", 0.8)
    assert set(policy.seen) == {str(A)}, "what cannot be read is left out"
    assert policy.objective == {"slo_s": 0.2}
    assert policy.force == {(str(A), "cpu_cores"): 0.5, (str(SCALE), "replicas"): 3.0}
    assert controller.state() == {"n": 1}
    controller.restore({"n": 2})
    assert policy.restored == {"n": 2}


def test_nothing_is_asked_before_anything_is_seen():
    controller, policy = made(Says)
    policy.wishes = [Wish(str(A), "cpu_cores", 0.7)]
    assert list(controller.step(view({A: {}, B: {}}))) == []
    assert policy.seen == {}


def test_how_often_its_own_wish_was_in_force_is_counted():
    controller, policy = made(Says)
    policy.wishes = [Wish(str(A), "cpu_cores", 0.7)]
    list(controller.step(view({A: signals(0.1, 0.5)})))
    list(controller.step(view({A: signals(0.1, 0.7)})))
    list(controller.step(view({A: signals(0.1, 0.6)})))
    assert controller.figures() == {"steered_steps": 2, "own_steps": 1, "shielded_steps": 0}


def test_the_shield_raises_what_is_throttled_and_keeps_what_is_used():
    controller, policy = made(Learns)
    policy.wishes = [Wish(str(A), "cpu_cores", 0.2), Wish(str(B), "cpu_cores", 0.6)]
    for _ in range(3):
        actions = {a.target: a for a in controller.step(view({A: signals(0.5, 0.5, 0.9), B: signals(0.3, 0.6)}))}
    assert actions[A].value > 0.5, "the captain raises what is throttled"
    assert "shield" in actions[A].reason
    assert "0.2" in actions[A].reason
    assert actions[B].value == 0.6, "what is safe passes as it is"
    policy.wishes = [Wish(str(B), "cpu_cores", 0.1)]
    (kept, raised) = sorted(
        controller.step(view({A: signals(0.5, 0.5, 0.9), B: signals(0.3, 0.6)})), key=lambda a: a.target != B
    )
    assert kept.value == pytest.approx(0.315), "what is used now is not taken away"
    assert raised.target == A, "also where the policy wishes nothing"
    assert controller.figures()["shielded_steps"] >= 4


def test_what_the_shield_raised_stands_for_a_while():
    controller, policy = made(Learns)
    policy.wishes = [Wish(str(A), "cpu_cores", 0.2)]
    wanted = [raised] = [a.value for a in controller.step(view({A: signals(0.3, 0.5, 0.9)}))]
    assert raised > 0.5
    for _ in range(15):
        wanted += [a.value for a in controller.step(view({A: signals(0.3, raised, 0.0)}))]
    assert wanted[1:10] == [raised] * 9, "a policy that takes it back at once would be throttled at every second step"
    assert wanted[-1] == pytest.approx(0.315), "then the policy has its way"
    policy.wishes = [Wish(str(A), "cpu_cores", 1.5)]
    assert [a.value for a in controller.step(view({A: signals(0.3, raised)}))] == [1.5]


def test_a_wish_that_may_be_held_does_not_hold_back_a_raise():
    controller, policy = made(Learns)
    policy.wishes = [Wish(str(A), "cpu_cores", 1.5, confidence=0.1)]
    (action,) = controller.step(view({A: signals(0.5, 0.5, 0.9)}))
    assert (action.value, action.confidence) == (pytest.approx(0.8), 1.0)
    (calm,) = controller.step(view({A: signals(0.3, 0.8)}))
    assert (calm.value, calm.confidence) == (1.5, 0.1), "where nothing is throttled it passes as it is"


def test_who_comes_back_is_seen_anew_by_the_shield():
    controller, policy = made(Learns)
    policy.wishes = [Wish(str(A), "cpu_cores", 0.2)]
    (raised,) = controller.step(view({A: signals(0.1, 0.5, 0.9)}))
    assert raised.value == pytest.approx(0.8)
    policy.wishes = [Wish(str(B), "cpu_cores", 0.6)]
    for _ in range(2):
        assert [a.target for a in controller.step(view({A: {}, B: signals(0.3, 0.6)}))] == [B]
    policy.wishes = [Wish(str(A), "cpu_cores", 0.2)]
    (own,) = controller.step(view({A: signals(0.1, 0.5)}))
    assert own.value == 0.2, "another process of that name owes nothing to the one before"


@pytest.mark.parametrize("wished", [math.nan, math.inf, -math.inf, 0.0, -1.0])
def test_what_is_no_limit_keeps_the_shield_from_nothing(wished: float):
    controller, policy = made(Learns)
    policy.wishes = [Wish(str(A), "cpu_cores", wished)]
    (calm,) = controller.step(view({A: signals(0.3, 0.5)}))
    assert calm.value == wished or math.isnan(wished), "the guard holds it, and says why"
    (action,) = controller.step(view({A: signals(0.5, 0.5, 0.9)}))
    assert action.value == pytest.approx(0.8)
    assert controller.figures()["own_steps"] == 0


def test_a_wish_for_what_is_not_steered_here_is_refused():
    for foreign in ("cgroup:app/a/", "cgroup:other"):  # the first would be the same group without its captain
        controller, policy = made(Learns)
        policy.wishes = [Wish(foreign, "cpu_cores", 0.2)]
        with pytest.raises(PolicyError, match="none of its targets"):
            list(controller.step(view({A: signals(0.5, 0.5, 0.9)})))
    controller, policy = made(Says)
    policy.wishes = [Wish(str(SCALE), "replicas", 2.0)]
    assert [a.target for a in controller.step(view({A: signals(0.5, 0.5)}))] == [SCALE], "it says that it acts on that"


def test_cores_without_bounds_of_their_own_are_in_force_all_the_same():
    controller, policy = made(Says)
    policy.wishes = [Wish(str(A), "cpu_cores", 0.7)]
    short = signals(0.1, 0.7)
    del short["limit_cpu_cores"]
    for _ in range(2):
        list(controller.step(view({A: short})))
    assert policy.force == {(str(A), "cpu_cores"): 0.7}
    assert controller.figures()["own_steps"] == 1


def test_the_shield_leaves_other_resources_and_unguarded_policies_alone():
    controller, policy = made(Learns, guard=GuardSettings(shield="none"))
    policy.wishes = [Wish(str(A), "cpu_cores", 0.1)]
    (action,) = controller.step(view({A: signals(0.5, 0.5, 0.9)}))
    assert action.value == 0.1
    controller, policy = made(Learns)
    policy.wishes = [Wish(str(A), "llc_ways", 1.0)]
    found = {a.resource: a.value for a in controller.step(view({A: signals(0.1, 0.5)}))}
    assert found == {"llc_ways": 1.0}


def test_a_limit_policy_is_made_for_each_target():
    controller = load(settings(policy="throttle"))
    assert isinstance(controller, ResourceController)
    for _ in range(2):
        actions = list(controller.step(view({A: signals(0.5, 0.5, 0.9), B: signals(0.1, 0.5)})))
    assert {a.target for a in actions} == {A, B}
    assert controller.policies[A] is not controller.policies[B]
    again = load(settings(policy="throttle"))
    assert isinstance(again, ResourceController)
    again.restore(controller.state())
    assert again.state() == controller.state()
    with pytest.raises(PolicyError):
        again.restore({"margin": 1})


def test_one_target_that_cannot_be_decided_on_does_not_stop_the_others():
    controller = load(settings(policy="throttle"))
    broken = signals(math.nan, 0.5)
    actions = list(controller.step(view({A: broken, B: signals(0.5, 0.5, 0.9)})))
    assert [a.target for a in actions] == [B]
    with pytest.raises(PolicyError, match="app/a"):
        list(controller.step(view({A: broken, B: broken})))


def test_the_calibrated_rule_stands_by_for_each_target():
    rule = calibrated(settings())
    assert rule is not None
    assert set(rule.policies) == {A, B}


def test_wrong_targets_and_policies_are_told():
    with pytest.raises(ConfigError, match="twice"):
        targets_of(settings(targets=(str(A), str(A))))
    with pytest.raises(ConfigError, match=r"no 'nope'.*ddpg.*throttle"):
        load(settings(policy="nope"))

    class One:
        def step(self, signals: Mapping[str, float]) -> None:
            return None

    with pytest.raises(ConfigError, match="give its class"):
        load(settings(), One())


INGRESS = Stream("n", "ingress", (Field("p99_s"), Field("rate_hz")), {"app": "x"})


def test_the_objective_is_read_from_the_newest_sample_that_is_not_old():
    objective = Objective(
        ObjectiveSettings(latency='ingress.p99_s{app="x"}', rate="ingress.rate_hz", slo="200ms", mix=("ingress.none",))
    )
    assert objective.selectors == ('ingress.p99_s{app="x"}', "ingress.rate_hz", "ingress.none")
    samples = [Sample(INGRESS, 8 * NS, (0.5, 10.0)), Sample(INGRESS, 9 * NS, (0.6, 11.0))]
    found = objective.read(samples, 10 * NS)
    assert (found["latency_s"], found["rate_hz"], found["slo_s"]) == (0.6, 11.0, 0.2)
    assert math.isnan(found["mix_0"])
    old = objective.read(samples, 15 * NS)
    assert math.isnan(old["latency_s"])
    assert old["slo_s"] == 0.2
    assert math.isnan(Objective(ObjectiveSettings()).read(samples, 10 * NS)["slo_s"]), "no objective"


IO = Stream("n", "cgroup.io", (Field("read_bytes", counter=True), Field("reads", counter=True)), {"cgroup": "app/a"})
L3 = Stream("n", "resctrl.l3", (Field("llc_occupancy_bytes"), Field("mbm_total_bytes", counter=True)), {"group": "g"})


def test_uses_of_disk_cache_and_memory_bandwidth():
    group = Target("resctrl", "g")
    uses = Uses((A, group), ("io_read_bytes_s", "llc_ways@1", "memory_bandwidth_bytes_s", "cpu_cores"))
    assert uses.selectors == ("cgroup.io", "resctrl.l3")
    uses.see([Sample(IO, 1 * NS, (100.0, 1.0)), Sample(L3, 1 * NS, (4e6, 1e9))])
    assert math.isnan(uses.of(A, "io_read_bytes_s", None)), "one reading is no rate"
    uses.see([Sample(IO, 3 * NS, (300.0, 2.0)), Sample(L3, 3 * NS, (2e6, 3e9))])
    assert uses.of(A, "io_read_bytes_s", None) == 100.0
    assert uses.of(group, "memory_bandwidth_bytes_s", 5e9) == 1e9
    assert uses.of(group, "llc_ways@1", 2.0) == 2.0, "the most used so far is taken for all that a way is worth"
    uses.see([Sample(L3, 5 * NS, (1e6, 1e9))])
    assert uses.of(group, "llc_ways@1", 2.0) == 1.0
    assert uses.of(group, "memory_bandwidth_bytes_s", 5e9) == 1e9, "a counter that was reset is no rate"
    assert math.isnan(uses.of(A, "cpu_cores", 1.0)), "that comes from the actuator"
    uses.see([Sample(L3, 40 * NS, (1e6, 2e9))])
    assert math.isnan(uses.of(A, "io_read_bytes_s", None)), "nothing was heard of it for long, of others it was"


def test_uses_survive_a_clock_that_is_set_back_and_strangers_of_another_time():
    uses = Uses((A,), ("io_read_bytes_s",))
    strange = Stream("n1", "app.load", (Field("x"),))
    uses.see([Sample(IO, 7200 * NS, (100.0, 1.0)), Sample(strange, 9000 * NS, (1.0,))])
    uses.see([Sample(IO, 7201 * NS, (200.0, 1.0)), Sample(strange, 9000 * NS, (1.0,))])
    assert uses.of(A, "io_read_bytes_s", None) == 100.0
    uses.see([Sample(IO, 3600 * NS, (250.0, 1.0))])
    uses.see([Sample(IO, 3602 * NS, (650.0, 1.0))])
    assert uses.of(A, "io_read_bytes_s", None) == 200.0
