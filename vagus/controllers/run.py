"""One step of any controller: its directives, judged by the guard and planned by the actuator. Writes nothing."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from vagus.actuators import Actuator, Plan
from vagus.controllers import Controller, View
from vagus.controllers.claims import Grant, unbounded
from vagus.controllers.guard import UNSURE, Guard
from vagus.errors import ActuateError, Unsupported, VagusError
from vagus.model import Action, Event, Receipt, Report, Target

MAX_DIRECTIVES = 1000


class Planned(NamedTuple):
    """A judged action with the writes that would perform it; `receipt` is filled in but for after and error."""

    action: Action
    plan: Plan
    receipt: Receipt


class Outcome(NamedTuple):
    """What a step asks for. receipts are settled (held, refused, dry); planned are to be performed, in order."""

    receipts: list[Receipt]
    planned: list[Planned]
    reports: list[Report]
    events: list[Event]
    failure: str = ""  # why the controller or its policy failed; the last safe limits hold
    full: tuple[Target, ...] = ()  # for whom the node has no more to give
    unsure: str = ""  # what the policy itself does not trust


class Bench(NamedTuple):
    """What a step works with. resolve: targets such as pid:self as the actuator knows them; now_ns: monotonic."""

    name: str
    guard: Guard
    actuator: Actuator
    armed: bool
    now_ns: int
    doubts: Sequence[str] = ()  # why what the controller wishes is held
    grant: Grant = unbounded
    resolve: Callable[[Target], Target] = lambda target: target


def run_step(controller: Controller, view: View, bench: Bench) -> Outcome:
    """Asks the controller, judges and plans. Never raises for what a user's controller does."""
    try:
        directives = list(islice(controller.step(view), MAX_DIRECTIVES + 1))
        wrong = next((d for d in directives if not isinstance(d, (Action, Report, Event))), None)
        if wrong is not None:
            raise TypeError(f"step returned a {type(wrong).__name__}, not an Action, Report or Event")
        if len(directives) > MAX_DIRECTIVES:
            raise ValueError(f"step returned more than {MAX_DIRECTIVES} directives")
        directives = [_sound(d) for d in directives]
    except Exception as error:  # whatever a user's code raises: hold
        text = str(error) if isinstance(error, VagusError) else f"{type(error).__name__}: {error}{_where(error)}"
        return Outcome([], [], [], [], text[:500] or type(error).__name__)
    outcome = judge_all((d for d in directives if isinstance(d, Action)), view, bench)
    outcome.reports.extend(d for d in directives if isinstance(d, Report))
    outcome.events.extend(d for d in directives if isinstance(d, Event))
    return outcome


def judge_all(actions: Iterable[Action], view: View, bench: Bench) -> Outcome:
    """Actions, judged and planned."""
    outcome, full = Outcome([], [], [], []), []
    for action in actions:
        try:
            done, no_more = _judge(action, view, bench)
        except Exception as error:  # an actuator may be anyone's: this action alone fails
            done, no_more = msgspec.structs.replace(_receipt(action, view, bench), error=_text(error)), False
        if isinstance(done, Planned):
            outcome.planned.append(done)
        elif done is not None:
            outcome.receipts.append(done)
        if no_more:
            full.append(action.target)
    unsure = next((note for r in outcome.receipts if (note := r.note).startswith(UNSURE)), "")
    return outcome._replace(full=tuple(full), unsure=unsure.removeprefix("held: "))


def _sound(directive: Action | Report | Event) -> Action | Report | Event:
    """With what its type says, since a user's code may put anything into it; numpy's numbers become plain ones.

    Raises TypeError, ValueError.
    """
    return msgspec.convert(msgspec.to_builtins(directive, enc_hook=_plain), type(directive))


def _plain(value: Any) -> Any:
    item = getattr(value, "item", None)
    if item is None:
        raise TypeError(f"a directive holds a {type(value).__name__}")
    return item()


def _where(error: Exception) -> str:
    """` (file.py:12, step)`: where in the user's code it happened; nothing when it happened in ours."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or frames[-1].filename == __file__:
        return ""
    return f" ({Path(frames[-1].filename).name}:{frames[-1].lineno}, {frames[-1].name})"


def settle(planned: Planned, after: float | None, error: str = "") -> Receipt:
    """The receipt of a plan that was performed (`after` was read back), or failed with `error`."""
    return msgspec.structs.replace(planned.receipt, after=after, error=error)


def refused(view: View, bench: Bench, target: Target, error: str, resource: str = "cpu_cores") -> Receipt:
    """The receipt of a step that could not even ask: the target cannot be read or limited here."""
    return msgspec.structs.replace(_receipt(Action(target, resource, None), view, bench), error=error[:1000])


def _receipt(action: Action, view: View, bench: Bench) -> Receipt:
    return Receipt(
        t_ns=view.now_ns,
        node=view.node,
        controller=bench.name,
        actuator=bench.actuator.name,
        target=action.target,
        resource=action.resource,
        before=None,
        requested=action.value,
        after=None,
        dry=bench.actuator.dry or not bench.armed,
        reason=action.reason[:500],
    )


def _judge(action: Action, view: View, bench: Bench) -> tuple[Planned | Receipt | None, bool]:
    """A settled receipt, a plan, or nothing to do; and whether the node has no more to give."""
    receipt = _receipt(action, view, bench)
    dry = receipt.dry
    try:
        resolved = bench.resolve(action.target)
        before = bench.actuator.read(resolved, action.resource)
    except ActuateError as error:
        return msgspec.structs.replace(receipt, error=_text(error)), False
    who = getattr(bench.actuator, "who", None)  # one that hands on to others says to whom
    acting = who(resolved, action.resource) if who is not None else bench.actuator.name
    receipt = msgspec.structs.replace(receipt, actuator=acting, before=before, after=before)
    asked = msgspec.structs.replace(action, target=resolved)
    counted = getattr(bench.actuator, "whole", None)  # some say so of each resource
    whole = counted is not None and bool(counted(resolved, action.resource))
    verdict = bench.guard.judge(asked, before, bench.now_ns, bench.doubts, bench.grant, whole)
    receipt = msgspec.structs.replace(receipt, note=verdict.note)
    if verdict.action is None:
        return (receipt if verdict.note else None), verdict.full
    try:
        plan = bench.actuator.plan(verdict.action)
    except ActuateError as error:
        after = verdict.action.value if dry else before
        return msgspec.structs.replace(receipt, after=after, error=_text(error)), verdict.full
    if dry:
        return msgspec.structs.replace(receipt, after=verdict.action.value), verdict.full
    return Planned(verdict.action, plan, receipt), verdict.full


def _text(error: Exception) -> str:
    kind = "" if isinstance(error, VagusError) else f"{type(error).__name__}: "
    return f"{'Unsupported: ' if isinstance(error, Unsupported) else kind}{error}"[:1000]
