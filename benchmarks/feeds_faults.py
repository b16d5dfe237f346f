"""1000 targets each second of which 100 hang, 100 refuse, 50 send garbage and 20 a body without end.

Of the whole run each tick × location must be exactly one item; from the third second on, when all connections are
open (at the start every target is fetched at once), those of the good ones on time and none missed.
"""

from __future__ import annotations

import json
import socket
import tempfile
import time
from collections import Counter

from benchmarks import shown
from benchmarks.feeds_stage import begins_ns, ended, feed, line_of, serving, started

KINDS = {"ok": 730, "hang": 100, "refuse": 100, "garbage": 50, "endless": 20}
NETS = {"ok": "ok", "hang": "timeout", "refuse": "refused", "garbage": "failed", "endless": "too_large"}
RUN_S = 20.0
NS = 1_000_000_000


def _closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def measure(run_s: float = RUN_S) -> dict[str, float]:
    """What is missing, double or wrong, and how late the items of the good targets are."""
    with serving() as far, tempfile.TemporaryDirectory() as folder:
        closed = _closed_port()
        kinds = {
            far.url(n, kind).replace(f":{far.port}/", f":{closed}/") if kind == "refuse" else far.url(n, kind): kind
            for n, kind in enumerate(kind for kind, count in KINDS.items() for _ in range(count))
        }
        settings = feed("faults", list(kinds), every="1s", timeout="3s", max_bytes=65536)
        with started("run", folder, json.dumps([settings]), "--keep") as process:
            line_of(process)
            time.sleep(run_s)
            found = ended(process)
    items: Counter[tuple[str, int]] = Counter()
    wrong = 0
    settled_ns = min(due_ns for _, due_ns, _, _ in found["kept"]) + 3 * NS  # by then all have begun, and are open
    late_ms = []
    dues: dict[str, list[int]] = {location: [] for location in kinds}
    for location, due_ns, arrived_ns, net in found["kept"]:
        items[location, due_ns] += 1
        dues[location].append(due_ns)
        wrong += net not in (NETS[kinds[location]], "missed")
        if kinds[location] == "ok" and due_ns >= settled_ns:
            late_ms.append((arrived_ns - due_ns - begins_ns(settings, location)) / 1e6)
    missing = sum((max(due) - min(due)) // NS + 1 - len(set(due)) for due in dues.values() if due)
    late_ms.sort()
    return {
        "faults_locations": len(kinds),
        "faults_items": sum(items.values()),
        "faults_locations_silent": sum(not due for due in dues.values()),
        "faults_items_missing": missing,
        "faults_items_double": sum(count - 1 for count in items.values()),
        "faults_items_of_wrong_code": wrong,
        "faults_good_missed": sum(
            net == "missed" for at, due_ns, _, net in found["kept"] if kinds[at] == "ok" and due_ns >= settled_ns
        ),
        "faults_good_p99_ms": late_ms[len(late_ms) * 99 // 100],
    }


if __name__ == "__main__":
    shown.run(__doc__, measure)
