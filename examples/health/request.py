"""Indirection of the request: jobs go to workers through their queues, answers come back directly.

A worker hangs. The queue did its part, and is not blamed: `origin` at the queue's near end speaks of the worker.

python examples/health/request.py [--dry-run]        then: vagus health worker@2
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime

import said

import vagus

WORKERS = ("worker@1", "worker@2")
JOBS: dict[str, queue.Queue[tuple[int, Future[int]]]] = {name: queue.Queue() for name in WORKERS}


def work(name: str) -> None:
    while True:
        number, answer = JOBS[name].get()
        if name == "worker@2":
            threading.Event().wait()  # it took the job, and hangs
        answer.set_result(number**2)


def send(name: str, number: int) -> Future[int]:
    answer: Future[int] = Future()
    sent = vagus.origin(name, "square", observer="api", expire_s=0.3)
    answer.add_done_callback(lambda done: vagus.sink(sent, ok=done.exception() is None))
    JOBS[name].put((number, answer))
    return answer


def main() -> None:
    said.begin()
    for name in WORKERS:
        threading.Thread(target=work, args=(name,), daemon=True).start()
    for name in WORKERS:
        try:
            print(f"{name} says {send(name, 7).result(timeout=1.0)}")
        except NotInTime:
            print(f"{name} does not answer")
    said.end()


if __name__ == "__main__":
    main()
