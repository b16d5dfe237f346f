"""A trace for people: a tree of its spans with what each took, the critical path marked, and who held it up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vagus.cli.output import cell, clock_time, counted, table

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.gateway.traces import TraceView

MARK = "●"  # on the critical path
MOST_NAMED = 5
DEEPEST = 40  # levels that are drawn; of those below them their number is told


def took(ns: int) -> str:
    """A duration with three significant digits: 950 ns, 12.3 µs, 4.56 ms, 1.23 s."""
    for size, unit in ((1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")):
        if abs(ns) >= size * 0.9995:  # what is rounded up to it
            value = ns / size
            return f"{value:.3g} {unit}" if abs(value) < 999.5 else f"{value:.0f} {unit}"
    return f"{ns} ns"


def on_path(view: TraceView) -> dict[int, int]:
    """Of each span on the critical path how long it held the request up itself; 0: those in it did."""
    held = dict.fromkeys((stretch.span for stretch in view.critical), 0)
    for stretch in view.critical:
        held[stretch.span] += stretch.end_ns - stretch.begin_ns
    for place in list(held):
        above = view.parents[place]
        while above >= 0 and above not in held:
            held[above] = 0
            above = view.parents[above]
    return held


def branches(view: TraceView) -> list[str]:
    """What is drawn in front of each span, so that a list of them reads as a tree."""
    last = {parent: place for place, parent in enumerate(view.parents)}
    prefix: list[str] = []
    depth: list[int] = []
    lines: list[str] = []
    for place, parent in enumerate(view.parents):
        if parent < 0:
            lines.append("")
            prefix.append("")
            depth.append(0)
        else:
            ends, deep = last[parent] == place, depth[parent] + 1
            depth.append(deep)
            branch = "└─ " if ends else "├─ "
            lines.append(prefix[parent] + (branch if deep <= DEEPEST else f"{branch}[{deep}] "))
            below = "   " if ends else "│  "
            prefix.append(prefix[parent] + below if deep < DEEPEST else prefix[parent])
    return lines


def title_of(view: TraceView) -> str:
    """The request in a line."""
    root = view.spans[view.root]
    errors = sum(span.error for span in view.spans)
    parts = [counted(len(view.spans), "span"), *([counted(errors, "error")] if errors else [])]
    return f"{root.service} {root.operation}  {took(view.latency_ns)}  {', '.join(parts)}"


def shares(view: TraceView) -> Iterator[tuple[str, int]]:
    """Components by how long they held the request up, the longest first."""
    yield from sorted(view.critical_ns.items(), key=lambda item: (-item[1], item[0]))


def render_trace(view: TraceView, to: Console, only_path: bool = False) -> None:
    """The tree as a table; only_path: without the spans that held nothing up."""
    root = view.spans[view.root]
    to.print(cell(title_of(view), "bold"), soft_wrap=True)
    to.print(cell(f"trace {view.trace_id}  {clock_time(root.start_ns)}", "dim"), soft_wrap=True)
    held = on_path(view)
    rows: list[tuple[Any, ...]] = []
    for place, (span, branch) in enumerate(zip(view.spans, branches(view), strict=True)):
        critical = place in held
        if only_path and not critical:
            continue
        style = "red" if span.error else "bold" if critical else "dim"
        behind = f"{'  FAILED' if span.error else ''}{'  (not waited for)' if span.follows else ''}"
        rows.append(
            (
                cell(MARK if critical else "", "yellow"),
                cell(f"{branch}{span.service} {span.operation}{behind}", style),
                span.component if span.component != span.service else "",
                f"{'+' if span.start_ns >= root.start_ns else ''}{took(span.start_ns - root.start_ns)}",
                took(span.duration_ns),
                took(held[place]) if held.get(place) else "",
            )
        )
    columns = ("", "operation", "component", "begins", "took", "on path")
    table(to, columns, rows, ("begins", "took", "on path"), {"operation": 40, "component": 20}, spare=("component",))
    whole = max(1, view.latency_ns)
    named = [f"{name} {took(ns)} ({ns / whole:.0%})" for name, ns in shares(view)]
    more = f", and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
    to.print(cell(f"held up by {', '.join(named[:MOST_NAMED])}{more}"), soft_wrap=True)
    if view.lost:
        lost = f"{counted(len(view.lost), 'parent')} did not come: {', '.join(view.lost[:3])}"
        to.print(cell(lost, "yellow"), soft_wrap=True)
