"""The workload of `benchmarks.overhead`, as a process of its own: a Ray driver that keeps both cores busy with tasks.

    python -m benchmarks.overhead_work HOME

Reads lines of JSON: {"tasks_ms": 1.0, "seconds": 10}; answers {"tasks_s": …, "tasks": …, "waves": …, "task_cpu_ms": …, "driver_cpu_s": …}.
HOME is the state folder of the Ray cluster. It ends with its input.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

WAVE_S = 0.5  # a wave is as many tasks as take about so long
MIN_WAVE, MAX_WAVE = 32, 2000
CALIBRATE_S = 0.5


def spin(loops: int) -> int:
    """A fixed amount of work: what else the machine does makes it take longer, not smaller."""
    total = 0
    for number in range(loops):
        total += number & 3
    return total


def timed(loops: int) -> float:
    """The task: seconds of processor time that the work took, which tell how fast the machine was just then."""
    began_s = time.thread_time()
    spin(loops)
    return time.thread_time() - began_s


def loops_per_ms() -> float:
    """How much of it a millisecond of processor time holds here: the most of several tries, the undisturbed one."""
    loops, best, until_s = 20_000, 0.0, time.monotonic() + CALIBRATE_S
    while time.monotonic() < until_s:
        best = max(best, loops / (1000.0 * timed(loops)))
    return best


def wave_of(tasks_ms: float, cpus: int) -> int:
    """How many tasks a wave has."""
    return int(min(MAX_WAVE, max(MIN_WAVE, cpus * WAVE_S * 1000.0 / tasks_ms)))


def perform(ray: Any, task: Any, loops: int, wave: int, seconds: float) -> dict[str, float]:
    """Wave after wave until the time is over; a wave that began is finished, and its time counts."""
    tasks = waves = 0
    began_s, cpu_s, worked_s = time.monotonic(), time.process_time(), 0.0
    while (took_s := time.monotonic() - began_s) < seconds:
        worked_s += sum(ray.get([task.remote(loops) for _ in range(wave)]))
        tasks, waves = tasks + wave, waves + 1
    took_s = time.monotonic() - began_s
    driver_s = time.process_time() - cpu_s
    return {
        "tasks_s": tasks / took_s,
        "tasks": tasks,
        "waves": waves,
        "task_cpu_ms": 1000.0 * worked_s / tasks if tasks else 0.0,
        "driver_cpu_s": driver_s / took_s,
    }


def main(home: Path) -> None:
    from vagus.runtime import cluster as ray_cluster
    from vagus.runtime.connect import connected

    cluster = ray_cluster.read(home)
    if cluster is None:
        raise SystemExit(f"no cluster in {home}")
    with connected(home, cluster):
        import ray

        cpus = int(ray.cluster_resources()["CPU"])  # type: ignore[no-untyped-call]
        task: Any = ray.remote(num_cpus=1)(timed)
        per_ms = loops_per_ms()
        perform(ray, task, round(per_ms), MIN_WAVE, 1.0)  # its workers are there
        print(json.dumps({"ready": True, "loops_per_ms": per_ms, "cpus": cpus}), flush=True)
        for line in sys.stdin:
            asked = json.loads(line)
            loops, wave = round(asked["tasks_ms"] * per_ms), wave_of(asked["tasks_ms"], cpus)
            print(json.dumps(perform(ray, task, loops, wave, asked["seconds"])), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
