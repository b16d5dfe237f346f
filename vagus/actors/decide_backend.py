"""The backend at the head: hears what all nodes saw, makes Plans, learns groups in a thread."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from vagus.config import DecideSettings, seconds
from vagus.controllers.decide.backend import Backend, Summary
from vagus.controllers.decide.grouping import fields_of
from vagus.controllers.decide.records import Grouping, Move, Outcome, Plan

if TYPE_CHECKING:
    from vagus.controllers.decide.history import History


class Planner:
    """`hear` takes summaries, `tick` gives Plans to `follow`."""

    def __init__(
        self, settings: DecideSettings, plan: Plan, follow: Callable[[Plan], None], grouping: Grouping
    ) -> None:
        self.backend = Backend(plan)
        self._settings = settings.learn
        self._follow = follow
        self._history: History | None = None
        self._held: list[Outcome] = []  # while a thread looks at the history
        self._learning = False
        self._due_s = time.monotonic() + seconds(settings.learn.every)
        if settings.learn.features:
            from vagus.controllers.decide.history import History  # numpy: not where no groups are learned

            features = dict.fromkeys((*settings.learn.features, *fields_of(grouping), *fields_of(plan.grouping)))
            self._history = History(tuple(features), settings.learn.history)

    def hear(self, summary: Summary) -> None:
        """What a node saw."""
        self.backend.hear(summary, time.monotonic())
        if self._history is not None:
            self._held += summary.outcomes
            if not self._learning:
                self._history.add(self._held)
                self._held = []

    async def tick(self, alive: tuple[str, ...]) -> None:
        """Makes a Plan if leaders or groups change."""
        now_s = time.monotonic()
        history = self._history
        if history is not None and now_s >= self._due_s and not self._learning:
            self._due_s = now_s + seconds(self._settings.every)
            self._learning = True
            try:
                found = await asyncio.to_thread(self._learn, history, self.backend.plan.grouping)
            finally:
                self._learning = False
            if found is not None:
                self.backend.regroup(*found)
                self._follow(self.backend.plan)
        plan = self.backend.tick(alive, now_s)
        if plan is not None:
            self._follow(plan)

    def _learn(self, history: History, old: Grouping) -> tuple[Grouping, tuple[Move, ...]] | None:
        from vagus.controllers.decide.carry import moves
        from vagus.controllers.decide.partition import learn_groups

        found = learn_groups(history, self._settings, old)
        return (
            None if found is None else (found, moves(old, found, history.sessions(fields_of(old) | fields_of(found))))
        )
