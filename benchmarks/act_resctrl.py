"""resctrl: a schemata written and read back through the actuator, beside a bare write and read of the same file.

Run: python -m benchmarks.act_resctrl [--json] [--quick]
The file system is our own (tests/lab/resctrl_fuse.py): no machine here has one. Its server is Python too, and every
system call on it costs two changes of process; the bare figure says how much of it is that.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.resctrl_fuse import missing, mounted
from vagus.actuators.apply import apply
from vagus.actuators.resctrl import Resctrl
from vagus.model import Action, Target
from vagus.undo import undo

BAR_MS = 5.0


def median_ms(call: Callable[[int], object], times: int) -> float:
    """Median milliseconds of a call, which gets the number of the round."""
    took = []
    for i in range(times + 5):
        begin = time.perf_counter_ns()
        call(i)
        took.append(time.perf_counter_ns() - begin)
    return statistics.median(took[5:]) / 1e6


def measure(times: int) -> dict[str, float]:
    """Medians in milliseconds by name."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        (root / "proc").symlink_to("/proc")
        with mounted(root / "sys/fs/resctrl") as folder:
            os.mkdir(folder / "web")
            actuator, target = Resctrl(root), Target("resctrl", "web")
            path = folder / "web/schemata"
            plans = [actuator.plan(Action(target, "llc_ways", ways)) for ways in (3.0, 4.0)]

            def bare(i: int) -> None:
                fd = os.open(path, os.O_WRONLY)
                os.write(fd, (b"L3:0=7;1=7\n", b"L3:0=f;1=f\n")[i % 2])
                os.close(fd)
                with open(path, "rb") as file:
                    file.read()

            def written(i: int) -> None:
                apply(plans[i % 2])  # which reads back

            def read(i: int) -> None:
                if actuator.read(target, "llc_ways") is None:
                    raise AssertionError("the limit is not there")

            def both(i: int) -> None:
                written(i)
                read(i)

            def whole(i: int) -> None:
                apply(actuator.plan(Action(target, "llc_ways", 3.0 + i % 2)))
                read(i)

            found = {
                "bare": median_ms(bare, times),
                "written": median_ms(written, times),
                "read": median_ms(read, times),
                "both": median_ms(both, times),
                "whole": median_ms(whole, times),
            }
            with subprocess.Popen(["sleep", "1000"]) as process:

                def group(_: int) -> None:
                    plan = actuator.plan(Action(Target("pid", str(process.pid)), "llc_ways", 3.0))
                    apply(plan)
                    if undo(plan.undo):
                        raise AssertionError("the group was not removed")

                found["group"] = median_ms(group, max(5, times // 10))
                process.kill()
            return found


def rows(times: int) -> list[dict[str, object]]:
    """What is printed."""
    if missing():
        return [{"what": f"resctrl: {missing()}", "value": None, "unit": "", "bar": "≤ 5 ms", "met": None, "peer": ""}]
    found = measure(times)
    bare = f"bare write and read {found['bare']:.2f} ms"
    named = {
        "both": "schemata written, verified, and read back as a limit",
        "written": "schemata written and verified alone",
        "read": "a limit read alone",
        "whole": "planned, written, read back, and read as a limit",
        "group": "a process: group made, its tasks moved, all undone",
    }
    return [
        {
            "what": what,
            "value": round(found[name], 3),
            "unit": "ms",
            "bar": "≤ 5 ms" if name == "both" else "",
            "met": found[name] <= BAR_MS if name == "both" else None,
            "peer": bare if name == "both" else "",
        }
        for name, what in named.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = rows(50 if options.quick else 500)
    if options.json:
        print(json.dumps(found, ensure_ascii=False))
        return
    for row in found:
        print(f"{row['what']:<55} {row['value']} {row['unit']:<3} {row['bar']:<8} {row['peer']}")


if __name__ == "__main__":
    main()
