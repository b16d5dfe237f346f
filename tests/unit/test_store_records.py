"""Records beside the samples, and the reader over all environments of a node."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from vagus.clock import NS, ManualClock
from vagus.errors import ConfigError, StoreError
from vagus.model import Event, Field, Level, Metric, Report, Status, Stream
from vagus.store import Store
from vagus.store.reader import open_all

T0 = 1_700_000_000 * NS
LOAD = Stream("a", "host.load", (Field("one"),))


class Raw(msgspec.Struct, frozen=True, array_like=True):
    data: bytes


def event(k: int) -> Event:
    return Event(T0 + k, "disk.full", "a", Level.ERROR, "log", {"k": k, "odd": bool(k % 2)})


def put(store: Store, *numbers: int) -> None:
    for k in numbers:
        store.put(
            "event", event(k), t_ns=T0 + k, index={"parity": "odd" if k % 2 else "even", "long": "x" * 400 + str(k % 3)}
        )
    store.flush()


def test_records_in_order_by_time_index_and_limit(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        put(store, *range(0, 700, 2), *range(1, 700, 2))  # more than one read transaction
        assert store.count("event") == 700
        assert list(store.records("event", Event)) == [event(k) for k in range(699, -1, -1)]
        assert list(store.records("event", Event, newest_first=False)) == [event(k) for k in range(700)]
        assert [e.t_ns - T0 for e in store.records("event", Event, T0 + 3, T0 + 6)] == [5, 4, 3]
        assert [e.t_ns - T0 for e in store.records("event", Event, limit=2)] == [699, 698]
        odd = ("parity", "odd")
        assert [e.t_ns - T0 for e in store.records("event", Event, where=odd, limit=3)] == [699, 697, 695]
        assert [e.t_ns - T0 for e in store.records("event", Event, T0, T0 + 6, where=odd, newest_first=False)] == [
            1,
            3,
            5,
        ]
        assert len(list(store.records("event", Event, where=odd))) == 350
        assert len(list(store.records("event", Event, where=("long", "x" * 400 + "1")))) == 233
        assert list(store.records("event", Event, where=("long", "x" * 400))) == []
        assert list(store.records("event", Event, where=("parity", "od"))) == []
        assert list(store.records("even", Event)) == []
        assert store.count("even") == 0
        assert store.verify() == []


def test_equal_times_keep_all_records_in_order_over_reopening(tmp_path: Path) -> None:
    for k in range(3):
        with Store.open(tmp_path, clock=ManualClock()) as store:
            store.put("raw", Raw(b"%d" % k), t_ns=T0)
            store.put("raw", Raw(b"%d'" % k), t_ns=T0)
    with Store.open(tmp_path) as store:
        found = [r.data for r in store.records("raw", Raw, newest_first=False)]
        assert found == [b"0", b"0'", b"1", b"1'", b"2", b"2'"]


def test_every_struct_of_the_model_can_be_kept(tmp_path: Path) -> None:
    report = Report("api@1", "db@2", T0, {"read": Metric(Status.UNHEALTHY, 30.0)})
    with Store.open(tmp_path) as store:
        store.put("report", report, t_ns=T0, index={"subject": report.subject})
        assert list(store.records("report", Report)) == []  # not yet flushed
        store.flush()
        assert list(store.records("report", Report, where=("subject", "db@2"))) == [report]
        with pytest.raises(StoreError, match="of another type"):
            list(store.records("report", Event))


def test_wrong_records_are_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for kind, t_ns, index in (
            ("", T0, {}),
            ("k" * 201, T0, {}),
            ("k", -1, {}),
            ("k", 253_402_300_800 * NS, {}),
            ("k", T0, {"a=b": "c"}),
            ("k", T0, {"a": 1}),
            ("k", T0, {str(i): "" for i in range(25)}),
        ):
            with pytest.raises(ConfigError):
                store.put(kind, event(1), t_ns=t_ns, index=index)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="cannot be packed"):
            store.put("k", Event(T0, "x", "a", fields={"x": object()}), t_ns=T0)  # type: ignore[dict-item]
        store.flush()
        assert store.stats()["records"] == 0


def test_retention_takes_records_and_their_index(tmp_path: Path) -> None:
    clock = ManualClock(T0)
    with Store.open(tmp_path, clock=clock) as store:
        for k in range(600):
            store.put("raw", Raw(bytes(2000)), t_ns=T0 + k * NS, index={"feed": f"f{k % 2}"})
        put(store, *range(600))
        clock.advance(600)
        assert store.retain(max_age_s=300) == 300 + 600
        assert (store.count("raw"), store.count("event")) == (300, 0)
        assert len(list(store.records("raw", Raw, where=("feed", "f1")))) == 150
        assert store.verify() == []
        store.retain(max_bytes=300_000)
        assert 0 < store.count("raw") < 150
        assert next(store.timed_records("raw", Raw))[0] == T0 + 599 * NS
        assert store.verify() == []
        assert store.retain(max_bytes=0) > 0
        assert store.count("raw") == 0


def test_reader_joins_environments_as_they_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    with open_all(folder) as reader:
        assert list(reader.scan("*")) == []
        assert list(reader.records("event", Event)) == []
        (folder / "feed").mkdir(parents=True)  # its writer has not begun
        (folder / "notes.txt").write_text("not a store")
        with Store.open(folder / "collector") as one, Store.open(folder / "observer") as two:
            for store, numbers in ((one, (1, 4)), (two, (2, 3, 5))):
                put(store, *numbers)
                store.append(store.declare(LOAD), T0 + numbers[0], [float(numbers[0])])
                store.flush()
            assert [e.t_ns - T0 for e in reader.records("event", Event)] == [5, 4, 3, 2, 1]
            assert [e.t_ns - T0 for e in reader.records("event", Event, newest_first=False, limit=3)] == [1, 2, 3]
            assert [e.t_ns - T0 for e in reader.records("event", Event, where=("parity", "odd"))] == [5, 3, 1]
            assert reader.count("event") == 5
            assert sorted(b.values[0, 0] for b in reader.scan("host.load")) == [1, 2]
            assert [s.samples for s in reader.sensors()] == [1, 1]
        assert len(list(reader.scan("*"))) == 2  # the writers are gone, the data are not
        shutil.rmtree(folder / "observer")
        assert len(list(reader.scan("*"))) == 1
        assert reader.problems == {}
        (folder / "bad").mkdir()
        (folder / "bad" / "data.mdb").write_bytes(b"nonsense" * 1000)
        assert len(list(reader.scan("*"))) == 1
        assert "not an LMDB file" in reader.problems[str(folder / "bad")]
    with Store.open(folder / "collector") as again:  # the reader let go of it
        assert again.count("event") == 2


def test_reader_uses_a_store_that_is_open_already(tmp_path: Path) -> None:
    with Store.open(tmp_path / "collector") as own:
        put(own, 1)
        with open_all(tmp_path, [own]) as reader:
            assert reader.stores() == [own]
            assert reader.count("event") == 1
        put(own, 2)  # still open
        with open_all(tmp_path) as reader:
            assert reader.count("event") == 2
            reader.attach(own)
            assert reader.stores() == [own]
        put(own, 3)
        assert own.count("event") == 3
