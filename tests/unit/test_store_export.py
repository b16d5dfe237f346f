"""Batches as CSV, JSON, MessagePack and Arrow, each read back with its own reader."""

from __future__ import annotations

import csv
import io
import json
import math

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.model import Field, Stream
from vagus.store import Batch
from vagus.store.export import from_msgpack, to_arrow, to_csv, to_json, to_msgpack

T0 = 1_700_000_000 * NS
BIG = 2**64 - 1
CPU = Batch(
    Stream("a", "host.cpu", (Field("user"), Field("ticks", "", "u8", counter=True)), {"cpu": "0"}),
    T0 + np.array([0, 1, 3]) * NS,
    (np.array([0.1, math.nan, math.inf]), np.array([1, BIG, 3], np.uint64)),
)
LOAD = Batch(
    Stream("a", "host.load", (Field("one", dtype="f4"),)), T0 + np.array([1, 2]) * NS, (np.array([0.1, 2], np.float32),)
)
USER, TICKS, ONE = 'host.cpu.user{cpu="0",node="a"}', 'host.cpu.ticks{cpu="0",node="a"}', 'host.load.one{node="a"}'


def test_csv_has_a_row_for_each_time_and_a_column_for_each_series() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv([CPU, LOAD]))))
    assert rows == [
        {"time": "2023-11-14T22:13:20.000Z", USER: "0.1", TICKS: "1", ONE: ""},
        {"time": "2023-11-14T22:13:21.000Z", USER: "", TICKS: str(BIG), ONE: "0.1"},
        {"time": "2023-11-14T22:13:22.000Z", USER: "", TICKS: "", ONE: "2.0"},
        {"time": "2023-11-14T22:13:23.000Z", USER: "inf", TICKS: "3", ONE: ""},
    ]
    odd = Batch(LOAD.stream, LOAD.t_ns + 1, LOAD.columns)
    assert to_csv([odd]).splitlines()[1] == "2023-11-14T22:13:21.000000001Z,0.1"
    assert to_csv([]) == "time\n"


def test_one_series_in_two_batches_is_one_column() -> None:
    later = Batch(LOAD.stream, LOAD.t_ns + NS, (np.array([7, 8], np.float32),))
    rows = list(csv.reader(io.StringIO(to_csv([LOAD, later]))))
    assert [row[1] for row in rows] == [ONE, "0.1", "7.0", "8.0"]


def test_json_keeps_integers_and_says_null_for_nan() -> None:
    found = json.loads(to_json([CPU, LOAD]))
    assert found[0]["columns"] == {"user": [0.1, None, None], "ticks": [1, BIG, 3]}
    assert found[0]["t_ns"] == CPU.t_ns.tolist()
    assert found[0]["stream"]["kind"] == "host.cpu"
    assert found[0]["stream"]["labels"] == {"cpu": "0"}
    assert json.loads(to_json([])) == []


def test_msgpack_is_exact_and_needs_no_numpy() -> None:
    data = to_msgpack([CPU, LOAD])
    for batch, again in zip((CPU, LOAD), from_msgpack(data), strict=True):
        assert again.stream == batch.stream
        assert again.t_ns.tobytes() == batch.t_ns.tobytes()
        for one, other in zip(batch.columns, again.columns, strict=True):
            assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
    version, batches = msgspec.msgpack.decode(data)
    assert version == 1
    assert batches[0][2][1] == ["u8", CPU.columns[1].tobytes()]


def test_wrong_msgpack_is_refused() -> None:
    good = msgspec.msgpack.decode(to_msgpack([LOAD]))
    stream, t_ns, columns = good[1][0]
    for bad in (
        b"",
        b"\xc1",
        b"[]",
        msgspec.msgpack.encode([2, []]),
        msgspec.msgpack.encode([1, [[stream, t_ns[:-1], columns]]]),
        msgspec.msgpack.encode([1, [[stream, t_ns[:-8], columns]]]),
        msgspec.msgpack.encode([1, [[stream, t_ns, []]]]),
        msgspec.msgpack.encode([1, [[stream, t_ns, [["f8", columns[0][1]]]]]]),
        msgspec.msgpack.encode([1, [[["a", "no kind!", [], {}], t_ns, columns]]]),
    ):
        with pytest.raises(ConfigError):
            from_msgpack(bad)


def test_arrow_is_wide_and_typed() -> None:
    table = pa.ipc.open_stream(to_arrow([CPU, LOAD])).read_all()
    assert table.schema.field("time").type == pa.timestamp("ns", tz="UTC")
    assert table.schema.field(TICKS).type == pa.uint64()
    assert table.schema.field(ONE).type == pa.float32()
    assert table["time"].cast(pa.int64()).to_pylist() == [T0 + k * NS for k in range(4)]
    assert table[USER].to_pylist() == [0.1, None, None, math.inf]
    assert table[TICKS].to_pylist() == [1, BIG, None, 3]
    assert pa.ipc.open_stream(to_arrow([])).read_all().num_rows == 0
