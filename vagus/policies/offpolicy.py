"""What another policy would have earned, from the log of this one: IPS, SNIPS and doubly robust estimates.

Horvitz and Thompson (JASA 1952): inverse propensities; Swaminathan and Joachims (NIPS 2015): self-normalised; Dudík,
Langford and Li (ICML 2011): doubly robust, its model here the mean of each arm in each group, cross-fitted, so that no
row is judged by a model that has seen it; Kish (1965): effective sample size. Clipped weights are Ionides' (2008).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from statistics import NormalDist

import numpy as np

from vagus.errors import ConfigError
from vagus.policies.logs import MOST_CELLS, SMALLEST, Bools, Floats, Ints, Log, means

FEWEST = 30  # rows, and effective ones, below which a normal interval is not to be trusted
LEAST_ESS_RATIO = 0.1
LEAST_PROPENSITY = 1e-3
DOMINATED_RATIO = 0.5  # of all weight, borne by the heaviest 1 % of rows (at least one, at most ten)
LEAST_SUPPORT_RATIO = 0.99
LEAST_UNCOVERED_RATIO = 0.1
SHORT_BY = 4.0  # standard errors by which weights may fall short
CHANCE = 1e-4  # at most, of calling propensities wrong that are right
_CHUNK = 65_536


@dataclass(frozen=True, eq=False)
class Target:
    """A policy to be judged: distinct rows of probabilities, (m, arms), and `which` of them each row of the log gets.

    logged: probability of the logged arm, (n,), alone: for a policy of which no more is known (no DR then).
    """

    table: Floats | None
    which: Ints
    logged: Floats

    @classmethod
    def of(cls, table: Floats, which: Ints, log: Log) -> Target:
        """A policy of which all probabilities are known. Raises ConfigError unless each row sums to 1."""
        if (table < 0).any() or not np.allclose(table.sum(axis=1), 1.0, atol=1e-6):
            raise ConfigError("target policy: the probabilities of a row are negative or do not sum to 1")
        return cls(table, which, table[which, log.arm])


@dataclass(frozen=True)
class Warned:
    """Why an estimate should not be relied on: a fixed code for programs, a sentence for people."""

    code: str
    text: str


@dataclass(frozen=True)
class Value:
    """An estimate of the mean reward, its standard error and confidence interval; NaN where it cannot be made."""

    estimate: float
    error: float
    low: float
    high: float

    @classmethod
    def of(cls, estimate: float, error: float, confidence: float) -> Value:
        """With a normal interval."""
        half = NormalDist().inv_cdf(0.5 + confidence / 2) * error
        return cls(estimate, error, estimate - half, estimate + half)


UNKNOWN = Value(math.nan, math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Estimate:
    """What a policy would have earned: by each estimator, on how much evidence, and what speaks against it.

    ess: effective rows; support: share of the target's choices among arms that its group's log has.
    """

    rows: int
    used: int
    ips: Value
    snips: Value
    dr: Value
    ess: float
    support: float
    clipped: int = 0
    warnings: tuple[Warned, ...] = field(default=())

    @property
    def best(self) -> Value:
        """The doubly robust value, or the self-normalised one where there is none."""
        return self.dr if math.isfinite(self.dr.estimate) else self.snips


# --- policies to judge -----------------------------------------------------------------------------------------------


def uniform(log: Log) -> Target:
    """Every feasible arm alike."""
    return Target.of(log.feasible / log.feasible.sum(axis=1, keepdims=True), log.chosen_from, log)


def static(log: Log, arm: int) -> Target:
    """Always `arm`; where it is not feasible, any that is, alike."""
    table = log.feasible / log.feasible.sum(axis=1, keepdims=True)
    can = log.feasible[:, arm]
    table[can] = 0.0
    table[can, arm] = 1.0
    return Target.of(table, log.chosen_from, log)


def greedy(log: Log, fold: Ints) -> Target:
    """In each group the feasible arm with the best mean, as it is in the other folds: no row helps to choose its own."""
    groups, arms, sets = int(log.group.max()) + 1, log.feasible.shape[1], len(log.feasible)
    key = (fold * groups + log.group) * sets + log.chosen_from
    distinct, which = np.unique(key, return_inverse=True)
    table = np.zeros((len(distinct), arms))
    if table.size > MOST_CELLS * 5:
        raise ConfigError(f"greedy: {len(distinct)} groups and sets x {arms} arms are too many; take fewer groups")
    for one in np.unique(fold):
        at = np.flatnonzero(distinct // (groups * sets) == one)
        model = means(log, fold != one)
        scores = np.where(log.feasible[distinct[at] % sets], model[distinct[at] // sets % groups], -np.inf)
        table[at, scores.argmax(axis=1)] = 1.0
    return Target.of(table, which.reshape(-1).astype(np.int64), log)


def logged(log: Log) -> Target:
    """The policy that wrote the log: a check, since its value is the mean reward."""
    return Target(None, np.zeros(len(log.reward), dtype=np.int64), log.propensity)


# --- estimates -------------------------------------------------------------------------------------------------------


def estimate(
    log: Log, target: Target, fold: Ints, *, clip: float = 0.0, confidence: float = 0.95, estimated: bool = False
) -> Estimate:
    """IPS, SNIPS and doubly robust values of `target`, by rows whose propensity is known.

    clip: the largest weight, 0: none is clipped (clipping trades variance for bias); estimated: propensities were not
    logged but counted. Raises ConfigError when no propensity can be used.
    """
    if not 0.0 < confidence < 1.0 or clip < 0.0:
        raise ConfigError(f"confidence={confidence} must be between 0 and 1, clip={clip} not negative")
    known = log.known
    used = int(known.sum())
    if not used:
        raise ConfigError("log: no row has a propensity between 0 and 1; without it nothing can be estimated")
    whole = np.zeros(len(known))
    whole[known] = target.logged[known] / log.propensity[known]
    weights = np.minimum(whole, clip) if clip else whole
    clipped = int((weights < whole).sum())
    w, r = weights[known], log.reward[known]
    total, squares = float(w.sum()), float((w * w).sum())
    ess = total * total / squares if squares > 0 else 0.0
    ips = _mean(w * r, confidence)
    snips = UNKNOWN
    if total > 0:
        value = float((w * r).sum()) / total
        snips = Value.of(value, math.sqrt(float((w * w * (r - value) ** 2).sum())) / total, confidence)
    dr, support = UNKNOWN, 1.0
    if target.table is not None:
        direct, at_logged = _modelled(log, target, fold, known)
        dr = _mean((direct + weights * (log.reward - at_logged))[known], confidence)
        support = _support(log, target)
    warned = warnings_of(
        *(log, w, whole[known], ess, support), clipped=clipped, estimated=estimated, supported=target.table is not None
    )
    return Estimate(len(known), used, ips, snips, dr, ess, support, clipped, warned)


def _mean(values: Floats, confidence: float) -> Value:
    count = len(values)
    error = float(values.std(ddof=1)) / math.sqrt(count) if count > 1 else math.nan
    return Value.of(float(values.mean()), error, confidence)


def _modelled(log: Log, target: Target, fold: Ints, known: Bools) -> tuple[Floats, Floats]:
    """For each row, by the model of the other folds: the target's expected reward, and that of the logged arm."""
    assert target.table is not None
    direct, at_logged = np.empty(len(fold)), np.empty(len(fold))
    for one in np.unique(fold):
        model = means(log, (fold != one) & known)
        rows = np.flatnonzero(fold == one)
        for start in range(0, len(rows), _CHUNK):
            part = rows[start : start + _CHUNK]
            direct[part] = (target.table[target.which[part]] * model[log.group[part]]).sum(axis=1)
            at_logged[part] = model[log.group[part], log.arm[part]]
    return direct, at_logged


