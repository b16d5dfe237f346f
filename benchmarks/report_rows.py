"""Of what benchmarks print: rows of one shape, their median and spread, a Markdown page and a figure. Pure."""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from statistics import median
from typing import Any, NamedTuple

from benchmarks.bars import Bar

LIMIT = re.compile(r"^\s*(<=|>=|≤|≥|<|>)\s*(-?[\d,]*\.?\d+(?:e[+-]?\d+)?)")
MOST = 60  # measures of one benchmark that are shown; all are in the results
WIDE, LINE, LEFT, RIGHT = 900, 24, 420, 150
STYLE = (
    "text{font:12px sans-serif;fill:#1f2328}.i{stroke:#1f2328}.b{fill:#0969da}.n{fill:none;stroke:#0969da;stroke-width:2}"
    "@media(prefers-color-scheme:dark){text{fill:#e6edf3}.i{stroke:#e6edf3}.b{fill:#58a6ff}.n{stroke:#58a6ff}}"
)


class Row(NamedTuple):
    """A measure over n rounds. value: the median; low, high: the least and the greatest; met: in every round."""

    name: str
    value: float
    unit: str
    low: float
    high: float
    n: int
    peer: str | None
    bar: str | None
    met: bool | None

    @property
    def ratio(self) -> float | None:
        """Value over bar; None where the bar is not a number above 0."""
        found = LIMIT.match(self.bar or "")
        limit = float(found[2].replace(",", "")) if found else 0.0
        return self.value / limit if limit > 0 else None


def plain(found: Any, bars: Sequence[Bar] = ()) -> list[dict[str, Any]]:
    """Rows of one run: from a list of rows, from a mapping with `rows`, or from numbers by name, at any depth.

    Of numbers by name, bars judge those on top; a list `bars` of the run, as `benchmarks.bars.judge` makes it, those that
    it names by part and measure, which may be the end of their path.
    """
    if isinstance(found, Mapping) and isinstance(found.get("rows"), list):
        found = found["rows"]
    if isinstance(found, list):
        named = [one for one in found if isinstance(one, Mapping) and "what" in one]
        return [_row(str(one["what"]), one) for one in named if _number(one.get("value"))]
    if not isinstance(found, Mapping):
        return []
    judged: dict[str, Mapping[str, Any]] = {}
    for bar in bars:
        if _number(value := found.get(bar.figure)):
            judged[bar.figure] = {"bar": bar.text, "met": bool(bar.holds(value, found))}
    own = found.get("bars")
    for row in own if isinstance(own, list) else ():
        judged[f"{row['part']}.{row['measure']}" if row.get("part") else row["measure"]] = row
    return [_row(name, {**_judged(judged, name), "value": value}) for name, value in _numbers(found)]


