"""What policies would have earned where only the chosen arm's reward is known: fixed ones by weights, learning ones
by replay.

A learning policy goes through the log in its order. Of each row it learns with a probability in proportion to how much
likelier it would have drawn that arm than the log did, so that what it sees is what it would have seen (Li, Chu,
Langford, Wang, WSDM 2011: rejection, of uniform logs), and every row counts by that ratio (Dudík, Erhan, Langford, Li,
UAI 2012: DR-ns, of any log, with its adaptive rate of acceptance).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from vagus.controllers.decide.trace import LoggedTrace
from vagus.errors import ConfigError
from vagus.policies import BANDITS, CONTEXTUAL, Bandit, offpolicy
from vagus.policies.logs import PRIOR, Floats, Ints, Log, counted_propensities, folds_of
from vagus.policies.offpolicy import Estimate, Value, Warned

FIXED = ("logged", "uniform", "greedy", "static")
MOST_STATIC = 30  # arms that `static` alone stands for
MOST_POLICIES = 50
MAX_TICKS = 5_000_000
LONGEST_GAP = 10_000  # ticks of a silence that are told to a policy: by then all is forgotten
RATIOS = 1000  # of late, by which the rate of acceptance is set
RERATED = 50
QUANTILE = 0.05  # of rows whose ratio may pass what the rate of acceptance allows


class Rows(NamedTuple):
    """A log and when each row was, seconds (n,); counted: its propensities were not logged, but counted."""

    log: Log
    t_s: Floats
    counted: bool = False


class Judged(NamedTuple):
    """A policy and its estimate. learned: rows that a learning policy learned from; None for a fixed one."""

    policy: str
    estimate: Estimate
    learned: int | None = None


def rows_of(trace: LoggedTrace) -> Rows:
    """A logged trace in order of time; feasible are all arms that a row's group ever drew."""
    order = np.argsort(trace.t_s, kind="stable")
    group, arm, propensity = trace.group[order], trace.arm[order], trace.propensity[order]
    counted = bool(np.isnan(propensity).all())
    if counted:
        propensity = counted_propensities(group, arm)
    sets = np.zeros((len(trace.groups), len(trace.arms)), dtype=bool)
    sets[group, arm] = True
    log = Log(group, arm, trace.reward[order], propensity, sets, group, trace.groups, trace.arms)
    return Rows(log, trace.t_s[order], counted)


def judge(
    rows: Rows,
    policies: Sequence[str],
    *,
    options: Mapping[str, Any] | None = None,
    delay_s: float = 0.0,
    tick_s: float = 0.5,
    clip: float = 0.0,
    confidence: float = 0.95,
    seed: int = 0,
) -> list[Judged]:
    """Each policy's estimate: `logged` (the check), `uniform`, `greedy`, `static:ARM`, `static` (each arm), or a name
    of BANDITS, made with `options`. Raises ConfigError for another one, and for a log that no estimate can be made of.
    """
    log = rows.log
    fold = folds_of(log, np.random.default_rng([13, seed]))
    found = []
    for policy in expanded(policies, log.arms):
        target = _fixed(policy, log, fold)
        if target is not None:
            estimate = offpolicy.estimate(
                log, target, fold, clip=clip, confidence=confidence, estimated=rows.counted and policy != "logged"
            )
            found.append(Judged(policy, estimate))
            continue
        bank = _bank(policy, np.random.default_rng([7, seed]), options or {})
        walk = _Walk(rows, bank, np.random.default_rng([11, seed]), delay_s, tick_s, clip)
        found.append(walk.judged(policy, confidence))
    return found


def expanded(policies: Sequence[str], arms: Sequence[str]) -> list[str]:
    """The policies once each, `static` alone as each arm's. Raises ConfigError: too many, or an arm that is not there."""
    wanted: dict[str, None] = {}
    for policy in policies:
        if policy == "static":
            if len(arms) > MOST_STATIC:
                raise ConfigError(f"static: there are {len(arms)} arms; name those to judge, as static:ARM")
            wanted.update(dict.fromkeys(f"static:{arm}" for arm in arms))
        elif policy.startswith("static:") and policy.partition(":")[2] not in arms:
            raise ConfigError(f"{policy[:80]}: the log has no such arm; there are: {', '.join(arms)[:400]}")
        else:
            wanted[policy] = None
    if not 1 <= len(wanted) <= MOST_POLICIES:
        raise ConfigError(f"{len(wanted)} policies; 1 to {MOST_POLICIES} are judged at once")
    return list(wanted)


