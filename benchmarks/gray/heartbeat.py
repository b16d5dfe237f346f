"""The detectors that run beside: a heartbeat each second, dead after three misses in a row, and phi over the same beats.

    python -m benchmarks.gray.heartbeat redis a=10.77.0.5:6379 b=10.77.0.6:6379

Prints a JSON object a line: t (monotonic seconds), detector, server, suspected; when either changes its mind.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from queue import SimpleQueue

from benchmarks.gray.phi import THRESHOLD, PhiAccrual
from benchmarks.gray.pings import PINGS

PERIOD_S = 1.0
TIMEOUT_S = 1.0
MISSES = 3
LOOK_S = 0.1

Beats = SimpleQueue[tuple[str, float, bool]]


def ask(kind: str, name: str, address: tuple[str, int], beats: Beats) -> None:
    """Asks one server for ever."""
    due = time.monotonic()
    while True:
        try:
            well = PINGS[kind](address, TIMEOUT_S)
        except OSError:
            well = False
        beats.put((name, time.monotonic(), well))
        due = max(due + PERIOD_S, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def say(t_s: float, detector: str, server: str, suspected: bool) -> None:
    print(json.dumps({"t": t_s, "detector": detector, "server": server, "suspected": suspected}), flush=True)


def _end(failed: threading.ExceptHookArgs) -> None:
    """A monitor that lost a thread would look as if all were well."""
    sys.__excepthook__(failed.exc_type, failed.exc_value or failed.exc_type(), failed.exc_traceback)
    os._exit(1)


def main() -> None:
    threading.excepthook = _end
    kind, *targets = sys.argv[1:]
    beats: Beats = SimpleQueue()
    names = []
    for target in targets:
        name, _, address = target.partition("=")
        host, _, port = address.rpartition(":")
        names.append(name)
        threading.Thread(target=ask, args=(kind, name, (host, int(port)), beats), daemon=True).start()
    misses = dict.fromkeys(names, 0)
    phis = {name: PhiAccrual(first_s=PERIOD_S) for name in names}
    suspected = {(detector, name): False for detector in ("heartbeat", "phi") for name in names}
    while True:
        time.sleep(LOOK_S)
        now_s = time.monotonic()
        while not beats.empty():
            name, t_s, well = beats.get()
            misses[name] = 0 if well else misses[name] + 1
            if well:
                phis[name].beat(t_s)
        for name in names:
            mind = {"heartbeat": misses[name] >= MISSES, "phi": phis[name].phi(now_s) > THRESHOLD}
            for detector, verdict in mind.items():
                if suspected[detector, name] != verdict:
                    suspected[detector, name] = verdict
                    say(now_s, detector, name, verdict)


if __name__ == "__main__":
    main()
