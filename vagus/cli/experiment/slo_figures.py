"""The figures of the report on `vagus experiment slo`. All policies have the same axes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from vagus.cli.experiment.slo_results import Cores, Plan, Run
from vagus.cli.experiment.slo_summary import Row, percent
from vagus.cli.experiment.svg import Axis, Figure, Panel, nice

Floats = npt.NDArray[np.float64]
LEAST_RATIO = 1e-4  # of requests: no share below that is told apart
_WIDTH = 480.0
_SMALL = 240.0


class Scales(NamedTuple):
    """What all figures over time share. cores: of the sums; service: of each service's limit."""

    time: Axis
    latency: Axis
    cores: Axis
    rate: Axis
    service: Mapping[str, Axis]


def style_of(row: int) -> str:
    """The class that a variant's marks have everywhere, by its place in the plan."""
    return f"s{row % 8}"


def time_text(value_s: float) -> str:
    """A duration on an axis."""
    if value_s >= 1:
        return f"{value_s:g} s"
    return f"{1000 * value_s:g} ms"


def clock_text(value_s: float) -> str:
    """A time of a run on an axis."""
    minutes, rest = divmod(round(value_s), 60)
    return f"{minutes}:{rest:02d}"


def scales(plan: Plan, runs: Sequence[Run]) -> Scales:
    """Axes that hold all runs."""
    p99 = [p for run in runs if run.windows for p in run.windows.p99_s if p]
    low = min([plan.slo_s / 4, *np.quantile(p99, [0.02])]) if p99 else plan.slo_s / 4
    latency = Axis(_down(low), _up(max([2 * plan.slo_s, *p99])), time_text, "P99", log=True)
    sums = [c for run in runs if run.sampled for c in total(run.sampled.limit_cores) if c is not None]
    sums += [c for run in runs if run.sampled for c in total(run.sampled.used_cores) if c is not None]
    rates = [r for run in runs if run.windows for r in run.windows.rate_hz if r]
    service = {}
    for name in plan.services:
        found = [c for run in runs if run.sampled for c in run.sampled.limit_cores.get(name, ()) if c is not None]
        found += [c for run in runs if run.sampled for c in run.sampled.used_cores.get(name, ())]
        service[name] = _from_zero(found, "cores", 2)
    step = next((s for s in (10, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600) if plan.run_s / s <= 6), 7200)
    ticks = tuple(float(t) for t in range(0, math.floor(plan.run_s) + 1, step))
    return Scales(
        Axis(0.0, plan.run_s, clock_text, "minutes:seconds", ticks=ticks),
        latency,
        _from_zero(sums, "cores"),
        _from_zero(rates, "requests/s"),
        service,
    )


def total(columns: Mapping[str, Sequence[Cores]]) -> list[float | None]:
    """The sum over services at each time; None where one has none."""
    return [
        None if any(cores is None for cores in row) else math.fsum(c for c in row if c is not None)
        for row in zip(*columns.values(), strict=True)
    ]


def _from_zero(values: Sequence[float], title: str, most: int = 4) -> Axis:
    high = max(values, default=0.0) or 1.0
    step = nice(high / most)
    return Axis(0.0, step * math.ceil(high / step - 1e-9), lambda value: f"{value:.3g}", title)


def _down(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (5, 3, 2, 1) if m * power <= value * 1.001)


def _up(value: float) -> float:
    power = 10.0 ** math.floor(math.log10(value))
    return next(m * power for m in (1, 2, 3, 5, 10) if m * power >= value * 0.999)


def over_time(run: Run, plan: Plan, scale: Scales, style: str) -> str:
    """A run: P99 above, the sum of limits and what is used of it below, injections shaded."""
    figure = Figure(_WIDTH, 300)
    upper = Panel(figure, scale.time, scale.latency, 0, 170, ticks_x=False, most_y=4)
    lower = Panel(figure, scale.time, scale.cores, 170, 300, most_y=4)
    _bands(upper, run, marks=True)
    _bands(lower, run)
    if run.windows is not None:
        upper.line(run.windows.t_s, run.windows.p99_s, style)
    upper.level(plan.slo_s, f"SLO {time_text(plan.slo_s)}")
    if run.sampled is not None:
        lower.area(run.sampled.t_s, total(run.sampled.used_cores), style)
        limits = total(run.sampled.limit_cores)
        if any(cores is not None for cores in limits):
            lower.line(run.sampled.t_s, limits, style, steps=True, name="sum of the limits")
        else:
            lower.label(lower.left + 6, lower.top + 12, "no limits")
    late = "unknown" if run.violation_ratio is None else f"{percent(run.violation_ratio)} %"
    what = (
        f"99th percentile of latency and, below, the sum of all limits (line) and the CPU used (area) over "
        f"{plan.run_s:.0f} seconds; {late} SLO violations; {len(run.injected)} injections are shaded"
    )
    return figure.svg(f"{run.variant}, seed {run.seed}", what)