def _support(log: Log, target: Target) -> float:
    """The share of the target's choices among arms that the log has for their group."""
    assert target.table is not None
    seen = np.zeros((int(log.group.max()) + 1, log.feasible.shape[1]))
    usable = log.known
    seen[log.group[usable], log.arm[usable]] = 1.0
    covered = 0.0
    for start in range(0, len(log.group), _CHUNK):
        part = slice(start, start + _CHUNK)
        covered += float((target.table[target.which[part]] * seen[log.group[part]]).sum())
    return covered / len(log.group)


def warnings_of(
    log: Log,
    w: Floats,
    whole: Floats,
    ess: float,
    support: float,
    *,
    clipped: int = 0,
    estimated: bool = False,
    supported: bool = True,
) -> tuple[Warned, ...]:
    """What speaks against an estimate by the weights `w` of the rows whose propensity is known; `whole`: unclipped.

    supported: `support` is known, so that weights must be 1 on average.
    """
    used, rows = len(w), len(log.reward)
    found = []
    if estimated:
        text = "propensities were not logged; they are counted from the log, which is right only for draws by group"
        found.append(Warned("propensity_estimated", text))
    if used < rows:
        text = f"{rows - used} of {rows} rows have no propensity between {SMALLEST:g} and 1 and are left out"
        found.append(Warned("propensity_missing", text))
    small = int((log.propensity[log.known] < LEAST_PROPENSITY).sum())
    if small:
        text = f"{small} of {used} propensities are below {LEAST_PROPENSITY:g}: their rows weigh more than 1000 others"
        found.append(Warned("propensity_small", text))
    if support < LEAST_SUPPORT_RATIO:
        text = f"{1 - support:.1%} of its choices are arms never logged in their group: a model's guess, no evidence"
        found.append(Warned("unsupported", text))
    if used < FEWEST:
        found.append(Warned("few", f"only {used} rewarded decisions; intervals need at least {FEWEST}"))
    elif ess < max(FEWEST, LEAST_ESS_RATIO * used):
        text = f"{used} rows count as {ess:.0f} (effective sample size): the log seldom does what this policy would"
        found.append(Warned("thin", text))
    heaviest = min(10, max(1, used // 100))
    total = float(w.sum())
    if used >= FEWEST and total > 0:
        borne = float(np.partition(w, used - heaviest)[used - heaviest :].sum()) / total
        if borne > DOMINATED_RATIO:
            text = (
                f"{heaviest} of {used} rows bear {borne:.0%} of all weight; clipping bounds them, at the price of bias"
            )
            found.append(Warned("dominated", text))
    if supported and support >= LEAST_SUPPORT_RATIO and not estimated and used >= FEWEST:
        found += _mean_weight(whole, log)
    if clipped:
        found.append(Warned("clipped", f"{clipped} of {used} weights were clipped: biased towards what the log does"))
    return tuple(found)


def _mean_weight(whole: Floats, log: Log) -> list[Warned]:
    """What the mean weight, which is 1 on average, tells where it is not.

    Propensities are called wrong by Bernstein's inequality, with the largest weight that they allow: the sample's own
    variance is too small where weights are rare and large, just when none of them came. That is the other case: part
    of what the policy does was hardly tried, and neither estimate nor interval know of it.
    """
    mean, n = float(whole.mean()), len(whole)
    largest = 1.0 / float(log.propensity[log.known].min())
    log_chance = math.log(2.0 / CHANCE)
    allowed = math.sqrt(2.0 * (largest - 1.0) * log_chance / n) + largest * log_chance / (3.0 * n)
    if abs(mean - 1.0) > allowed:
        text = f"the mean weight is {mean:.3g}, not 1: these propensities are not those that arms were drawn by"
        return [Warned("propensity_wrong", text)]
    error = float(whole.std(ddof=1)) / math.sqrt(n)
    if 1.0 - mean > max(LEAST_UNCOVERED_RATIO, SHORT_BY * error):
        text = (
            f"its weights come to {mean:.0%} of what they should: part of what it does was hardly tried in some group "
        )
        text += "or for some time; the interval is too narrow"
        return [Warned("uncovered", text)]
    return []
