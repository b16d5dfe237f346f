"""The head goes into blocks a little at each flush: every row is seen once at each moment, also after a crash there."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from vagus.clock import NS
from vagus.errors import StoreError
from vagus.model import Field, Stream
from vagus.store import Store, files, frontier, sealer
from vagus.store.faults import MapFull

T0 = 1_700_000_000 * NS
STREAMS = [Stream("a", f"s{i}", (Field("n", "", "u8"), Field("x"))) for i in range(7)]


def tick(store: Store, ids: list[int], k: int) -> None:
    for place, stream_id in enumerate(ids):
        store.append(stream_id, T0 + k * NS, [k * 1000 + place, k / 8])
    store.flush()


def check(store: Store, ticks: int) -> None:
    batches = list(store.scan("*"))
    assert [batch.stream.kind for batch in batches] == [stream.kind for stream in STREAMS]
    for place, batch in enumerate(batches):
        assert batch.t_ns.tolist() == [T0 + k * NS for k in range(ticks)]
        assert batch.column("n").tolist() == [k * 1000 + place for k in range(ticks)]
    assert [s.samples for s in store.sensors()] == [ticks] * len(STREAMS)


def at(store: Store) -> frontier.Frontier:
    with store._env.read() as txn:
        return frontier.load(store._env, txn)


def test_every_row_is_seen_once_at_each_step_and_after_a_crash_there(tmp_path: Path) -> None:
    moments = set()
    with Store.open(tmp_path / "live") as store, Store.open(tmp_path / "live", readonly=True) as reader:
        ids = [store.declare(stream) for stream in STREAMS]
        for k in range(600):
            tick(store, ids, k)
        for k in range(600, 640):
            tick(store, ids, k)
            moment = at(store)
            if (moment.floor, len(moment.done)) in moments:
                continue
            moments.add((moment.floor, len(moment.done)))
            check(reader, k + 1)
            copy = tmp_path / f"copy{k}"  # what kill -9 would leave here
            shutil.copytree(tmp_path / "live", copy)
            with Store.open(copy) as again:
                assert at(again) == moment
                check(again, k + 1)
                assert again.verify() == []
                ids_again = [again.declare(stream) for stream in STREAMS]
                for later in range(k + 1, k + 30):
                    tick(again, ids_again, later)
                check(again, k + 30)
                again.seal()
                check(again, k + 30)
                assert again.stats()["head_ticks"] == 0
                assert again.verify() == []
        assert {count for _, count in moments} == set(range(len(STREAMS)))
        assert at(store).floor > 0
        assert store.stats()["head_ticks"] <= 80  # the sealed entries are deleted
        check(store, 640)


def test_a_block_is_found_whichever_step_a_reader_meets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that move while a scan is between head and blocks are read again."""
    with Store.open(tmp_path) as store:
        ids = [store.declare(stream) for stream in STREAMS]
        for k in range(599):
            tick(store, ids, k)
        seen = 599
        for batch in store.scan("*"):  # a tick, and so a step of sealing, between any two streams
            assert len(batch) >= 599
            assert batch.t_ns.tolist() == [T0 + k * NS for k in range(len(batch))]
            for _ in range(3):
                tick(store, ids, seen)
                seen += 1
        check(store, seen)


def test_a_step_that_fails_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = sealer.blocks.put_rows
    fails: list[Exception] = [StoreError("the disk fails"), MapFull("full"), StoreError("again")]
    rooms: list[int] = []

    def put_rows(*arguments: object) -> None:
        real(*arguments)  # type: ignore[arg-type]
        if fails:
            raise fails.pop()

    with Store.open(tmp_path) as store:
        ids = [store.declare(stream) for stream in STREAMS]
        for k in range(600):
            tick(store, ids, k)
        monkeypatch.setattr(sealer.blocks, "put_rows", put_rows)
        monkeypatch.setattr(store._writer, "_make_room", lambda: rooms.append(1))
        told = 0
        for k in range(600, 660):
            try:
                tick(store, ids, k)
            except StoreError:
                told += 1
            check(store, k + 1)
        assert not fails
        assert (told, len(rooms)) == (2, 1)
        assert store.verify() == []
        assert store.stats()["blocks"] >= len(STREAMS)


