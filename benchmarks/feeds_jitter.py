"""When items arrive: 1000 targets each second, each at its own hashed moment; arrived − (due + that offset), in ms."""

from __future__ import annotations

import json
import tempfile
import time

from benchmarks import shown
from benchmarks.feeds_stage import begins_ns, ended, feed, line_of, serving, started

TARGETS = 1000
RUN_S = 20.0


def measure(run_s: float = RUN_S) -> dict[str, float]:
    """p50, p99 and the longest, from the third second on: at the start every target is fetched at once, and all connections opened."""
    with serving() as far, tempfile.TemporaryDirectory() as folder:
        locations = [far.url(n) for n in range(TARGETS)]
        settings = feed("jitter", locations, every="1s", timeout="5s")
        with started("run", folder, json.dumps([settings]), "--keep") as process:
            line_of(process)
            time.sleep(run_s)
            found = ended(process)
    offsets = {location: begins_ns(settings, location) for location in locations}
    first_ns = min(due_ns for _, due_ns, _, _ in found["kept"]) + 3_000_000_000
    late_ms = sorted(
        (arrived_ns - due_ns - offsets[location]) / 1e6
        for location, due_ns, arrived_ns, net in found["kept"]
        if due_ns >= first_ns and net == "ok"
    )
    count = len(late_ms)
    return {
        "jitter_items": count,
        "jitter_failures": found["figures"]["failures"],
        "jitter_p50_ms": late_ms[count // 2],
        "jitter_p99_ms": late_ms[count * 99 // 100],
        "jitter_max_ms": late_ms[-1],
    }


if __name__ == "__main__":
    shown.run(__doc__, measure)
