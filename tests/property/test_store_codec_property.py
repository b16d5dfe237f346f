"""Blocks and head records give back every bit; the store agrees with a dict whatever is done to it."""

from __future__ import annotations

import struct
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vagus.clock import NS, ManualClock
from vagus.errors import StoreError
from vagus.model import DTYPES, Field, Stream
from vagus.store import Store, head
from vagus.store.codec import Block, encode_block
from vagus.store.decoder import Decoder
from vagus.store.rows import Packed, cut, ordered, packer, row_dtype

Array = npt.NDArray[Any]
T0 = 1_700_000_000 * NS


@st.composite
def columns(draw: st.DrawFn, rows: int) -> Array:
    """Any bits, constants, decimals, random walks, counters, of every dtype."""
    dtype = np.dtype(draw(st.sampled_from(list(DTYPES.values()))))
    shape = draw(st.sampled_from(["bits", "constant", "decimals", "walk", "few"]))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    if shape == "bits":
        return draw(hnp.arrays(f"u{dtype.itemsize}", rows)).view(dtype)
    if shape == "constant":
        return np.full(rows, draw(hnp.arrays(f"u{dtype.itemsize}", 1)).view(dtype)[0])
    if shape == "decimals":
        return (np.round(rng.uniform(-1e4, 1e4, rows) * (dtype.kind != "u"), draw(st.integers(0, 6)))).astype(dtype)
    if shape == "walk":
        steps = rng.integers(0, 5000, rows)
        return np.cumsum(steps).astype(dtype) + dtype.type(draw(st.integers(0, 2**31 - 1)))
    specials = {"f": [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-45], "u": [0, 1, 2**32 - 1], "i": [0, -1, 2**31 - 1]}
    return rng.choice(np.array(specials[dtype.kind]).astype(dtype), rows)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Array, list[Array]]:
    rows = draw(st.one_of(st.integers(1, 8), st.integers(1, 700)))
    if draw(st.booleans()):
        t_ns = T0 + np.arange(rows) * draw(st.integers(1, 10**9))
    else:
        seed = draw(st.integers(0, 2**32 - 1))
        t_ns = np.cumsum(np.random.default_rng(seed).integers(1, draw(st.sampled_from([2, 10**6, 10**15])), rows))
    return t_ns, [draw(columns(rows)) for _ in range(draw(st.integers(1, 4)))]


@settings(deadline=None, max_examples=40)
@given(tables())
def test_a_block_gives_back_every_bit(table: tuple[Array, list[Array]]) -> None:
    t_ns, fields = table
    block = Block(encode_block(t_ns, fields))
    assert block.header == (len(fields), len(t_ns), t_ns[0], t_ns[-1])
    times, found = block.decode(range(len(fields)))
    assert times.tobytes() == t_ns.tobytes()
    for one, other in zip(fields, found, strict=True):
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    alone = block.decode([len(fields) - 1])[1][0]
    assert alone.tobytes() == fields[-1].tobytes()


@settings(deadline=None, max_examples=30)
@given(tables(), st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_never_goes_unseen(table: tuple[Array, list[Array]], at: int, change: int) -> None:
    t_ns, fields = table
    good = encode_block(t_ns, fields)
    bad = bytearray(good)
    bad[at % len(good)] ^= change
    with pytest.raises(StoreError):
        Block(bytes(bad)).decode(range(len(fields)))
    with pytest.raises(StoreError):
        Block(good[: at % len(good)]).decode(range(len(fields)))


def test_what_is_no_block_is_refused() -> None:
    one = np.array([1], np.int64)
    for t_ns, fields in (
        (one[:0], [one[:0]]),
        (one, [one[:0]]),
        (np.array([2, 1]), [np.zeros(2)]),
        (np.array([1, 1]), [np.zeros(2)]),
        (one, [np.array([1], np.int16)]),
        (one, [np.array(["x"])]),
    ):
        with pytest.raises(StoreError):
            encode_block(t_ns, fields)


ROW = st.tuples(st.integers(0, 40), st.integers(0, 2**64 - 1), st.floats(width=32, allow_nan=False))
STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(0, 2), ROW),
    st.tuples(st.just("extend"), st.integers(0, 2), st.lists(ROW, min_size=1, max_size=5), st.booleans()),
    st.sampled_from([("flush",), ("seal",), ("sync",), ("reopen",)]),
)
STREAMS = [Stream("a", f"s{i}", (Field("n", "", "u8"), Field("x", "", "f4"))) for i in range(3)]


