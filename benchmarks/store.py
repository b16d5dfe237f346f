"""What the store costs: writing, size, scanning, and a node's tick each second; against SQLite in the same run.

python benchmarks/store.py [--json] [--samples 2000000]
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vagus.model import Field, Stream
from vagus.store import Store

T0 = 1_700_000_000 * 10**9
FIELDS = 50
TICK_STREAMS, TICK_FIELDS, TICKS = 80, 8, 1300


def columns(rng: np.random.Generator, rows: int) -> tuple[np.ndarray[Any, Any], ...]:
    """The systems page's mix: random walks of two decimals, small integer walks, counters, a few constants."""
    made: list[np.ndarray[Any, Any]] = []
    for index in range(FIELDS):
        kind = index % 5
        if kind == 0:
            made.append(np.round(np.cumsum(rng.normal(size=rows)), 2))
        elif kind in (1, 2):
            made.append(np.cumsum(rng.integers(0, 3000, rows)).astype(np.uint64))
        elif kind == 3:
            made.append(np.cumsum(rng.integers(-50, 51, rows)).astype(np.int64))
        else:
            made.append(np.round(rng.uniform(0, 100, rows), 1))
    return tuple(made)


DTYPE = ("f8", "u8", "u8", "i8", "f8")


def vagus_bulk(
    folder: Path, tables: list[tuple[np.ndarray[Any, Any], ...]], t_ns: np.ndarray[Any, Any]
) -> dict[str, float]:
    samples = len(tables) * len(t_ns) * FIELDS
    fields = tuple(Field(f"f{i}", "", DTYPE[i % 5], counter=i % 5 in (1, 2)) for i in range(FIELDS))
    with Store.open(folder / "vagus") as store:
        ids = [store.declare(Stream("a", f"bench.s{i}", fields)) for i in range(len(tables))]
        wrote = timed(
            lambda: [bulk(store, stream_id, t_ns, table) for stream_id, table in zip(ids, tables, strict=True)]
        )
        synced = timed(store.sync)
        used = store.stats()["used_bytes"]
        scanned = min(timed(lambda: sum(len(b) for b in store.scan("*"))) for _ in range(3))
        one = min(timed(lambda: sum(len(b) for b in store.scan("bench.s0.f1", limit=300))) for _ in range(20))
        for table, batch in zip(tables, store.scan("*"), strict=True):
            assert all(np.array_equal(x, y) for x, y in zip(table, batch.columns, strict=True))
    return {
        "write_samples_s": samples / (wrote + synced),
        "scan_samples_s": samples / scanned,
        "bytes_per_sample": used / samples,
        "newest_300_of_one_series_ms": one * 1e3,
    }


def bulk(store: Store, stream_id: int, t_ns: np.ndarray[Any, Any], table: tuple[np.ndarray[Any, Any], ...]) -> None:
    for start in range(0, len(t_ns), 6000):
        store.extend(stream_id, t_ns[start : start + 6000], [column[start : start + 6000] for column in table])
    store.flush()


def sqlite_bulk(
    folder: Path, tables: list[tuple[np.ndarray[Any, Any], ...]], t_ns: np.ndarray[Any, Any]
) -> dict[str, float]:
    """A row per tick and stream, as wide as the stream: kind to SQLite, whose row per sample costs 24.8 bytes."""
    samples = len(tables) * len(t_ns) * FIELDS
    names = ",".join(f"f{i}" for i in range(FIELDS))
    path = folder / "peer.sqlite"
    db = sqlite3.connect(path)
    db.executescript(
        f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE s(id, t, {names}, PRIMARY KEY(id, t)) WITHOUT ROWID"
    )
    marks = ",".join("?" * (FIELDS + 2))

    def write() -> None:
        for index, table in enumerate(tables):
            rows = zip([index] * len(t_ns), t_ns.tolist(), *(column.tolist() for column in table), strict=True)
            db.executemany(f"INSERT INTO s VALUES({marks})", rows)
            db.commit()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    wrote = timed(write)

    def scan() -> None:
        for index in range(len(tables)):
            np.array(db.execute(f"SELECT t, {names} FROM s WHERE id=? ORDER BY t", (index,)).fetchall())

    scanned = timed(scan)
    db.close()
    return {
        "write_samples_s": samples / wrote,
        "scan_samples_s": samples / scanned,
        "bytes_per_sample": path.stat().st_size / samples,
    }


