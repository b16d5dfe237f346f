"""Each view as blocks of lines; the lines behind the first are its evidence. What is wrong comes first and has a word. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from rich.text import Text

from vagus.cli.output import counted, quantity, span
from vagus.cli.top.lines import amount, clock, curve, fit, folded, row, status, text, widest
from vagus.cli.top.told import Group, Limit, Subject
from vagus.cli.top.view_nodes import gone_of, is_ill, nodes

if TYPE_CHECKING:
    from vagus.cli.top.lines import Block
    from vagus.cli.top.state import State

MAX_CURVE = 20
MAX_NAME = 24


def health(state: State, width: int) -> list[Block]:
    """Subjects that are not healthy, the worst first, each with contexts, accusers, and who says what."""
    about = state.sections.get("verdicts")
    if about is None:
        return []
    name_width = widest((one.subject for one in about.subjects), 40)
    found = [_subject(one, state.t_ms, name_width, width) for one in about.subjects]
    if about.unshown:
        found.append([text(f"and {about.unshown} more that are not healthy: `vagus health` lists all")])
    said = [row(status(name), str(count)) for name, count in about.counts.items() if name != "HEALTHY"]
    if about.counts:
        said.append(row(status("HEALTHY"), str(about.counts.get("HEALTHY", 0))))
    if about.left_off:
        said.append(text(f"{about.left_off} left off"))
    return [*found, *([[row(*said)]] if said else [])]


def _subject(one: Subject, now_ms: int, name_width: int, width: int) -> Block:
    block = [row(fit(status(one.status), 15), fit(text(one.subject, "bold"), name_width), _age(one.t_ms, now_ms))]
    for context in one.contexts:
        accusers = f"accused by {', '.join(context.accusers)}" if context.accusers else ""
        block.append(
            row("   ", text(context.context), status(context.status), quantity(context.score), text(accusers, "dim"))
        )
    said = ", ".join(f"{cell.observer} {cell.status} {_age(cell.t_ms, now_ms)}".strip() for cell in one.cells)
    left = f" and {one.cells_left} more" if one.cells_left else ""
    return [*block, *(folded(f"said: {said}{left}", width, 4, "dim") if said else [])]


def _age(t_ms: int, now_ms: int) -> str:
    return f"{span(max(0, now_ms - t_ms) / 1000)} ago" if t_ms and now_ms else ""


def feeds(state: State, width: int) -> list[Block]:
    """Feeds, those that fail first, with what is wrong."""
    about = state.sections.get("feeds")
    if about is None:
        return []
    name_width = widest((one.name for one in about.feeds), MAX_NAME)
    found: list[Block] = []
    for one in about.feeds:
        wrong = bool(one.error or one.failing_count)
        word = text("FAILING" if wrong else "ok", "red" if wrong else "green")
        where = f"{one.locations - one.failing_count} of {counted(one.locations, 'location')} well"
        codes = " ".join(f"{code} {count}" for code, count in one.codes.items())
        line = row(fit(word, 7), fit(text(one.name, "bold"), name_width), f"at {one.node}", one.schedule, where, codes)
        block = [line, *(folded(one.error, width, 4, "red") if one.error else [])]
        for location, why in one.failing:
            block += folded(f"{location}: {why}", width, 4, "red")
        if one.failing_count > len(one.failing):
            block.append(text(f"    and {one.failing_count - len(one.failing)} more"))
        found.append(block)
    return [*found, *([[text(f"and {about.left_off} more: `vagus page` shows more")]] if about.left_off else [])]


def decisions(state: State, width: int) -> list[Block]:
    """Groups with arms, rewards, and what is lost against the best arm."""
    about = state.sections.get("decisions")
    if about is None:
        return []
    name_width = widest((one.group or "–" for one in about.groups), MAX_NAME)
    found = [_group(one, name_width, width) for one in about.groups]
    more = about.known - len(about.groups)
    return [*found, *([[text(f"and {more} more of {counted(about.known, 'group')}")]] if more > 0 else [])]


def _group(one: Group, name_width: int, width: int) -> Block:
    known = [value for value in one.line if value is not None]
    drawn = curve(one.line, min(MAX_CURVE, len(one.line)), max(known, default=0.0), min(known, default=0.0))
    regret = f"regret {quantity(one.regret)}" if one.regret is not None else "regret unknown"
    head = row(
        fit(text(one.group or "–", "bold"), name_width),
        text(regret, "yellow" if one.regret else ""),
        counted(one.decisions, "decision"),
        f"mean reward {amount(one.mean, '')} of {one.rewards}" if one.rewards else "no reward yet",
        Text(drawn, style="cyan"),
        one.policy,
        f"leader {one.leader}" if one.leader else "",
    )
    arm_width = widest((arm.arm for arm in one.arms), MAX_NAME)
    arms = [
        row(
            *("   ", fit(arm.arm, arm_width), f"drawn {arm.drawn}"),
            f"p {arm.probability:.3g}" if arm.probability is not None else "",
            f"mean {amount(arm.mean, '')}" if arm.mean is not None else "",
        )
        for arm in one.arms
    ]
    return [head, *folded(one.note, width, 4, "yellow"), *arms]


def limits(state: State, width: int) -> list[Block]:
    """Receipts, the newest first."""
    about = state.sections.get("limits")
    if about is None:
        return []
    name_width = widest((one.target for one in about.receipts), MAX_NAME)
    found = [_receipt(one, name_width, width) for one in about.receipts]
    return [
        *found,
        *([[text(f"and {about.left_off} older: `vagus events --record receipt`")]] if about.left_off else []),
    ]


def _receipt(one: Limit, name_width: int, width: int) -> Block:
    word = text("ERROR", "red") if one.error else text("dry", "cyan") if one.dry else text("set", "green")
    asked = f"{_limit(one.before)} → {_limit(one.requested if one.dry or one.error else one.after)}"
    also = one.after is not None and one.after != one.requested and not one.dry and not one.error
    line = row(
        *(clock(one.t_ms), fit(word, 5), fit(text(one.target, "bold"), name_width), f"{one.resource} {asked}"),
        f"asked for {_limit(one.requested)}" if also else "",
        *(f"{one.controller}@{one.node}", one.reason, one.note),
    )
    return [line, *folded(one.error, width, 4, "red")]


def _limit(value: float | None) -> str:
    return "none" if value is None else quantity(value)


def trouble(state: State) -> dict[str, int]:
    """By view how much is wrong there: nodes, subjects, feeds, refused limits."""
    of: Mapping[str, Any] = state.sections
    ill = {one.node for one in of["nodes"].nodes if is_ill(one)} if "nodes" in of else set()
    bad = (
        [one for one in of["verdicts"].subjects if one.status not in ("HEALTHY", "PENDING")] if "verdicts" in of else []
    )
    failing = [one for one in of["feeds"].feeds if one.error or one.failing_count] if "feeds" in of else []
    refused = [one for one in of["limits"].receipts if one.error] if "limits" in of else []
    more = of["verdicts"].unshown if "verdicts" in of else 0
    return {
        "nodes": len(gone_of(state).keys() | ill),
        "health": len(bad) + more,
        "feeds": len(failing),
        "limits": len(refused),
    }


class View:
    """How a view is made: its section, blocks, what it says when there is nothing, and what other sections it shows."""

    def __init__(
        self, section: str, blocks: Callable[[State, int], list[Block]], empty: str, also: tuple[str, ...] = ()
    ) -> None:
        self.section = section
        self.blocks = blocks
        self.empty = empty
        self.also = also


MADE: Mapping[str, View] = {
    "nodes": View("nodes", nodes, "no node yet", ("signals",)),
    "health": View("verdicts", health, "no subject yet: `vagus report` adds one"),
    "feeds": View("feeds", feeds, "no feed is declared: `vagus feed` has examples"),
    "decisions": View("decisions", decisions, "no decision of late: `vagus decide` asks for one"),
    "limits": View("limits", limits, "no limit was changed in the last hour"),
}
