"""What the demo's run was: a record for each second, a summary, a table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

PHASES = (("healthy", 0.2), ("hog", 0.5), ("after", 0.3))
WELL_S = 5.0  # so long without a relapse is healthy again


class Second(msgspec.Struct):
    """What one second of the story looked like; NaN where nothing was measured."""

    t_s: float
    phase: str
    p50_ms: float
    p95_ms: float
    requests: int
    hog_cores: float
    limit_cores: float
    status: str
    accusers: list[str]
    receipt: str


def summarise(seconds: Sequence[Second], armed: bool = True, slo_ms: float = float("nan")) -> dict[str, Any]:
    """Per phase: median p95, the neighbour's cores; and how long notice, verdict, action and recovery took.

    recovered_after_s: from the neighbour's begin to the first second from which the subject stayed healthy for five
    seconds with the neighbour there; recovered_after_end_s: the same from its end, when that never was; else None.
    relapse_s: seconds UNHEALTHY after the recovery, with the neighbour still there.
    """
    phases = {}
    for name, _ in PHASES:
        rows = [s for s in seconds if s.phase == name]
        tail = rows[len(rows) // 2 :]
        phases[name] = {
            "p95_ms": _median([s.p95_ms for s in rows]),
            "p95_ms_second_half": _median([s.p95_ms for s in tail]),
            "neighbour_cores": _median([s.hog_cores for s in rows]),
            "neighbour_cores_second_half": _median([s.hog_cores for s in tail]),
            "unhealthy_s": sum(s.status == "UNHEALTHY" for s in rows),
        }
    hog = [s for s in seconds if s.phase == "hog"]
    after = [s for s in seconds if s.phase == "after"]
    start, end = (rows[0].t_s if rows else float("nan") for rows in (hog, after))
    verdict = next((s.t_s for s in hog if s.status == "UNHEALTHY"), None)
    action = next((s.t_s for s in hog if s.receipt and not s.receipt.startswith("(")), None)
    back = back_after_end = None
    if verdict is not None:
        back = _well_from([s for s in hog if s.t_s > verdict])
        back_after_end = _well_from(after) if back is None else None
    return {
        "armed": armed,
        "slo_ms": slo_ms,
        "phases": phases,
        "verdict_after_s": None if verdict is None else verdict - start,
        "action_after_s": None if action is None else action - start,
        "recovered_after_s": None if back is None else back - start,
        "relapse_s": 0 if back is None else sum(s.status == "UNHEALTHY" for s in hog if s.t_s > back),
        "recovered_after_end_s": None if back_after_end is None else back_after_end - end,
    }


def _well_from(rows: Sequence[Second]) -> float | None:
    """The first second from which all are HEALTHY for at least five seconds, within these."""
    begin = None
    for row in rows:
        if row.status != "HEALTHY":
            begin = None
            continue
        if begin is None:
            begin = row.t_s
        if row.t_s - begin >= WELL_S:
            return begin
    return None


def recovery(summary: dict[str, Any]) -> str:
    """When the subject was healthy again, in words."""
    if summary["verdict_after_s"] is None:
        return "(it never was unhealthy)"
    if summary["recovered_after_s"] is not None:
        relapse = f", with a relapse of {summary['relapse_s']} s later" if summary["relapse_s"] else ""
        return f"{summary['recovered_after_s']:.0f} s after the neighbour began{relapse}"
    late = summary["recovered_after_end_s"]
    return "not while the neighbour ran" + ("" if late is None else f"; healthy {late:.0f} s after it ended")


def _median(values: list[float]) -> float:
    finite = [v for v in values if v == v]
    return statistics.median(finite) if finite else float("nan")


def table(console: Console, summary: dict[str, Any]) -> None:
    """Prints the summary."""
    rows = Table("phase", "p95 latency", "its second half", "neighbour", "its second half", "unhealthy", box=None if not console.is_terminal else Table().box)  # fmt: skip
    for name, row in summary["phases"].items():
        rows.add_row(
            name,
            f"{row['p95_ms']:.0f} ms",
            f"{row['p95_ms_second_half']:.0f} ms",
            f"{row['neighbour_cores']:.2f} cores",
            f"{row['neighbour_cores_second_half']:.2f} cores",
            f"{row['unhealthy_s']} s",
        )
    console.print(rows)
    action = "first receipt" if summary["armed"] else "first receipt (dry)"
    for key, text in (("verdict_after_s", "verdict"), ("action_after_s", action)):
        value = summary[key]
        console.print(
            f"{text}: " + ("never" if value is None else f"{value:.0f} s after the neighbour began"), markup=False
        )
    console.print(f"healthy again: {recovery(summary)}", markup=False, soft_wrap=True)


def finite(value: Any) -> Any:
    """NaN as null: JSON has none."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and value != value else value