def rate(run: Run, scale: Scales) -> str:
    """Requests per second of a seed's slice."""
    figure = Figure(_WIDTH, 130)
    panel = Panel(figure, scale.time, scale.rate, most_y=4)
    if run.windows is not None:
        panel.line(run.windows.t_s, run.windows.rate_hz, "plain")
    return figure.svg(f"Requests per second, seed {run.seed}", "The load over time, the same for all policies")


def service_limits(run: Run, service: str, scale: Scales, style: str) -> str:
    """A service's limit (line) and use (area) in a run; injections into it are shaded."""
    figure = Figure(_SMALL, 120)
    panel = Panel(figure, scale.time._replace(title="", ticks=scale.time.ticks[::2]), scale.service[service], most_y=2)
    for hit in run.injected:
        if hit.service == service:
            panel.band(hit.begin_s, hit.end_s, f"{hit.type} {hit.intensity}")
    if run.sampled is not None:
        panel.area(run.sampled.t_s, run.sampled.used_cores.get(service, [None] * len(run.sampled.t_s)), style)
        limit = run.sampled.limit_cores.get(service, ())
        if any(cores is not None for cores in limit):
            panel.line(run.sampled.t_s, limit, style, steps=True, name="limit")
    panel.label(panel.left + 4, panel.top + 2, service, style="t strong")
    return figure.svg(f"{service}: limit and use, {run.variant}, seed {run.seed}", "Limit as a line, use as an area")


def limits_of_all(runs: Sequence[tuple[int, Run]], service: str, scale: Scales) -> str:
    """A service's limit under each policy. runs: of one seed, with the place of their variant."""
    figure = Figure(_WIDTH * 0.75, 170)
    panel = Panel(figure, scale.time._replace(title=""), scale.service[service], most_y=3)
    for hit in runs[0][1].injected:
        if hit.service == service:
            panel.band(hit.begin_s, hit.end_s, f"{hit.type} {hit.intensity}")
    for n, run in runs:
        limit = run.sampled.limit_cores.get(service, ()) if run.sampled else ()
        if run.sampled and any(cores is not None for cores in limit):
            panel.line(run.sampled.t_s, limit, style_of(n), steps=True, name=run.variant)
    panel.label(panel.left + 4, panel.top + 4, service, style="t strong")
    names = ", ".join(run.variant for _, run in runs)
    return figure.svg(f"Limits of {service}", f"Cores over time, a line for each of {names}")


def _bands(panel: Panel, run: Run, marks: bool = False) -> None:
    for number, hit in enumerate(run.injected, 1):
        told = f"{number}: {hit.type} {hit.intensity} on {hit.service}, {clock_text(hit.begin_s)} to {clock_text(hit.end_s)}"
        panel.band(hit.begin_s, hit.end_s, told, str(number) if marks else "")


def tail(latencies: Sequence[tuple[str, Floats]], plan: Plan) -> str:
    """The share of requests that took longer (CCDF), both axes by ratios. latencies: by variant, infinite: failed."""
    figure = Figure(_WIDTH, 320)
    x, least = _latency_axis(latencies, plan), _least(latencies)
    y = Axis(least, 1.0, lambda value: f"{100 * value:g} %", "take longer", log=True, ticks=_decades(least))
    panel = Panel(figure, x, y)
    for n, (name, values) in enumerate(latencies):
        at, above = _curve(values, x)
        panel.line(at, [share if share >= least else None for share in above], style_of(n), name=name)
    panel.wall(plan.slo_s, f"SLO {time_text(plan.slo_s)}")
    return figure.svg("Share of requests that take longer", _told(latencies, plan))


def share_within(latencies: Sequence[tuple[str, Floats]], plan: Plan) -> str:
    """The share of requests that were answered within a time (CDF)."""
    figure = Figure(_WIDTH, 320)
    x = _latency_axis(latencies, plan)
    panel = Panel(figure, x, Axis(0.0, 1.0, lambda value: f"{100 * value:.0f} %", "answered within"))
    for n, (name, values) in enumerate(latencies):
        at, above = _curve(values, x)
        panel.line(at, [1 - share for share in above], style_of(n), name=name)
    panel.wall(plan.slo_s, f"SLO {time_text(plan.slo_s)}")
    return figure.svg("Share of requests answered within a time", _told(latencies, plan))


def _latency_axis(latencies: Sequence[tuple[str, Floats]], plan: Plan) -> Axis:
    finite = [values[np.isfinite(values)] for _, values in latencies]
    known = np.concatenate([values for values in finite if len(values)] or [np.array([plan.slo_s])])
    low = max(1e-4, min(float(np.quantile(known, 0.001)), plan.slo_s / 2))
    return Axis(_down(low), _up(max(float(known.max()), 2 * plan.slo_s)), time_text, "time until answered", log=True)


