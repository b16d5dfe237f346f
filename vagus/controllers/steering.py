"""A controller behind its guard, step by step: who acts in doubt, what is given up, when everything is restored.

The shell gathers what a step needs, and performs what it returns, in its order: planned actions, then what is given up,
then restoring. Nothing here writes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from vagus.actuators import Actuator
from vagus.config import ControllerSettings, seconds
from vagus.controllers import Controller, View
from vagus.controllers.claims import Grant, Granted
from vagus.controllers.guard import Guard
from vagus.controllers.ladder import Doubt, Ladder, LastSafe, Rung
from vagus.controllers.load import calibrated
from vagus.controllers.run import Bench, Outcome, judge_all, run_step
from vagus.errors import ActuateError, PolicyError
from vagus.model import Action, Level, Scalar, Target

MANY_REFUSED = 3  # writes refused in a row: the actuator is in doubt
REFUSED_PAUSE_S = 30.0
Limited = tuple[Target, str]


class Drift(NamedTuple):
    """A limit that someone else changed since it was written: what it was set to, and what it is."""

    limited: Limited
    wrote: float | None
    found: float | None


class Sight(NamedTuple):
    """What a step is given. in_force: the limits that this controller holds, as the kernel keeps them; failures: writes
    that were refused in a row; now_ns: a clock that does not go back; grant: what fits beside other controllers."""

    view: View
    now_ns: int
    armed: bool
    doubts: Sequence[Doubt]
    in_force: Mapping[Limited, float | None]
    drifts: Sequence[Drift]
    failures: int
    grant: Grant
    resolve: Callable[[Target], Target]


class Told(NamedTuple):
    """An event to be: name, level, fields."""

    name: str
    level: Level
    fields: dict[str, Scalar]


class Steered(NamedTuple):
    """What is to be done after a step, in this order: outcome.planned, give_up, restore."""

    outcome: Outcome
    bench: Bench
    give_up: list[Limited]
    restore: bool
    told: list[Told]


class Steering:
    """A controller, its guard, and the ladder that it stands on.

    capacity: what the machine has, by resource. Raises ConfigError for limits that contradict each other.
    """

    def __init__(
        self, settings: ControllerSettings, controller: Controller, actuator: Actuator, capacity: Mapping[str, float]
    ) -> None:
        self.guard = Guard(settings.limits, capacity, settings.guard)
        self._settings = settings
        self._controller = controller
        self._actuator = actuator
        self._rule = calibrated(settings)
        rule_s = seconds(settings.guard.rule_for) if self._rule is not None else 0.0
        self._ladder = Ladder(seconds(settings.guard.hold), rule_s)
        self._safe = LastSafe()
        self._yielded: dict[Limited, str] = {}  # limits that others took over, and what they set
        self._mistrusted = ""  # why the policy of the last step is: it failed, or was not sure
        self._worked = False  # its policy has taken a step without failing
        self._pause_until_ns = 0
        self._seen_failures = 0

    @property
    def rung(self) -> Rung:
        return self._ladder.rung

    def armed(self) -> None:
        """It may act from now on, also on what others had taken over."""
        self._yielded.clear()

    def step(self, sight: Sight) -> Steered:
        """One step. Never raises for what a user's controller does."""
        told: list[Told] = []
        give_up, again = self._drifted(sight, told)
        doubts = self._doubts(sight)
        before, rung = self.rung, self._ladder.step(doubts, sight.now_ns / 1e9)
        if rung is not before and sight.armed:
            level = Level.INFO if rung is Rung.TRUST else Level.WARNING
            note = "; ".join(doubts)[:500]
            told.append(Told("controller.rung", level, {"rung": rung.value, "was": before.value, "note": note}))
        bench = Bench(
            self._settings.name,
            self.guard,
            self._actuator,
            sight.armed,
            sight.now_ns,
            grant=self._granting(sight.grant),
            resolve=sight.resolve,
        )
        held = self._reasons(doubts) if rung is not Rung.TRUST else []
        outcome = run_step(self._controller, sight.view, bench._replace(doubts=held))
        self._worked = self._worked or not outcome.failure
        self._mistrusted = f"its step fails: {outcome.failure}"[:300] if outcome.failure else outcome.unsure
        own = self._instead(rung, sight, all(doubt.of != "hand" for doubt in doubts))
        if rung in (Rung.TRUST, Rung.RULE):
            own += again
        if rung is Rung.TRUST:
            own += self._more(outcome, told)
            self._safe.trusted(sight.in_force)
        if own:
            acted = judge_all(own, sight.view, bench)
            outcome.receipts.extend(acted.receipts)
            outcome.planned.extend(acted.planned)
        restore = rung is Rung.RESTORE and bool(sight.in_force)
        if restore:
            self.guard.swings.forget()
        return Steered(outcome, bench, give_up, restore, told)

    # --- doubt -----------------------------------------------------------------------------------------------------

    def _doubts(self, sight: Sight) -> list[Doubt]:
        doubts = list(sight.doubts)
        if self._mistrusted:
            doubts.append(Doubt(self._mistrusted, "policy"))
        if sight.failures >= MANY_REFUSED and sight.failures != self._seen_failures:
            self._pause_until_ns = sight.now_ns + round(REFUSED_PAUSE_S * 1e9)
        self._seen_failures = sight.failures
        if sight.now_ns < self._pause_until_ns:
            doubts.append(Doubt(f"the last {sight.failures} writes were refused", "hand"))
        return doubts

    def _reasons(self, doubts: Sequence[Doubt]) -> list[str]:
        what = {Rung.RULE: "the calibrated rule steers", Rung.RESTORE: "restored"}.get(self.rung)
        reasons = [str(doubt) for doubt in doubts] or ["doubt is over, settling"]
        return [*([what] if what else []), *reasons]

    def _instead(self, rung: Rung, sight: Sight, sound: bool) -> list[Action]:
        """What is done in the policy's place: the last safe limits, the calibrated rule."""
        wanted: list[Action] = []
        if self._rule is not None:
            try:  # it follows all the time, to be calibrated when it is needed
                wanted = [d for d in self._rule.step(sight.view) if isinstance(d, Action)]
            except PolicyError:
                pass
        if rung is Rung.RULE:
            return wanted if self._worked else []  # nothing steers for a policy that never did
        if rung is Rung.HOLD and sound:
            theirs = {drift.limited for drift in sight.drifts}  # what others set is not ours to call safe
            looser = self._safe.looser({key: v for key, v in sight.in_force.items() if key not in theirs})
            return [Action(t, resource, value, "the last safe limit") for (t, resource), value in looser.items()]
        return []

    # --- others ----------------------------------------------------------------------------------------------------

    def _drifted(self, sight: Sight, told: list[Told]) -> tuple[list[Limited], list[Action]]:
        """What others changed: what is given up, and what is to be written again."""
        give_up: list[Limited] = []
        again: list[Action] = []
        for limited, wrote, found in sight.drifts:
            target, resource = limited
            fields = {"target": str(target), "resource": resource, "wrote": _number(wrote), "found": _number(found)}
            told.append(Told("limit.drifted", Level.WARNING, {**fields, "then": self._settings.drift}))
            if self._settings.drift == "reapply":
                again.append(Action(target, resource, wrote, f"someone set it to {_number(found)}"))
            else:
                give_up.append(limited)
                with suppress(ActuateError):  # who is gone is not steered
                    self._yielded[sight.resolve(target), resource] = _number(found)
        return give_up, again

    def _granting(self, grant: Grant) -> Grant:
        def granting(target: Target, resource: str, wanted: float, current: float | None, least: float) -> Granted:
            found = self._yielded.get((target, resource))
            if found is not None:
                return Granted(None, f"someone else set it to {found}; disarm and arm to take it back")
            return grant(target, resource, wanted, current, least)

        return granting

    def _more(self, outcome: Outcome, told: list[Told]) -> list[Action]:
        """One more replica, where the node has no more to give."""
        if not outcome.full or not self._settings.scale_out:
            return []
        target = Target.parse(self._settings.scale_out)
        try:
            present = self._actuator.read(target, "replicas")
        except Exception as error:  # an actuator may be anyone's
            told.append(Told("controller.not_scaled_out", Level.WARNING, {"note": str(error)[:500]}))
            return []
        why = f"the node has no more for {outcome.full[0]}"
        return [] if present is None else [Action(target, "replicas", present + 1, why)]


def _number(value: float | None) -> str:
    return "no limit" if value is None else f"{value:.6g}"