@settings(deadline=None, max_examples=30)
@given(st.lists(STEP, max_size=25), st.integers(0, 45), st.integers(0, 45), st.integers(0, 5))
def test_the_store_is_a_dict_of_rows(steps: list[Any], start: int, end: int, limit: int) -> None:
    expected: list[dict[int, tuple[int, float]]] = [{}, {}, {}]
    clock = ManualClock(T0)
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(Path(folder), clock=clock)
        ids = [store.declare(stream) for stream in STREAMS]
        for step in steps:
            if step[0] == "append":
                t, n, x = step[2]
                store.append(ids[step[1]], T0 + t, [n, x])
                expected[step[1]][t] = (n, x)
            elif step[0] == "extend":
                repeat = 30 if step[3] else 1  # many rows go straight into blocks
                rows = step[2] * repeat
                t_ns = T0 + np.array([row[0] for row in rows])
                store.extend(
                    ids[step[1]],
                    t_ns,
                    (np.array([row[1] for row in rows], np.uint64), np.array([row[2] for row in rows], np.float32)),
                )
                expected[step[1]].update({t: (n, x) for t, n, x in rows})
            elif step[0] == "reopen":
                store.close()
                store = Store.open(Path(folder), clock=clock)
                assert [store.declare(stream) for stream in STREAMS] == ids
            else:
                getattr(store, step[0])()
        store.flush()
        with store:
            check(store, expected, 0, 10**6, 0)
            check(store, expected, start, end, limit)
            assert store.verify() == []
            store.seal()
            check(store, expected, start, end, limit)
            assert [s.samples for s in store.sensors()] == [len(rows) for rows in expected]


def check(store: Store, expected: list[dict[int, tuple[int, float]]], start: int, end: int, limit: int) -> None:
    found = {batch.stream.kind: batch for batch in store.scan("*", T0 + start, T0 + end, limit)}
    for index, rows in enumerate(expected):
        picked = sorted(item for item in rows.items() if start <= item[0] < end)[-limit:]
        batch = found.pop(f"s{index}", None)
        assert (batch is None) == (not picked)
        if batch is not None:
            assert (batch.t_ns - T0).tolist() == [t for t, _ in picked]
            assert list(zip(batch.column("n").tolist(), batch.column("x").tolist(), strict=True)) == [
                row for _, row in picked
            ]
    assert found == {}


