"""Blocks and head records give back every bit; the store agrees with a dict whatever is done to it."""

from __future__ import annotations

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


@settings(deadline=None, max_examples=100)
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


@settings(deadline=None, max_examples=60)
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


@settings(deadline=None, max_examples=50)
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


def test_a_damaged_head_record_is_refused() -> None:
    fields = (Field("x"), Field("n", "", "u8"))
    dtypes = {7: head.row_dtype(fields)}
    good = head.encode_record([7, 7], [T0, T0 + 1], [head.packer(fields)(T0 + k, 0.5, k) for k in range(2)])
    t_ns, (x, n) = head.decode_records([good], dtypes)[7]
    assert (t_ns.tolist(), x.tolist(), n.tolist()) == ([T0, T0 + 1], [0.5, 0.5], [0, 1])
    for bad in (b"", good[:10], good[:-1], good + b"x", b"\x09" + good[1:]):
        with pytest.raises(StoreError, match="damaged head record"):
            head.decode_records([bad], dtypes)
    with pytest.raises(StoreError, match="never declared"):
        head.decode_records([good], {})
