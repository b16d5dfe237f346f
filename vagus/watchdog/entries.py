"""What a journal holds: the undo steps of every limit in force. In memory; `journal` keeps it on disk."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vagus.undo import Step

Key = tuple[str, str, str]


class Entries:
    """Undo steps by plan. The first original of a change wins: later plans find the limit as an earlier one left it."""

    def __init__(self) -> None:
        self.plans: list[list[Step]] = []  # oldest first

    def steps(self) -> list[Step]:
        """All undo steps in the order in which to perform them: the newest plan's first."""
        return [step for plan in reversed(self.plans) for step in plan]

    def new(self, steps: Sequence[Step]) -> list[Step]:
        """Those whose change is not held yet; of two with the same change the first."""
        known = {step.key for plan in self.plans for step in plan}
        return list({step.key: step for step in reversed(steps) if step.key not in known}.values())[::-1]

    def add(self, steps: Sequence[Step]) -> None:
        """Holds them as one plan."""
        self.plans.append(list(steps))

    def drop(self, keys: Iterable[Key]) -> None:
        """Forgets these changes."""
        gone = set(keys)
        self.plans = [kept for plan in self.plans if (kept := [s for s in plan if s.key not in gone])]