def tick(folder: Path) -> dict[str, float]:
    """A node's second: 80 streams of 8 fields appended and flushed, the seals of every 600 ticks included."""
    rng = np.random.default_rng(5)
    fields = tuple(Field(f"f{i}", "", "u8" if i % 2 else "f8") for i in range(TICK_FIELDS))
    with Store.open(folder / "tick") as store:
        ids = [store.declare(Stream("a", f"tick.s{i}", fields)) for i in range(TICK_STREAMS)]
        walks = np.round(np.cumsum(rng.normal(size=(TICKS, TICK_STREAMS, TICK_FIELDS)), axis=0), 2).tolist()
        counters = np.cumsum(rng.integers(0, 3000, (TICKS, TICK_STREAMS, TICK_FIELDS)), axis=0).tolist()
        cpu, wall = [], []
        for k in range(TICKS):
            rows = [
                [c if i % 2 else w for i, (w, c) in enumerate(zip(ws, cs, strict=True))]
                for ws, cs in zip(walks[k], counters[k], strict=True)
            ]
            began, began_cpu = time.perf_counter(), time.process_time()
            for stream_id, row in zip(ids, rows, strict=True):
                store.append(stream_id, T0 + k * 10**9, row)
            store.flush()
            cpu.append(time.process_time() - began_cpu)
            wall.append(time.perf_counter() - began)
        syncs = []
        for k in range(20):
            store.append(ids[0], T0 + (TICKS + k) * 10**9, rows[0])
            store.flush()
            began_cpu = time.process_time()
            store.sync()
            syncs.append(time.process_time() - began_cpu)
        return {
            "tick_cpu_us": statistics.median(cpu) * 1e6,
            "tick_cpu_us_mean": statistics.fmean(cpu) * 1e6,
            "sync_cpu_us": statistics.median(syncs) * 1e6,
            "longest_tick_ms": max(wall) * 1e3,
            "used_bytes": store.stats()["used_bytes"],
            "core_ratio": statistics.fmean(cpu) + statistics.median(syncs),
        }


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--samples", type=int, default=2_000_000)
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    rows = 10_000
    tables = [columns(rng, rows) for _ in range(max(1, options.samples // rows // FIELDS))]
    t_ns = T0 + np.arange(rows) * 10**9 + rng.integers(0, 3, rows) * 10**6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours, peer, ticks = vagus_bulk(folder, tables, t_ns), sqlite_bulk(folder, tables, t_ns), tick(folder)
    if options.json:
        print(json.dumps({"vagus": ours, "sqlite": peer, "tick": ticks}))
        return
    print(f"{len(tables) * rows * FIELDS:,} samples, {len(tables)} streams x {FIELDS} fields, both synced to disk")
    print(f"{'':28}{'vagus':>14}{'sqlite':>14}{'ratio':>9}")
    for key, peer_value in peer.items():
        value = ours[key]
        better = value / peer_value if key.endswith("_s") else peer_value / value
        print(f"{key:28}{value:14,.2f}{peer_value:14,.2f}{better:8.1f}x")
    print(f"newest 300 values of one series: {ours['newest_300_of_one_series_ms']:.2f} ms")
    print(
        f"tick of {TICK_STREAMS} x {TICK_FIELDS}: {ticks['tick_cpu_us']:.0f} us CPU (mean with seals "
        f"{ticks['tick_cpu_us_mean']:.0f}), sync {ticks['sync_cpu_us']:.0f} us, longest {ticks['longest_tick_ms']:.0f} ms; "
        f"at one a second {100 * ticks['core_ratio']:.3f} % of a core"
    )


if __name__ == "__main__":
    main()
