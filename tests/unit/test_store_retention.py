"""Retention at its edges: less than a block, records alone, clocks that step, a map that is nearly full."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from vagus.clock import NS, ManualClock
from vagus.errors import ConfigError
from vagus.model import Event, Field, Stream
from vagus.store import Store
from vagus.store.retention import WallClock

T0 = 1_700_000_000 * NS
LOAD = Stream("a", "host.load", (Field("one"),))
HOUR = 3600.0


class Raw(msgspec.Struct, frozen=True, array_like=True):
    data: bytes


def test_a_limit_smaller_than_one_block_drops_all_and_goes_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        stream_id = store.declare(LOAD)
        for k in range(5):
            store.extend(stream_id, T0 + (k * 5000 + np.arange(5000)) * NS, rng.normal(size=(5000, 1)))
            store.put("event", Event(T0 + k, "x", "a"), t_ns=T0 + k)
            store.flush()
            assert store.retain(max_bytes=4096) > 0
            assert list(store.scan("*")) == []
            assert store.count("event") == 0
            assert store.retain(max_bytes=4096) == 0  # nothing left to drop: it ends, and says so
        store.append(stream_id, T0 + 10**6 * NS, [1.0])
        store.flush()
        assert sum(len(b) for b in store.scan("*")) == 1
        assert store.verify() == []


def test_records_alone_are_kept_within_bytes_and_age(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        sizes = []
        for k in range(400):
            store.put("raw", Raw(bytes(20_000)), t_ns=clock.time_ns(), index={"feed": "f"})
            store.put("event", Event(clock.time_ns(), "x", "a"), t_ns=clock.time_ns())
            store.flush()
            clock.advance(1)
            if k % 20 == 19:
                store.sync()
                store.retain(max_bytes=1 << 20)
                sizes.append(store.stats()["file_bytes"])
                assert store.stats()["used_bytes"] <= 1 << 20
        assert max(sizes) < 2.5 * (1 << 20)  # the limit and what 20 rounds bring
        assert 20 < store.count("raw") < 60
        kept = [t for t, _, _ in store.timed_records("raw", Raw, newest_first=False)]
        assert kept[-1] == T0 + 399 * NS
        assert kept == list(range(kept[0], kept[-1] + 1, NS))  # the oldest went first, and both kinds alike
        assert abs(store.count("event") - len(kept)) <= 1
        store.retain(max_age_s=10)
        assert store.count("raw") == store.count("event") == 10
        assert store.verify() == []


@pytest.mark.parametrize("years", [1, 10])
def test_a_step_forward_does_not_delete_the_archive(tmp_path: Path, years: int) -> None:
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        for k in range(100):
            store.put("raw", Raw(b"x"), t_ns=T0 + k * 60 * NS)
        clock.advance(6000)
        assert store.retain(max_age_s=HOUR) == 40
        clock.step(years * 365 * 24 * HOUR)
        assert store.retain(max_age_s=HOUR) == 0  # the date is doubted
        clock.advance(600)
        assert store.retain(max_age_s=HOUR) == 10  # time goes on as the other clock says
        clock.step(-years * 365 * 24 * HOUR)  # put right
        assert store.retain(max_age_s=HOUR) == 0
        clock.advance(600)
        assert store.retain(max_age_s=HOUR) == 10
        clock.step(years * 365 * 24 * HOUR)
        store.retain(max_age_s=HOUR)
        clock.advance(25 * HOUR)  # a date that stays for a day is believed
        store.retain(max_age_s=HOUR)
        assert store.count("raw") == 0


def test_a_step_back_keeps_everything_until_it_is_due(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        store.put("raw", Raw(b"x"), t_ns=T0)
        clock.step(-24 * HOUR)
        assert store.retain(max_age_s=HOUR) == 0  # from the future, as it seems
        store.put("raw", Raw(b"y"), t_ns=clock.time_ns())
        clock.advance(2 * HOUR)
        assert store.retain(max_age_s=HOUR) == 1
        clock.advance(24 * HOUR)
        assert store.retain(max_age_s=HOUR) == 1


def test_the_trusted_clock() -> None:
    clock = ManualClock(T0)
    trusted = WallClock(clock)
    clock.step(1800)  # half an hour: a time server's correction
    assert trusted.time_ns() == clock.time_ns()
    clock.step(7200)
    clock.advance(60)
    assert trusted.time_ns() == clock.time_ns() - 7200 * NS
    clock.step(-7200)
    assert trusted.time_ns() == clock.time_ns()


def test_a_map_that_fills_up_is_emptied_before_it_is_full(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    rng = np.random.default_rng(1)
    with Store.open(tmp_path, map_bytes=1 << 20, clock=clock) as store:
        stream_id = store.declare(LOAD)
        for part in range(100):
            store.extend(stream_id, T0 + (part * 2000 + np.arange(2000)) * NS, rng.normal(size=(2000, 1)))
            store.put("event", Event(T0 + part, "x", "a"), t_ns=T0 + part * 2000 * NS)
            store.flush()
            used = store.stats()
            assert used["used_bytes"] <= used["map_bytes"]
        assert store.stats()["dropped"] > 0
        (batch,) = store.scan("*")
        assert batch.t_ns[-1] == T0 + (100 * 2000 - 1) * NS
        assert 0 < store.count("event") < 100
        assert store.verify() == []


def test_streams_that_come_and_go_do_not_use_up_their_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes and containers have ever new labels; only what still has rows counts, also within one life."""
    monkeypatch.setattr("vagus.store.store.MAX_STREAMS", 6)
    monkeypatch.setattr("vagus.store.store.MAX_FORGOTTEN", 4)
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        ids = []
        unused = store.declare(Stream("a", "unused", (Field("x"),)))
        for k in range(40):
            ids.append(store.declare(Stream("a", "process", (Field("x"),), {"pid": str(k)})))
            store.append(ids[-1], clock.time_ns(), [float(k)])
            clock.advance(100)
            store.retain(max_age_s=250)
            assert len(store.sensors()) <= 4
        with pytest.raises(ConfigError, match="declare"):  # long ago
            store.append(ids[0], clock.time_ns(), [1.0])
        store.append(unused, clock.time_ns(), [0.0])  # declared and never used: stays good
        store.append(ids[-4], clock.time_ns(), [7.0])  # forgotten just now: stays good as well
        store.extend(ids[-5], clock.time_ns() + np.arange(100), np.ones((100, 1)))
        assert store.declare(Stream("a", "process", (Field("x"),), {"pid": "34"})) == ids[34]
        store.flush()
        assert [b.columns[0].tolist()[0] for b in store.scan('process{pid="36"}')] == [7.0]
        assert [len(b) for b in store.scan('process{pid="35"}')] == [100]
        assert store.verify() == []
    with Store.open(tmp_path, clock=clock) as store:
        assert store.verify() == []
        assert {s.stream.labels.get("pid") for s in store.sensors()} >= {"35", "36", "39", None}


def test_a_stream_may_be_forgotten_while_it_is_read(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        for name in ("first", "second"):
            store.append(store.declare(Stream("a", name, (Field("x"),))), T0, [1.0])
        store.seal()
        found = store.scan("*")
        assert next(found).stream.kind == "first"
        clock.advance(100)
        assert store.retain(max_age_s=1) == 2
        assert store.sensors() == []
        assert list(found) == []


def test_a_head_is_sealed_before_it_fills_a_small_map(tmp_path: Path) -> None:
    """Rows and the blocks that they become need room beside each other."""
    rng = np.random.default_rng(4)
    wide = Stream("a", "wide", tuple(Field(f"f{k}") for k in range(200)))
    with Store.open(tmp_path, map_bytes=1 << 20) as store:
        wide_id = store.declare(wide)
        for k in range(900):
            store.append(wide_id, T0 + k * NS, rng.normal(size=200).tolist())
            store.flush()
            if k % 300 == 299:
                store.seal()
        (found,) = store.scan("*")
        assert found.t_ns[-1] == T0 + 899 * NS
        assert len(found) > 100
        assert store.verify() == []