def _judged(judged: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    ends = (key for key in judged if "." in key and name.endswith(f".{key}"))
    return judged.get(name) or judged.get(next(ends, ""), {})


def _numbers(found: Mapping[str, Any], within: str = "") -> Iterator[tuple[str, float]]:
    for name, value in found.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{within}{name}.")
        elif _number(value):
            yield f"{within}{name}", value


def bars_of(name: str) -> list[Bar]:
    """The bars that a room keeps for the benchmark ROOM_PART."""
    room, _, part = name.partition("_")
    if room not in ("feeds", "health") or not part:
        return []
    found: Sequence[Bar] = importlib.import_module(f"benchmarks.{room}").BARS
    return [bar for bar in found if bar.part == part]


def over(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[Row]:
    """Each measure over all rounds that have it, in the order of the first."""
    by: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for rows in rounds:
        for row in rows:
            by.setdefault((row["what"], row["unit"]), []).append(row)
    made = []
    for (name, _), mine in by.items():
        values = [float(row["value"]) for row in mine]
        judged = [row["met"] for row in mine if row["met"] is not None]
        first = mine[0]
        made.append(
            Row(name, median(values), first["unit"], min(values), max(values), len(values), first["peer"], first["bar"],
                all(judged) if judged else None)
        )  # fmt: skip
    return made


def page(results: Mapping[str, Any], names: Sequence[str]) -> str:
    """docs/benchmarks.md. names: all benchmarks there are; those without results are said to have none."""
    machine, runs = results["machine"], results["runs"]
    judged = [row.met for name in names for row in over(runs.get(name, {}).get("rounds", ())) if row.met is not None]
    told = [
        "# What the benchmarks measured",
        "",
        "Made by `make bench` (`python -m benchmarks.report`) from [the results](benchmarks/results.json); do not edit.",
        f"Of {len(judged)} bars, {sum(judged)} are met and {judged.count(False)} are NOT MET.",
        "A value is the median of its rounds, beside it the least and the greatest; with one round there is no spread.",
        "Ratio: the value over its bar. The machine may have been shared: trust ratios more than times.",
        "Absolute bars were set where a loop of Python adds 26,000 numbers a CPU millisecond; a slower machine may miss them.",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {_cell(name)} | {_cell(value)} |" for name, value in machine.items()),
        "",
    ]
    if figure(results, names):
        told += ["![Each measure over its bar, on a logarithmic scale](benchmarks/bars.svg)", ""]
    for name in names:
        run = runs.get(name)
        if run is not None:
            told += _section(name, run)
    missing = [name for name in names if name not in runs]
    if missing:
        told += ["## Not run in this round", "", ", ".join(f"`{name}`" for name in missing), ""]
    return "\n".join(told)


def _section(name: str, run: Mapping[str, Any]) -> list[str]:
    told = [f"## {name}", "", f"`{run['command']}`, {run['date']}, commit {run['commit']}, {run['took_s']:.0f} s."]
    if "additions_ms" in run:
        told[-1] += f" A loop of Python then added {run['additions_ms']:,} numbers a CPU millisecond."
    told.append("")
    if run["problem"]:
        told += [f"NOT MEASURED in full: {_cell(run['problem'])}", ""]
    found = over(run["rounds"])
    rows = _shown(found)
    if rows:
        told += ["| measure | value | least to greatest | n | unit | bar | ratio | | peer |",
                 "|---|---:|---:|---:|---|---|---:|---|---|"]  # fmt: skip
    for row in rows:
        spread = f"{_figure(row.low)} to {_figure(row.high)}" if row.n > 1 else ""
        met = "" if row.met is None else "met" if row.met else "NOT MET"
        ratio = "" if row.ratio is None else _figure(row.ratio)
        told.append(
            f"| {_cell(row.name)} | {_figure(row.value)} | {spread} | {row.n} | {_cell(row.unit)} | {_cell(row.bar or '')} "
            f"| {ratio} | {met} | {_cell(row.peer or '')} |"
        )
    told += [""] if rows else []
    if len(rows) < len(found):
        told += [f"And {len(found) - len(rows):,} more, without bars, in the results.", ""]
    if figure_of({"runs": {name: run}}, name):
        told += [f"![{name}: each measure over its bar, or over its median](benchmarks/{name}.svg)", ""]
    return told


def figure(results: Mapping[str, Any], names: Sequence[str]) -> str:
    """An SVG: each judged measure of all benchmarks over its bar. "" for none."""
    found = [(f"{name}: {row.name}", row) for name in names for row in over(_rounds(results, name))]
    return _drawn("Each measure over its bar", [(label, row, row.ratio) for label, row in found if row.met is not None])


def figure_of(results: Mapping[str, Any], name: str) -> str:
    """An SVG: each measure of one benchmark over its bar; one without a bar over its median: its spread. "" for none."""
    rows = _shown(over(_rounds(results, name)))
    places = [(row.name, row, row.ratio or (1.0 if row.value > 0 and row.n > 1 else None)) for row in rows]
    return _drawn(f"{name}: each measure over its bar, or over its median where there is no bar", places)


def _shown(rows: Sequence[Row]) -> list[Row]:
    """All that have a bar, and the first of the others, in their order."""
    room = MOST - sum(row.met is not None for row in rows)
    free = [row for row in rows if row.met is None][: max(0, room)]
    kept = {id(row) for row in free}
    return [row for row in rows if row.met is not None or id(row) in kept]


def _rounds(results: Mapping[str, Any], name: str) -> Sequence[Sequence[Mapping[str, Any]]]:
    found: Sequence[Sequence[Mapping[str, Any]]] = results["runs"].get(name, {}).get("rounds", ())
    return found


def _drawn(title: str, places: Sequence[tuple[str, Row, float | None]]) -> str:
    """Bars from 1 to each ratio, filled where the bar is met, hollow and in words where not; a line is the spread."""
    rows = [(label, row, ratio) for label, row, ratio in places if ratio is not None and ratio > 0]
    if not rows:
        return ""
    ends = [ratio * end / row.value for _, row, ratio in rows for end in (row.low, row.value, row.high)]
    decades = [math.log10(end) for end in ends if end > 0]
    low, high = math.floor(min([-1.0, *decades])), math.ceil(max([1.0, *decades]))
    height = LINE * (len(rows) + 3)

    def x(ratio: float) -> float:
        return LEFT + (math.log10(max(ratio, 10.0**low)) - low) / (high - low) * (WIDE - LEFT - RIGHT)

    told = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDE} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{STYLE}</style>",
    ]
    for decade in range(low, high + 1):
        heavy = 1.5 if decade == 0 else 0.2
        told.append(
            f'<line class="i" stroke-width="{heavy}" x1="{x(10.0**decade):.1f}" x2="{x(10.0**decade):.1f}" y1="8" y2="{height - 2 * LINE}"/>'
            f'<text x="{x(10.0**decade):.1f}" y="{height - 1.3 * LINE:.0f}" text-anchor="middle">{10.0**decade:g}</text>'
        )
    for place, (label, row, ratio) in enumerate(rows):
        y, start = 8 + place * LINE, min(x(1), x(ratio))
        label = label if len(label) <= 62 else label[:61] + "…"
        told.append(
            f'<text x="{LEFT - 8}" y="{y + 16}" text-anchor="end">{escape(label)}</text>'
            f'<rect class="{"n" if row.met is False else "b"}" x="{start:.1f}" y="{y + 5}" height="14" width="{abs(x(ratio) - x(1)) + 1:.1f}"/>'
        )
        if row.low < row.high:
            lowest, highest = (x(ratio * end / row.value) for end in (row.low, row.high))
            told.append(f'<line class="i" x1="{lowest:.1f}" x2="{highest:.1f}" y1="{y + 12}" y2="{y + 12}"/>')
        if row.met is not None:
            met = "met" if row.met else "NOT MET"
            told.append(f'<text x="{WIDE - RIGHT + 12}" y="{y + 16}">{met} ({escape(row.bar or "")})</text>')
    said = "value over its bar, or over its median (no unit, logarithmic)"
    told.append(
        f'<text x="{x(10 ** ((low + high) / 2)):.0f}" y="{height - 6}" text-anchor="middle">{said}</text></svg>'
    )
    return "\n".join(told) + "\n"


def _row(name: str, told: Mapping[str, Any]) -> dict[str, Any]:
    bar, peer, met = told.get("bar"), told.get("peer"), told.get("met")
    return {
        "what": name,
        "value": told["value"],
        "unit": str(told.get("unit") or ""),
        "bar": None if bar is None else str(bar),
        "met": None if met is None else bool(met),
        "peer": None if peer is None else _figure(peer) if _number(peer) else str(peer),
    }


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _cell(text: Any) -> str:
    return str(text).replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
