"""The parts of the report that are figures, with the words around them."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from vagus.cli.experiment import slo_figures as figures
from vagus.cli.experiment.slo_results import Plan, Results, Run
from vagus.cli.experiment.slo_summary import Row, percent

if TYPE_CHECKING:
    from vagus.cli.experiment.slo_figures import Floats, Scales


def _figure(svg: str, title: str = "", caption: str = "", alone: bool = False) -> str:
    return (
        f"<figure{' class=alone' if alone else ''}>{f'<strong>{escape(title)}</strong>' if title else ''}{svg}"
        f"{f'<figcaption>{escape(caption)}</figcaption>' if caption else ''}</figure>"
    )


def _key(table: Sequence[Row]) -> str:
    """Which mark is whose."""
    items = "".join(
        f'<li><svg viewBox="0 0 36 12" aria-hidden="true"><path class="line {figures.style_of(n)}" d="M0 6H36"/></svg>'
        f"{escape(row.name)}</li>"
        for n, row in enumerate(table)
    )
    return f'<ul class="key" aria-label="Key">{items}</ul>'


def trades(table: Sequence[Row], latencies: Sequence[tuple[str, Floats]], plan: Plan) -> str:
    """Violations against CPU, and how latency is distributed."""
    trade = _figure(
        figures.trade(table),
        "SLO violations against requested CPU",
        "Lower and further left is better. Small marks are seeds, large ones their means.",
    )
    parts = [trade]
    if any(len(values) for _, values in latencies):
        parts += [
            _figure(
                figures.tail(latencies, plan),
                "The tail: share of requests that take longer than …",
                "Both axes by ratios. Where a line meets the SLO is its share of violations; what never falls, failed.",
            ),
            _figure(
                figures.share_within(latencies, plan),
                "Share of requests answered within …",
                "All seeds together, from when a request was due.",
            ),
        ]
    return f'<h2>Violations, CPU, latency</h2>{_key(table)}<div class="grid2">{"".join(parts)}</div>'


def seeds_over_time(results: Results, table: Sequence[Row], scale: Scales) -> str:
    """Each policy's P99 and CPU over time; the first seed is shown at once, the others when they are opened."""
    shown = [seed for seed in results.seeds if any(run.seed == seed for row in table for run in row.runs)]
    parts = [
        "<h2>Over time</h2><p>Above, the 99th percentile of latency with the SLO; below, the sum of all limits (line) and "
        "the CPU that was used of it (area). Injections are shaded and numbered. All axes are the same.</p>"
    ]
    for seed in shown:
        runs = [(n, row, run) for n, row in enumerate(table) for run in row.runs if run.seed == seed]
        load = _figure(figures.rate(runs[0][2], scale), "the load, requests per second", _hits(runs[0][2]), True)
        body = "".join(
            _figure(
                figures.over_time(run, results.plan, scale, figures.style_of(n)),
                f"{row.name}: {'–' if run.violation_ratio is None else percent(run.violation_ratio)} % violations, "
                f"{'no limit' if run.requested_cores is None else f'{run.requested_cores:.2f} cores requested'}",
                alone=True,
            )
            for n, row, run in runs
        )
        grid = f'<div class="grid2">{load}{body}</div>'
        first = seed == shown[0]
        parts.append(
            f"<h3>Seed {seed}</h3>{grid}" if first else f"<details><summary>Seed {seed}</summary>{grid}</details>"
        )
    return "".join(parts)


def _hits(run: Run) -> str:
    return "; ".join(f"{n}: {hit.type} {hit.intensity} on {hit.service}" for n, hit in enumerate(run.injected, 1))


def services(results: Results, table: Sequence[Row], scale: Scales) -> str:
    """Each service's limit, of the first seed: of all policies together, then by policy with what is used."""
    drawn = [(n, row.runs[0]) for n, row in enumerate(table) if row.runs and row.variant.policy]
    if not drawn:
        return ""
    seed = min(run.seed for _, run in drawn)
    drawn = [(n, run) for n, run in drawn if run.seed == seed]
    every = "".join(
        _figure(figures.limits_of_all(drawn, service, scale), alone=False) for service in results.plan.services
    )
    parts = [
        f"<h2>Limits by service</h2><p>Cores, of seed {seed}. Shaded: when the service was hit itself.</p>{_key(table)}"
        f'<div class="grid3">{every}</div><p>By policy, with what was used of it (area):</p>'
    ]
    for n, run in drawn:
        each = "".join(
            _figure(figures.service_limits(run, service, scale, figures.style_of(n)), alone=True)
            for service in results.plan.services
        )
        parts.append(f'<details><summary>{escape(run.variant)}</summary><div class="grid4">{each}</div></details>')
    return "".join(parts)
