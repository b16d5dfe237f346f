"""Membership on the observer's wire: performs what `Swim` directs, and reports what this node saw of the others."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from random import SystemRandom
from typing import Any

from vagus.actors.wire import SWIM, Wire
from vagus.errors import ConfigError
from vagus.health.members import ALIVE, DEAD, LEFT, SUSPECT
from vagus.health.swim import Directive, Send, Swim
from vagus.health.vouching import Vouching
from vagus.model import Report

LEAST_PERIOD_S, MOST_PERIOD_S = 0.05, 60.0
LEAST_S = 0.001
"""Between two looks at the clock: a loop's timer may be early by its resolution."""
COUNTS = ("probes", "missed", "refuted", "slept", "bad")


class Membership:
    """Bodies on `wire` that begin with `S`. `submit` takes the evidence; `failed` is told of mistakes.

    Nothing here needs Ray: peers come with the news (`set_peers`) and by what they send themselves. Raises ConfigError
    for a period that is none.
    """

    def __init__(
        self,
        wire: Wire,
        period_s: float,
        submit: Callable[[Sequence[Report]], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        if not LEAST_PERIOD_S <= period_s <= MOST_PERIOD_S:
            raise ConfigError(f"health.probe is {period_s:g} s; it must be {LEAST_PERIOD_S:g} to {MOST_PERIOD_S:g} s")
        self.period_s = period_s
        self._wire = wire
        self._submit = submit
        self._failed = failed
        self._vouching = Vouching(wire.node, period_s)
        self._swim: Swim | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due_s = 0.0
        wire.hear(SWIM, self._hear)
        wire.met.append(self._met)

    # --- life ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begins to probe, in the running loop. The wall time makes the incarnation higher than an earlier life's."""
        now_s, incarnation = time.monotonic(), time.time_ns() // 10**6
        self._swim = Swim(self._wire.node, SystemRandom(), now_s, incarnation=incarnation, period_s=self.period_s)
        self._wait(self._swim)

    def stop(self) -> None:
        """Tells the others that this node leaves on purpose; while the wire is still open. Idempotent."""
        swim, self._swim = self._swim, None
        if self._timer is not None:
            self._timer.cancel()
        if swim is not None:
            for directive in swim.leave(time.monotonic()):
                if isinstance(directive, Send):
                    self._wire.send(directive.to, SWIM + directive.payload)

    # --- what others tell --------------------------------------------------------------------------------------------

    def set_peers(self) -> None:
        """The wire's addresses are new: they are all that there are. Without a key nobody can answer: there are none."""
        if self._swim is not None:
            names = self._wire.addresses if self._wire.sealer is not None else ()
            self._perform(self._swim, self._swim.peers(names, time.monotonic()))

    def _met(self, node: str) -> None:
        if self._swim is not None:
            self._perform(self._swim, self._swim.meet(node, time.monotonic()))

    def _hear(self, node: str, body: bytes) -> None:
        if self._swim is not None:
            self._perform(self._swim, self._swim.on_message(node, body[len(SWIM) :], time.monotonic()))

    def _tick(self) -> None:
        if self._swim is not None:
            self._due_s = float("inf")
            self._perform(self._swim, self._swim.tick(time.monotonic()))

    # --- what it knows -----------------------------------------------------------------------------------------------

    @property
    def doubt(self) -> int:
        """How unwell this node is itself: 0 to 8."""
        return self._swim.doubt if self._swim is not None else 0

    def alive(self) -> tuple[str, ...]:
        """The nodes whose observers are not known to be gone, this one included."""
        swim = self._swim
        if swim is None:
            return (self._wire.node,)
        return (swim.node, *(member.name for member in swim.members if member.state in (ALIVE, SUSPECT)))

    def about(self) -> dict[str, dict[str, Any]]:
        """Of each peer: its state, the round trip, since when nothing came from it, whether it answers us itself."""
        swim = self._swim
        if swim is None:
            return {}
        return {
            member.name: {
                "state": str(member.state),
                "rtt_ms": round(member.rtt_s * 1e3, 3),
                "silent_s": round(swim.silent_s(member), 3),
                "direct": member.direct,
                "incarnation": member.incarnation,
            }
            for member in swim.members
        }

    def figures(self) -> dict[str, float]:
        """How many peers are in which state, what happened so far, and this node's own doubt."""
        swim = self._swim
        if swim is None:
            return {}
        return {
            **{f"swim_{state}": float(swim.members.count(state)) for state in (ALIVE, SUSPECT, DEAD, LEFT)},
            **{f"swim_{name}": float(swim.counts[name]) for name in COUNTS},
            "swim_indirect": float(sum(not member.direct for member in swim.members if member.state is ALIVE)),
            "doubt": float(swim.doubt),
        }

    # --- inside ------------------------------------------------------------------------------------------------------

    def _perform(self, swim: Swim, directives: Iterable[Directive]) -> None:
        reports = []
        for directive in directives:
            if isinstance(directive, Send):
                self._wire.send(directive.to, SWIM + directive.payload)
            else:
                report = self._vouching.report(directive, time.monotonic(), time.time_ns())
                if report is not None:
                    reports.append(report)
        self._wait(swim)
        if reports:
            try:
                self._submit(reports)
            except Exception as error:  # what it knows of its peers does not hang on the store
                self._failed("membership", error)

    def _wait(self, swim: Swim) -> None:
        due_s = swim.due_s
        if due_s < self._due_s or self._timer is None:
            if self._timer is not None:
                self._timer.cancel()
            self._due_s = due_s
            delay_s = max(LEAST_S, due_s - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay_s, self._tick)
