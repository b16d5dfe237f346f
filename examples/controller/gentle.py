"""A controller of one's own: half a core for a batch job while the node is under pressure, all of it otherwise.

    vagus config check examples/controller/vagus.yaml
    vagus up -c examples/controller/vagus.yaml            # dry: says what it would do
    vagus up -c examples/controller/vagus.yaml --arm      # does it

or from Python: vagus.connect().spawn(Gentle, "gentle", target="cgroup:batch").
"""

from __future__ import annotations

from collections.abc import Iterable

from vagus.controllers import View
from vagus.model import Action, Directive, Target


class Gentle:
    """Limits `target` while more than `pressure` per cent of the time something waits for the CPU."""

    period_s = 1.0
    selectors = ("pressure.cpu.some_avg10",)

    def __init__(self, target: str = "cgroup:batch", pressure: float = 40.0) -> None:
        self._target = Target.parse(target)
        self._pressure = pressure

    def step(self, view: View) -> Iterable[Directive]:
        waiting = view.last("pressure.cpu.some_avg10")
        if waiting > self._pressure:
            return [Action(self._target, "cpu_cores", 0.5, f"something waits {waiting:.0f} % of the time")]
        if waiting < self._pressure / 2:
            return [Action(self._target, "cpu_cores", None, f"calm: something waits {waiting:.0f} % of the time")]
        return []
