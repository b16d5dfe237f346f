"""Indirection of the reply: the worker is called directly and accepts, its answer comes through a shared queue.

Accepting is no sign of health, and whoever reads the queue only sees that it is empty. The request's own id is the key.

python examples/health/reply.py [--dry-run]        then: vagus health worker@2
"""

from __future__ import annotations

import queue
import threading
import time

import said

import vagus

ANSWERS: queue.Queue[tuple[str, int]] = queue.Queue()


class Worker:
    def __init__(self, name: str) -> None:
        self.name = name

    def accept(self, request_id: str, number: int) -> bool:
        if self.name != "worker@2":  # that one accepts everything, and does nothing
            threading.Timer(0.01, lambda: ANSWERS.put((request_id, number**2))).start()
        return True


def read_answers(until_s: float) -> None:
    """Whoever reads the answers meets the requests that are behind them."""
    while (left_s := until_s - time.monotonic()) > 0:
        try:
            request_id, answer = ANSWERS.get(timeout=left_s)
        except queue.Empty:
            return
        vagus.sink(request_id)
        print("answer", request_id, answer)


def main() -> None:
    said.begin()
    for number, worker in enumerate((Worker("worker@1"), Worker("worker@2"))):
        request_id = f"job-{number}"
        vagus.origin(worker.name, "square", key=request_id, observer="api", expire_s=0.3)
        with vagus.observe(worker.name, context="accept", observer="api"):
            worker.accept(request_id, number)
    read_answers(time.monotonic() + 1.0)
    said.end()


if __name__ == "__main__":
    main()