def test_a_large_flush_seals_at_once(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        ids = [store.declare(stream) for stream in STREAMS]
        for start in range(0, 3000, 60):
            for place, stream_id in enumerate(ids):
                for k in range(start, start + 60):
                    store.append(stream_id, T0 + k * NS, [k * 1000 + place, k / 8])
            store.flush()
        check(store, 3000)
        assert store.stats()["blocks"] >= 4


def test_a_store_of_the_first_format_is_read_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = 20
    monkeypatch.setattr(files, "FORMAT", b"vagus store 1")
    with Store.open(tmp_path) as store:
        ids = [store.declare(stream) for stream in STREAMS]
        store.flush()
        with store._env.write() as txn:
            for k in range(ticks):
                rows = [struct.pack("<qQd", T0 + k * NS, k * 1000 + place, k / 8) for place in range(len(ids))]
                span = struct.pack("<BxxxIqq", 1, len(ids), T0 + k * NS, T0 + k * NS)
                record = span + struct.pack(f"<{len(ids)}I", *ids) + b"".join(rows)
                txn.put(k.to_bytes(8, "big"), record, db=store._env.db["head"])
    monkeypatch.undo()
    with Store.open(tmp_path, readonly=True) as reader:
        check(reader, ticks)
    with Store.open(tmp_path) as store:
        check(store, ticks)
        assert [store.declare(stream) for stream in STREAMS] == ids
        tick(store, ids, ticks)
        check(store, ticks + 1)
        assert store.verify() == []
    with Store.open(tmp_path) as store:
        check(store, ticks + 1)
        store.seal()
        check(store, ticks + 1)
        assert store.verify() == []
    monkeypatch.setattr(files, "FORMAT", b"vagus store 1")
    monkeypatch.setattr(files, "OLDER", ())
    with pytest.raises(StoreError, match="upgrade vagus"):  # an older vagus says so instead of misreading
        Store.open(tmp_path)


def test_a_scan_ends_although_every_flush_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer of overlapping bulk seals at each flush: a reader of much must not begin anew for ever."""
    with Store.open(tmp_path) as store:
        ids = [store.declare(stream) for stream in STREAMS]
        for k in range(5):
            tick(store, ids, k)
        read, k = store._query._rows, 5

        def sealed_meanwhile(*args: Any) -> Any:
            nonlocal k
            tick(store, ids, k)
            k += 1
            store.seal()
            return read(*args)

        monkeypatch.setattr(store._query, "_rows", sealed_meanwhile)
        batches = list(store.scan("*"))
        assert k <= 5 + sealer.STEPS
        for place, batch in enumerate(batches):
            rows = len(batch)
            assert rows >= 5
            assert batch.column("n").tolist() == [k * 1000 + place for k in range(rows)]


def test_sealing_all_at_once_says_once_which_streams_are_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each time costs as much as there are streams: with 16,000 of them, sealing took seconds."""
    saved: list[int] = []
    save = frontier.save
    with Store.open(tmp_path) as store:
        ids = [store.declare(stream) for stream in STREAMS]
        for k in range(3):
            tick(store, ids, k)

        def counted(*args: Any) -> None:
            saved.append(1)
            save(*args)

        monkeypatch.setattr(frontier, "save", counted)
        store.seal()
        check(store, 3)
    assert len(saved) <= 2


def test_a_damaged_head_is_an_error_that_says_where_and_what_to_do(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        ids = [store.declare(stream) for stream in STREAMS]
        for k in range(5):
            tick(store, ids, k)
        with store._env.write() as txn:
            key = (2).to_bytes(8, "big")
            changed = bytearray(txn.get(key, db=store._env.db["head"]))
            changed[-1] ^= 1
            txn.put(key, bytes(changed), db=store._env.db["head"])
        said = f"{tmp_path}: damaged head record 2.*copy"
        with pytest.raises(StoreError, match=said):
            list(store.scan("*"))
        with pytest.raises(StoreError, match=said):
            store.sensors()
        assert len(store.verify()) == 1
    with pytest.raises(StoreError, match=said):
        Store.open(tmp_path)
