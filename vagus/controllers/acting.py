"""The order in which a planned action is carried out, so that a crash at any point leaves nothing behind: the undo steps
are on disk before the first write, and forgotten only when what they would undo was undone.

A generator that asks and is told, without I/O of its own: the shell performs it, the simulation crashes it anywhere.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple

from vagus.actuators import Plan
from vagus.actuators.apply import LeftBehind
from vagus.controllers.run import Planned, settle
from vagus.errors import ActuateError, Rejected
from vagus.model import Receipt, Target
from vagus.undo import Step


class Keep(NamedTuple):
    """Put undo steps on disk; the answer is those that are new. Raises ActuateError."""

    steps: tuple[Step, ...]


class Forget(NamedTuple):
    """Drop these from the journal. Raises ActuateError."""

    steps: tuple[Step, ...]


class Write(NamedTuple):
    """Perform a plan, all or nothing. Raises Rejected, LeftBehind."""

    plan: Plan


class Read(NamedTuple):
    """The limit now. Raises ActuateError."""

    target: Target
    resource: str


class Undo(NamedTuple):
    """Perform these undo steps; the answer is what failed, empty when all is undone."""

    steps: tuple[Step, ...]


Ask = Keep | Forget | Write | Read | Undo


def carry_out(planned: Planned) -> Generator[Ask, Any, Receipt]:
    """Journal, write, read back; undone where reading back shows something else. Returns the receipt."""
    plan, before = planned.plan, planned.receipt.before
    try:
        new = yield Keep(plan.undo)
        try:
            yield Write(plan)
        except LeftBehind:
            raise
        except Rejected:
            yield Forget(tuple(new))
            raise
        wrong = ""
        try:
            after = yield Read(planned.action.target, planned.action.resource)
            if not plan.shown(after):
                wrong = f"reading back shows {after}, not {plan.expected}"
        except ActuateError as error:
            wrong = str(error)
        if not wrong:
            return settle(planned, after)
        left = yield Undo(plan.undo)
        if not left:
            yield Forget(tuple(new))
        return settle(planned, before, f"{wrong}; {'could not be undone: ' + left if left else 'undone'}"[:1000])
    except ActuateError as error:
        return settle(planned, before, str(error)[:1000])
