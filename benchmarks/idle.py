"""What vagus costs an idle machine: CPU-seconds a minute and memory of everything that it adds over an idle Ray node.

Starts Ray alone, measures; adds vagus, measures again; both in this run, on this machine. Uses a state folder of its
own, so a running vagus is left alone. Takes about two and a half minutes.

    python benchmarks/idle.py [--seconds 60] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import tempfile
import time
from pathlib import Path

import psutil

from vagus.config import Config, GatewaySettings
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch

OURS = ("Collector", "Observer", "Feed", "Decide", "Traces", "Controller", "Learner", "Supervisor")


def usage(cluster_id: str) -> dict[int, tuple[str, float, int]]:
    """pid → name, CPU seconds with those of ended children, RSS bytes."""
    found = {}
    for process in ray_cluster.processes(cluster_id) + ray_cluster.watchdogs(cluster_id):
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            cpu_s = times.user + times.system + times.children_user + times.children_system
            title = process.cmdline()[0] if process.cmdline() else process.name()
            name = title if title.startswith("ray::") else process.name()
            found[process.pid] = (name, cpu_s, process.memory_info().rss)
    return found


def is_ours(name: str) -> bool:
    """Whether a process of that name is an actor of vagus."""
    return name.removeprefix("ray::").startswith(OURS)


def measure(cluster_id: str, seconds: float) -> tuple[float, int, dict[str, tuple[float, int]]]:
    """CPU seconds a minute and RSS of all processes, and of each vagus actor."""
    before = usage(cluster_id)
    time.sleep(seconds)
    after = usage(cluster_id)
    per_minute = 60.0 / seconds
    total = sum(cpu - before.get(pid, ("", 0.0, 0))[1] for pid, (_, cpu, _) in after.items()) * per_minute
    each = {
        name.removeprefix("ray::"): ((cpu - before[pid][1]) * per_minute, rss)
        for pid, (name, cpu, rss) in after.items()
        if pid in before and is_ours(name)
    }
    return total, sum(rss for _, _, rss in after.values()), each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vagus-idle-") as folder:
        home = Path(folder)
        os.environ["VAGUS_HOME"] = folder
        cluster = ray_cluster.start(home)
        try:
            time.sleep(10)
            ray_s, ray_rss, _ = measure(cluster.id, arguments.seconds)
            launch.up(Config(home=folder, gateway=GatewaySettings(port=0)))
            time.sleep(20)
            all_s, all_rss, each = measure(cluster.id, arguments.seconds)
        finally:
            launch.down(home)
    sensing = each.get("Collector", (float("nan"), 0))[0]
    result = {
        "ray_alone_cpu_s_per_minute": ray_s,
        "vagus_adds_cpu_s_per_minute": all_s - ray_s,
        "vagus_adds_core_ratio": (all_s - ray_s) / 60,
        "sensing_core_ratio": sensing / 60,
        "vagus_adds_rss_bytes": all_rss - ray_rss,
        "actors": {name: {"cpu_s_per_minute": cpu, "rss_bytes": rss} for name, (cpu, rss) in sorted(each.items())},
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{'':<24}{'CPU s/min':>10}{'% of a core':>13}{'RSS MiB':>9}")
    print(f"{'Ray alone':<24}{ray_s:>10.2f}{ray_s / 0.6:>13.2f}{ray_rss / 2**20:>9.0f}")
    print(f"{'vagus adds':<24}{all_s - ray_s:>10.2f}{(all_s - ray_s) / 0.6:>13.2f}{(all_rss - ray_rss) / 2**20:>9.0f}")
    for name, (cpu, rss) in sorted(each.items()):
        print(f"  {name:<22}{cpu:>10.2f}{cpu / 0.6:>13.2f}{rss / 2**20:>9.0f}")


if __name__ == "__main__":
    main()
