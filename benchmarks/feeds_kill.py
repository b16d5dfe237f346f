"""`kill -9` of a runner in mid-run, then another one on the same archive: what is lost, what is double, how soon it is back.

Every item that the first one handed on was told through a pipe with the checksum of its bytes. In the archive of both
each tick of each location must be exactly once, from the first to the last: those of the time between are misses.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import shown
from benchmarks.feeds_stage import feed, line_of, serving, started
from vagus.feeds import Raw
from vagus.store import Store

TARGETS = 200
EVERY_S = 0.5
RUN_S = 3.0
AWAY_S = 2.0


class Told:
    """Reads what a runner tells of its items, as it comes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.lines: list[str] = []
        self.first_fetched = threading.Event()
        self._process = process
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.endswith("]\n"):
                self.lines.append(line)
                if '"ok"' in line:
                    self.first_fetched.set()

    def items(self) -> list[list[object]]:
        """Of a process that has ended."""
        self._reading.join(30.0)
        return [json.loads(line) for line in self.lines]


@contextmanager
def _telling(folder: str, settings: str) -> Iterator[tuple[subprocess.Popen[str], Told]]:
    with started("run", folder, settings, "--tell") as process:
        line_of(process)
        yield process, Told(process)


def measure(targets: int = TARGETS, run_s: float = RUN_S, away_s: float = AWAY_S) -> dict[str, float]:
    """What the archive holds of it."""
    with serving() as far, tempfile.TemporaryDirectory() as folder:
        locations = [far.url(n) for n in range(targets)]
        settings = json.dumps([feed("kill", locations, every=f"{EVERY_S}s", timeout="5s")])
        with _telling(folder, settings) as (process, told):
            told.first_fetched.wait(30.0)
            time.sleep(run_s)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            before = told.items()
        time.sleep(away_s)
        began = time.monotonic()
        with _telling(folder, settings) as (process, told):
            told.first_fetched.wait(60.0)
            back_s = time.monotonic() - began
            time.sleep(run_s / 2)
            process.terminate()
            process.wait(30.0)
            after = told.items()
        with Store.open(folder, readonly=True) as store:
            raws = list(store.records("raw", Raw, newest_first=False))
    archived = {(raw.meta.location, raw.meta.due_ns): raw for raw in raws}
    lost = sum(
        place not in archived or zlib.crc32(archived[place].body) != checksum
        for location, due_ns, _, checksum in before + after
        for place in [(location, due_ns)]
    )
    ticks = Counter((raw.meta.location, raw.meta.due_ns) for raw in raws)
    step_ns = round(EVERY_S * 1e9)
    dues: dict[str, list[int]] = {location: [] for location in locations}
    for location, due_ns in archived:
        dues[location].append(due_ns)
    return {
        "kill_back_s": back_s,
        "kill_items_before": len(before),
        "kill_items_after": len(after),
        "kill_bytes_lost": lost,
        "kill_missed_told": sum(net == "missed" for _, _, net, _ in after),
        "kill_ticks_without_item": sum((max(due) - min(due)) // step_ns + 1 - len(due) for due in dues.values()),
        "kill_ticks_double": sum(count - 1 for count in ticks.values()),
    }


if __name__ == "__main__":
    shown.run(__doc__, measure)
