"""How one sample of a feed looks: its value shortly, and where its errors are, with the bytes around."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vagus.cli.output import byte_size, cell, counted
from vagus.feeds import Data, Descriptor, Shape
from vagus.feeds.location import shown as printable
from vagus.model import to_builtins

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from vagus.cli.feed_check import Checked
    from vagus.feeds import Item

MOST_FETCHES = 10
MOST_FIELDS = 12
GOOD_NET = ("ok", "not_modified")
MOST_FAULTS = 10
MOST_TEXT = 90
AROUND = 24  # bytes before and behind what is wrong


def faults(descriptor: Descriptor, path: str = "") -> Iterator[tuple[str, Descriptor]]:
    """The innermost parts that are not good, each with its path such as `load[1]`."""
    for key, part in descriptor.inside:
        yield from faults(part, f"{path}[{key}]" if isinstance(key, int) else f"{path}.{key}" if path else key)
    if not descriptor.inside and descriptor.code not in (Data.GOOD, Data.MAYBE, Data.NONE):
        yield path or "the whole", descriptor


def around(body: bytes, start: int, end: int) -> Text:
    """The bytes from start to end, marked, with some before and behind; what cannot be printed is escaped."""
    from rich.text import Text

    end = min(max(end, start), start + 2 * AROUND)
    before, inside, behind = body[max(0, start - AROUND) : start], body[start:end], body[end : end + AROUND]
    made = Text("…" if start > AROUND else "", style="dim")
    made.append(_printable(before), style="dim")
    made.append(f"⟪{_printable(inside)}⟫", style="bold red")
    made.append(_printable(behind) + ("…" if end + AROUND < len(body) else ""), style="dim")
    return made


def _printable(body: bytes) -> str:
    text = body.decode("utf-8", "replace")
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def render_checked(one: Checked, to: Console) -> None:
    """A feed: what it gives, whether its sources answer, a sample, what is wrong."""
    mark = cell("✓", "green") if one.ok else cell("✗", "red")
    tools = f"; tools: {', '.join(one.tools)}" if one.tools else ""
    to.print(mark, cell(one.name, "bold"), cell(f"{one.shape}{tools}", "dim"), soft_wrap=True)
    for problem in one.problems:
        to.print(cell(f"    {problem}", "red"), soft_wrap=True)
    for warning in one.warnings:
        to.print(cell(f"    {warning}", "yellow"), soft_wrap=True)
    shown = sorted(one.fetches, key=lambda fetch: fetch[1].net.value in GOOD_NET)[:MOST_FETCHES]
    for location, fetched, duration_s in shown:
        good = fetched.net.value in GOOD_NET
        told = f"{byte_size(len(fetched.body))} in {duration_s * 1e3:.0f} ms" if good else fetched.note
        to.print(
            cell("   "),
            cell(f"{fetched.net.value:<8}", "green" if good else "red"),
            cell(printable(location)),
            cell(told, "dim"),
            soft_wrap=True,
        )
    if len(one.fetches) > len(shown):
        good_ = sum(fetched.net.value in GOOD_NET for _, fetched, _ in one.fetches)
        to.print(cell(f"    {counted(len(one.fetches), 'location')} in all, {good_} answered", "dim"))
    if one.sample is not None:
        render_sample(one.sample.item, to)
    if one.broken is not None:
        render_faults(one.broken.item, one.bodies[id(one.broken)], one.broken.descriptor, to)


def render_sample(item: Item[Any], to: Console) -> None:
    """Where the sample is from, and its fields."""
    meta = item.meta
    to.print(cell(f"    sample of {meta.location}: {meta.data.value}", "dim"), soft_wrap=True)
    for name, value in _fields(item.value):
        to.print(cell(f"      {name}", "cyan"), cell(short(value)), soft_wrap=True)


def render_faults(item: Item[Any], body: bytes, descriptor: Descriptor | None, to: Console) -> None:
    """What could not be parsed: where, why, and the bytes around."""
    meta = item.meta
    found = list(faults(descriptor)) if descriptor is not None else []
    where = ":" if found else f"; where is not known{': ' if meta.note else ''}{meta.note}"
    to.print(cell(f"    {counted(meta.errors, 'error')} in {meta.location}{where}", "yellow"), soft_wrap=True)
    for path, fault in found[:MOST_FAULTS]:
        why = f" {fault.note}" if fault.note else ""
        to.print(cell(f"      {path}: {fault.code.value}{why}, byte {fault.start}: ", "yellow"), end="", soft_wrap=True)
        to.print(around(body, fault.start, fault.end), soft_wrap=True)
    if len(found) > MOST_FAULTS:
        to.print(cell(f"      and {len(found) - MOST_FAULTS} more"))


def shape_text(shape: Shape, depth: int = 2) -> str:
    """What values are like, as `list of record(host: string, status: int)`."""
    if shape.kind in ("list", "optional", "map") and shape.parts:
        inside = shape_text(shape.parts[0][1], depth)
        return f"{inside}?" if shape.kind == "optional" else f"{shape.kind} of {inside}"
    if not shape.parts:
        return f"{shape.kind} {shape.unit}".strip() if shape.unit else shape.kind
    if not depth:
        return shape.name or shape.kind
    parts = [f"{name}: {shape_text(part, depth - 1)}" for name, part in shape.parts]
    if shape.kind == "union":
        return " | ".join(name for name, _ in shape.parts)
    shown = parts if len(parts) <= MOST_FIELDS else [*parts[:MOST_FIELDS], f"… {len(parts)} fields"]
    return f"{shape.name or shape.kind}({', '.join(shown)})"


def _fields(value: Any) -> list[tuple[str, Any]]:
    """Name and value of the first parts."""
    plain = to_builtins(value)
    if isinstance(plain, dict):
        parts = [(str(name), part) for name, part in plain.items()]
    elif isinstance(plain, list):
        parts = [(f"[{i}]", part) for i, part in enumerate(plain[: MOST_FIELDS + 1])]
        if len(plain) > MOST_FIELDS:
            return [*parts[:MOST_FIELDS], ("…", f"{len(plain)} elements")]
    else:
        parts = [("value", plain)]
    return parts if len(parts) <= MOST_FIELDS else [*parts[:MOST_FIELDS], ("…", f"{len(parts)} fields")]


def short(value: Any) -> str:
    """A value on one line."""
    import json

    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= MOST_TEXT else text[: MOST_TEXT - 1] + "…"


def fault_record(path: str, fault: Descriptor, body: bytes) -> dict[str, Any]:
    """One error for programs."""
    return {
        "path": path,
        "code": fault.code.value,
        "why": fault.note,
        "start": fault.start,
        "end": fault.end,
        "bytes": body[max(0, fault.start - AROUND) : fault.end + AROUND].decode("utf-8", "replace"),
    }
