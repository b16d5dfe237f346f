"""Full indirection through a pool of processes: one queue of jobs for all, one queue of answers.

The job says which shard it is about; the pool's processes are the middlemen, and the shard that hangs is blamed. Its
sink is in another process than its origin: it speaks in the origin's name, which the carried header gives.

python examples/health/pool.py [--dry-run]        then: vagus health shard@2
"""

from __future__ import annotations

import multiprocessing
import queue
import time
from typing import Any

import said

import vagus


def read_shard(name: str) -> int:
    if name == "shard@2":
        time.sleep(3600)
    return 42


def work(ready: Any, jobs: Any, answers: Any) -> None:
    said.begin()
    ready.wait()
    while True:
        name, carried = jobs.get()
        found = read_shard(name)
        vagus.sink(carried)
        said.end()
        answers.put((name, found))


def main() -> None:
    said.begin()
    context = multiprocessing.get_context("spawn")
    ready, jobs, answers = context.Barrier(3), context.Queue(), context.Queue()
    pool = [context.Process(target=work, args=(ready, jobs, answers), daemon=True) for _ in range(2)]
    for process in pool:
        process.start()
    ready.wait()
    waiting = {}
    for name in ("shard@1", "shard@2"):
        waiting[name] = vagus.origin(name, "read", observer="api", expire_s=0.5)
        jobs.put((name, waiting[name].carry()))
    try:
        while True:
            name, found = answers.get(timeout=1.0)
            waiting.pop(name).clear()
            print(name, "says", found)
    except queue.Empty:
        print(", ".join(waiting), "does not answer")
    said.end()
    for process in pool:
        process.terminate()
        process.join()


if __name__ == "__main__":
    main()
