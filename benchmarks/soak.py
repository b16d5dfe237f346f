"""A store at ten times the normal rate for simulated hours: memory and file size over time, retention on.

    python -m benchmarks.soak [--hours 1] [--rate 10] [--json]

A made clock passes the time: each simulated second brings `rate` ticks of 80 streams x 10 fields (most still, some
counters and walks, as on a host) and an event, a sync; each minute retention by age (a quarter of the time) and by
bytes, a query of the last minute of everything, and each hour one of all there is. Flat: neither anonymous memory nor
the file is larger in the last third than it was at most in the second.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np

from vagus.clock import NS, ManualClock
from vagus.model import Event, Field, Stream
from vagus.store import Store

STREAMS, FIELDS = 80, 10
MAX_BYTES = 16 << 20
ROWS = 720  # of made values, which then go on from their start
SLACK = 1.02


def made(rng: np.random.Generator) -> list[list[tuple[float, ...]]]:
    """Rows of each stream: six constants, a gauge that moves at times, two counters, a walk."""
    streams = []
    for _ in range(STREAMS):
        columns = [np.full(ROWS, float(rng.integers(0, 1 << 20))) for _ in range(6)]
        columns.append(np.cumsum(rng.random(ROWS) < 0.02) * 4096.0)
        columns += [np.cumsum(rng.integers(0, 3000, ROWS)).astype(float) for _ in range(2)]
        columns.append(np.round(np.cumsum(rng.normal(size=ROWS)), 2))
        streams.append(list(zip(*(column.tolist() for column in columns), strict=True)))
    return streams


def rss_anon() -> int:
    """Bytes of this process that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def soak(folder: Path, hours: float, rate: int, max_bytes: int) -> dict[str, Any]:
    """Runs the hours, and takes 36 looks."""
    rows = made(np.random.default_rng(3))
    clock = ManualClock(1_700_000_000 * NS)
    fields = tuple(Field(f"f{i}", "", "f8") for i in range(FIELDS))
    seconds, looks, dropped = round(hours * 3600), [], 0
    began = time.process_time()
    with Store.open(folder, clock=clock) as store:
        ids = [store.declare(Stream("a", f"soak.s{i}", fields)) for i in range(STREAMS)]
        for second in range(seconds):
            for part in range(rate):
                t_ns = clock.time_ns() + part * NS // rate
                at = (second * rate + part) % ROWS
                for stream_id, stream in zip(ids, rows, strict=True):
                    store.append(stream_id, t_ns, stream[at])
                store.flush()
            store.put("event", Event(clock.time_ns(), "soak", "a"), t_ns=clock.time_ns(), index={"event": "soak"})
            store.flush()
            store.sync()
            clock.advance(1)
            if second % 60 == 59:
                dropped += store.retain(max_age_s=hours * 900, max_bytes=max_bytes)
                sum(len(batch) for batch in store.scan("*", clock.time_ns() - 60 * NS))
            if second % 3600 == 3599:
                sum(len(batch) for batch in store.scan("*"))
            if (second + 1) % max(seconds // 36, 1) == 0:
                stats = store.stats()
                look = {"hour": (second + 1) / 3600, "rss_anon_bytes": rss_anon()}
                looks.append(look | {name: stats[name] for name in ("file_bytes", "used_bytes", "blocks", "records")})
        problems = store.verify()
        live = sum(len(batch) for batch in store.scan("*")) * FIELDS
    second, last = looks[len(looks) // 3 : len(looks) * 2 // 3], looks[len(looks) * 2 // 3 :]
    flat = {
        name: max(look[name] for look in last) <= SLACK * max(look[name] for look in second)
        for name in ("rss_anon_bytes", "file_bytes")
    }
    ticks = seconds * rate
    return {
        "hours": hours,
        "ticks": ticks,
        "samples": ticks * STREAMS * FIELDS,
        "cpu_us_a_tick": (time.process_time() - began) * 1e6 / ticks,
        "dropped": dropped,
        "live_samples": live,
        "problems": problems,
        "flat": flat,
        "looks": looks,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=1.0, help="simulated")
    parser.add_argument("--rate", type=int, default=10, help="ticks in a simulated second; 1 is normal")
    parser.add_argument("--max-bytes", type=int, default=MAX_BYTES, help="what retention keeps")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        found = soak(Path(name), options.hours, options.rate, options.max_bytes)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'hour':>6}{'RssAnon MB':>12}{'file MB':>9}{'used MB':>9}{'blocks':>8}{'events':>8}")
    for look in found["looks"][::3]:
        megabytes = (look[name] / 1e6 for name in ("rss_anon_bytes", "file_bytes", "used_bytes"))
        sizes = "{:12.1f}{:9.1f}{:9.1f}".format(*megabytes)
        print(f"{look['hour']:6.2f}{sizes}{look['blocks']:8}{look['records']:8}")
    print(
        f"{found['ticks']:,} ticks of {STREAMS * FIELDS} samples, {found['cpu_us_a_tick']:.0f} us of CPU each with all "
        f"else; dropped {found['dropped']:,}; problems: {found['problems'] or 'none'}; flat: {found['flat']}"
    )


if __name__ == "__main__":
    main()
