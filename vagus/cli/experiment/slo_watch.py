"""How `vagus experiment slo` shows its progress."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vagus.cli.experiment.slo_plan import Turn
from vagus.cli.experiment.slo_results import Run
from vagus.cli.output import cell, span

if TYPE_CHECKING:
    from rich.console import Console


class Watch:
    """Progress: a line that changes on a terminal, a line a run elsewhere."""

    def __init__(self, to: Console, todo: Sequence[Turn], each_s: float) -> None:
        self._to = to
        self._todo = todo
        self._each_s = each_s
        self._status = to.status("") if to.is_terminal else None
        self._number = 0
        self._begun_s = time.monotonic()

    def __enter__(self) -> None:
        if self._status is not None:
            self._status.start()

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def begin(self, turn: Turn) -> None:
        self._number += 1
        self._begun_s = time.monotonic()
        self._turn = turn
        if self._status is None:
            left_s = self._each_s * (len(self._todo) - self._number + 1)
            self._to.print(
                cell(f"{self._what()}: {span(self._each_s)}, {span(left_s)} for all that is left"), soft_wrap=True
            )

    def look(self, t_s: float, text: str) -> None:
        if self._status is None:
            return
        left_s = self._each_s * (len(self._todo) - self._number + 1) - (time.monotonic() - self._begun_s)
        at = f"{t_s:.0f} s" if t_s >= 0 else f"warming up, {-t_s:.0f} s"
        self._status.update(cell(f"{self._what()}: {at}  {text}  ({span(max(0.0, left_s))} left)"))

    def end(self, run: Run) -> None:
        told = run.error or (
            f"{_percent(run.violation_ratio)} late, P99 {_ms(run.p99_s)}, {_cores(run.requested_cores)} cores requested, "
            f"{_cores(run.used_cores)} used"
        )
        self._to.print(cell(f"{self._what()}: {told}", "red" if run.error else ""), soft_wrap=True)
        for note in run.notes:
            self._to.print(cell(f"  {note}", "yellow"), soft_wrap=True)

    def _what(self) -> str:
        return f"{self._number}/{len(self._todo)} {self._turn.variant}, seed {self._turn.seed}"


def _percent(ratio: float | None) -> str:
    return "–" if ratio is None else f"{100 * ratio:.2f} %"


def _ms(value_s: float | None) -> str:
    return "–" if value_s is None or not math.isfinite(value_s) else f"{1000 * value_s:.0f} ms"


def _cores(cores: float | None) -> str:
    return "–" if cores is None else f"{cores:.2f}"
