"""Fluent's forward protocol: every form of a message, times, flattening, bounds, the handshake."""

import gzip
import hashlib
import struct

import msgpack
import pytest

from vagus.errors import ConfigError
from vagus.inputs import forward, names
from vagus.inputs.forward_auth import Handshake
from vagus.model import Level

NOW = 1_700_000_000 * 10**9
STAMP = msgpack.ExtType(0, struct.pack(">II", 1_600_000_000, 250))
RECORD = {"msg": "hello", "n": 7, "ok": True, "nothing": None, "k8s": {"pod": {"name": "p"}}, "tags": ["a", 1]}


def read(message, bad=None):
    unpacker = forward.unpacker()
    unpacker.feed(message if isinstance(message, bytes) else msgpack.packb(message))
    made = forward.read_message(next(unpacker))
    problems = [] if bad is None else bad
    found = [event for batch in forward.read_events(made, "n1", NOW, problems) for event in batch]
    assert bad is not None or problems == []
    return made, found


def packed(count):
    return b"".join(msgpack.packb([STAMP, {"i": i}]) for i in range(count))


@pytest.mark.parametrize(
    ("message", "count"),
    [
        (["app.log", STAMP, RECORD], 1),
        (["app.log", 1_600_000_000, RECORD, {"chunk": "c"}], 1),
        (["app.log", [[STAMP, RECORD], [STAMP, {}]], {"chunk": "c", "size": 2}], 2),
        (["app.log", packed(1200)], 1200),
        (["app.log", packed(3), {"chunk": "c"}], 3),
        (["app.log", gzip.compress(packed(2)) + gzip.compress(packed(3)), {"compressed": "gzip", "chunk": "c"}], 5),
    ],
)
def test_every_form(message, count):
    made, events = read(message)
    assert made.chunk == ("c" if isinstance(message[-1], dict) and "chunk" in message[-1] else "")
    assert len(events) == count
    assert {(e.event, e.node, e.source) for e in events} == {("app.log", "n1", "forward")}
    assert events[0].t_ns // 10**9 == 1_600_000_000


def test_binaries_sent_as_text_as_fluentd_does():
    body = gzip.compress(packed(4))
    raw = b"\x93\xa3tag\xdb" + struct.pack(">I", len(body)) + body + msgpack.packb({"compressed": "gzip"})
    assert len(read(raw)[1]) == 4


def test_records_are_flat_and_typed():
    (event,) = read(["kube.var-log", STAMP, {**RECORD, "level": "WARN", b"raw": b"\xff!"}])[1]
    assert (event.event, event.level, event.t_ns) == ("kube.var_log", Level.WARNING, 1_600_000_000 * 10**9 + 250)
    assert event.fields == {
        "tag": "kube.var-log",
        "msg": "hello",
        "n": 7,
        "ok": True,
        "k8s.pod.name": "p",
        "tags": '["a",1]',
        "level": "WARN",
        "raw": "\ufffd!",
    }


def test_a_record_is_bounded():
    wide = {f"f{i}": i for i in range(500)}
    (event,) = read(["t", STAMP, {**wide, "long": "x" * 100_000}])[1]
    assert len(event.fields) == names.MAX_EVENT_FIELDS
    assert event.fields["fields_dropped"] == 501 - (names.MAX_EVENT_FIELDS - 1)
    (event,) = read(["t", STAMP, {"long": "x" * 100_000, "big": 2**64 - 1}])[1]
    assert len(event.fields["long"]) == names.MAX_TEXT
    deep: dict = {"v": 1}
    for _ in range(50):
        deep = {"d": deep}
    (event,) = read(["t", STAMP, deep])[1]
    assert list(event.fields) == ["d.d.d.d.d.d"]


def test_times():
    (event,) = read(["t", 1_600_000_000.5, {}])[1]
    assert event.t_ns == 1_600_000_000_500_000_000
    (event,) = read(["t", [[[STAMP, {"meta": 1}], {"a": 1}]]])[1]  # fluent-bit's second format
    assert (event.t_ns % 1000, event.fields) == (250, {"a": 1})


def test_an_entry_that_is_none_costs_only_itself():
    bad = []
    _, events = read(["t", [[STAMP, {"a": 1}], [STAMP, 5], 7, ["x", {}], [-1, {}], [2**60, {}], [STAMP, {}]]], bad)
    assert len(events) == 2
    assert len(bad) == 5
    assert bad[0] == "entry 2: an entry is [time, record], got list"


@pytest.mark.parametrize(
    ("message", "error"),
    [
        ({"a": 1}, "a message is"),
        (["t"], "a message is"),
        ([7, STAMP, {}], "a tag is text"),
        (["t", STAMP], "entries are"),
        (["t", [], 7], "an option is a map"),
        (["t", b"", {"compressed": "zstd"}], "only gzip"),
        (["t", b"xx", {"compressed": "gzip"}], "not gzip"),
        (["t", gzip.compress(packed(3))[:-9], {"compressed": "gzip"}], "end before their end"),
        (["t", packed(3)[:-1]], "end in the middle of entry 3"),
        (["t", packed(1) + b"\xc1"], "entry 2 is not MessagePack"),
        (["t", msgpack.packb([msgpack.ExtType(5, b"x"), {}])], "extension type 5"),
    ],
)
def test_what_is_wrong_with_a_message(message, error):
    with pytest.raises(ConfigError, match=error):
        read(message)


@pytest.mark.says("limit-forward")
def test_a_small_message_may_not_hold_a_large_one(monkeypatch):
    monkeypatch.setattr(forward, "MAX_INFLATED_BYTES", 10_000)
    with pytest.raises(ConfigError, match="more than 10000 bytes"):
        read(["t", gzip.compress(packed(5000)), {"compressed": "gzip"}])
    monkeypatch.setattr(forward, "MAX_ENTRIES", 10)
    with pytest.raises(ConfigError, match="at most 10 entries"):
        read(["t", packed(11)])


def test_both_sides_of_the_handshake_know_the_key():
    def digest(*parts):
        return hashlib.sha512(b"".join(parts)).hexdigest()

    server = Handshake(b"secret", "n1", b"nonce")
    assert msgpack.unpackb(server.hello)[0] == "HELO"
    good = ["PING", "client", "salt", digest(b"salt", b"client", b"nonce", b"secret"), "", ""]
    known, pong = server.answer(good)
    assert known
    assert msgpack.unpackb(pong) == ["PONG", True, "", "n1", digest(b"salt", b"n1", b"nonce", b"secret")]
    known, pong = server.answer([*good[:3], digest(b"salt", b"client", b"nonce", b"other"), "", ""])
    assert (known, msgpack.unpackb(pong)[1]) == (False, False)
    for ping in (["t", STAMP, {}], ["PING", 1, 2, 3, 4, 5], None):
        with pytest.raises(ConfigError):
            server.answer(ping)
