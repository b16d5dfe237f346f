"""What acting costs: a limit planned, written, verified and read back beside the bare system calls for that; a whole
armed round with the watchdog's journal; a step.

Run: python -m benchmarks.act_write [--json] [--quick]    (on the real cgroup tree as root, else on a folder like it)
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
from typing import Any, NamedTuple

from vagus.actuators import Actuator, acting
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

BAR_MS = 0.3
TIMES = 400


class Cost(NamedTuple):
    """Medians of one call in milliseconds: by the clock, and of this thread's processor time."""

    wall_ms: float
    cpu_ms: float


def cost(call: Callable[[int], object], times: int) -> Cost:
    """Of a call, which gets the number of the round."""
    for i in range(5):
        call(i)
    wall, cpu = [], []
    for i in range(times):
        began_cpu, began = time.thread_time_ns(), time.perf_counter_ns()
        call(i)
        wall.append(time.perf_counter_ns() - began)
        cpu.append(time.thread_time_ns() - began_cpu)
    return Cost(statistics.median(wall) / 1e6, statistics.median(cpu) / 1e6)


@contextlib.contextmanager
def group(folder: Path) -> Iterator[tuple[Actuator, Path, Target]]:
    """A group to limit: real where this user may make one."""
    name = f"vagus-bench-{os.getpid()}"
    target = Target("cgroup", name)
    with contextlib.suppress(ActuateError, OSError, StopIteration):
        actuator = choose("auto")
        mount = next(m for m in mounts(Path("/")) if "cpu" in m.controllers)
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


def measure(times: int) -> tuple[str, dict[str, Cost | float]]:
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name, group(Path(name)) as (actuator, path, target):
        folder = Path(name)
        known = path / "cpu.max"
        file = known if known.exists() else path / "cpu.cfs_quota_us"
        texts = [b"100000\n", b"150000\n"]
        figures: dict[str, Cost | float] = {}

        def bare(i: int) -> None:
            fd = os.open(file, os.O_WRONLY)
            os.write(fd, texts[i % 2])
            os.close(fd)
            fd = os.open(file, os.O_RDONLY)
            os.read(fd, 100)
            os.close(fd)

        figures["bare"] = cost(bare, times)

        def planned(i: int) -> None:
            plan = actuator.plan(Action(target, "cpu_cores", 1.0 + i % 2 / 2))
            apply(plan)
            if not plan.shown(actuator.read(target, "cpu_cores")):
                raise SystemExit("what was written is not shown")

        figures["written"] = cost(planned, times)
        disk = os.open(folder / "fsync", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

        def synced(i: int) -> None:
            os.write(disk, b"x" * 200)
            os.fsync(disk)

        figures["fsync"] = cost(synced, times // 4)
        os.close(disk)
        dog = Watchdog(folder / "journal", 30.0)
        begin = time.perf_counter()
        dog.start()
        figures["watchdog"] = (time.perf_counter() - begin) * 1e3

        def first_round(i: int) -> None:
            plan = actuator.plan(Action(target, "cpu_cores", 1.0 + i % 2 / 2))
            new = dog.journal(plan.undo)
            apply(plan)
            dog.forget(new)

        def next_round(i: int) -> None:
            plan = actuator.plan(Action(target, "cpu_cores", 1.0 + i % 2 / 2))
            dog.journal(plan.undo)
            apply(plan)

        figures["first"] = cost(first_round, times // 4)
        figures["next"] = cost(next_round, times)
        dog.release()

        meter, guard = Meter(), Guard({}, {"cpu_cores": 2.0})
        controller = ResourceController({target: ThrottleTarget()}, 1.0)
        streams = [Stream("n", f"host.s{i}", tuple(Field(f"f{j}") for j in range(8))) for i in range(60)]
        samples = [Sample(stream, 1, (1.0,) * 8) for stream in streams]

        def step(i: int) -> None:
            signals = meter.read(actuator.usage(target), actuator.read(target, "cpu_cores"), i * 10**9)
            view = Snapshot("n", time.time_ns(), samples, signals=signals)
            run_step(controller, view, Bench("c", guard, actuator, False, i * 10**9))

        figures["step"] = cost(step, times)
        here = Target("pid", str(os.getpid()))
        real = str(path).startswith("/sys")
        if real:
            figures["tree"] = cost(lambda i: actuator.usage(here), times)
        return (
            f"{acting(actuator, target, 'cpu_cores')}, {'real tree' if real else 'a folder of regular files'}",
            figures,
        )


def rows(where: str, figures: dict[str, Cost | float]) -> list[dict[str, Any]]:
    """As benchmarks.act prints them."""
    bare = figures["bare"]
    assert isinstance(bare, Cost)
    found = []
    for name, what, bar_ms in (
        ("written", f"limit planned, written, verified, read back ({where})", BAR_MS),
        ("next", "armed round, journalled before", None),
        ("first", "armed round, journalled and forgotten: two fsyncs", None),
        ("fsync", "fsync of 200 bytes here", None),
        ("step", "controller's step, dry: read, decide, judge", None),
        ("tree", "usage of a process tree", None),
    ):
        one = figures.get(name)
        if not isinstance(one, Cost):
            continue
        peer = f"{bare.wall_ms:.4f} ms bare write and read" if name == "written" else None
        for kind, value in (("wall", one.wall_ms), ("CPU", one.cpu_ms)):
            if kind == "CPU" and name in ("fsync", "first", "next"):
                continue  # another process does the rest
            bar = None if bar_ms is None else f"≤ {bar_ms} ms"
            met = None if bar_ms is None else value <= bar_ms
            row = {
                "what": f"{what}, {kind}",
                "value": round(value, 4),
                "unit": "ms",
                "bar": bar,
                "met": met,
                "peer": peer,
            }
            found.append(row)
    row = {"what": "watchdog started", "value": round(float(figures["watchdog"]), 1), "unit": "ms"}  # type: ignore[arg-type]
    return [*found, row | {"bar": None, "met": None, "peer": None}]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="a quarter of the rounds")
    options = parser.parse_args()
    found = rows(*measure(TIMES // 4 if options.quick else TIMES))
    if options.json:
        print(json.dumps(found))
        return
    for row in found:
        met = "" if row["met"] is None else "met" if row["met"] else "NOT MET"
        print(f"{row['what']:82} {row['value']:9} {row['unit']} {row['bar'] or '':9} {met:8} {row['peer'] or ''}")


if __name__ == "__main__":
    main()