def _least(latencies: Sequence[tuple[str, Floats]]) -> float:
    n = max((len(values) for _, values in latencies), default=0)
    return 10.0 ** math.floor(math.log10(max(1e-6, 1 / max(n, 100))))


def _decades(least: float) -> tuple[float, ...]:
    return tuple(10.0**d for d in range(round(math.log10(least)), 1))


def _curve(values: Floats, x: Axis) -> tuple[list[float], list[float]]:
    at = np.geomspace(x.low, x.high, 300)
    above = 1 - np.searchsorted(np.sort(values), at, side="right") / max(1, len(values))
    return at.tolist(), above.tolist()


def _told(latencies: Sequence[tuple[str, Floats]], plan: Plan) -> str:
    late = [f"{name} {percent(float(np.mean(~(v <= plan.slo_s))))} %" for name, v in latencies if len(v)]
    return f"Longer than the SLO: {', '.join(late)}"


def trade(rows: Sequence[Row]) -> str:
    """SLO violations against requested CPU: a small mark a seed, a large one with its name the mean."""
    figure = Figure(_WIDTH, 320)
    points = [
        (n, run, run.violation_ratio, run.requested_cores)
        for n, row in enumerate(rows)
        for run in row.runs
        if run.violation_ratio is not None
    ]
    limited = [cores for _, _, _, cores in points if cores is not None]
    late = [max(ratio, LEAST_RATIO) for _, _, ratio, _ in points]
    x = _from_zero(limited or [1.0], "requested CPU (cores)")
    far = bool(late) and max(late) > 20 * min(late)
    y = (
        Axis(_down(min(late)), _up(max(late)), lambda value: f"{100 * value:g} %", "SLO violations", log=True)
        if far
        else _from_zero(late, "SLO violations")._replace(form=lambda value: f"{100 * value:.3g} %")
    )
    unlimited = any(cores is None for _, _, _, cores in points)
    if unlimited:  # a place of its own, right of all
        x = x._replace(high=x.high * 1.18, ticks=tuple(mark for mark in x.marks(6) if mark <= x.high))
    panel = Panel(figure, x, y)
    right = x.high * 0.955
    if unlimited:
        panel.label(panel.px(right), panel.bottom + 16, "no limit", "middle")
    for n, run, ratio, cores in points:
        told = f"{run.variant}, seed {run.seed}: {percent(ratio)} % late, {'no limit' if cores is None else f'{cores:.2f} cores'}"
        panel.point(right if cores is None else cores, max(ratio, y.low), f"{style_of(n)} faint", told, n, 3.5)
    spots = []
    for n, row in enumerate(rows):
        share, mean = row.values["violations"].mean, row.values["requested"].mean
        if share is None or (mean is None and row.variant.policy):
            continue
        place: float = right if mean is None else mean
        panel.point(place, max(share, y.low), style_of(n), f"{row.name}: mean", n, 6)
        px, py = panel.px(place), panel.py(max(share, y.low))
        spots.append((row.name, px, py))
    for name, px, py, anchor in _labels(panel, spots):
        panel.label(px, py, name, anchor, "t strong")
    panel.label(panel.left + 6, panel.bottom - 6, "better ↙", style="t")
    what = "; ".join(
        f"{row.name} {percent(mean)} % at "
        + ("no limit" if (c := row.values["requested"].mean) is None else f"{c:.2f} cores")
        for row in rows
        if (mean := row.values["violations"].mean) is not None
    )
    return figure.svg("SLO violations against requested CPU", what)


def _labels(panel: Panel, spots: Sequence[tuple[str, float, float]]) -> list[tuple[str, float, float, str]]:
    """Where names stand beside their marks: at the first of eight places that is free. (name, x, baseline, anchor)"""
    taken = [(px - 8, px + 8, py - 8, py + 8) for _, px, py in spots]
    found = []
    for name, px, py in spots:
        width = 7.2 * len(name)
        best = None
        for anchor, dx, dy in (
            *(("start", 11, 4), ("end", -11, 4), ("middle", 0, -12), ("middle", 0, 21)),
            *(("start", 11, -10), ("end", -11, -10), ("start", 11, 18), ("end", -11, 18)),
        ):
            left = px + dx - {"start": 0.0, "end": width, "middle": width / 2}[anchor]
            box = left, left + width, py + dy - 10, py + dy + 3
            over = sum(box[0] < r and left_ < box[1] and box[2] < b and t < box[3] for left_, r, t, b in taken)
            over += 3 * (box[0] < panel.left or box[1] > panel.right or box[2] < panel.top - 4 or box[3] > panel.bottom)
            if best is None or over < best[0]:
                best = over, (name, px + dx, py + dy, anchor), box
        assert best is not None
        taken.append(best[2])
        found.append(best[1])
    return found
