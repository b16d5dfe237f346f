"""How strongly each observer's view speaks for or against a subject: log-likelihood ratios, by context."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from vagus.clock import NS
from vagus.health.view import remembered
from vagus.model import Metric, Report, Status

SEEN_ILL = 0.9
"""How likely an observer fails with a subject that is ill."""
LEAST_FAILING = 0.02
"""How often an observer fails with a well subject at least, whatever its past says; and at most:"""
MOST_FAILING = 0.8
FULL = 10
"""Reports of a view that remembers no older ones (Panorama keeps ten of an observer, on whatever contexts)."""
LONG = 5
"""A run of so many words, of which the view remembers no beginning, began earlier."""
AGREED_NS = 3 * NS
"""An accusation was no false alarm if within this time another observer made one and upheld it: two in a row."""


class Evidence(NamedTuple):
    """One observer on one context.

    strength: natural logarithm of how much likelier its newest run of equal words is if the subject is ill than if it
    is well; 0 when it says nothing yet. since_ns, t_ns: the span of that run, which began before that where `longer`,
    since the view remembers nothing older; metric: its newest word.
    """

    observer: str
    metric: Metric
    strength: float
    since_ns: int
    t_ns: int
    weight: float  # 1 for an observer that was well when it spoke, less for one in doubt
    longer: bool = False

    @property
    def accuses(self) -> bool:
        """Whether it speaks against the subject."""
        return self.strength > 0


class _Word(NamedTuple):
    t_ns: int
    metric: Metric
    weight: float


def evidence(views: Mapping[str, Sequence[Report]], now_ns: int, pending_ns: int) -> dict[str, list[Evidence]]:
    """Each observer's evidence by context, contexts and observers in order of name.

    Every failure in a row counts log(P(fails | ill) / P(fails | well)), half of it for MAYBE_UNHEALTHY; every success
    the other way round. P(fails | well) is how often this observer raised alarms before that nobody upheld: its past
    agreement. All is divided by 1 + doubt, the observer's own unwellness when it spoke (Lifeguard).
    """
    words: dict[str, dict[str, list[_Word]]] = {}
    for observer in sorted(views):
        for context, said in remembered(views[observer], "words", _words).items():
            words.setdefault(context, {})[observer] = said
    found: dict[str, list[Evidence]] = {}
    for context, spoken in sorted(words.items()):
        alarms = _Alarms(spoken)
        found[context] = [
            _weigh(name, said, len(views[name]) >= FULL, alarms, now_ns, pending_ns) for name, said in spoken.items()
        ]
    return found


def _words(view: Sequence[Report]) -> dict[str, list[_Word]]:
    """What a view says that is a vote, by context, newest first."""
    found: dict[str, list[_Word]] = {}
    for report in reversed(view):
        weight = 1.0 / (1 + report.doubt)
        for context, metric in report.contexts.items():
            if metric.status >= Status.HEALTHY:
                found.setdefault(context, []).append(_Word(report.t_ns, metric, weight))
    return found


class _Alarms:
    """When who upheld an alarm; sorted once, and only if somebody asks."""

    def __init__(self, spoken: Mapping[str, Sequence[_Word]]) -> None:
        self._spoken = spoken
        self._alarms: list[tuple[int, str]] | None = None

    def shared(self, observer: str, t_ns: int) -> bool:
        """Whether another observer upheld one about then."""
        if self._alarms is None:
            self._alarms = sorted(
                (word.t_ns, name)
                for name, said in self._spoken.items()
                for word, before in pairwise(said)
                if _bad(word.metric.status) and _bad(before.metric.status)
            )
        for at in range(bisect_left(self._alarms, (t_ns - AGREED_NS, "")), len(self._alarms)):
            alarm_ns, name = self._alarms[at]
            if alarm_ns > t_ns + AGREED_NS:
                return False
            if name != observer:
                return True
        return False


def _weigh(observer: str, said: Sequence[_Word], full: bool, alarms: _Alarms, now_ns: int, pending_ns: int) -> Evidence:
    """`said`: newest first; full: the view may have forgotten older words."""
    newest = said[0]
    at, waiting_ns = 0, 0
    while at < len(said) and said[at].metric.status == Status.PENDING:
        waiting_ns = now_ns - said[at].t_ns  # since the oldest of them: an answer is due for so long
        at += 1
    pending = at
    while at < len(said) and said[at].metric.status > Status.PENDING:
        at += 1
    failures: Sequence[_Word] = said[:at] if waiting_ns >= pending_ns or not pending else said[pending:at]
    successes: list[_Word] = []
    if not failures:
        for word in said[pending:]:
            if word.metric.status == Status.PENDING:
                continue  # it was answered later
            if word.metric.status != Status.HEALTHY:
                break
            successes.append(word)
    run = failures or successes
    if not run:
        return Evidence(observer, newest.metric, 0.0, newest.t_ns, newest.t_ns, newest.weight)
    failing = _failing(observer, said[at:], alarms)
    if failures:
        each = math.log(SEEN_ILL / failing)
        strength = sum(each * word.weight * (0.5 if _mild(word) else 1.0) for word in failures)
        if waiting_ns >= pending_ns:  # whoever waits fails again and again, without a word: once in `pending_ns`
            silent = 1 + waiting_ns // pending_ns - pending
            strength += each * newest.weight * max(0, silent)
    else:
        strength = sum(math.log((1 - SEEN_ILL) / (1 - failing)) * word.weight for word in successes)
    weight = sum(word.weight for word in run) / len(run)
    longer = full and LONG <= len(run) == len(said)
    return Evidence(observer, newest.metric, strength, run[-1].t_ns, run[0].t_ns, weight, longer)


def _failing(observer: str, past: Sequence[_Word], alarms: _Alarms) -> float:
    """How often this observer fails with a well subject, from what it said before and whether others agreed."""
    false = wrong = well = 0.0
    for word in past:
        if word.metric.status == Status.HEALTHY:
            well += 1
        elif _bad(word.metric.status):
            wrong += not alarms.shared(observer, word.t_ns)
    false = (wrong + 2 * LEAST_FAILING) / (wrong + well + 2)
    return min(max(false, LEAST_FAILING), MOST_FAILING)


def _bad(status: Status) -> bool:
    return status > Status.PENDING


def _mild(word: _Word) -> bool:
    return word.metric.status == Status.MAYBE_UNHEALTHY
