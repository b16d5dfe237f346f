"""What a ranking says, as reports to the health room: who is accused of slow requests, and who has recovered. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from vagus.actors.trace_entries import Entry
from vagus.controllers.localise import Ranking, Suspect
from vagus.errors import ConfigError
from vagus.model import MAX_NAME, Event, Level, Metric, Report, Scalar, Status, to_builtins

SHARE = 0.25  # of what requests lost: who has as much is accused beside the first
PROBABLE = 0.5  # by the SVM
MOST = 5  # accused of one ranking
MAX_ACCUSED = 500
MAX_EVIDENCE = 4000
LATENCY = "latency"
SLO = "slo"


def accused(ranking: Ranking) -> tuple[Suspect, ...]:
    """Who is to blame: nobody while requests are as fast as they should be, else the first, and those who share it.

    Once the SVM is trained it decides on the others: FIRM's critical components are those that it says are.
    """
    if not ranking.slow or not ranking.suspects:
        return ()

    def shares(suspect: Suspect) -> bool:
        if suspect.probability is not None:
            return suspect.probability >= PROBABLE
        return suspect.score >= SHARE

    first, *others = ranking.suspects
    return (first, *[suspect for suspect in others if shares(suspect)][: MOST - 1])


class Reports:
    """Remembers whom it accused of what, so that it can say when that is over.

    ttl_ns: for how long an accusation counts; it is said again with each ranking.
    """

    def __init__(self, observer: str, ttl_ns: int) -> None:
        self._observer = observer
        self._ttl_ns = ttl_ns
        self._accused: dict[str, set[str]] = {}  # subject → contexts

    @property
    def subjects(self) -> tuple[str, ...]:
        """Who is accused at present."""
        return tuple(self._accused)

    def of(self, ranking: Ranking, entries: Sequence[Entry], now_ns: int) -> list[Report]:
        """UNHEALTHY on whoever is accused now, HEALTHY on those that were and are not any more."""
        found: dict[str, dict[str, Metric]] = {}
        for suspect in accused(ranking):
            metric = Metric(Status.UNHEALTHY, _finite(suspect.features.get("excess_ms", suspect.score)))
            contexts = found.setdefault(_subject(suspect.component), {})
            contexts[LATENCY] = metric
            if suspect.resource:
                contexts[suspect.resource[:MAX_NAME]] = metric
        for entry in entries:
            if entry.violated:
                found[_subject(entry.subject)] = {SLO: Metric(Status.UNHEALTHY, entry.p99_ms)}
        judged = {_subject(entry.subject) for entry in entries}
        for subject, said in list(self._accused.items()):
            if said == {SLO} and subject not in judged:
                continue  # too few requests to say anything: what was said runs out
            now = found.setdefault(subject, {})
            for context in said - set(now):
                now[context] = Metric(Status.HEALTHY)
        for subject, contexts in found.items():
            bad = {context for context, metric in contexts.items() if metric.status is Status.UNHEALTHY}
            self._accused.pop(subject, None)
            if bad:
                self._accused[subject] = bad
        while len(self._accused) > MAX_ACCUSED:
            del self._accused[next(iter(self._accused))]
        return [
            Report(self._observer, subject, now_ns, contexts, ttl_ns=self._ttl_ns)
            for subject, contexts in found.items()
        ]

    def state(self) -> dict[str, list[str]]:
        """JSON-ready."""
        return {subject: sorted(contexts) for subject, contexts in self._accused.items()}

    def restore(self, state: Any) -> None:
        """Raises ConfigError when it is no such state."""
        try:
            self._accused = {
                subject: set(contexts)
                for subject, contexts in msgspec.convert(state, dict[str, list[str]]).items()
                if contexts
            }
        except msgspec.ValidationError as error:
            raise ConfigError(f"not a saved state of accusations: {error}") from error


def event_of(ranking: Ranking, node: str, source: str) -> Event:
    """`localise.ranked` with the evidence: the first suspects and their features as JSON."""
    evidence = list(map(to_builtins, ranking.suspects[:MOST]))
    text = msgspec.json.encode(evidence).decode()
    while len(text) > MAX_EVIDENCE:
        evidence.pop()
        text = msgspec.json.encode(evidence).decode()
    fields: dict[str, Scalar] = {"requests": ranking.requests, "slow": ranking.slow, "evidence": text}
    for name in ("latency_p50_ms", "latency_p99_ms", "normal_p50_ms", "normal_p99_ms"):
        value = getattr(ranking, name)
        if math.isfinite(value):
            fields[name] = value
    if ranking.suspects:
        first = ranking.suspects[0]
        fields |= {"component": first.component[:MAX_NAME], "resource": first.resource, "score": _finite(first.score)}
    level = Level.WARNING if ranking.slow else Level.INFO
    return Event(ranking.t_ns, "localise.ranked", node, level, source, fields)


def line_of(suspect: Suspect) -> str:
    """One line for people: `slow because of cart (cpu), 81 % of what requests lost: adds 40 ms to each of 50 of 60 requests`."""
    resource = f" ({suspect.resource})" if suspect.resource else ""
    says = f": {suspect.says}" if suspect.says else ""
    return f"slow because of {suspect.component}{resource}, {100 * suspect.score:.0f} % of what requests lost{says}"


def lines_of(ranking: Ranking | None, shown: int = 3) -> Iterable[str]:
    """For `vagus status`: who is suspected; nothing while all is well."""
    return [line_of(suspect) for suspect in accused(ranking)[:shown]] if ranking is not None else ()


def _subject(name: str) -> str:
    """A name that came with spans as a subject: printable, not too long."""
    return "".join(c if c.isprintable() else "?" for c in name[:MAX_NAME]) or "?"


def _finite(value: float) -> float:
    return float(value) if math.isfinite(value) else 0.0