def check_policies(policies: Sequence[str]) -> None:
    """Raises ConfigError unless `judge` knows each; asked before a log is fetched."""
    for policy in policies:
        if policy not in FIXED and not policy.startswith("static:") and policy not in BANDITS:
            why = "weighs features, which a trace has not" if policy in CONTEXTUAL else "is no policy"
            known = ", ".join(("logged", "greedy", "static:ARM", *sorted({*BANDITS} - {"static"})))
            raise ConfigError(f"{policy[:80]!r} {why}; there are: {known}")


def _fixed(policy: str, log: Log, fold: Ints) -> offpolicy.Target | None:
    if policy == "logged":
        return offpolicy.logged(log)
    if policy == "uniform":
        return offpolicy.uniform(log)
    if policy == "greedy":
        return offpolicy.greedy(log, fold)
    if policy.startswith("static:"):
        return offpolicy.static(log, log.arms.index(policy.partition(":")[2]))
    return None


def _bank(policy: str, rng: np.random.Generator, options: Mapping[str, Any]) -> Bandit:
    check_policies([policy])
    return BANDITS.make(policy, rng, **options)


class _Walk:
    """One learning policy on its way through the log."""

    def __init__(
        self, rows: Rows, bank: Bandit, rng: np.random.Generator, delay_s: float, tick_s: float, clip: float
    ) -> None:
        log = rows.log
        if not tick_s > 0.0 or not delay_s >= 0.0:
            raise ConfigError(f"tick {tick_s} s must be above 0, delay {delay_s} s not below")
        if not log.known.any():
            raise ConfigError("log: no row has a propensity between 0 and 1; without it nothing can be estimated")
        self._rows, self._bank, self._rng, self._clip = rows, bank, rng, clip
        self._delay_s, self._tick_s = delay_s, tick_s
        self._tick_of = np.floor((rows.t_s - rows.t_s[0]) / tick_s)
        groups, arms = int(log.group.max()) + 1, log.feasible.shape[1]
        bank.resize(groups, arms)
        for row in range(groups):
            bank.named(row, log.arms)
        self._count, self._total = np.zeros((groups, arms)), np.zeros((groups, arms))
        self._by_arm = np.zeros((2, arms))
        self._seen: Any = np.zeros((groups, arms))
        usable = self._known = log.known
        self._seen[log.group[usable], log.arm[usable]] = 1.0
        n = len(log.reward)
        self._ratio, self._scale, self._direct, self._at_logged = (np.zeros(n) for _ in range(4))
        self._support = 0.0
        self._rate = float(log.propensity[usable].min())
        self._inverse: deque[float] = deque(maxlen=RATIOS)  # propensity of the log, over the policy's
        self._unrated = 0
        self.accepted = np.zeros(n, dtype=bool)

    def judged(self, policy: str, confidence: float) -> Judged:
        """Goes through, and adds up."""
        self._go()
        log, known = self._rows.log, self._rows.log.known
        whole, scale, reward = self._ratio[known], self._scale[known], log.reward[known]
        ratio = np.minimum(whole, self._clip) if self._clip else whole
        clipped = int((ratio < whole).sum())
        weights = scale * ratio
        total, squares = float(weights.sum()), float((weights * weights).sum())
        ess = total * total / squares if squares > 0 else 0.0
        support = self._support / len(log.reward)
        ips = _weighed(ratio * reward, scale, confidence)
        snips = _weighed(reward, weights, confidence) if total > 0 else offpolicy.UNKNOWN
        dr = _weighed(self._direct[known] + ratio * (reward - self._at_logged[known]), scale, confidence)
        warned = offpolicy.warnings_of(log, weights, whole, ess, support, clipped=clipped, estimated=self._rows.counted)
        learned = int(self.accepted.sum())
        if 2 * learned < len(whole):
            text = f"it learned from {learned} of {len(whole)} rows; live it would learn from all, and sooner"
            warned = (*warned, Warned("learned_little", text))
        return Judged(policy, Estimate(len(known), len(whole), ips, snips, dr, ess, support, clipped, warned), learned)

    def _go(self) -> None:
        edges = np.flatnonzero(np.diff(self._tick_of, prepend=-1.0))
        gaps = np.diff(self._tick_of[edges], prepend=-1.0)
        if np.minimum(gaps, LONGEST_GAP).sum() > MAX_TICKS:
            raise ConfigError(f"the log lasts {self._tick_of[-1]:.0f} ticks of {self._tick_s:g} s; take longer ones")
        waiting: deque[Ints] = deque()
        for start, end, gap in zip(edges, [*edges[1:], len(self._tick_of)], gaps, strict=True):
            for _ in range(int(min(gap, LONGEST_GAP)) - 1):
                self._bank.tick()
            self._learn(waiting, float(self._tick_of[start]) * self._tick_s)
            self._bank.tick()
            taken = self._window(np.arange(start, end))
            if len(taken):
                waiting.append(taken)

    def _learn(self, waiting: deque[Ints], now_s: float) -> None:
        """What was accepted and whose reward has come by now, seconds since the first row."""
        log, t_s = self._rows.log, self._rows.t_s
        while waiting:
            came = t_s[waiting[0]] - t_s[0] + self._delay_s <= now_s + 1e-9
            due = waiting[0][came]
            if len(due):
                self._bank.learn(log.group[due], log.arm[due], log.reward[due])
            if not came.all():
                waiting[0] = waiting[0][~came]
                return
            waiting.popleft()

    def _window(self, at: Ints) -> Ints:
        """Rows of one tick: their ratios, what the model expects of them, and which are accepted."""
        log = self._rows.log
        group, arm = log.group[at], log.arm[at]
        keys, which = np.unique(group * len(log.feasible) + log.chosen_from[at], return_inverse=True)
        which = which.reshape(-1)
        of_group = keys // len(log.feasible)
        weights = self._bank.weights(of_group, log.feasible[keys % len(log.feasible)])
        weights = weights[:, : log.feasible.shape[1]]
        overall = self._by_arm[1].sum() / max(self._by_arm[0].sum(), 1.0)
        by_arm = (self._by_arm[1] + PRIOR * overall) / (self._by_arm[0] + PRIOR)
        model = (self._total[of_group] + PRIOR * by_arm) / (self._count[of_group] + PRIOR)
        self._direct[at] = (weights * model).sum(axis=1)[which]
        self._at_logged[at] = model[which, arm]
        self._support += float((weights * self._seen[of_group]).sum(axis=1)[which].sum())
        chance, known = weights[which, arm], self._known[at]
        ratio = np.zeros(len(at))
        ratio[known] = chance[known] / log.propensity[at][known]
        accept = self._rate
        self._ratio[at], self._scale[at] = ratio, accept
        taken = self._rng.random(len(at)) < accept * ratio
        self.accepted[at] = taken
        self._rated((1.0 / ratio[ratio > 0.0]).tolist())
        usable = at[known]
        np.add.at(self._count, (log.group[usable], log.arm[usable]), 1.0)
        np.add.at(self._total, (log.group[usable], log.arm[usable]), log.reward[usable])
        np.add.at(self._by_arm[0], log.arm[usable], 1.0)
        np.add.at(self._by_arm[1], log.arm[usable], log.reward[usable])
        return at[taken]

    def _rated(self, inverse: list[float]) -> None:
        """Sets the rate of acceptance anew, by the last rows, each time that some have come."""
        self._inverse.extend(inverse)
        self._unrated += len(inverse)
        if self._inverse and self._unrated >= min(RERATED, len(self._inverse)):
            self._rate = min(1.0, float(np.quantile(self._inverse, QUANTILE)))
            self._unrated = 0


def _weighed(values: Floats, weights: Floats, confidence: float) -> Value:
    """The weighted mean."""
    total = float(weights.sum())
    mean = float((weights * values).sum()) / total
    return Value.of(mean, math.sqrt(float((weights * weights * (values - mean) ** 2).sum())) / total, confidence)


def narrowed(rows: Rows, group: str) -> Rows:
    """The rows of one group. Raises ConfigError where there are none."""
    log = rows.log
    if group not in log.groups:
        raise ConfigError(f"the log has no group {group[:80]!r}; there are: {', '.join(map(repr, log.groups))[:400]}")
    kept = log.group == log.groups.index(group)
    narrow = replace(
        log,
        group=np.zeros(int(kept.sum()), dtype=np.int64),
        arm=log.arm[kept],
        reward=log.reward[kept],
        propensity=log.propensity[kept],
        chosen_from=log.chosen_from[kept],
        groups=(group,),
    )
    return Rows(narrow, rows.t_s[kept], rows.counted)
