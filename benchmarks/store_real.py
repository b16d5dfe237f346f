"""How many bytes this machine's own series take: recorded now, or those that a running vagus has stored.

`recorded` reads the real collectors faster than once a second and stores the ticks as if they were seconds apart, while
a child process works now and then. Every value is real, but counters advance only 1/hz as far in a tick as they would in
a second, which flatters the result a little. `from_store` has no such doubt: it takes what a vagus collected at its own
pace, says what its file has, and writes the same ticks into a new store, one flush each, as the collector did; the last
hour of them goes to Prometheus' TSDB as well.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.store_peers import Series, prometheus_tsdb
from vagus.collectors.run import Runner
from vagus.config import CollectSettings
from vagus.model import Sample, Stream
from vagus.store import Store

LOAD = "import time\nwhile True:\n t = time.time() % 20\n sum(range(100000)) if t < 7 else time.sleep(.05)"


def recorded(folder: Path, ticks: int, hz: float) -> dict[str, float | str]:
    """Real ticks at `hz` a second, stored as seconds."""
    runner = Runner.from_settings("bench", CollectSettings())
    load = subprocess.Popen([sys.executable, "-c", LOAD])
    start_ns, samples = time.time_ns() // 10**9 * 10**9, 0
    ids: dict[Stream, int] = {}
    try:
        with Store.open(folder) as store:
            due = time.monotonic()
            for k in range(ticks):
                t_ns = start_ns + k * 10**9
                for found in runner.tick(t_ns):
                    if isinstance(found, Sample):
                        stream_id = ids.get(found.stream)
                        if stream_id is None:
                            stream_id = ids[found.stream] = store.declare(found.stream)
                        store.append(stream_id, t_ns, found.values)
                        samples += len(found.values)
                store.flush()
                store.sync()
                due += 1 / hz
                time.sleep(max(0.0, due - time.monotonic()))
            return {"what": f"{ticks} real ticks, read at {hz:g} Hz, stored as 1 Hz", **sizes(store, samples)}
    finally:
        load.kill()
        load.wait()
        runner.close()


def from_store(path: Path, folder: Path) -> dict[str, float | str]:
    """A collector's store as it is, and its ticks written anew."""
    with Store.open(path, create=False, readonly=True) as store:
        batches = list(store.scan("*"))
        samples = sum(len(batch) * len(batch.columns) for batch in batches)
        stored = sizes(store, samples)
    rows: dict[int, list[tuple[int, tuple[float | int, ...]]]] = {}
    with Store.open(folder) as store:
        for batch in batches:
            stream_id = store.declare(batch.stream)
            lines = zip(*(column.tolist() for column in batch.columns), strict=True)
            for t, values in zip(batch.t_ns.tolist(), lines, strict=True):
                rows.setdefault(t, []).append((stream_id, values))
        hour = 3600 * 10**9
        times = np.array(sorted(rows))
        first = {}
        for t in times.tolist():
            for stream_id, values in rows[t]:
                store.append(stream_id, t, values)
            store.flush()
            store.sync()
            if not first and t >= times[0] + hour:
                count = sum(len(values) for at in times[times <= t].tolist() for _, values in rows[at])
                first = {f"first_hour_{name}": value for name, value in sizes(store, count).items()}
        again = sizes(store, samples)
    metrics: dict[str, list[Series]] = {}
    for number, batch in enumerate(batches):
        for field, column in zip(batch.stream.fields, batch.columns, strict=True):
            name = re.sub(r"[^a-zA-Z0-9_]", "_", f"{batch.stream.kind}_{field.name}")
            metrics.setdefault(name, []).append((f'stream="{number}"', batch.t_ns[-3600:], column[-3600:]))
    peer = prometheus_tsdb(folder, metrics)
    hours = (times[-1] - times[0]) / hour
    return {
        "what": f"{len(batches)} streams over {hours:.2f} h",
        **{f"stored_{name}": value for name, value in stored.items()},
        **{f"replayed_{name}": value for name, value in again.items()},
        **first,
        **{f"prometheus_{name}": value for name, value in peer.items()},
    }


def sizes(store: Store, samples: int) -> dict[str, float]:
    """Bytes per sample of the pages in use and of the whole file, free pages included."""
    stats = store.stats()
    return {
        "samples": samples,
        "used_bytes_per_sample": stats["used_bytes"] / samples,
        "bytes_per_sample": stats["file_bytes"] / samples,
    }
