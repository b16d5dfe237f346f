"""However an answer is cut into reads, the plain client sees the same; and no bytes make it raise."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.feeds.sources.http_wire import Answer, Connection


class Wire:
    """A transport, a pool and an asker in one, which note what they are told."""

    max_bytes = 1000

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        pass

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    def lost(self, connection: Connection) -> None:
        self.told.append("lost")

    def keep(self, connection: Connection) -> None:
        self.told.append("kept")

    def answered(self, answer: Answer, keep: Connection | None) -> None:
        self.told.append((answer.status, answer.reason, answer.fields, answer.body, answer.whole, keep is not None))

    def broken(self, why: str, heard: bool) -> None:
        self.told.append(("broken", heard))


def heard(chunks: list[bytes], closed: bool) -> list[Any]:
    wire = Wire()
    connection = Connection(wire, ("h", 80))
    connection.connection_made(wire)
    connection.send(wire, b"GET / HTTP/1.1\r\n\r\n")
    for chunk in chunks:
        if not wire.closed and chunk:
            connection.data_received(chunk)
    if closed or wire.closed:
        connection.connection_lost(None)
    return [told for told in wire.told if told != "lost"]


def cut(data: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


TOKEN = st.text("abcXYZ09-", min_size=1, max_size=8).map(str.encode)
HEADERS = st.dictionaries(st.sampled_from([b"ETag", b"X", b"Retry-After", b"Location"]), TOKEN, max_size=3)


@st.composite
def answers(draw: st.DrawFn) -> bytes:
    head = b"HTTP/1.1 %d Why\r\n" % draw(st.sampled_from([200, 204, 302, 304, 404, 500]))
    head += b"".join(b"%s: %s\r\n" % header for header in draw(HEADERS).items())
    body = draw(st.binary(max_size=60))
    framing = draw(st.sampled_from(["length", "chunked", "closed"]))
    if framing == "length":
        return head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    if framing == "closed":
        return head + b"\r\n" + body
    parts = cut(body, draw(st.lists(st.integers(0, 60), max_size=3)))
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part)
    return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


@settings(deadline=None, max_examples=40)
@given(answers(), st.lists(st.integers(0, 300), max_size=6))
def test_cuts_do_not_matter(data: bytes, places: list[int]) -> None:
    once = heard([data], True)
    assert len(once) == 1
    others = heard(cut(data, places), True)
    if once[0][0] == 302:  # decided as soon as the headers are here
        assert others[0][:3] == once[0][:3]
    else:
        assert [told[:5] for told in others] == [told[:5] for told in once]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.one_of(st.binary(max_size=200), answers()), max_size=6), st.booleans())
def test_no_bytes_make_it_raise_and_each_request_has_at_most_one_end(chunks: list[bytes], closed: bool) -> None:
    told = heard(chunks, closed)
    assert len(told) <= 1
    assert len(told) == 1 or not closed
