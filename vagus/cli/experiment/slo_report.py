"""The report of `vagus experiment slo`: one HTML file that loads nothing, made of results.json and the logs beside it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from vagus.cli.experiment.slo_measure import mitigation_s
from vagus.cli.experiment.slo_results import Injected, Results, Run, load
from vagus.cli.experiment.slo_summary import MEASURES, Row, best, cores, percent, rows, seen, shown, spread
from vagus.cli.experiment.slo_verdict import Verdict, Versus, verdict
from vagus.cli.output import counted, span
from vagus.cli.session import write_file
from vagus.errors import ConfigError

if TYPE_CHECKING:
    from vagus.cli.experiment.slo_figures import Floats

REPORT = "report.html"
CSS = Path(__file__).with_name("slo_report.css")
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"  # nothing is loaded, nothing runs


def write_report(folder: Path) -> Path:
    """Writes FOLDER/report.html anew, from what is in the folder. Raises ConfigError, VagusError."""
    page = made(load(folder), folder)
    path = folder / REPORT
    write_file(path, page.encode())
    return path


def made(results: Results, folder: Path) -> str:
    """The page. folder: where the logs are."""
    from vagus.cli.experiment.slo_figures import scales

    plan, table = results.plan, rows(results)
    valid = [run for row in table for run in row.runs]
    logs, missing = _latencies(results, table, folder)
    scale = scales(plan, valid)
    title = f"{plan.application}: {len(table)} policies on the same load"
    body = [
        f"<h1>{escape(title)}</h1>",
        _setting(results),
        _verdict(verdict(results), missing),
        "<h2>Figures of merit</h2>",
        _table(table),
    ]
    if valid:
        from vagus.cli.experiment.slo_page import seeds_over_time, services, trades

        body += [trades(table, logs, plan), seeds_over_time(results, table, scale), services(results, table, scale)]
    body += [_definitions(results), _every_run(results), _injections(results), _about(results)]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS.read_text()}</style></head>\n"
        f"<body><main>{chr(10).join(body)}</main></body></html>\n"
    )


def _latencies(results: Results, table: Sequence[Row], folder: Path) -> tuple[list[tuple[str, Floats]], list[str]]:
    """Of each variant all requests of the measured part, all seeds together; and why some are not there."""
    import numpy as np

    from vagus.cli.openloop.log import read_log

    found, missing = [], []
    for row in table:
        parts = [np.zeros(0)]
        for run in row.runs:
            try:
                path = (folder / run.log).resolve()
                if not run.log or folder.resolve() not in path.parents:
                    raise ConfigError(f"{run.variant}, seed {run.seed}: no log within the folder is named")
                log = read_log(path)
            except ConfigError as error:
                missing.append(str(error))
                continue
            chosen = (log.scheduled_s >= 0) & (log.scheduled_s < results.plan.run_s)
            parts.append(log.latency_s[chosen])
        found.append((row.name, np.concatenate(parts)))
    return found, missing


def _setting(results: Results) -> str:
    plan = results.plan
    begun = sorted(run.begun for run in results.runs)
    what = [
        counted(len(plan.services), "service"),
        counted(len(plan.requests), "type") + " of requests",
        f"{plan.rate_hz:g} requests/s on average, along {plan.trace}",
        f"SLO {1000 * plan.slo_s:g} ms",
        f"{counted(len(results.seeds), 'seed')}, {span(plan.run_s)} each",
        f"injections: {plan.inject or 'none'}",
        *([begun[0][:16].replace("T", " ")] if begun else []),
    ]
    return f'<p class="dim">{escape(" · ".join(what))}</p>'


def _verdict(said: Verdict, missing: Sequence[str]) -> str:
    parts = [f"<p><strong>{escape(said.headline)}</strong></p>"]
    if said.aims:
        aims = " &nbsp; ".join(
            f'<span class="{"yes" if won else "no"}">{escape(name)}</span>' for name, won in said.aims
        )
        parts.append(f"<p>Fewer SLO violations than every baseline, at no more requested CPU: {aims}</p>")
    if said.duels:
        heads = ("policy", "SLO violations", "requested CPU", "how it comes out")
        lines = "".join(map(_duel, said.duels))
        parts.append(_wide("One against another", heads, lines, ' class="duels"'))
    losses = said.losses or (("Nowhere, by these figures.",) if said.aims else ())
    doubts = [*said.doubts, *(f"Left out of the figures of latency: {why}" for why in missing[:5])]
    for title, told in (("Where contenders lose", losses), ("Also", said.points), ("Doubts", doubts)):
        if told:
            parts.append(f"<h3>{title}</h3><ul>{''.join(f'<li>{escape(line)}</li>' for line in told)}</ul>")
    return f'<section class="box" id="verdict" aria-label="Verdict">{"".join(parts)}</section>'


def _duel(pair: Versus) -> str:
    def cell(values: tuple[float, float] | None, form: Callable[[float], str], unit: str, less: int) -> str:
        if values is None:
            return "<td>–</td>"
        seeds = f"<small>less in {less} of {pair.seeds} seeds</small>" if pair.seeds > 1 else ""
        return f"<td>{form(values[0])} : {form(values[1])} {unit}{seeds}</td>"

    style = "yes" if pair.wins else "no" if pair.word.startswith("loses") else ""
    return (
        f'<tr><th scope="row">{escape(pair.ours.name)}<small>against {escape(pair.theirs.name)}</small></th>'
        f"{cell(pair.violations, percent, '%', pair.fewer)}{cell(pair.requested, cores, 'cores', pair.cheaper)}"
        f'<td class="words"><span class="{style}">{escape(pair.word)}</span></td></tr>'
    )


def _wide(name: str, heads: Sequence[str], lines: str, more: str = "") -> str:
    """A table that scrolls by itself where it is too wide."""
    head = "".join(f'<th scope="col">{text}</th>' for text in heads)
    return (
        f'<div class="wide" role="region" aria-label="{escape(name)}" tabindex="0"><table{more}><thead><tr>{head}</tr></thead>'
        f"<tbody>{lines}</tbody></table></div>"
    )


def _table(table: Sequence[Row]) -> str:
    heads = [f"{escape(m.title)}{f'<small>{escape(m.unit)}</small>' if m.unit else ''}" for m in MEASURES]
    tops = {m.key: best(table, m) for m in MEASURES}
    lines = []
    for row in table:
        cells = []
        for m in MEASURES:
            text = escape(shown(row, m))
            text = f"<b>{text}</b>" if row.name in tops[m.key] else text
            between = spread(row, m)
            if m.key == "mitigation" and row.values["mitigation"].mean is not None:
                count = seen(row.runs)
                between = f"{count.mitigated} of {count.broke} in time; {count.happened} in all"
            cells.append(f"<td>{text}{f'<small>{escape(between)}</small>' if between else ''}</td>")
        note = f"<small>{row.failed} not valid</small>" if row.failed else ""
        lines.append(f'<tr><th scope="row">{escape(row.name)}{note}</th>{"".join(cells)}</tr>')
    return (
        '<p class="dim">Means over seeds, with the smallest and the largest below. Underlined: the best of those that limit '
        "anything. Mitigation: the median of the injections that broke the SLO, how many of them were over before the injection "
        "was, and how many injections there were.</p>"
        + _wide("Figures of merit", ("policy", *heads), "".join(lines), ' id="merit"')
    )


def _definitions(results: Results) -> str:
    plan = results.plan
    found = "".join(f"<dt>{escape(m.title)}</dt><dd>{escape(m.what)}</dd>" for m in MEASURES)
    return (
        f"<h2>What is measured, and how</h2><p>Each run deploys the application anew, warms up for {plan.warm_s:g} s at the "
        f"mean rate, and measures for {plan.run_s:g} s. All policies of a seed get the same requests at the same times and "
        f"the same injections. A request is given up after {plan.given_up_s:g} s; a window is of the last "
        f"{plan.window_s:g} s. Where a service has several replicas, an injection hits the first of them.</p>"
        f"<dl>{found}</dl>"
    )


def _every_run(results: Results) -> str:
    heads = ["policy", "seed", "requests", "failed", *(escape(m.title) for m in MEASURES), "machine busy", "notes"]
    place = {variant.name: n for n, variant in enumerate(results.plan.variants)}
    lines = []
    for run in sorted(results.runs, key=lambda run: (run.seed, place.get(run.variant, len(place)))):
        cells = "".join(f"<td>{'–' if (number := m.of(run)) is None else m.form(number)}</td>" for m in MEASURES)
        busy = "–" if run.machine_ratio is None else f"{100 * run.machine_ratio:.0f} %"
        said = "; ".join(filter(None, [run.error and f"not valid: {run.error}", *run.notes, _guarded(run)]))
        lines.append(
            f'<tr><th scope="row">{escape(run.variant)}</th><td>{run.seed}</td><td>{run.requests}</td><td>{run.failed}</td>'
            f'{cells}<td>{busy}</td><td class="words">{escape(said)}</td></tr>'
        )
    return '<h2>Every run</h2><p class="dim">Units as above.</p>' + _wide(
        "Every run", heads, "".join(lines), ' class="dense"'
    )


def _guarded(run: Run) -> str:
    notes = ", ".join(f"{count} × {note}" for note, count in sorted(run.steps.notes.items(), key=lambda n: -n[1])[:3])
    return "; ".join(
        filter(None, [run.steps.rung and f"at its end on the rung {run.steps.rung}", notes and f"guard: {notes}"])
    )


def _injections(results: Results) -> str:
    runs = [run for run in results.runs if run.injected and not run.error]
    if not runs:
        return ""
    lines = [_hit(run, number, hit) for run in runs for number, hit in enumerate(run.injected, 1)]
    heads = (
        "policy",
        "seed",
        "no.",
        "type",
        "service",
        "from",
        "to",
        "showed after",
        "by",
        "limit raised",
        "mitigated in",
    )
    table = _wide("Every injection", heads, "".join(lines), ' class="dense"')
    return f"<details><summary>Every injection</summary>{table}</details>"


def _hit(run: Run, number: int, hit: Injected) -> str:
    def after(moment: float | None) -> str:
        return "–" if moment is None else f"{moment - hit.begin_s:.1f} s"

    took = mitigation_s(hit)
    mitigated = "–" if took is None else f"{'' if hit.mitigated_s is not None else 'over '}{took:.1f} s"
    cells = (
        *(
            str(run.seed),
            str(number),
            f"{hit.type} {hit.intensity}",
            hit.service,
            f"{hit.begin_s:.1f}",
            f"{hit.end_s:.1f}",
        ),
        *(
            after(hit.detected_s),
            hit.detected_by or (hit.why if hit.why != "done" else "–"),
            after(hit.raised_s),
            mitigated,
        ),
    )
    return f'<tr><th scope="row">{escape(run.variant)}</th>{"".join(f"<td>{escape(c)}</td>" for c in cells)}</tr>'


def _about(results: Results) -> str:
    import msgspec

    plan = results.plan
    begun = sorted(run.begun for run in results.runs)
    facts = {
        **results.machine,
        "application": f"{plan.application}: {', '.join(plan.services)}",
        "one replica only": ", ".join(plan.fixed),
        "requests": ", ".join(plan.requests),
        "trace": f"{plan.trace} from {plan.offset_s:g} s on, scaled to {plan.rate_hz:g} requests/s",
        "injections": plan.inject or "none",
        "seeds": ", ".join(map(str, results.seeds)),
        "runs": f"{begun[0]} to {begun[-1]}" if begun else "none",
    }
    lines = "".join(f'<tr><th scope="row">{escape(k)}</th><td>{escape(v)}</td></tr>' for k, v in facts.items() if v)
    variants = "\n".join(msgspec.json.encode(variant).decode() for variant in plan.variants)
    return (
        f'<h2>Setting</h2><div class="wide"><table class="facts"><tbody>{lines}</tbody></table></div>'
        f"<h3>Made again by</h3><pre>{escape(results.command)}</pre>"
        f"<details><summary>How each policy is set up</summary><pre>{escape(variants)}</pre></details>"
    )
