"""What the store costs: writing, size, scanning, and a node's tick each second; against SQLite and Prometheus.

    python -m benchmarks.store [--json] [--samples 10000000] [--record 3600 [--hz 20]] [--from-store FOLDER]

Rates are samples per second of this process' CPU time, kernel included; sealing and syncs to disk are included too. The
peers get a part of the same data (named in the output): SQLite takes it row by row of the same width, Prometheus' TSDB
as OpenMetrics text, so that only its size compares. Bytes per sample are those of the whole file, free pages included.
`--record` and `--from-store` add this machine's own series: see store_real.py.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from benchmarks.bars import at_least, at_most, judge
from benchmarks.store_peers import prometheus_tables, sqlite_rows
from benchmarks.store_real import from_store, recorded
from vagus.model import Field, Stream
from vagus.store import Store

T0 = 1_700_000_000 * 10**9
FIELDS, ROWS = 50, 10_000
TICK_STREAMS, TICK_FIELDS, TICKS = 80, 8, 1300
DTYPE = ("f8", "u8", "u8", "i8", "f8")
BARS = (
    at_least("vagus", "append_samples_s", 5e6),
    at_least("vagus", "extend_samples_s", 10e6),
    at_most("vagus", "append_bytes_per_sample", 2.0),
    at_most("vagus", "extend_bytes_per_sample", 2.0),
    at_least("vagus", "scan_field_samples_s", 30e6),
    at_least("vagus", "scan_stream_samples_s", 60e6),
)

Table = tuple[np.ndarray[Any, Any], ...]


def columns(rng: np.random.Generator, rows: int) -> Table:
    """The systems page's mix: random walks and values of few decimals, small integer walks, counters."""
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


def opened(folder: Path, streams: int) -> tuple[Store, list[int]]:
    """A new store and the ids of its streams."""
    fields = tuple(Field(f"f{i}", "", DTYPE[i % 5], counter=i % 5 in (1, 2)) for i in range(FIELDS))
    store = Store.open(folder)
    return store, [store.declare(Stream("a", f"bench.s{i}", fields)) for i in range(streams)]


def append(folder: Path, tables: list[Table], t_ns: np.ndarray[Any, Any]) -> dict[str, float]:
    """Tick by tick: a row of each stream, then one flush."""
    store, ids = opened(folder, len(tables))
    cpu_s, ticks_ms = 0.0, []
    for start in range(0, len(t_ns), 500):  # plain Python numbers, as collectors give them, are made outside the clock
        rows = [list(zip(*(c[start : start + 500].tolist() for c in table), strict=True)) for table in tables]
        times = t_ns[start : start + 500].tolist()
        began_cpu = time.process_time()
        for k, t in enumerate(times):
            began = time.perf_counter()
            for stream_id, row in zip(ids, rows, strict=False):
                store.append(stream_id, t, row[k])
            store.flush()
            ticks_ms.append((time.perf_counter() - began) * 1e3)
        cpu_s += time.process_time() - began_cpu
    cpu_s += cpu(store.sync)
    samples = len(tables) * len(t_ns) * FIELDS
    found = {
        "append_samples_s": samples / cpu_s,
        "append_bytes_per_sample": store.stats()["file_bytes"] / samples,
        "append_used_bytes_per_sample": store.stats()["used_bytes"] / samples,
        "append_tick_ms": statistics.median(ticks_ms),
        "append_longest_tick_ms": max(ticks_ms),
    }
    check(store, tables)
    store.close()
    return found


def extend(folder: Path, tables: list[Table], t_ns: np.ndarray[Any, Any]) -> dict[str, float]:
    """6000 rows of a stream at a time, a flush after each stream; then scans."""
    store, ids = opened(folder, len(tables))

    def write() -> None:
        for stream_id, table in zip(ids, tables, strict=True):
            for start in range(0, len(t_ns), 6000):
                part = [column[start : start + 6000] for column in table]
                store.extend(stream_id, t_ns[start : start + 6000], part)
            store.flush()
        store.sync()

    samples = len(tables) * len(t_ns) * FIELDS
    found = {
        "extend_samples_s": samples / cpu(write),
        "extend_bytes_per_sample": store.stats()["file_bytes"] / samples,
        "scan_field_samples_s": samples / FIELDS / min(cpu(lambda: list(store.scan("*.f1"))) for _ in range(5)),
        "scan_stream_samples_s": samples / min(cpu(lambda: [len(b) for b in store.scan("*")]) for _ in range(3)),
        "newest_300_of_one_series_ms": 1e3
        * min(cpu(lambda: list(store.scan("bench.s0.f1", limit=300))) for _ in range(20)),
    }
    check(store, tables)
    store.close()
    return found


def check(store: Store, tables: list[Table]) -> None:
    """Every bit comes back."""
    for table, batch in zip(tables, store.scan("*"), strict=True):
        assert all(x.tobytes() == y.tobytes() for x, y in zip(table, batch.columns, strict=True))


