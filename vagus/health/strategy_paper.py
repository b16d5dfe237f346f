"""Panorama's rule as the paper states it, stricter than the code that its authors published."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vagus.health.opinion import PENDING_NS, PENDING_REPEATS, conclude, most_common, opinions, verdict, votes
from vagus.health.view import Opinion
from vagus.model import Inference, Report, Status


class Paper:
    """A context is unhealthy when its latest status is, or when HEALTHY lacks a strict majority of the observers.

    Without that majority the most common other status is the verdict, ties to the more severe. NA is no vote.
    Source: Panorama, OSDI'18, section 5.4.
    """

    name = "paper"

    def __init__(self, *, pending_ns: int = PENDING_NS, pending_repeats: int = PENDING_REPEATS) -> None:
        self.pending_ns = pending_ns
        self.pending_repeats = pending_repeats

    def infer(self, subject: str, views: Mapping[str, Sequence[Report]], now_ns: int) -> Inference:
        """The inference on `subject` from each observer's last reports, oldest first."""
        given = opinions(views, now_ns, self.pending_ns, self.pending_repeats)
        verdicts = {context: verdict(_judge(heard), heard) for context, heard in given.items()}
        return conclude(self.name, subject, views, verdicts, now_ns)


def _judge(heard: Sequence[Opinion]) -> Status:
    counted = votes(heard)
    if not counted:
        return most_common(opinion.metric.status for opinion in heard)
    latest = max(counted, key=lambda opinion: (opinion.t_ns, opinion.metric.status)).metric.status
    if latest > Status.PENDING:
        return latest
    others = [opinion.metric.status for opinion in counted if opinion.metric.status != Status.HEALTHY]
    if 2 * len(others) < len(counted):
        return Status.HEALTHY
    return most_common(others)
