"""Ctrl-C, SIGTERM and SIGHUP as things to wait for: a command that undoes something at its end decides where it stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import SimpleQueue

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def asked_to_end() -> Iterator[SimpleQueue[int]]:
    """Gives a queue into which the first signal is put; every further one is a KeyboardInterrupt, for who will not wait.

    What is ignored stays so (`nohup`). Outside the main thread nothing comes.
    """
    asked: SimpleQueue[int] = SimpleQueue()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return
    came: list[int] = []

    def note(number: int, _: object) -> None:
        came.append(number)
        if len(came) > 1:
            raise KeyboardInterrupt
        asked.put(number)  # a simple queue may be used where a signal is handled

    before = {n: signal.getsignal(n) for n in SIGNALS}
    taken = [n for n, handler in before.items() if handler not in (signal.SIG_IGN, None)]
    for number in taken:
        signal.signal(number, note)
    try:
        yield asked
    finally:
        for number in taken:
            signal.signal(number, before[number])
