"""A controller of a user's own, for `benchmarks.chaos`: it limits its target all the time, and changes the limit often."""

from __future__ import annotations

from collections.abc import Iterable

from vagus.controllers import View
from vagus.model import Action, Directive, Target


class Hold:
    """Limits `target` to half a core and to nine tenths in turn, each for four steps."""

    period_s = 0.5
    selectors = ("host.load",)

    def __init__(self, target: str) -> None:
        self._target = Target.parse(target)
        self._steps = 0

    def step(self, view: View) -> Iterable[Directive]:
        self._steps += 1
        cores = 0.5 if self._steps // 4 % 2 else 0.9
        return [Action(self._target, "cpu_cores", cores, "to be restored when this controller is gone")]
