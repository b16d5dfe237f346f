"""Parsers of records as straight Python code, made once from the declaration.

The code only takes the ways on which all is well; whatever else happens goes back to the reader that defines the type
(layout.py, keyed.py), so both must agree on everything that is accepted here: a property test compares them. What a
user wrote (keys, texts, bounds, functions) is bound to names, never written into the source.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from vagus.feeds.formats.compounds import Constrained, Optional, failing
from vagus.feeds.formats.lists import List, quick_list
from vagus.feeds.formats.types import BOOLS, Bool, Float, Int, Node, Reader, Str, broken, trimmed
from vagus.feeds.item import Data, Descriptor

if TYPE_CHECKING:
    from vagus.feeds.formats.keyed import Keyed, Separator
    from vagus.feeds.formats.layout import Build, Layout, Slot

FEW = 16  # up to so many keys are found by one search; for more, all lines are gone through
IN_NUMBERS = frozenset(b"0123456789+-._eEnaNAifIFtyTY")


class Code:
    """Lines of source, and the values that its names stand for."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.names: dict[str, Any] = {}

    def bind(self, value: Any) -> str:
        name = f"c{len(self.names)}"
        self.names[name] = value
        return name

    def add(self, indent: int, *lines: str) -> None:
        self.lines += ["    " * indent + line for line in lines]

    def made(self, header: str, what: str) -> Any:
        """The function, whose source begins with this line."""
        text = "\n".join([header, *self.lines, ""])
        exec(compile(text, f"<parser of {what}>", "exec"), self.names)  # noqa: S102 - no text of a user is in it
        return self.names["read"]


def quick(node: Node[Any]) -> bool:
    """Whether `value_of` knows this type."""
    if isinstance(node, (Constrained, Optional)):
        return quick(node.node)
    if isinstance(node, Int):
        return node.base == 10 and node.width is None
    if isinstance(node, Float):
        return node.width is None
    if isinstance(node, Str):
        return node.open and node.encoding == "utf-8"
    return isinstance(node, Bool) or (isinstance(node, List) and quick_list(node) is not None)


def value_of(code: Code, indent: int, node: Node[Any], name: str, otherwise: str, tests: str = "") -> None:
    """Code that makes `name` of the bytes `w`, which have no blanks around them, or does `otherwise`."""
    if isinstance(node, Optional):
        code.add(indent, f"if not w or w == {code.bind(node.none.encode())}:", f"    {name} = None", "else:")
        return value_of(code, indent + 1, node.node, name, otherwise, tests)
    if isinstance(node, Constrained):
        fails = code.bind(failing(node.check))
        return value_of(code, indent, node.node, name, otherwise, f" and not {fails}(v){tests}")
    low: float
    high: float
    if isinstance(node, Int):
        low, high = node.bounds
        test = "w.isdigit() and len(w) < 19"  # below 10^19, not negative
        if low > 0 or high < 10**18:
            test += f" and {code.bind(low)} <= (v := int(w)) <= {code.bind(high)}"
        else:
            test += " and (v := int(w)) >= 0"
    elif isinstance(node, Float):
        low, high = node.bounds
        code.add(indent, "try:", "    v = float(w)", "except ValueError:", "    v = nan")
        test = f'{code.bind(low)} <= v <= {code.bind(high)} and b"_" not in w'
        code.names["nan"] = float("nan")
    elif isinstance(node, Str):
        code.add(indent, "try:", '    v = str(w, "utf-8")', "except UnicodeDecodeError:", "    v = None")
        test = "v is not None"
    else:
        made: Any = BOOLS.get if isinstance(node, Bool) else None
        if isinstance(node, List):
            made = quick_list(node)
        code.add(indent, f"v = {code.bind(made)}(w)")
        test = "v is not None"
    code.add(indent, f"if {test}{tests}:", f"    {name} = v", "else:", f"    {otherwise}")
    return None


def record_of(code: Code, build: Build, values: list[str]) -> str:
    """The expression that makes the record."""
    if build.struct is not None:
        return f"{code.bind(build.struct)}({', '.join(values)})"
    pairs = [f"{code.bind(name)}: {value}" for name, value in zip(build.names, values, strict=True)]
    return f"{{{', '.join(pairs)}}}"


def finished(code: Code, build: Build, end: str) -> None:
    if build.check is not None:
        code.add(1, f"if {code.bind(failing(build.check))}(record):", "    return defined(body, start, end)")
    code.add(1, f"return record, {end}, None")


def layout_reader(layout: Layout, defined: Reader, whole: bool) -> Reader:
    """A positional record's reader, or filler (whole); `defined` is the one that says what is right."""
    if layout.blanks:
        return defined
    code = Code()
    code.names["defined"] = defined
    back = "return defined(body, start, end)"
    code.add(1, "p = start")
    if layout.head:
        head = layout.head.encode()
        code.add(1, f"if not body.startswith({code.bind(head)}, p, end):", f"    {back}", f"p += {len(head)}")
    for place, slot in enumerate(layout.slots):
        _positional(code, slot, f"v{place}", back, whole and place == len(layout.slots) - 1)
    if whole:
        code.add(1, "if p != end:", f"    {back}")
    values = [f"v{place}" for place in range(len(layout.slots))]
    code.add(1, f"record = {record_of(code, layout.build, values)}")
    finished(code, layout.build, "p")
    read: Reader = code.made("def read(body, start, end):", "a layout")
    return read


