"""The decision service against its bars: each part is a module of its own and runs in its own process.

Run: python -m benchmarks.decide [--json] [--quick] [--only core memory …]
Parts: core and memory (decide and learn in one process), http, peers (other libraries), score (regret on bandwidth
traces), groups (learned ones on flights), plane (what passes between nodes). Costs are in seconds of CPU; a busy
machine still makes them worse.
"""

from __future__ import annotations

from benchmarks.gather import main

PARTS = ("core", "memory", "http", "peers", "score", "groups", "plane")

if __name__ == "__main__":
    main("decide", PARTS, __doc__)
