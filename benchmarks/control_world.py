"""Policies that need no training on the simulated social network, side by side: the quick stand-in of the real experiment.

Run: python -m benchmarks.control_world [--json] [--quick] [--table] [--tune] [--train FILE]
Worlds: five minutes at 45 requests a second on average (daily swing, noise, bursts), CPU hogs in half of the time in one
service after another, two cores, objective 200 ms. Even seeds are for tuning, odd ones held out: the rows are theirs.
Not counted: the first 30 s. `hpa` has replicas of a fixed size; requested cores are what limits allow together.
Baselines are set by `--tune`: each of a grid on the worlds for tuning; taken is what requests the fewest cores with at
most 1 % of requests late, as who runs it would, or has the fewest late where none has so few.
`tower` stands behind the guard, with a cool-down of its period; the others get what they wish.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vagus.config import GuardSettings, LimitSettings
from vagus.controllers.guard import Guard
from vagus.environments import Seen
from vagus.environments.applications import social_network
from vagus.environments.calls import Request
from vagus.environments.rates import Rates, made
from vagus.environments.simulated import Injection, SimulatedWorld
from vagus.errors import PolicyError
from vagus.model import Action, Target
from vagus.policies import JOINT_POLICIES, Field, Wish
from vagus.policies.throttle import ThrottleTarget

RUN_S, SETTLE_S, SLO_S = 300, 30.0, 0.2
BOUNDS = {"cpu_cores": (0.05, 2.0)}
REPLICAS = {"replicas": (1.0, 8.0)}
TUNING, HELD_OUT = (2, 4, 6, 8), (1, 3, 5, 7, 9, 11)
GUARD = (LimitSettings(min=0.05, max=2.0, cooldown="0.2s"), GuardSettings())  # as `vagus experiment slo` has it


class Contestant(NamedTuple):
    """policy: as registered, or empty: nothing acts. replica_cores: of each replica; 0: limits are steered."""

    policy: str
    options: Mapping[str, Any] = {}
    period_s: float = 1.0
    replica_cores: float = 0.0
    start: float = 0.5
    guard: tuple[LimitSettings, GuardSettings] | None = None


def hpa(size: float, ratio: float) -> Contestant:
    return Contestant("hpa", {"request_cores": size, "target_ratio": ratio}, replica_cores=size)


def aimd(step: float, factor: float, patience_s: float, which: str) -> Contestant:
    options = {"step": step, "factor": factor, "patience_s": patience_s, "which": which, "period_s": 0.5}
    return Contestant("aimd", options, 0.5)


GRIDS: Mapping[str, tuple[Callable[..., Contestant], tuple[Iterable[Any], ...]]] = {
    "hpa": (hpa, ((0.1, 0.15, 0.2, 0.3, 0.4), (0.3, 0.4, 0.5, 0.6, 0.7, 0.8))),
    "aimd": (aimd, ((0.05, 0.1, 0.2), (0.8, 0.9, 0.95, 0.98), (1.0, 5.0, 10.0), ("all", "throttled"))),
}
CONTESTANTS = {
    "none": Contestant("", start=2.0),
    "hpa": hpa(0.3, 0.4),
    "aimd": aimd(0.1, 0.98, 1.0, "all"),
    "captain": Contestant("captain", period_s=0.1),
    "tower": Contestant("tower", period_s=0.2, guard=GUARD),
    "tower-unguarded": Contestant("tower", period_s=0.2),
}


class Captains:
    """Throttle targets as published, one for each target, and nobody above them."""

    def __init__(self, field: Field) -> None:
        self._each = {target: ThrottleTarget(target=0.1) for target in field.targets}

    def step(self, signals: Mapping[str, Mapping[str, float]], *_: Any) -> list[Wish]:
        values = {target: captain.step(signals[target]) for target, captain in self._each.items()}
        return [Wish(target, "cpu_cores", value) for target, value in values.items() if value is not None]


class Score(NamedTuple):
    """late: share of requests; windows: share of two-second windows whose P99 is late; cores: means over time."""

    late: float
    windows: float
    p99_s: float
    requested: float
    used: float
    actions: float


def hogs(seed: int, services: tuple[str, ...]) -> list[Injection]:
    """One after the other, some 18 s each, as much apart or a little more."""
    rng, found, t_s = np.random.default_rng((seed, 77)), [], 30.0
    while t_s < RUN_S - 35:
        for_s = float(rng.uniform(10, 25))
        found.append(Injection(t_s, for_s, str(rng.choice(services)), float(rng.choice([1.0, 2.0]))))
        t_s += for_s + float(rng.uniform(15, 40))
    return found


def world(contestant: Contestant, seed: int) -> SimulatedWorld:
    application = social_network()
    return SimulatedWorld(
        application,
        made(Rates(), RUN_S, seed),
        period_s=contestant.period_s,
        slo_s=SLO_S,
        bounds=REPLICAS if contestant.replica_cores else BOUNDS,
        start=contestant.start,
        replica_cores=contestant.replica_cores,
        injections=hogs(seed, tuple(service.name for service in application.services)),
        once=True,
    )


def play(contestant: Contestant, seed: int, policy: Any = None) -> Score:
    """A run of a contestant in the world of a seed, by a policy that is as new or has learned already."""
    play_on = world(contestant, seed)
    seen = play_on.reset(seed)
    policy = policy or _policy(contestant, play_on.field, seed)
    guard = Guard({"cpu_cores": contestant.guard[0]}, {}, contestant.guard[1]) if contestant.guard else None
    sums, late, actions, began = np.zeros(5), [], 0, 0
    took: list[Request] = []
    play_on.ingress.log = took
    while seen.now_s < RUN_S - 1e-6:
        limits = _limits(policy, seen, guard) if policy is not None else {}
        seen = play_on.step(limits)
        if seen.now_s <= SETTLE_S:
            began = len(took)
            continue
        actions += len(limits)
        requested = sum(signals["limit_cores"] for signals in seen.signals.values())
        used = sum(signals["usage_cores"] for signals in seen.signals.values())
        sums += (seen.violations, seen.requests, requested, used, 1)
        late.append(seen.objective["latency_s"] > SLO_S)
    latencies_s = sorted(request.latency_s for request in took[began:])
    p99_s = latencies_s[math.ceil(0.99 * len(latencies_s)) - 1]
    return Score(sums[0] / sums[1], float(np.mean(late)), p99_s, sums[2] / sums[4], sums[3] / sums[4], actions)


def _policy(contestant: Contestant, field: Field, seed: int) -> Any:
    if contestant.policy == "captain":
        return Captains(field)
    if not contestant.policy:
        return None
    return JOINT_POLICIES.make(contestant.policy, field, np.random.default_rng(seed), **contestant.options)


def _limits(policy: Any, seen: Seen, guard: Guard | None) -> dict[tuple[str, str], float]:
    """What the policy wishes, through the guard; in its place what is in force stays."""
    in_force = {(target, "cpu_cores"): signals["limit_cores"] for target, signals in seen.signals.items()}
    try:
        wishes = list(policy.step(seen.signals, seen.objective, seen.now_s))
    except PolicyError:
        return {}
    found = {}
    for wish in wishes:
        value: float | None = wish.value
        if guard is not None:
            action = Action(Target.parse(wish.target), wish.resource, wish.value, "", wish.confidence)
            judged = guard.judge(action, in_force.get((wish.target, wish.resource)), round(seen.now_s * 1e9)).action
            value = None if judged is None else judged.value
        if value is not None:
            found[wish.target, wish.resource] = value
    return found


def train(runs: int) -> dict[str, Any]:
    """What a tower learns of costs in so many runs, one after the other, in worlds that nothing else is played in."""
    state: dict[str, Any] | None = None
    for seed in range(100, 100 + 2 * runs, 2):
        contestant = CONTESTANTS["tower-unguarded"]._replace(options={"explore": 0.3})
        learning = _policy(contestant, world(contestant, seed).field, seed)
        if state is not None:
            learning.restore(state)
        play(contestant, seed, learning)
        state = {**learning.state(), "captains": {}}
    return state or {}


def mean(contestant: Contestant, seeds: Iterable[int]) -> Score:
    return Score(*np.mean([play(contestant, seed) for seed in seeds], axis=0).tolist())


def tuned(name: str) -> tuple[tuple[Any, ...], dict[tuple[Any, ...], Score]]:
    """The best of a grid, and all of it."""
    build, axes = GRIDS[name]
    found = {at: mean(build(*at), TUNING) for at in itertools.product(*axes)}
    good = {at: score for at, score in found.items() if score.late <= 0.01}
    best = min(good, key=lambda at: good[at].requested) if good else min(found, key=lambda at: found[at].late)
    return best, found


def line(name: str, score: Score) -> str:
    return (
        f"{name:34} late {score.late:8.3%}  windows {score.windows:7.2%}  P99 {score.p99_s * 1e3:6.0f} ms  "
        f"requested {score.requested:5.2f}  used {score.used:5.2f}  actions {score.actions:6.0f}"
    )


def rows(scores: Mapping[str, Score]) -> list[dict[str, Any]]:
    found = []
    others = [scores["hpa"], scores["aimd"]]
    for name, score in scores.items():
        guarded = name == "tower"
        late, cores = min(other.late for other in others), min(other.requested for other in others)
        found += [
            row(f"{name}: requests late", score.late, "ratio", late if guarded else None, "hpa, aimd"),
            row(f"{name}: requested", score.requested, "cores", cores if guarded else None, "hpa, aimd"),
            row(f"{name}: windows late", score.windows, "ratio"),
            row(f"{name}: used", score.used, "cores"),
            row(f"{name}: P99", score.p99_s * 1e3, "ms"),
            row(f"{name}: actions", score.actions, ""),
        ]
    return found


def row(what: str, value: float, unit: str, most: float | None = None, peer: str = "") -> dict[str, Any]:
    bar = "" if most is None else f"≤ {most:.4g} {unit}".rstrip()
    met = None if most is None else value <= most
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": peer if bar else None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="rows as JSON, the last line")
    parser.add_argument("--quick", action="store_true", help="two worlds instead of six")
    parser.add_argument("--table", action="store_true", help="also the worlds for tuning")
    parser.add_argument("--tune", nargs="*", choices=tuple(GRIDS), help="the grid of the baselines, and its best")
    parser.add_argument("--train", type=Path, metavar="FILE", help="writes what a tower learns in 20 runs")
    options = parser.parse_args()
    if options.train is not None:
        options.train.write_text(json.dumps(train(20)) + "\n")
        return
    if options.tune is not None:
        for name in options.tune or GRIDS:
            best, found = tuned(name)
            for at, score in found.items():
                print(line(f"{name} {at}" + (" *" if at == best else ""), score), flush=True)
        return
    held_out = HELD_OUT[:2] if options.quick else HELD_OUT
    if options.table:
        for name, contestant in CONTESTANTS.items():
            print("tuning   " + line(name, mean(contestant, TUNING)), flush=True)
    scores = {name: mean(contestant, held_out) for name, contestant in CONTESTANTS.items()}
    if options.json:
        print(json.dumps(rows(scores)))
        return
    for name, score in scores.items():
        print("held out " + line(name, score))


if __name__ == "__main__":
    main()