def tick(folder: Path, sync: bool) -> dict[str, float]:
    """A node's second: 80 streams of 8 fields appended and flushed, with the steps of sealing.

    sync: each tick is synced to disk, as the actor does, and that counted apart; else the store syncs by itself.
    """
    rng = np.random.default_rng(5)
    fields = tuple(Field(f"f{i}", "", "u8" if i % 2 else "f8") for i in range(TICK_FIELDS))
    with Store.open(folder) as store:
        ids = [store.declare(Stream("a", f"tick.s{i}", fields)) for i in range(TICK_STREAMS)]
        walks = np.round(np.cumsum(rng.normal(size=(TICKS, TICK_STREAMS, TICK_FIELDS)), axis=0), 2).tolist()
        counters = np.cumsum(rng.integers(0, 3000, (TICKS, TICK_STREAMS, TICK_FIELDS)), axis=0).tolist()
        cpu_s, wall, syncs = [], [], []
        for k in range(TICKS):
            rows = [
                [c if i % 2 else w for i, (w, c) in enumerate(zip(ws, cs, strict=True))]
                for ws, cs in zip(walks[k], counters[k], strict=True)
            ]
            began, began_cpu = time.perf_counter(), time.process_time()
            for stream_id, row in zip(ids, rows, strict=True):
                store.append(stream_id, T0 + k * 10**9, row)
            store.flush()
            cpu_s.append(time.process_time() - began_cpu)
            wall.append(time.perf_counter() - began)
            syncs.append(cpu(store.sync) if sync else 0.0)
        return {
            "tick_cpu_us": statistics.median(cpu_s) * 1e6,
            "tick_cpu_us_mean": statistics.fmean(cpu_s) * 1e6,
            "sync_cpu_us": statistics.median(syncs) * 1e6,
            "longest_tick_ms": max(wall) * 1e3,
            "file_bytes": store.stats()["file_bytes"],
            "core_ratio": statistics.fmean(cpu_s) + statistics.fmean(syncs),
        }


def cpu(action: Callable[[], object]) -> float:
    """CPU seconds of this process."""
    began = time.process_time()
    action()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--samples", type=int, default=10_000_000)
    parser.add_argument("--record", type=int, default=0, metavar="TICKS", help="record so many ticks of this machine")
    parser.add_argument("--hz", type=float, default=20.0, help="ticks a second while recording; stored as one a second")
    parser.add_argument(
        "--from-store", type=Path, metavar="FOLDER", help="a collector's store, HOME/nodes/NODE/store/collector"
    )
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    tables = [columns(rng, ROWS) for _ in range(max(1, options.samples // ROWS // FIELDS))]
    t_ns = T0 + np.arange(ROWS) * 10**9 + rng.integers(0, 3, ROWS) * 10**6
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found: dict[str, Any] = {
            "samples": len(tables) * ROWS * FIELDS,
            "vagus": append(folder / "append", tables, t_ns) | extend(folder / "extend", tables, t_ns),
            "sqlite": sqlite_rows(folder / "peer.sqlite", tables[:4], t_ns),
            "prometheus": prometheus_tables(folder, tables[:2], t_ns),
            "tick": tick(folder / "tick", sync=False),
            "tick_synced": tick(folder / "synced", sync=True),
        }
        if options.record:
            found["recorded"] = recorded(folder / "recorded", options.record, options.hz)
        if options.from_store:
            found["from_store"] = from_store(options.from_store, folder / "replayed")
    found["bars"] = judge(BARS, found)
    print(json.dumps(found) if options.json else told(found))


def told(found: dict[str, Any]) -> str:
    """The figures as a table."""
    ours, lines = found["vagus"], [f"{found['samples']:,} samples of {FIELDS} fields a stream; /s is of CPU time"]
    bars = {row["measure"]: f"   {row['bar']} {'met' if row['met'] else 'NOT MET'}" for row in found["bars"]}
    for name, value in ours.items():
        lines.append(f"  {name:32}{value:16,.2f}{bars.get(name, '')}")
    for peer in ("sqlite", "prometheus", "recorded", "from_store", "tick", "tick_synced"):
        if peer in found:
            figures = (f"{k} {v:,.2f}" if isinstance(v, float) else f"{k} {v}" for k, v in found[peer].items())
            lines.append(f"{peer}: " + ", ".join(figures))
    smaller = [
        f"{found[peer]['bytes_per_sample'] / ours['append_bytes_per_sample']:.1f}x smaller than {peer}"
        for peer in ("sqlite", "prometheus")
        if "bytes_per_sample" in found[peer]
    ]
    return "\n".join([*lines, "the file, written tick by tick, is " + ", ".join(smaller)])


if __name__ == "__main__":
    main()
