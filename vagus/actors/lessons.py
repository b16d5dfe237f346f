"""A controller's way to the learner: what its actions led to, out; newer weights, in."""

from __future__ import annotations

from typing import Any

from vagus.actors.base import Links
from vagus.errors import PeerUnreachable, VagusError
from vagus.policies.experience import Experience, Weights

TIMEOUT_S = 5.0
LESSON_S = 1.0  # between exchanges


class Lessons:
    """Exchanges with the learner at `head`, for a policy that has `outgoing` and `take`.

    The learner's loss changes nothing: what was not taken is sent again with the next, as far as there is room.
    """

    def __init__(self, policy: Any, head: str, links: Links) -> None:
        self._policy = policy
        self._learner = f"vagus:learner@{head}"
        self._links = links
        self._waiting: list[Experience] = []
        self.exchanged = 0

    @classmethod
    def of(cls, controller: Any, head: str, links: Links) -> Lessons | None:
        """For a controller that learns at the learner, else None."""
        policy = getattr(controller, "policy", controller)
        wanted = callable(getattr(policy, "outgoing", None)) and getattr(policy, "learn", "") == "learner"
        return cls(policy, head, links) if wanted else None

    def figures(self) -> dict[str, float]:
        """lessons: exchanges; weights_version: of the learner's weights in use, 0 before the first."""
        return {"lessons": float(self.exchanged), "weights_version": float(getattr(self._policy, "version", 0))}

    async def exchange(self) -> None:
        """One batch. Raises VagusError for what the learner refuses, which is not sent again."""
        batch = self._waiting or list(self._policy.outgoing())
        if not batch:
            return
        self._waiting = batch
        try:
            answers: list[Weights] = await self._links.call(self._learner, "exchange", batch, timeout_s=TIMEOUT_S)
        except PeerUnreachable:
            return  # it comes back, or does not: the weights at hand go on
        except VagusError:
            self._waiting = []
            raise
        self._waiting = []
        self.exchanged += 1
        self._policy.take(answers)
