"""NetLogger lines: what is written is read back, with its types; whatever bytes come, an event or a ConfigError."""

import math
import string
from itertools import pairwise

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from vagus.errors import ConfigError
from vagus.inputs.lines import Splitter, read_line
from vagus.model import MAX_T_NS, Event, Level
from vagus.netlogger import judged, write_cedps, write_ulm

QUICK = settings(deadline=None, max_examples=40)
OWN = {"DATE", "HOST", "PROG", "LVL", "NL.EVNT", "ts", "event", "level", "host", "prog"}
letters = string.ascii_letters + string.digits
names = st.builds(str.__add__, st.sampled_from(string.ascii_letters + "_"), st.text(letters + "_.:-", max_size=12))
confusing = st.sampled_from(
    ["", "7", "007", "-0", "1e5", "1.", "nan", "inf", "true", "a b", '"', "\\", "\\n", "\r\n", "="]
)
text = st.text(max_size=30) | confusing
scalars = (
    text
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | st.sampled_from([math.inf, -math.inf, 0.0, -0.0, 1e22, 5e-324])
)
events = st.builds(
    Event,
    t_ns=st.integers(0, MAX_T_NS - 1),
    event=st.text(min_size=1, max_size=20).filter(str.isprintable),
    node=text.filter(bool),
    level=st.sampled_from(list(Level)),
    source=text.filter(bool),
    fields=st.dictionaries(names.filter(lambda name: name not in OWN), scalars, max_size=6),
)


def same(found: Event, expected: Event) -> None:
    assert found == expected
    for name, value in expected.fields.items():
        assert type(found.fields[name]) is type(value)
        assert repr(found.fields[name]) == repr(value)


@QUICK
@given(events)
def test_ulm_reads_what_it_wrote(event):
    line = write_ulm(event).encode()
    assert b"\n" not in line
    same(read_line(line), event)


@QUICK
@given(events)
def test_cedps_reads_what_it_wrote(event):
    line = write_cedps(event).encode()
    assert b"\n" not in line
    same(read_line(line), msgspec.structs.replace(event, level=judged(event.event, event.level, event.fields)))


pieces = st.sampled_from(
    [
        b"DATE=20020329210355.443568",
        b"HOST=h",
        b"PROG=p",
        b"ts=2006-12-08T18:48:27Z",
        b"event=x",
        b"A=",
        b'B="',
        b" ",
        b"=",
    ]
)


@QUICK
@given(st.lists(pieces | st.binary(max_size=12), max_size=12))
def test_any_bytes_are_an_event_or_an_error(parts):
    for line in (b" ".join(parts), b"".join(parts)):
        try:
            event = read_line(line)
        except ConfigError:
            continue
        assert isinstance(event, Event)


@QUICK
@example([bytes(21)], [])
@given(st.lists(st.binary(max_size=30), max_size=20), st.lists(st.integers(0, 700), max_size=20))
def test_a_stream_is_cut_the_same_however_it_arrives(lines, cuts):
    data = b"\n".join(lines)
    whole, pieces = Splitter(20), Splitter(20)
    expected = [*whole.feed(data), *whole.end()]
    edges = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    found = [line for a, b in pairwise(edges) for line in pieces.feed(data[a:b])]
    assert [*found, *pieces.end()] == expected
    assert pieces.oversize == whole.oversize
    assert all(0 < len(line) <= 20 for line in expected)
