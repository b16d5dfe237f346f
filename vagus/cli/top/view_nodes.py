"""The nodes as blocks of lines: who is missing, what is lacking, each node with small curves of its signals. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from vagus.cli.output import counted
from vagus.cli.top.lines import amount, curve, fit, folded, row, text, widest
from vagus.cli.top.told import Node, Signal

if TYPE_CHECKING:
    from vagus.cli.top.lines import Block
    from vagus.cli.top.state import State

MAX_NAME = 24
VALUES = {"ratio": 6, "bytes/s": 10}  # characters of a value by its unit: 100 %, 1023 KiB/s
VALUE = 6
MAX_CURVE = 20
LEAST_CURVE = 3
TOLD = 24  # characters: 12 actors  3456 series


class Columns(NamedTuple):
    """Widths of `nodes`: names, values by signal, curves of all of them, which are 0 where there is no room."""

    name: int
    values: tuple[int, ...]
    curve: int


def columns(state: State, width: int) -> Columns:
    """As wide as fits; figures behind the signals go before the curves do."""
    names = widest(("node", *_names(state)), max(8, min(MAX_NAME, width // 5)))
    values = tuple(VALUES.get(signal.unit, VALUE) for signal in state.hello.signals)
    count = max(1, len(values))
    room = width - 9 - names - sum(values) - 3 * count
    drawn = (room - TOLD if room >= 8 * count + TOLD else room) // count
    return Columns(names, values, min(MAX_CURVE, drawn) if drawn >= LEAST_CURVE else 0)


def gone_of(state: State) -> dict[str, str]:
    """Nodes that do not answer, and why."""
    return {
        m.node: m.error for name in ("nodes", "signals") if name in state.sections for m in state.sections[name].missing
    }


def _names(state: State) -> list[str]:
    said = getattr(state.sections.get("nodes"), "nodes", ())
    return sorted({*state.history, *(one.node for one in said), *gone_of(state)})


def nodes(state: State, width: int) -> list[Block]:
    """What is lacking, who is missing, and each node with its signals: what is wrong first."""
    about, gone = state.sections.get("nodes"), gone_of(state)
    by_name: dict[str, Node] = {one.node: one for one in about.nodes} if about else {}
    wide = columns(state, width)
    tops = [_top(state, at, signal) for at, signal in enumerate(state.hello.signals)]
    found = []
    for name in _names(state):
        line = [fit(_word(name in gone, by_name.get(name)), 7), fit(text(name, "bold"), wide.name)]
        for at, signal in enumerate(state.hello.signals):
            lines = state.history.get(name, ())
            values = lines[at] if at < len(lines) else ()
            now = "–" if name in gone else amount(values[-1] if values else None, signal.unit)
            drawn = Text(curve(values, wide.curve, tops[at]), style="cyan")
            line.append(Text.assemble(drawn, " ", fit(now, wide.values[at], right=True)))
        block = [_with(row(*line), _told_of(by_name.get(name)), width)]
        if name in gone:
            block += folded(f"does not answer: {gone[name]}", width, 4, "yellow")
        block += _ills(by_name.get(name), width)
        found.append((name not in gone, not is_ill(by_name.get(name)), block))
    found.sort(key=lambda one: one[:2])  # stable: by name among those that are alike
    lacking = [
        [row(text("LACKING", "yellow"), text(one.what, "bold"), one.why), *folded(one.todo, width, 4)]
        for one in (about.lacking if about else ())
    ]
    return [*lacking, *(block for _, _, block in found)]


def nodes_head(state: State, width: int) -> Text:
    """Names over the columns of `nodes`."""
    wide = columns(state, width)
    titles = [
        fit(signal.title or signal.name, wide.curve + 1 + value, right=True)
        for signal, value in zip(state.hello.signals, wide.values, strict=True)
    ]
    return row(fit("state", 7), fit("node", wide.name), *titles)


def _top(state: State, at: int, signal: Signal) -> float:
    if signal.unit == "ratio":
        return 1.0
    every = (v for lines in state.history.values() if at < len(lines) for v in lines[at] if v is not None)
    return max(every, default=0.0)


def is_ill(node: Node | None) -> bool:
    return node is not None and (node.ill_count > 0 or node.error_count > 0)


def _word(gone: bool, node: Node | None) -> Text:
    if gone:
        return text("MISSING", "bold red")
    return text("WRONG", "red") if is_ill(node) else text("ok" if node else "", "green")


def _told_of(node: Node | None) -> list[str]:
    if node is None:
        return []
    found = [counted(node.actors, "actor"), f"{node.series} series"]
    return [*found, *([counted(node.restarts, "restart")] if node.restarts else [])]


def _ills(node: Node | None, width: int) -> Block:
    if node is None:
        return []
    found: Block = []
    for ill in node.ill:
        found += folded(f"{ill.name} is {ill.state}{': ' * bool(ill.error)}{ill.error}", width, 4, "red")
    for error in node.errors:
        found += folded(error, width, 4, "red")
    more = max(0, node.ill_count - len(node.ill)) + max(0, node.error_count - len(node.errors))
    return [*found, *([text(f"    and {more} more")] if more > 0 else [])]


def _with(line: Text, more: list[str], width: int) -> Text:
    """The line and as much more as there is room for."""
    for part in more:
        if cell_len(line.plain) + 2 + len(part) <= width:
            line = row(line, part)
    return line
