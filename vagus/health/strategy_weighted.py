"""A rule that no single observer can bend: evidence is weighed, corroborated, and has to stand for a while."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vagus.clock import NS
from vagus.health.evidence import Evidence, evidence
from vagus.health.opinion import PENDING_NS, conclude, most_common, opinions, verdict, votes
from vagus.model import Inference, Report, Status, Verdict

CAP_AGAINST = 10.0
CAP_FOR = 4.0
"""At most so many nats of one observer count against and for a subject."""
PRIOR = 10.0
"""How much evidence it takes: the odds that a subject is ill at any moment are about one in twenty thousand."""
HALF_LIFE_NS = 30 * NS
"""Evidence that is so much older than the newest on the subject counts half."""
CORROBORATED = 2
SOUND = 0.5
"""An accuser's weight below which it does not corroborate: it was itself in doubt."""


class Weighted:
    """Weighs observers by their own health and past agreement; one biased or overloaded observer never convicts.

    A context is convicted when the sum of the observers' evidence (see evidence.py; naive Bayes, each capped) exceeds
    a prior, at least two sound accusers agree, and most of them have accused for `pending_ns`, so that a pause is
    not a failure. What speaks of itself (an observer of its own name, a node's own sensors) needs no second witness. Short
    of that, accusations that outweigh the rest are MAYBE_UNHEALTHY.
    Sources: Lifeguard (Dadgar, Phillips, Currey 2017) for doubt; Panorama (OSDI'18), section 8, names the weakness.
    """

    name = "weighted"

    def __init__(self, *, pending_ns: int = PENDING_NS, pending_repeats: int = 3) -> None:
        self.pending_ns = pending_ns
        self.pending_repeats = pending_repeats

    def infer(self, subject: str, views: Mapping[str, Sequence[Report]], now_ns: int) -> Inference:
        """The inference on `subject` from each observer's last reports, oldest first."""
        newest_ns = max((view[-1].t_ns for view in views.values() if view), default=now_ns)
        given = opinions(views, now_ns, self.pending_ns, self.pending_repeats)
        weighed = evidence(views, now_ns, self.pending_ns)
        verdicts: dict[str, Verdict] = {}
        for context, heard in given.items():
            if not votes(heard):
                verdicts[context] = verdict(most_common(opinion.metric.status for opinion in heard), heard)
                continue
            status = self._judge(subject, weighed[context], newest_ns)
            verdicts[context] = verdict(status, heard)
        return conclude(self.name, subject, views, verdicts, now_ns)

    def _judge(self, subject: str, given: Sequence[Evidence], newest_ns: int) -> Status:
        against = [one for one in given if one.accuses]
        if not against:
            pending = [one for one in given if one.metric.status == Status.PENDING]
            return Status.PENDING if 2 * len(pending) >= len(given) else Status.HEALTHY
        total = sum(
            min(max(one.strength, -CAP_FOR), CAP_AGAINST) * 0.5 ** ((newest_ns - one.t_ns) / HALF_LIFE_NS)
            for one in given
        )
        sound = [one for one in against if one.weight >= SOUND]
        if any(speaks_of_itself(one.observer, subject) for one in sound):
            return _accused(sound)
        if len(sound) >= CORROBORATED and total > PRIOR and self._stands(sound):
            return _accused(sound)
        return Status.MAYBE_UNHEALTHY if total > 0 else Status.HEALTHY

    def _stands(self, against: Sequence[Evidence]) -> bool:
        """Whether most accusers have accused for `pending_ns`; a call that hangs has already waited for so long.

        Not the first accuser's time: while many look on, somebody has always just failed for reasons of its own.
        """
        if all(one.metric.status == Status.PENDING for one in against):
            return True
        since_ns = sorted(0 if one.longer else one.since_ns for one in against)[len(against) // 2]
        return max(one.t_ns for one in against) - since_ns >= self.pending_ns


def _accused(against: Sequence[Evidence]) -> Status:
    """What most accusers say; a call that hangs says UNHEALTHY."""
    words = (one.metric.status for one in against)
    return most_common(Status.UNHEALTHY if word == Status.PENDING else word for word in words)


def speaks_of_itself(observer: str, subject: str) -> bool:
    """Whether the observer accuses itself, or what it owns: a node's collector and kernel, the supervisor of actors and
    of Ray's nodes."""
    if observer == subject or (observer == "vagus:supervisor" and subject.startswith(("vagus:", "node:"))):
        return True
    role, _, node = observer.rpartition("@")
    return bool(node) and (
        (role in ("collector", "kernel") and subject in (f"node:{node}", f"host@{node}"))
        or (role == "collector" and subject.startswith("sensor:") and subject.endswith(f"@{node}"))
    )
