"""No sequence of wishes, crashes, stopped processes, stale data and strangers leaves a limit out of bounds or behind.

All words of three letters, and random long runs; `python -m benchmarks.act_guard` plays all of four and a million long
ones. That the world notices is shown by breaking each protection in turn.
"""

from __future__ import annotations

import itertools
import random
import sys
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import guard_world
from guard_world import LETTERS, Broken, Letter, World, random_run

from vagus.controllers.acting import Keep, Write
from vagus.controllers.claims import Claims, Granted
from vagus.controllers.guard import Guard, Judged
from vagus.controllers.ladder import Ladder, Rung
from vagus.controllers.run import settle
from vagus.errors import ActuateError
from vagus.watchdog.entries import Entries


@pytest.mark.parametrize("drift", ["yield", "reapply"])
def test_all_short_runs(drift: str) -> None:
    for word in itertools.product(LETTERS, repeat=3 if drift == "yield" else 2):
        World(drift).play(word)


def test_random_long_runs() -> None:
    rng = random.Random(7)
    for number in range(1000):
        World("reapply" if number % 3 else "yield").play(random_run(rng, 20))


def play(runs: Iterable[list[Letter]]) -> None:
    for run in runs:
        World().play(run)


# --- each protection, broken ---------------------------------------------------------------------------------------------


def unbounded(monkeypatch: pytest.MonkeyPatch) -> None:
    def judge(self: Guard, action: Any, current: Any, now_ns: int, doubts: Any = (), *others: Any) -> Judged:
        if doubts or action.value is None or not 0 < action.value < 1e12:
            return Judged(None, "held")
        return Judged(action, "")

    monkeypatch.setattr(Guard, "judge", judge)


def forgetting_what_lapsed(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = guard_world._Life.undo_all
    monkeypatch.setattr(guard_world._Life, "undo_all", lambda self, keep=False: whole(self, keep=False))


def journalled_too_late(monkeypatch: pytest.MonkeyPatch) -> None:
    def hasty(planned: Any) -> Generator[Any, Any, Any]:
        try:
            yield Write(planned.plan)
            yield Keep(planned.plan.undo)
        except ActuateError as error:
            return settle(planned, planned.receipt.before, str(error))
        return settle(planned, planned.action.value)

    monkeypatch.setattr(guard_world, "carry_out", hasty)


def trusting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Ladder, "step", lambda self, doubts, now_s: Rung.TRUST)


def generous(monkeypatch: pytest.MonkeyPatch) -> None:
    def grant(self: Claims, owner: str, target: Any, resource: str, wanted: float, current: Any, least: float) -> Any:
        return Granted(wanted)

    monkeypatch.setattr(Claims, "grant", grant)


def the_last_original_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    def new(self: Entries, steps: Any) -> list[Any]:
        self.drop(step.key for step in steps)
        return list(steps)

    monkeypatch.setattr(Entries, "new", new)


@pytest.mark.parametrize(
    ("breaks", "words"),
    [
        (unbounded, "beyond its bounds"),
        (forgetting_what_lapsed, "no journal knows"),
        (journalled_too_late, "no journal knows"),
        (trusting, "although its hand is in doubt"),
        (generous, "more than the node has"),
        (the_last_original_wins, "is left at|no journal knows"),
    ],
)
def test_the_world_notices_each_broken_protection(
    breaks: Callable[[pytest.MonkeyPatch], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch)
    rng = random.Random(11)
    with pytest.raises(Broken, match=words):
        play(random_run(rng, 20) for _ in range(3000))


def test_letters_cover_what_can_go_wrong() -> None:
    faults = {letter.fault for letter in LETTERS}
    assert faults >= {"", "reject", "mangle", "crash", "stop", "both", "dog", "foreign", "disarm", "arm"}
