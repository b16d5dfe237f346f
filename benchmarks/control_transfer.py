"""One-for-each from one-for-all: how many steps a service's own model needs, begun anew and begun as the one for all.

Run: python -m benchmarks.control_transfer [--json] [--quick] [--checkpoint FILE] [--jobs N]
The application is one that the model for all has never seen (a shop of eight services, with other demands and calls than
the social network's). One service has a model of its own, which acts and learns each second; the tower steers the others,
so that both beginnings meet the same company. After every 50 steps the model is played as it is, without exploring, in
worlds that neither learns in. The fixed reward of a service and seed: from the untrained model's, nine tenths of the way
to the best that the one begun anew comes to (the median of five evaluations in a row) within its 1,500 steps. Where that
is no way at all (under 0.003), there was nothing to learn, and the service is left out and counted.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vagus.environments.applications import Call, RequestType, SimulatedApplication, SimulatedService
from vagus.environments.rates import Rates, made
from vagus.environments.simulated import SimulatedWorld
from vagus.environments.training import Judge, play
from vagus.policies import Wish
from vagus.policies.learned import LearnedLimits
from vagus.policies.tower import Tower

CHECKPOINT = Path(__file__).parents[1] / "examples/social_network/trained/ddpg.npz"
STEPS, EVERY = 1500, 50  # decisions, one a second
PERIOD_S = 0.2  # of the controller
EVALUATED_S = 150
RUN = 5  # evaluations in a row
WAY = 0.9
LEAST_GAIN = 0.003
HYPER = {"tau": 0.005, "critics": 2, "delay": 2, "smoothing": 0.1}

SHOP = SimulatedApplication(
    "shop",
    tuple(SimulatedService(name) for name in ("web", "session", "catalogue", "search", "cart", "stock", "pay", "mail")),
    (
        RequestType("browse", Call("web", ((Call("session"),), (Call("catalogue", ((Call("stock"),),)),))), 0.6, 0.2),
        RequestType("search", Call("web", ((Call("search", ((Call("catalogue"), Call("catalogue")),)),),)), 0.3, 0.3),
        RequestType(
            "buy",
            Call("web", ((Call("session"), Call("cart")), (Call("stock"),), (Call("pay"),)), later=(Call("mail"),)),
            0.1,
            0.3,
        ),
    ),
    {
        "web": {"browse": 2.5, "search": 1.5, "buy": 3.0},
        "session": {"browse": 0.8, "buy": 1.0},
        "catalogue": {"browse": 3.5, "search": 5.0},
        "search": {"search": 9.0},
        "cart": {"buy": 3.0},
        "stock": {"browse": 1.0, "buy": 2.5},
        "pay": {"buy": 8.0},
        "mail": {"buy": 12.0},
    },
)


class Task(NamedTuple):
    """A service's model of its own, on a seed. checkpoint: empty: begun anew."""

    service: str
    seed: int
    checkpoint: str
    steps: int


class _Idle:
    """A model that nobody asks."""

    state_dim = action_dim = 1

    def act(self, state: Any, explore: bool) -> Any:
        return np.zeros(1, np.float32)

    def remember_all(self, rows: Any) -> None:
        return None

    def learn(self, updates: int) -> None:
        return None


class _Beside:
    """One target by its own model, the others by the tower."""

    name, learned = "beside", True

    def __init__(self, own: LearnedLimits, target: str, seed: int) -> None:
        self._own, self._target = own, target
        self._rule = Tower(own.field, np.random.default_rng(seed))

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        wishes = [wish for wish in self._rule.step(signals, objective, now_s) if wish.target != self._target]
        return wishes + [w for w in self._own.step(signals, objective, now_s) if w.target == self._target]

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        self._own.in_force(wishes)
        self._rule.in_force(wishes)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: Mapping[str, Any]) -> None:
        return None


def _world(seed: int) -> SimulatedWorld:
    rng = np.random.default_rng((seed, 77))
    rates = Rates(mean_hz=float(rng.uniform(35, 55)), day_s=float(rng.uniform(120, 300)), noise=0.2)
    names = [service.name for service in SHOP.services]
    hogs = [(float(t), 15.0, names[int(rng.integers(8))], 0.3) for t in range(40, 900, 70)]
    return SimulatedWorld(SHOP, made(rates, 900, seed), period_s=PERIOD_S, slo_s=0.2, injections=hogs)


