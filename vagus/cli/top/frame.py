"""The whole screen out of a state and a size: exactly as many lines as there are, none wider than it is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from rich.text import Text

from vagus.cli.output import counted
from vagus.cli.top.lines import clock, cut, folded, row, text
from vagus.cli.top.state import VIEWS
from vagus.cli.top.view_nodes import nodes_head
from vagus.cli.top.views import MADE, trouble

if TYPE_CHECKING:
    from vagus.cli.top.lines import Block
    from vagus.cli.top.state import State

KEYS = "1-6 or Tab views   / filter   j k scroll   ? help   q quit"
HELP = (
    "1 nodes  2 health  3 feeds  4 decisions  5 limits  6 all; Tab and Shift-Tab go round",
    "j k or arrows: a line; Space b or PgDn PgUp: a page; g G or Home End: to the ends",
    "/ words: only what contains them, Enter keeps them, Escape drops them; Ctrl-L draws anew",
    "(3!) beside a view: so many things are wrong there; q or Ctrl-C ends",
)


class Frame(NamedTuple):
    """Lines of the screen; page: how many of them scroll; deepest: the largest scroll of use."""

    lines: list[Text]
    page: int
    deepest: int


def draw(state: State, width: int, height: int) -> Frame:
    """The screen. width, height: in characters, at least 1."""
    width, height = max(1, width), max(1, height)
    top = [_title(state), _tabs(state, width)]
    foot = [*_lost(state, width, max(2, height // 4)), *(map(text, HELP) if state.helped else ()), _bottom(state)]
    head = nodes_head(state, width) if state.view == "nodes" and "nodes" in state.sections else None
    if head is not None and height > 8:
        top.append(Text.assemble(head, style="dim"))
    foot = foot[-max(1, height - len(top) - 1) :]
    page = max(0, height - len(top) - len(foot))
    blocks = whole(state, width, page) if state.view == "all" else _section(state, state.view, width)
    body = [line for block in blocks for line in block]
    deepest = max(0, len(body) - page)
    at = min(state.scroll, deepest)
    shown = body[at : at + page]
    shown += [text("")] * (page - len(shown))
    lines = [cut(line, width) for line in [*top, *shown, *foot]]
    return Frame(lines[:height], page, deepest)


def plain(state: State, width: int) -> list[Text]:
    """All of a view without a screen around it, for pipes and files."""
    if state.view == "all":
        blocks = whole(state, width, 0)
    else:
        head = [[nodes_head(state, width)]] if state.view == "nodes" and "nodes" in state.sections else []
        blocks = [*head, *_section(state, state.view, width)]
    found = [_title(state), *(line for block in blocks for line in block)]
    for line in found:
        line.rstrip()
    return [cut(line, width) for line in found]


def whole(state: State, width: int, room: int) -> list[Block]:
    """All sections under their names; room: the lines there are, shared so that each has some; 0: all of it."""
    names = list(MADE)
    parts = [_section(state, name, width, alone=False) for name in names]
    if room:
        parts = [[block[:1] for block in part] for part in parts]  # evidence is in the view
        heights = share([sum(map(len, part)) for part in parts], room - len(names))
        parts = [_short(part, most, name) for part, most, name in zip(parts, heights, names, strict=True)]
    wrong = trouble(state)
    found: list[Block] = []
    for name, part in zip(names, parts, strict=True):
        head = row(text(f"── {name}", "bold"), text(_wrong(wrong.get(name, 0)), "red"))
        found += [[head], *part]
    return found


def share(needs: Sequence[int], room: int) -> list[int]:
    """What each gets of the room: what it needs where that is no more than its part, else a fair part; at least 1."""
    given = [0] * len(needs)
    left, open_ = room, sorted(range(len(needs)), key=lambda at: needs[at])
    for count, at in enumerate(open_):
        given[at] = max(1, min(needs[at], left // (len(needs) - count)))
        left -= given[at]
    return given


def _short(part: list[Block], most: int, name: str) -> list[Block]:
    lines = [line for block in part for line in block]
    if len(lines) <= most or most < 2:
        return [lines[:most]]
    more = text(f"… {counted(len(lines) - most + 1, 'more line')}: key {VIEWS.index(name) + 1}", "dim")
    return [[*lines[: most - 1], more]]


def _section(state: State, name: str, width: int, alone: bool = True) -> list[Block]:
    made = MADE[name]
    about = state.sections.get(made.section)
    if about is None:
        return [[text("not told yet", "dim")]]
    blocks = made.blocks(state, width)
    if state.words:
        wanted = state.words.casefold()
        blocks = [block for block in blocks if any(wanted in line.plain.casefold() for line in block)]
    told = [about, *(state.sections[also] for also in made.also if also in state.sections)]
    notes: Block = []
    for error in dict.fromkeys(one.error for one in told if one.error):
        notes += folded(f"not newer: {error}", width, 0, "yellow")
    refused = dict.fromkeys(name for one in told for name in one.refused)
    if refused:
        notes += folded(f"not for this token: {', '.join(refused)}", width, 0, "yellow")
    if about.missing and name != "nodes" and alone:
        names = ", ".join(m.node for m in about.missing)
        notes += folded(f"without {counted(about.missing_count, 'node')}: {names}", width, 0, "yellow")
    if not blocks:
        blocks = [[text(f"nothing contains {state.words!r}" if state.words else made.empty, "dim")]]
    return [notes, *blocks] if notes else blocks


def _title(state: State) -> Text:
    hello = state.hello
    if not hello.node:
        return row(text("vagus top", "bold"), "no gateway heard yet")
    known = {*state.history, *(one.node for one in getattr(state.sections.get("nodes"), "nodes", ()))}
    return row(
        text("vagus top", "bold"),
        clock(state.t_ms),
        *(f"cluster {hello.cluster}", f"by way of {hello.node}", counted(len(known), "node")),
    )


def _tabs(state: State, width: int) -> Text:
    """Numbers and names of the views, shorter where it is narrow; that which is shown stands in brackets."""
    wrong, found = trouble(state), []
    for at, view in enumerate(VIEWS, 1):
        count, chosen = wrong.get(view, 0), view == state.view
        if width >= 80:
            label = f"{at} {view}{_wrong(count)}"
        else:
            label = f"{at} {view}" if chosen else f"{at}{'!' * bool(count)}"
        found.append(text(f"[{label}]" if chosen else f" {label} ", "reverse" if chosen else ""))
    return Text().join(found)


def _wrong(count: int) -> str:
    return f" ({count}!)" if count else ""


def _lost(state: State, width: int, most: int) -> list[Text]:
    if not state.lost:
        return []
    since = f", shown is {clock(state.t_ms)}" if state.t_ms else ""
    return folded(f"LOST{since}, asking again: {state.lost}", width, 0, "bold red", most)


def _bottom(state: State) -> Text:
    if state.typing:
        return text(f"/{state.words}_", "bold")
    if state.words:
        return row(text(f"only {state.words!r} (Escape: all)", "bold"), text(KEYS, "dim"))
    return text(KEYS, "dim")