def _positional(code: Code, slot: Slot, name: str, back: str, last: bool) -> None:
    node, after = slot.node, slot.after.encode()
    plain = node
    while isinstance(plain, (Constrained, Optional)):
        plain = plain.node
    text = isinstance(plain, Str)  # blanks around it are its own
    fast = quick(node) and not (text and isinstance(node, Optional))
    # a number goes as far as it can; only where its text cannot be part of it, that is up to there
    apart = after[0] not in IN_NUMBERS if after else last
    up_to = node.open or (fast and node is plain and apart)
    if up_to:
        if after:
            code.add(1, f"q = body.find({code.bind(after)}, p, end)", "if q < 0:", f"    {back}")
        else:
            code.add(1, "q = end")
        if fast:
            code.add(1, "w = body[p:q]" + ("" if text else ".strip()"))
            value_of(code, 1, node, name, back)
        else:
            code.add(1, f"{name}, _, wrong = {code.bind(node.filler())}(body, p, q)", "if wrong is not None:")
            code.add(2, back)
        code.add(1, f"p = q + {len(after)}")
        return
    code.add(1, f"{name}, p, wrong = {code.bind(node.reader())}(body, p, end)")
    if after:
        code.add(1, f"if wrong is not None or not body.startswith({code.bind(after)}, p, end):", f"    {back}")
        code.add(1, f"p += {len(after)}")
    else:
        code.add(1, "if wrong is not None:", f"    {back}")


def entries_reader(keyed: Keyed, mark: Separator, defined: Reader) -> Reader:
    """The reader of a record of entries; `defined` is the one that says what is right.

    One search finds all lines with a declared key, so that the others cost next to nothing. For many keys, all lines
    are gone through.
    """
    few = len(keyed.slots) <= FEW
    if not few and not mark.text:
        return defined
    code = Code()
    keys = [slot.key.encode() for slot in keyed.slots]
    code.names["defined"] = defined
    back = "return defined(body, start, end)"
    if few:
        ends = rb"[ \t]*" + re.escape(mark.text) if mark.text else rb"[ \t]"
        found = re.compile(rb"\n(" + b"|".join(map(re.escape, keys)) + rb")" + ends + rb"([^\n]*)").findall
        code.add(1, f'pairs = {code.bind(found)}(b"\\n" + body[start:end])', "found = dict(pairs)")
        code.add(1, "if not pairs or len(found) < len(pairs):", f"    {back}")
    else:
        code.add(1, "found = {}", 'for line in body[start:end].split(b"\\n"):')
        code.add(2, f"k, s, w = line.partition({code.bind(mark.text)})", 'k = k.rstrip(b" \\t")')
        code.add(2, f"if s and k in {code.bind(frozenset(keys))}:")
        code.add(3, "if k in found:", f"    {back}", "found[k] = w")
        code.add(1, "if not found:", f"    {back}")
    code.add(1, "take, bad = found.get, []")
    for place, (slot, key) in enumerate(zip(keyed.slots, keys, strict=True)):
        name, odd = f"v{place}", code.bind(odd_entry(slot, key, mark))
        otherwise = f"{name} = {odd}(body, start, end, bad)" if few else back
        code.add(1, f"w = take({code.bind(key)})", "if w is not None:")
        if quick(slot.node):
            code.add(2, "w = w.strip()")
            value_of(code, 2, slot.node, name, otherwise)
        else:
            code.add(2, "w = w.strip()", f"{name}, _, wrong = {code.bind(slot.node.filler())}(w, 0, len(w))")
            code.add(2, "if wrong is not None:", f"    {otherwise}")
        absent = "None" if isinstance(slot.node, Optional) else f"{code.bind(absent_entry(slot))}(start, bad)"
        code.add(1, "else:", f"    {name} = {absent}" if few or isinstance(slot.node, Optional) else f"    {back}")
    values = ", ".join(f"v{place}" for place in range(len(keyed.slots)))
    finish = code.bind(keyed.build.finisher())
    code.names["finished"] = _finished
    code.add(1, "if bad:", f"    return finished({finish}, [{values}], start, end, bad)")
    code.add(1, f"record = {record_of(code, keyed.build, values.split(', '))}")
    finished(code, keyed.build, "end")
    read: Reader = code.made("def read(body, start, end):", "entries")
    return read


def _finished(finish: Any, values: list[Any], start: int, end: int, bad: list[tuple[str, Descriptor]]) -> Any:
    value, wrong = finish(values, start, end, sum(one.errors for _, one in bad), bad, "", False)
    return value, end, wrong


def odd_entry(slot: Slot, key: bytes, mark: Separator) -> Callable[[bytes, int, int, list[Any]], Any]:
    """What reads an entry that is broken, which needs its place; its key stands there exactly once."""
    fill, name, begin = slot.node.filler(), slot.name, b"\n" + key
    ends = rb"[ \t]*" + re.escape(mark.text) if mark.text else rb"[ \t]"
    match = re.compile(re.escape(begin) + ends + rb"([^\n]*)").match

    def odd(body: bytes, start: int, end: int, bad: list[Any]) -> Any:
        text, at, found = b"\n" + body[start:end], -1, None
        while found is None:  # other keys may begin with this one
            at = text.index(begin, at + 1)
            found = match(text, at)
        left, right = trimmed(text, *found.span(1))
        value, _, wrong = fill(body, start - 1 + left, start - 1 + right)
        if wrong is not None:
            bad.append((name, wrong))
        return value

    return odd


def absent_entry(slot: Slot) -> Callable[[int, list[Any]], None]:
    def absent(start: int, bad: list[Any]) -> None:
        bad.append((slot.name, broken(Data.SYNTAX, start, start, "missing")))

    return absent


def twice(wrong: Descriptor | None, start: int, end: int) -> Descriptor:
    """What is wrong with a value whose key stands there again, beside what else is wrong with it."""
    if wrong is None:
        return broken(Data.SEMANTIC, start, end, "its key stands there more than once")
    return Descriptor(wrong.state, wrong.errors + 1, wrong.code, start, end, wrong.inside, wrong.note)