def _curve(task: Task) -> list[tuple[int, float]]:
    """Steps and the reward of the service then, without exploring."""
    first = _world(0)
    target = f"cgroup:{SHOP.name}/{task.service}"
    rng = np.random.default_rng(task.seed)
    own = LearnedLimits(
        first.field, rng, model="each", learn="here", checkpoint=task.checkpoint, hyper=HYPER, updates=8, explore=0.3
    )
    own.models = {key: model if key == target else _Idle() for key, model in own.models.items()}  # type: ignore[misc]

    def evaluated() -> float:
        found = []
        for number in range(2):
            seed, judge = 900_000 + 2 * task.seed + number, Judge(("cpu_cores",), own.alpha)
            play(
                _Beside(own.frozen(), target, 0),
                _world(seed),
                seed,
                round(EVALUATED_S / PERIOD_S),
                judge=judge,
                alpha=own.alpha,
            )
            found.append(judge.by_target()[target])
        return statistics.fmean(found)

    curve = [(0, evaluated())]
    for episode in range(task.steps // EVERY):
        seed = task.seed * 1000 + episode
        own.begin()
        play(_Beside(own, target, episode), _world(seed), seed, round(EVERY / PERIOD_S), alpha=own.alpha)
        curve.append(((episode + 1) * EVERY, evaluated()))
    return curve


def _smooth(curve: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """The median of RUN evaluations that begin there."""
    return [(steps, statistics.median(r for _, r in curve[at : at + RUN])) for at, (steps, _) in enumerate(curve)]


def _reached(curve: list[tuple[int, float]], reward: float) -> int | None:
    """The first evaluation that is as good, and so are most of those after it."""
    found = zip(curve, _smooth(curve), strict=True)
    return next((steps for (steps, now), (_, soon) in found if now >= reward and soon >= reward), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two services, one seed")
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    services = ("catalogue", "search") if options.quick else ("web", "catalogue", "search", "stock")
    seeds = (1,) if options.quick else (1, 2)
    steps = STEPS
    cases = [(service, seed) for seed in seeds for service in services]
    tasks = [Task(*case, begun, steps) for case in cases for begun in ("", str(options.checkpoint))]
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        curves = dict(zip(tasks, pool.map(_curve, tasks, chunksize=1), strict=True))
    ratios, needed, left_out, at_once = [], [], 0, 0
    for service, seed in cases:
        anew, moved = (curves[Task(service, seed, begun, steps)] for begun in ("", str(options.checkpoint)))
        best = max(found for _, found in _smooth(anew))
        gain = best - anew[0][1]
        reward = anew[0][1] + WAY * gain
        scratch, transfer = _reached(anew, reward), _reached(moved, reward)
        told = f"{service} seed {seed}: reward {anew[0][1]:.4f} untrained, {best:.4f} best anew, {moved[0][1]:.4f} as moved"
        print(f"{told}; to {reward:.4f}: {scratch} anew, {transfer} moved", file=sys.stderr)
        if gain < LEAST_GAIN or not scratch:
            left_out += 1
            continue
        at_once += transfer == 0
        ratios.append((steps if transfer is None else transfer) / scratch)
        needed.append(scratch)
    median = statistics.median(ratios) if ratios else None
    what = (
        f"steps to the same reward, one-for-each from one-for-all ÷ anew: median of {len(ratios)} (service, seed), "
        f"{at_once} at once, {sum(r > 0.2 for r in ratios)} over 1/5, worst {max(ratios, default=0):.2f}; "
        f"{left_out} left out: nothing to learn"
    )
    rows = [
        {"what": what, "value": median, "unit": "ratio", "bar": "≤ 0.2", "met": median is not None and median <= 0.2},
        {
            "what": "steps of one begun anew (median)",
            "value": float(statistics.median(needed)) if needed else None,
            "unit": "steps",
            "bar": None,
            "met": None,
        },
    ]
    print(json.dumps([{**row, "peer": None} for row in rows], indent=None if options.json else 1))


if __name__ == "__main__":
    main()
