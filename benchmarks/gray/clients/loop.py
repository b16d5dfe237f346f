"""What the client programs share: threads for each server, each doing one thing again and again until the end."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
from collections.abc import Callable

PERIOD_S = 0.25
"""Between two calls of a thread, give or take half of it."""

Step = Callable[[], None]


def forever(connect: Callable[[str, str, int], Step], threads: int = 1) -> None:
    """For each server of the command line `threads` threads: `connect(name, host, port)` gives what each one repeats."""
    waiting = []
    for target in sys.argv[1:]:
        name, _, address = target.partition("=")
        host, _, port = address.rpartition(":")
        for _ in range(threads):
            answered = threading.Event()
            waiting.append(answered)
            threading.Thread(target=_repeat, args=(connect, name, host, int(port), answered), daemon=True).start()
            answered.wait(10)
    if all(answered.is_set() for answered in waiting):
        print("ready", flush=True)
    threading.Event().wait()


def _repeat(
    connect: Callable[[str, str, int], Step], name: str, host: str, port: int, answered: threading.Event
) -> None:
    step = connect(name, host, port)
    while True:
        with contextlib.suppress(Exception):  # the program goes on, as programs do
            step()
            answered.set()
        time.sleep(PERIOD_S * random.uniform(0.5, 1.5))
