"""Decisions replayed on a full-information trace: sessions arrive, a policy decides, rewards come late and noisy.

Every group has `rate` sessions a second. A session chooses by the policy's weights of the last tick; its reward, what
the arm was worth then plus noise, is learned at the first tick that is `delay_s` or more after it. Scores count what
arms were worth, without the noise. A tick learns, lets the policy's time pass, and asks for weights, as the service.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from vagus.controllers.decide.trace import Trace
from vagus.controllers.decide.world import ReplayResult as ReplayResult
from vagus.controllers.decide.world import Setup as Setup
from vagus.controllers.decide.world import World, check_setup
from vagus.errors import ConfigError
from vagus.policies import BANDITS, Bandit
from vagus.policies.bank import Bools, Floats, Ints


class Drawn(Protocol):
    """What a decider answers: `model.Decision` is one."""

    @property
    def arm(self) -> str: ...
    @property
    def decision_id(self) -> Any: ...


class Decides(Protocol):
    """Whatever decides and learns by itself, such as `Decider` or a peer; if it has `tick`, that is called."""

    def decide(self, features: dict[str, Any], arms: Sequence[str]) -> Drawn: ...
    def update(self, decision_id: Any, reward: float) -> Any: ...


def replay(
    traces: Trace | Sequence[Trace],
    policy: str | Callable[[np.random.Generator], Decides],
    *,
    options: Mapping[str, Any] | None = None,
    setup: Setup = Setup(),  # noqa: B008  a tuple: never changes
    seeds: Sequence[int] = (0,),
) -> ReplayResult:
    """Replays traces, each group and seed alone. Raises ConfigError for a set-up or policy that cannot be.

    policy: a name of BANDITS, built with `options`; or what makes, from a random generator, an object that decides for
    all groups of a trace by the feature `group`. As in a service the groups of a trace share a bank; other traces and
    seeds do only where its rows learn nothing from each other.
    """
    if not seeds or min(seeds) < 0:
        raise ConfigError(f"replay: seeds {list(seeds)[:10]} must be one or more whole numbers from 0")
    check_setup(setup)
    traces = (traces,) if isinstance(traces, Trace) else tuple(traces)
    world = World([(trace, group, seed) for trace in traces for seed in seeds for group in trace.groups], setup)
    if isinstance(policy, str):
        _run_bank(world, _banks(world, policy, options or {}, seeds), seeds)
        return world.result(policy)
    at = 0
    for trace in traces:
        for seed in seeds:
            decider = policy(np.random.default_rng([7, seed]))
            _run_object(world, range(at, at + len(trace.groups)), decider, seed)
            at += len(trace.groups)
    return world.result(getattr(policy, "__name__", "object"))


class _Banks:
    """Banks side by side as one: each has the rows from its start to the next one's."""

    def __init__(
        self, banks: Sequence[Bandit], starts: Sequence[int], width: int, rows: Sequence[Sequence[str]]
    ) -> None:
        self.banks, self.width = banks, width
        self.edges = np.array([*starts, len(rows)])
        for bank, start, end in zip(banks, self.edges, self.edges[1:]):  # noqa: B905
            bank.resize(end - start, width)
            for row in range(start, end):
                bank.named(row - start, rows[row])

    def learn(self, rows: Ints, places: Ints, rewards: Floats) -> None:
        order = np.argsort(rows, kind="stable") if len(self.banks) > 1 else np.arange(len(rows))
        rows, places, rewards = rows[order], places[order], rewards[order]
        for bank, first, some in self._parts(rows):
            bank.learn(rows[some] - first, places[some], rewards[some])

    def tick(self) -> None:
        for bank in self.banks:
            bank.tick()

    def weights(self, rows: Ints, feasible: Bools) -> Floats:
        """rows: growing."""
        found = np.empty(feasible.shape)
        for bank, first, some in self._parts(rows):
            found[some] = bank.weights(rows[some] - first, feasible[some])
        return found

    def _parts(self, rows: Ints) -> Iterator[tuple[Bandit, int, slice]]:
        if len(self.banks) == 1:
            yield self.banks[0], 0, slice(None)
            return
        cuts = np.searchsorted(rows, self.edges).tolist()
        for at, bank in enumerate(self.banks):
            if cuts[at] < cuts[at + 1]:
                yield bank, int(self.edges[at]), slice(cuts[at], cuts[at + 1])


