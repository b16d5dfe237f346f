"""Accumulating in parts and merging is accumulating the whole; XML of any value is read back as it was."""

from __future__ import annotations

import base64
import io
import xml.etree.ElementTree as ElementTree
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.feeds import Data, Descriptor, Item, Meta, Net, Shape, State
from vagus.feeds.tools.accum_report import report, xml_of
from vagus.feeds.tools.accumulator import Accumulator
from vagus.feeds.tools.xml import END, XmlWriter, head

FAST = settings(max_examples=30, deadline=None)
TEXT = st.text(st.characters(codec=None, categories=["L", "N", "P", "Z", "C", "S"]), max_size=8)
NAMES = st.text(st.characters(categories=["L", "N", "P", "Z", "S"]), max_size=8)  # what an attribute can say
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), 1 << 64),
    st.floats(allow_nan=False, allow_infinity=False),
    TEXT,
    st.binary(max_size=5),
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
numbers = st.fixed_dictionaries(
    {"a": st.integers(-5, 5) | st.floats(allow_nan=False, allow_infinity=False), "b": st.sampled_from(["x", "y", None])}
)
WRONG = Descriptor(State.PARTIAL, 1, Data.SYNTAX)
SHAPE = Shape("record", "R", (("a", Shape("float")), ("b", Shape("string"))))


@st.composite
def items(draw: st.DrawFn) -> tuple[Item[Any], Descriptor | None]:
    net = draw(st.sampled_from([Net.OK, Net.OK, Net.OK, Net.TIMEOUT, Net.NOT_MODIFIED]))
    value = draw(numbers) if net is Net.OK else None
    errors = draw(st.integers(0, 2)) if net is Net.OK else 0
    part = draw(st.sampled_from(["a", "b"]))
    descriptor = Descriptor(State.PARTIAL, errors, Data.NESTED, inside=((part, WRONG),)) if errors else None
    code = Data.NESTED if errors else Data.GOOD if net is Net.OK else Data.NONE
    t_ns = draw(st.integers(0, 1000))
    return Item(Meta("f", "x", t_ns, t_ns, net, code, errors), value), draw(st.sampled_from([descriptor, None]))


def whole(taken: list[tuple[Item[Any], Descriptor | None]]) -> Accumulator:
    accum = Accumulator(SHAPE)
    for item, descriptor in taken:
        accum.take(item, descriptor)
    return accum


@FAST
@given(st.lists(items(), max_size=30), st.lists(st.integers(0, 30), max_size=4), st.randoms(use_true_random=False))
def test_feature_11_accumulating_in_parts_and_merging_is_the_whole(taken: Any, cuts: list[int], random: Any) -> None:
    edges = sorted({0, len(taken), *(min(cut, len(taken)) for cut in cuts)})
    parts = [whole(taken[start:end]) for start, end in pairwise(edges)]
    random.shuffle(parts)
    merged = Accumulator(SHAPE)
    for part in parts:
        merged.merge(part)
    found, wanted = report(merged), report(whole(taken))
    for one in (found, wanted):
        one["places"].sort(key=lambda place: place["path"])
    assert found == wanted
    ElementTree.fromstring(xml_of(found))


def back(element: ElementTree.Element) -> Any:
    """What an element says, as texts."""
    if element.get("nil"):
        return None
    if element.get("encoding") == "base64":
        body = base64.b64decode(element.text or "")
        return body.decode() if element.get("charset") else body
    if len(element):
        tags = {part.tag for part in element}
        if tags == {"element"} and not any(part.get("name") for part in element):
            return [back(part) for part in element]
        return {part.get("name") if part.tag == "field" else part.tag: back(part) for part in element}
    return element.text or ""


def told(value: Any) -> Any:
    """The same of a value."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return {key: told(part) for key, part in value.items()} or ""
    if isinstance(value, list):
        return [told(part) for part in value] or ""
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode() if not _encodable(value) else value
    return repr(value)


def _encodable(text: str) -> bool:
    try:
        return bool(text.encode()) or True
    except UnicodeEncodeError:
        return False


@FAST
@given(values, TEXT, TEXT)
def test_feature_11_xml_says_any_value_and_is_read_back(value: Any, location: str, note: str) -> None:
    meta = Meta("f", location, 1, 2, Net.OK, Data.GOOD, note=note)
    text = head(note) + XmlWriter(Shape("any")).item(Item(meta, value)) + END.decode()
    root = ElementTree.parse(io.BytesIO(text.encode())).getroot()
    [item] = root
    found = item.find("value")
    if value is None:
        assert found is None
    else:
        assert found is not None
        assert back(found) == told(value)
    msgspec.json.encode(item.attrib)
