"""Performs a plan: writes in order, each verified by reading back; all or nothing."""

from __future__ import annotations

from vagus.actuators import Plan
from vagus.actuators.readback import same
from vagus.errors import ActuateError, Rejected
from vagus.undo import Step, perform, read_text, reason, undo


class LeftBehind(Rejected):
    """A plan failed half-way and could not be undone: its undo steps must stay in the journal."""


def apply(plan: Plan) -> None:
    """Performs the steps. On failure undoes what was done and raises Rejected with the kernel's words (LeftBehind when
    that failed too)."""
    try:
        for step in plan.steps:
            perform(step)
            if step.op == "write":
                _verify(step)
    except Rejected as error:
        left = undo(plan.undo)
        if left:
            what = "; ".join(f"{step.op} {step.path}: {why}" for step, why in left)
            raise LeftBehind(error.path, error.value, f"{error.reason}; and could not be undone: {what}") from error
        raise


def _verify(step: Step) -> None:
    try:
        found = read_text(step.path)
    except OSError as error:
        raise Rejected(step.path, step.value, f"cannot be read back: {reason(error)}") from error
    try:
        kept = same(step, found)
    except (ValueError, ActuateError) as error:
        why = f"what is read back is not understood: {error}; it shows {found[:80]!r}"
        raise Rejected(step.path, step.value, why) from error
    if not kept:
        raise Rejected(step.path, step.value, f"the kernel keeps {found[:80]!r}")
