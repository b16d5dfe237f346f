"""The store: what goes in comes out, in order, through head, blocks and reopening; wrong input is refused clearly."""

from __future__ import annotations

import math
import pickle
from pathlib import Path

import numpy as np
import pytest

from vagus.clock import NS, ManualClock
from vagus.errors import ConfigError, StoreError
from vagus.model import Field, Stream
from vagus.store import Batch, Store

T0 = 1_700_000_000 * NS
CPU = Stream("a", "host.cpu", (Field("user", "ratio"), Field("ticks", "", "u8", counter=True)), {"cpu": "0"})
LOAD = Stream("a", "host.load", (Field("one"),))
BIG = 2**64 - 1


def fill(store: Store, stream: Stream = CPU, ticks: int = 10, start: int = 0) -> int:
    stream_id = store.declare(stream)
    for k in range(start, start + ticks):
        store.append(stream_id, T0 + k * NS, [k / 4, 2**60 + k][: len(stream.fields)])
    store.flush()
    return stream_id


def only(store: Store, selector: str = "*", *args: int, **options: int) -> Batch:
    (batch,) = store.scan(selector, *args, **options)
    return batch


def test_ticks_come_back_exactly_from_head_blocks_and_reopened(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s") as store:
        fill(store, ticks=600)  # enough to be sealed
        fill(store, ticks=100, start=600)
        assert store.stats()["blocks"] == 1
        assert store.stats()["head_ticks"] > 0
        batch = only(store)
    with Store.open(tmp_path / "s") as store:
        again = only(store)
        for found in (batch, again):
            assert found.stream == CPU
            assert found.t_ns.tolist() == [T0 + k * NS for k in range(700)]
            assert found.column("ticks").dtype == np.uint64
            assert found.column("ticks").tolist() == [2**60 + k for k in range(700)]
            assert found.values[:, 0].tolist() == [k / 4 for k in range(700)]
        assert store.verify() == []


def test_unsigned_and_signed_extremes_stay_exact(tmp_path: Path) -> None:
    fields = tuple(Field(name, "", name) for name in ("u8", "i8", "u4", "i4", "f4", "f8"))
    with Store.open(tmp_path) as store:
        stream_id = store.declare(Stream("a", "x", fields))
        low = [0, -(2**63), 0, -(2**31), -math.inf, math.nan]
        high = [BIG, 2**63 - 1, 2**32 - 1, 2**31 - 1, 0.1, 5e-324]
        store.append(stream_id, T0, low)
        store.append(stream_id, T0 + 1, high)
        for sealed in (False, True):
            if sealed:
                store.seal()
            store.flush()
            batch = only(store)
            assert batch.column("u8").tolist() == [0, BIG]
            assert batch.column("i8").tolist() == [-(2**63), 2**63 - 1]
            assert batch.column("u4").tolist() == [0, 2**32 - 1]
            assert batch.column("i4").tolist() == [-(2**31), 2**31 - 1]
            assert batch.column("f4").tolist() == [-math.inf, float(np.float32(0.1))]
            assert math.isnan(batch.column("f8")[0])
            assert batch.column("f8")[1] == 5e-324


def test_range_limit_and_field_selection(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        fill(store, ticks=650)
        fill(store, LOAD, ticks=20)
        assert only(store, "host.cpu", T0 + 3 * NS, T0 + 5 * NS).t_ns.tolist() == [T0 + 3 * NS, T0 + 4 * NS]
        assert only(store, "host.cpu", T0 + 599 * NS, T0 + 602 * NS).values[:, 0].tolist() == [149.75, 150.0, 150.25]
        newest = only(store, "host.cpu.ticks", limit=55)
        assert [f.name for f in newest.stream.fields] == ["ticks"]
        assert newest.column("ticks").tolist() == [2**60 + k for k in range(595, 650)]
        assert len(only(store, "host.cpu", limit=3)) == 3
        assert len(only(store, "host.cpu", 0, T0 + 100 * NS, limit=7)) == 7
        assert only(store, "host.cpu", 0, T0 + 100 * NS, limit=1).t_ns[0] == T0 + 99 * NS
        assert {b.stream.kind for b in store.scan("host.*")} == {"host.cpu", "host.load"}
        assert [b.stream.kind for b in store.scan('*{cpu="0"}')] == ["host.cpu"]
        assert list(store.scan("nothing.here")) == []
        assert list(store.scan("*", T0 + 9000 * NS)) == []
        assert list(store.scan("*", T0 + 5, T0 + 5)) == []
        with pytest.raises(ConfigError, match="selector"):
            store.scan("{")
        with pytest.raises(ConfigError, match="limit"):
            store.scan("*", limit=-1)


def test_a_clock_that_steps_back_keeps_all_rows_in_order(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        stream_id = store.declare(LOAD)
        for k in (5, 6, 7, 2, 3, 6):
            store.append(stream_id, T0 + k, [float(k * 10)])
            store.flush()
        assert ((only(store).t_ns - T0).tolist(), only(store).values[:, 0].tolist()) == (
            [2, 3, 5, 6, 7],
            [20, 30, 50, 60, 70],
        )
        store.append(stream_id, T0 + 6, [-1.0])
        store.seal()
        store.append(stream_id, T0 + 3, [-2.0])
        store.append(stream_id, T0 + 1, [-3.0])
        store.flush()
        for _ in range(2):
            assert (only(store).t_ns - T0).tolist() == [1, 2, 3, 5, 6, 7]
            assert only(store).values[:, 0].tolist() == [-3, 20, -2, 50, -1, 70]
            store.seal()
        assert store.verify() == []


def test_extend_takes_columns_and_a_later_arrival_wins(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        stream_id = store.declare(CPU)
        n = 40_000  # several blocks
        t_ns = T0 + np.arange(n) * NS
        ticks = np.arange(n, dtype=np.uint64) + np.uint64(2**63)
        store.extend(stream_id, t_ns, (np.arange(n) / 8, ticks))
        store.append(stream_id, int(t_ns[10]), [-1.0, 7])  # after the bulk: wins
        store.flush()
        assert store.stats()["blocks"] > 2
        assert only(store).column("ticks")[[9, 10, 11]].tolist() == [2**63 + 9, 7, 2**63 + 11]
        store.extend(stream_id, t_ns[:100], np.column_stack([np.zeros(100), np.arange(100.0)]))  # after the row: wins
        store.flush()
        batch = only(store)
        assert len(batch) == n
        assert batch.column("ticks")[:100].tolist() == list(range(100))
        assert batch.column("ticks")[100:].tolist() == ticks[100:].tolist()
        assert store.sensors()[0].samples == n
        assert store.verify() == []
        store.extend(stream_id, [], np.empty((0, 2)))


def test_a_backfill_lands_between_blocks(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        stream_id = store.declare(LOAD)
        even = np.arange(0, 40_000, 2)
        store.extend(stream_id, T0 + even, even[:, None] * 1.0)
        store.flush()
        odd = np.arange(1, 40_000, 2)
        store.extend(stream_id, T0 + odd[::-1], odd[::-1] * 1.0)
        store.flush()
        assert (only(store).t_ns - T0).tolist() == list(range(40_000))
        assert only(store).values[:, 0].tolist() == list(range(40_000))
        assert store.verify() == []


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([1.0], "2 fields, got 1 values"),
        ([1.0, 2, 3], "2 fields, got 3 values"),
        ([1.0, math.nan], "host.cpu.ticks is u8 and cannot hold nan"),
        ([1.0, 1.5], "cannot hold 1.5"),
        ([1.0, -1], "does not fit u8"),
        ([1.0, 2**64], "does not fit u8"),
        (["x", 1], "not a number"),
        ([None, 1], "not a number"),
        ([10**400, 1], "too large for f8"),
    ],
)
def test_wrong_rows_are_refused_and_nothing_else_is_lost(tmp_path: Path, values: list[float], says: str) -> None:
    with Store.open(tmp_path) as store:
        stream_id = store.declare(CPU)
        store.append(stream_id, T0, [1, 1.0])  # whole floats are integers
        with pytest.raises(ConfigError, match=says):
            store.append(stream_id, T0 + 1, values)
        store.flush()
        assert only(store).column("ticks").tolist() == [1]


def test_wrong_times_ids_and_columns_are_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        stream_id = store.declare(CPU)
        for t_ns in (-1, 253_402_300_800 * NS, 1.5, "now", True):
            with pytest.raises(ConfigError, match="t_ns"):
                store.append(stream_id, t_ns, [1.0, "1" if t_ns is True else 1])  # type: ignore[arg-type]
        for unknown in (stream_id + 1, -1, None):
            with pytest.raises(ConfigError, match="was not declared"):
                store.append(unknown, T0, [1.0, 1])  # type: ignore[arg-type]
        good = np.zeros((2, 2))
        for t_ns, values, says in (
            ([T0, T0 + 1], np.zeros((2, 3)), "2 fields"),
            ([T0], good, "2 columns of 1 rows"),
            ([0.5, 1.5], good, "t_ns"),
            ([-1, 5], good, "1970"),
            ([T0, T0 + 1], np.array([[0, math.nan], [0, 1]]), "cannot hold NaN"),
            ([T0, T0 + 1], np.array([[0, -1.0], [0, 1]]), "does not fit u8"),
            ([T0, T0 + 1], [["a", "b"], ["c", "d"]], "not numbers"),
            ([T0, T0 + 1], (np.zeros(2), np.zeros(3)), "2 columns of 2 rows"),
        ):
            with pytest.raises(ConfigError, match=says):
                store.extend(stream_id, t_ns, values)
        small = store.declare(Stream("a", "small", (Field("f", "", "f4"),)))
        with pytest.raises(ConfigError, match="too large for f4"):
            store.append(small, T0, [1e300])
        with pytest.raises(ConfigError, match="too large for f4"):
            store.extend(small, [T0], [[1e300]])
        store.flush()
        assert list(store.scan("*")) == []


def test_declare_is_idempotent_and_new_fields_are_a_new_id(tmp_path: Path) -> None:
    wider = Stream("a", "host.cpu", (*CPU.fields, Field("idle")), {"cpu": "0"})
    with Store.open(tmp_path) as store:
        first = fill(store, ticks=3)
        assert store.declare(CPU) == first
        second = store.declare(wider)
        assert second != first
        store.append(second, T0 + 9 * NS, [1.0, 2, 3.0])
        store.flush()
        assert [len(b.stream.fields) for b in store.scan("host.cpu")] == [2, 3]
    with Store.open(tmp_path) as store:
        assert (store.declare(wider), store.declare(CPU)) == (second, first)


def test_sensors_count_head_and_blocks(tmp_path: Path) -> None:
    clock = ManualClock(T0 + 660 * NS)
    with Store.open(tmp_path, clock=clock) as store:
        fill(store, ticks=650)
        fill(store, LOAD, ticks=5)
        store.declare(Stream("a", "never", (Field("x"),)))
        store.flush()
        found = {s.stream.kind: s for s in store.sensors()}
        cpu, load, never = found["host.cpu"], found["host.load"], found["never"]
        assert (cpu.first_ns, cpu.last_ns, cpu.samples, cpu.live) == (T0, T0 + 649 * NS, 650, True)
        assert (load.samples, load.live) == (5, False)
        assert (never.samples, never.live) == (0, False)
        assert [s.stream.kind for s in store.sensors("host.l*")] == ["host.load"]


def test_rates_of_counters_and_resets() -> None:
    stream = Stream("a", "net", (Field("rx", "bytes", "u8", counter=True), Field("up", "", "i4")))
    t_ns = T0 + np.array([0, 1, 3, 4]) * NS
    counter = np.array([BIG - 10, BIG, 4, 2**63], np.uint64)
    rates = Batch(stream, t_ns, (counter, np.arange(4, dtype=np.int32))).rate()
    assert rates.t_ns.tolist() == t_ns[1:].tolist()
    assert rates.column("rx")[0] == 10.0
    assert math.isnan(rates.column("rx")[1])
    assert rates.column("rx")[2] == float(2**63 - 4)
    assert rates.column("up").tolist() == [1, 2, 3]
    assert rates.stream.fields[0] == Field("rx", "bytes/s", "f8")
    assert len(Batch(stream, t_ns[:1], (counter[:1], np.zeros(1, np.int32))).rate()) == 0
    signed = Stream("a", "s", (Field("c", "", "i8", counter=True),))
    span = Batch(signed, t_ns[:2], (np.array([-(2**63), 2**63 - 1]),)).rate()
    assert span.column("c").tolist() == [float(2**64 - 1)]


def test_batch_slices_pickles_and_names_its_fields() -> None:
    batch = Batch(CPU, T0 + np.arange(4), (np.arange(4.0), np.arange(4, dtype=np.uint64)))
    assert (batch[-2:].t_ns - T0).tolist() == [2, 3]
    again = pickle.loads(pickle.dumps(batch, 5))
    assert again.stream == CPU
    assert again.column("ticks").tolist() == [0, 1, 2, 3]
    assert len(pickle.dumps(batch, 5)) < 1000
    with pytest.raises(ConfigError, match="there are: user, ticks"):
        batch.column("nope")
    with pytest.raises(ConfigError, match="rows need as many columns"):
        Batch(CPU, batch.t_ns, (batch.columns[0],))


def test_retention_by_age_and_by_bytes(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    rng = np.random.default_rng(1)
    with Store.open(tmp_path, clock=clock) as store:
        old, new = store.declare(LOAD), store.declare(Stream("a", "host.new", (Field("x"),)))
        n = 60_000
        store.extend(old, T0 + np.arange(n) * NS, rng.normal(size=(n, 1)))
        store.extend(new, T0 + (n + np.arange(n)) * NS, rng.normal(size=(n, 1)))
        store.flush()
        clock.advance(2 * n)
        assert store.retain(max_age_s=2 * n) == 0
        assert store.retain(max_age_s=1.5 * n) > 0
        first = only(store, "host.load").t_ns[0]
        assert T0 + 0.5 * n * NS - 15_000 * NS <= first <= T0 + 0.5 * n * NS
        half = store.stats()["used_bytes"] // 2
        assert store.retain(max_bytes=half) > 0
        assert store.stats()["used_bytes"] <= half
        assert only(store, "host.new").t_ns[-1] == T0 + (2 * n - 1) * NS  # the newest stay
        assert store.verify() == []
        assert sum(s.samples for s in store.sensors()) == sum(len(b) for b in store.scan("*"))
        store.retain(max_age_s=0)
        assert list(store.scan("*")) == []
        store.append(old, clock.time_ns(), [1.0])  # an id that was declared stays good
        store.flush()
        assert len(only(store)) == 1
    with Store.open(tmp_path, clock=clock) as store:
        store.retain(max_age_s=-1)
        assert store.sensors() == []  # streams without data, not declared again, are forgotten
        assert store.declare(Stream("a", "other", (Field("x"),))) not in (old, new)


def test_a_full_map_makes_room_by_itself(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    with Store.open(tmp_path, map_bytes=1 << 20) as store:
        stream_id = store.declare(LOAD)
        for part in range(60):  # 60 x 3000 x 7 bytes: more than the map
            store.extend(stream_id, T0 + (part * 3000 + np.arange(3000)) * NS, rng.normal(size=(3000, 1)))
            store.flush()
        assert store.stats()["dropped"] > 0
        assert only(store).t_ns[-1] == T0 + (60 * 3000 - 1) * NS
        assert store.verify() == []
    with Store.open(tmp_path / "state", map_bytes=1 << 20) as store:  # nothing there that retention may drop
        store.save("small", b"kept")
        store.flush()
        store.save("big", bytes(2 << 20))
        with pytest.raises(StoreError, match="map is full: raise"):
            store.flush()
        assert store.load("small") == b"kept"
        store.save("big", b"now it fits")
        store.flush()
        assert store.load("big") == b"now it fits"


def test_state_is_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        assert store.load("bandit") is None
        store.save("bandit", b"\0one")
        assert store.load("bandit") == b"\0one"
        with pytest.raises(ConfigError, match="name of state"):
            store.save("", b"")
    with Store.open(tmp_path, readonly=True) as store:
        assert store.load("bandit") == b"\0one"
        with pytest.raises(StoreError, match="for reading only"):
            store.save("bandit", b"")
        with pytest.raises(StoreError, match="for reading only"):
            store.declare(LOAD)
    with pytest.raises(StoreError, match="was closed"):
        store.load("bandit")


def test_figures_say_how_full_it_is_and_nothing_once_it_was_closed(tmp_path: Path) -> None:
    with Store.open(tmp_path / "s", create=True, map_bytes=8 << 20) as store:
        empty = store.figures()["store_bytes"]
        fill(store, ticks=5000)
        found = store.figures()
        assert found["store_bytes"] == store.stats()["used_bytes"] > empty
        assert found["store_used_ratio"] == found["store_bytes"] / (8 << 20)
    assert store.figures() == {}
