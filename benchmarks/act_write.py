"""What acting costs: a bare quota write, a verified plan, a whole armed round with the watchdog's journal; a step.

Run: python benchmarks/act.py [--json]      (on the real cgroup tree as root, else on a folder that looks like it)
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vagus.actuators import Actuator
from vagus.actuators.apply import apply
from vagus.actuators.choose import choose
from vagus.actuators.hierarchy import mounts
from vagus.controllers.guard import Guard
from vagus.controllers.resource import Meter, ResourceController
from vagus.controllers.run import Bench, run_step
from vagus.controllers.view import Snapshot
from vagus.errors import ActuateError
from vagus.model import Action, Field, Sample, Stream, Target
from vagus.policies.throttle import ThrottleTarget
from vagus.watchdog import Watchdog


def median_us(call: Callable[[int], object], times: int = 200) -> float:
    """Median microseconds of a call, which gets the number of the round."""
    for i in range(5):
        call(i)
    took = []
    for i in range(times):
        begin = time.perf_counter_ns()
        call(i)
        took.append(time.perf_counter_ns() - begin)
    return statistics.median(took) / 1e3


@contextlib.contextmanager
def group(folder: Path) -> Iterator[tuple[Actuator, Path, Target]]:
    """A group to limit: real where this user may make one."""
    name = f"vagus-bench-{os.getpid()}"
    target = Target("cgroup", name)
    with contextlib.suppress(ActuateError, OSError, StopIteration):
        actuator = choose("auto")
        version = {"cgroup1": 1, "cgroup2": 2}.get(actuator.name)
        mount = next(m for m in mounts(Path("/")) if m.version == version and "cpu" in m.controllers)
        (mount.point / name).mkdir()
        try:
            actuator.plan(Action(target, "cpu_cores", 1.0))
            yield actuator, mount.point / name, target
            return
        finally:
            (mount.point / name).rmdir()
    made = folder / "sys/fs/cgroup" / name
    made.mkdir(parents=True)
    (folder / "proc/self").mkdir(parents=True)
    (folder / "proc/self/mountinfo").write_text("1 2 0:1 / /sys/fs/cgroup rw - cgroup cgroup rw,cpu,cpuacct\n")
    (made / "cpu.cfs_quota_us").write_text("-1\n")
    (made / "cpu.cfs_period_us").write_text("100000\n")
    (made / "cpu.stat").write_text("nr_periods 0\nnr_throttled 0\nthrottled_time 0\n")
    (made / "cpuacct.usage").write_text("0\n")
    yield choose("cgroup1", folder), made, target


def measure() -> dict[str, float | str]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, group(Path(name)) as (actuator, path, target):
        folder = Path(name)
        file = path / ("cpu.max" if actuator.name == "cgroup2" else "cpu.cfs_quota_us")
        texts = [b"100000\n", b"150000\n"]
        figures: dict[str, float | str] = {"actuator": actuator.name, "real": str(path).startswith("/sys")}

        def bare(i: int) -> None:
            fd = os.open(file, os.O_WRONLY)
            os.write(fd, texts[i % 2])
            os.close(fd)

        figures["bare_write_us"] = median_us(bare)

        def planned(i: int) -> None:
            apply(actuator.plan(Action(target, "cpu_cores", 1.0 + i % 2)))

        figures["plan_write_verify_us"] = median_us(planned)

        disk = os.open(folder / "fsync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        def synced(i: int) -> None:
            os.write(disk, b"x" * 200)
            os.fsync(disk)

        figures["fsync_us"] = median_us(synced, 50)
        os.close(disk)
        dog = Watchdog(folder / "journal", 30.0)
        begin = time.perf_counter()
        dog.start()
        figures["watchdog_start_ms"] = (time.perf_counter() - begin) * 1e3

        def first_round(i: int) -> None:
            plan = actuator.plan(Action(target, "cpu_cores", 1.0 + i % 2))
            new = dog.journal(plan.undo)
            apply(plan)
            dog.forget(new)

        def next_round(i: int) -> None:
            plan = actuator.plan(Action(target, "cpu_cores", 1.0 + i % 2))
            dog.journal(plan.undo)
            apply(plan)

        # forgetting syncs as journalling does: half of it is the price of a limit's first write
        figures["first_round_us"] = (median_us(first_round, 50) + figures["plan_write_verify_us"]) / 2
        figures["next_round_us"] = median_us(next_round)
        dog.release()

        meter, guard = Meter(), Guard({}, {"cpu_cores": 2.0})
        controller = ResourceController(ThrottleTarget(), target, 1.0)
        streams = [Stream("n", f"host.s{i}", tuple(Field(f"f{j}") for j in range(8))) for i in range(60)]
        samples = [Sample(stream, 1, (1.0,) * 8) for stream in streams]

        def step(i: int) -> None:
            signals = meter.read(actuator.usage(target), actuator.read(target, "cpu_cores"), i * 10**9)
            view = Snapshot("n", time.time_ns(), samples, signals=signals)
            run_step(controller, view, Bench("c", guard, actuator, False, i * 10**9))

        figures["step_us"] = median_us(step)
        here = Target("pid", str(os.getpid()))
        figures["tree_usage_us"] = median_us(lambda i: actuator.usage(here))
        return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    figures = measure()
    if parser.parse_args().json:
        print(json.dumps(figures))
        return
    bare = float(figures["bare_write_us"])
    print(f"{figures['actuator']}, {'real tree' if figures['real'] else 'folder of regular files'}")
    for name, what in (
        ("bare_write_us", "bare quota write"),
        ("plan_write_verify_us", "plan, write, verify"),
        ("next_round_us", "armed round, journalled before"),
        ("first_round_us", "armed round, first of a limit"),
        ("fsync_us", "(fsync of 200 bytes here)"),
        ("step_us", "controller step, dry: read, decide, judge"),
        ("tree_usage_us", "usage of a process tree"),
    ):
        print(f"  {what:45s} {float(figures[name]) / 1e3:8.3f} ms {float(figures[name]) / bare:8.1f} x bare write")
    print(f"  {'watchdog start':45s} {figures['watchdog_start_ms']:8.1f} ms")


if __name__ == "__main__":
    main()
