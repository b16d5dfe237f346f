"""A controller that acts on what is coming: it uses the forecast of a series, its error, and its trend.

    vagus config check examples/controller/foresee.yaml
    vagus up -c examples/controller/foresee.yaml          # dry: says what it would do

A batch job gets less CPU when pressure is forecast to pass the limit and is not already falling: before the service
suffers, and not for a single spike. While pressure oscillates it waits: each step would be late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from vagus.controllers import View
from vagus.model import Action, Directive, Target

PRESSURE = "pressure.cpu.some_avg10"


class Foresee:
    """Limits `target` when `PRESSURE` will pass `most` (in per cent) with more than a small chance."""

    period_s = 1.0
    selectors = (PRESSURE,)
    foresees = (PRESSURE,)

    def __init__(self, target: str = "cgroup:batch", most: float = 30.0) -> None:
        self._target = Target.parse(target)
        self._most = most

    def step(self, view: View) -> Iterable[Directive]:
        outlook = view.outlook(PRESSURE)
        if outlook is None or not outlook.mse >= 0:  # nothing is known yet of how good forecasts are
            return []
        coming = outlook.forecast + 2 * math.sqrt(outlook.mse)
        said = f"{PRESSURE} is {outlook.trend or 'new'}, {coming:.0f} % is coming"
        if coming > self._most and outlook.trend not in ("falling", "oscillating"):
            return [Action(self._target, "cpu_cores", 0.5, said)]
        if coming < self._most / 2:
            return [Action(self._target, "cpu_cores", None, said)]
        return []