def _banks(world: World, policy: str, options: Mapping[str, Any], seeds: Sequence[int]) -> _Banks:
    """One bank, or where rows learn from each other one for each trace and seed."""
    names = [trace.arms for trace, _, _ in world.rows]
    one = BANDITS.make(policy, np.random.default_rng([7, *seeds]), **options)
    if not getattr(one, "together", True):
        return _Banks([one], [0], world.width, names)
    keys = [(id(trace), seed) for trace, _, seed in world.rows]
    starts = [at for at, key in enumerate(keys) if not at or key != keys[at - 1]]
    banks = [BANDITS.make(policy, np.random.default_rng([7, keys[at][1]]), **options) for at in starts]
    return _Banks(banks, starts, world.width, names)


def _run_bank(world: World, bank: _Banks, seeds: Sequence[int]) -> None:
    rows: Ints = np.arange(len(world.rows), dtype=np.int64)
    rng = np.random.default_rng([11, *seeds])
    coming: deque[tuple[float, Ints, Ints, Floats]] = deque()
    for tick in range(world.ticks):
        due = []
        while coming and coming[0][0] <= tick * world.setup.tick_s + 1e-9:
            due.append(coming.popleft()[1:])
        if due:
            places, arms, rewards = (np.concatenate(column) for column in zip(*due, strict=True))
            bank.learn(places, arms, rewards)
        bank.tick()
        times = world.times(tick)
        worth, live = world.worth(times, range(len(world.sources)))
        if not live.any():
            continue
        worth, live = worth[world.source], live[world.source]
        may = ~np.isnan(worth)
        # Weights are for the arms that there are at the tick's first session; where later ones have fewer, among those.
        asked = rows[live.any(axis=1)]
        feasible = may[asked, np.argmax(live[asked], axis=1)]
        weights = np.zeros((len(rows), world.width))
        weights[asked] = bank.weights(asked, feasible)
        shares = np.where(may, weights[:, np.newaxis, :], 0.0)
        shares = np.where(shares.any(axis=2, keepdims=True), shares, may).cumsum(axis=2)
        drawn = rng.random(live.shape) * shares[:, :, -1]
        chosen = (shares <= drawn[:, :, np.newaxis]).sum(axis=2).clip(max=world.width - 1)
        gains = np.take_along_axis(worth, chosen[:, :, np.newaxis], axis=2)[:, :, 0]
        world.gained[tick] = np.where(live, gains, 0.0).sum(axis=1)
        rewards = gains + world.setup.noise * rng.standard_normal(gains.shape)
        for at, t_s in enumerate(times):
            there = rows[live[:, at]]
            coming.append((t_s + world.setup.delay_s, there, chosen[there, at], rewards[there, at]))


def _run_object(world: World, rows: range, decider: Decides, seed: int) -> None:
    trace = world.rows[rows[0]][0]
    sources, names = [int(world.source[row]) for row in rows], [world.rows[row][1].group for row in rows]
    places = {arm: at for at, arm in enumerate(trace.arms)}
    tick_of = getattr(decider, "tick", None)
    rng = np.random.default_rng([11, seed])
    coming: deque[tuple[float, Any, float]] = deque()
    for tick in range(world.ticks):
        while coming and coming[0][0] <= tick * world.setup.tick_s + 1e-9:
            _, decision_id, reward = coming.popleft()
            decider.update(decision_id, reward)
        if tick_of is not None:
            tick_of()
        times = world.times(tick)
        worth, live = world.worth(times, sources)
        noise = world.setup.noise * rng.standard_normal(live.shape)
        for at, t_s in enumerate(times):
            for nth in np.flatnonzero(live[:, at]):
                now = worth[nth, at]
                feasible = [arm for arm, place in places.items() if now[place] == now[place]]
                drawn = decider.decide({"group": names[nth]}, feasible)
                gain = float(now[places[drawn.arm]])
                world.gained[tick, rows[nth]] += gain
                coming.append((t_s + world.setup.delay_s, drawn.decision_id, gain + float(noise[nth, at])))
