"""The rule of Panorama's published code, without its mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vagus.health.opinion import PENDING_NS, PENDING_REPEATS, conclude, most_common, opinions, verdict, votes
from vagus.model import Inference, Report


class Majority:
    """The most common status of a context wins, ties to the more severe. NA is no vote.

    Unlike upstream, a dissenter's score is not averaged into the winner's and nothing stored is rewritten.
    Source: Panorama, github.com/ryanphuang/panorama, inference by simple majority.
    """

    name = "majority"

    def __init__(self, *, pending_ns: int = PENDING_NS, pending_repeats: int = PENDING_REPEATS) -> None:
        self.pending_ns = pending_ns
        self.pending_repeats = pending_repeats

    def infer(self, subject: str, views: Mapping[str, Sequence[Report]], now_ns: int) -> Inference:
        """The inference on `subject` from each observer's last reports, oldest first."""
        given = opinions(views, now_ns, self.pending_ns, self.pending_repeats)
        verdicts = {
            context: verdict(most_common(opinion.metric.status for opinion in votes(heard) or heard), heard)
            for context, heard in given.items()
        }
        return conclude(self.name, subject, views, verdicts, now_ns)