def encoded(encoder: head.Encoder, number: int, rows: list[Packed]) -> list[tuple[bytes, bytes]]:
    ids, times, packed = zip(*rows, strict=True)
    parts = encoder.encode(number, ids, times, packed, min(times), max(times))
    return [((number + place).to_bytes(8, "big"), part) for place, part in enumerate(parts)]


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2**32 - 1)), min_size=1, max_size=150),
    st.integers(1, 40),
    st.integers(0, 3),
)
def test_chains_of_head_records_give_back_every_bit(flushes: list[tuple[int, int]], streams: int, cut: int) -> None:
    """Flushes of three shapes in any order, some of which change a lot, read at once or in slices."""
    fields = (Field("x"), Field("n", "", "u8"), Field("small", "", "i4"))
    dtypes = {i: row_dtype(fields) for i in range(streams)}
    encoder, pack = head.Encoder(), packer(fields).pack
    entries: list[tuple[bytes, bytes]] = []
    expected: dict[int, list[tuple[int, float, int, int]]] = {i: [] for i in range(streams)}
    for k, (shape, seed) in enumerate(flushes):
        rng = np.random.default_rng(seed)
        ids = {0: list(range(streams)), 1: list(range(0, streams, 2)), 2: [0, 0, streams - 1]}[shape]
        rows = []
        for place, i in enumerate(ids):
            t_ns = T0 + k * NS + (place if shape == 2 else 0)
            x, n, small = float(rng.normal()) if seed % 3 else 0.5, int(rng.integers(0, 2**63)) * (seed % 2), k % 5
            rows.append((i, t_ns, pack(x, n, small)))
            expected[i].append((t_ns, x, n, small))
        entries += encoded(encoder, len(entries), rows)
        if seed % 11 == 0:
            encoder.forget()
    found = list(head.records(entries))
    assert found[-1].following == len(entries)
    decoder = Decoder(dtypes)
    step = [len(found), 1, 7, 50][cut]
    for start in range(0, len(found), step):
        decoder.feed(found[start : start + step])
    for i in decoder.ids:
        t_ns, columns = decoder.pop(i)
        assert list(zip(t_ns.tolist(), *(column.tolist() for column in columns), strict=True)) == expected.pop(i)
    assert not any(expected.values())


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.integers(0, 35), st.integers(0, 35))
def test_records_between_two_times_come_with_their_chains(times: list[int], start: int, end: int) -> None:
    encoder, pack = head.Encoder(), packer((Field("x"),)).pack
    entries: list[tuple[bytes, bytes]] = []
    for k, t in enumerate(times):
        entries += encoded(encoder, k, [(k % 2, T0 + t, pack(float(k)))])
    decoder = Decoder({i: row_dtype((Field("x"),)) for i in (0, 1)})
    decoder.feed(head.between(head.records(entries), T0 + start, T0 + end))
    found = {i: decoder.pop(i) for i in decoder.ids}
    for i in (0, 1):
        expected = [(T0 + t, float(k)) for k, t in enumerate(times) if k % 2 == i and start <= t < end]
        t_ns, (x,) = found.get(i, (np.empty(0), (np.empty(0),)))
        rows = [(t, value) for t, value in zip(t_ns.tolist(), x.tolist(), strict=True) if T0 + start <= t < T0 + end]
        assert rows == expected


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(0, 2)), min_size=1, max_size=200),
    st.integers(1, 6),
    st.integers(1, 32),
)
def test_the_newest_rows_are_found_without_reading_all(
    flushes: list[tuple[int, int, int]], limit: int, end: int
) -> None:
    """Short chains of three shapes, times in any order, some flushes with a time for each row."""
    encoder, pack = head.Encoder(), packer((Field("x"),)).pack
    entries: list[tuple[bytes, bytes]] = []
    expected: dict[int, dict[int, float]] = {0: {}, 1: {}, 2: {}}
    for k, (shape, t, spread) in enumerate(flushes):
        rows = [(i, T0 + t + place * spread, pack(float(k))) for place, i in enumerate([(0, 1), (1, 2), (2,)][shape])]
        for i, t_ns, _ in rows:
            expected[i][t_ns] = float(k)
        entries += encoded(encoder, k, rows)
        if k % 3 == 0:
            encoder.forget()
    found = head.between(head.records(entries), T0, T0 + end)
    decoder = Decoder({i: row_dtype((Field("x"),)) for i in range(3)})
    decoder.feed(head.newest(found, limit, T0 + end))
    rows_of = {i: cut(ordered(decoder.pop(i)), T0, T0 + end) for i in decoder.ids}
    for i, rows_expected in expected.items():
        t_ns, (x,) = rows_of.get(i, (np.empty(0), (np.empty(0),)))
        newest = sorted(item for item in rows_expected.items() if item[0] < T0 + end)[-limit:]
        assert list(zip(t_ns.tolist(), x.tolist(), strict=True))[-limit:] == newest


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10**9), st.integers(1, 255))
def test_a_changed_byte_of_the_head_never_goes_unseen(at: int, change: int) -> None:
    encoder, pack = head.Encoder(), packer((Field("x"),)).pack
    good = encoded(encoder, 0, [(i, T0, pack(i / 7)) for i in range(300)])
    assert len(good) > 1
    whole = b"".join(value for _, value in good)
    bad = bytearray(whole)
    bad[at % len(bad)] ^= change
    for broken in (bytes(bad), whole[: at % len(whole)]):
        entries = [
            (k.to_bytes(8, "big"), broken[s : s + head.PART]) for k, s in enumerate(range(0, len(whole), head.PART))
        ]
        decoder = Decoder({i: row_dtype((Field("x"),)) for i in range(300)})
        with pytest.raises(StoreError, match="damaged head record"):
            decoder.feed(head.records(entries))


def test_records_without_their_chain_or_streams_are_refused() -> None:
    fields = (Field("x"),)
    dtypes = {7: row_dtype(fields)}
    encoder, pack = head.Encoder(), packer(fields).pack
    first, second = (encoded(encoder, k, [(7, T0 + k, pack(0.5))])[0] for k in (0, 1))
    with pytest.raises(StoreError, match="the first of its chain is missing"):
        Decoder(dtypes).feed(head.records([second]))
    with pytest.raises(StoreError, match="never declared"):
        Decoder({}).feed(head.records([first]))


def test_records_of_version_1_are_read() -> None:
    """As the first vagus wrote them: every row whole, its time before it."""
    fields = (Field("x"), Field("n", "", "u8"))
    dtypes = {7: row_dtype(fields), 8: row_dtype(fields)}
    entries = []
    for k in range(3):
        rows = [struct.pack("<qdQ", T0 + k, i + k / 4, 2**60 + k) for i in (7, 8)]
        record = struct.pack("<BxxxIqqII", 1, 2, T0 + k, T0 + k, 7, 8) + b"".join(rows)
        entries.append((k.to_bytes(8, "big"), record))
    decoder = Decoder(dtypes)
    decoder.feed(head.records(entries))
    t_ns, (x, n) = decoder.pop(8)
    assert (t_ns.tolist(), x.tolist()) == ([T0, T0 + 1, T0 + 2], [8, 8.25, 8.5])
    assert n.tolist() == [2**60, 2**60 + 1, 2**60 + 2]
    for bad in (b"", entries[0][1][:10], entries[0][1][:-1], entries[0][1] + b"x", b"\x09" + entries[0][1][1:]):
        with pytest.raises(StoreError, match="damaged head record"):
            Decoder(dtypes).feed(head.records([(entries[0][0], bad)]))
