"""A controller killed, or stopped, in mid-action, again and again: how long its limits stay in force after it.

Run: python -m benchmarks.act_killed [--json] [--quick]      (root: on a real cgroup)
Each time a process of its own limits a real group as fast as it can, through the guard's order of acting, the journal
and the watchdog; after a random few milliseconds it is killed with SIGKILL (or stopped with SIGSTOP, where the lease
must end it). Measured: from the signal until the kernel shows the original again.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.limited_group import Group, limited_group
from vagus.errors import ActuateError
from vagus.watchdog import recover

BAR_S = 5.0
LEASE_S = 2.0
ACTING = """
import sys, time
from pathlib import Path
from vagus.actors.limits import Limits
from vagus.actuators.choose import choose
from vagus.config import LimitSettings
from vagus.controllers.guard import Guard
from vagus.controllers.run import Bench, judge_all
from vagus.controllers.view import Snapshot
from vagus.model import Action, Target
folder, name, lease_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
actuator = choose("auto")
limits = Limits(actuator, folder, lease_s)
limits.recover()
limits.allow()
guard = Guard({"cpu_cores": LimitSettings(min=0.1, max=2, step_ratio=10, cooldown=0)}, {"cpu_cores": 2.0})
wanted, first = 0.5, True
while True:
    bench = Bench("killed", guard, actuator, True, time.monotonic_ns())
    action = Action(Target("cgroup", name), "cpu_cores", wanted)
    for planned in judge_all([action], Snapshot("n", time.time_ns()), bench).planned:
        receipt = limits.perform(planned, limits.permit)
        assert not receipt.error, receipt.error
        if first:
            print("acting", flush=True)
            first = False
    wanted = 1.5 - wanted
"""


def rows(quick: bool) -> list[dict[str, Any]]:
    """Raises ActuateError where this user may not limit a group."""
    with limited_group("killed") as group:
        killed = _times(signal.SIGKILL, 10 if quick else 50, group)
        stopped = _times(signal.SIGSTOP, 2 if quick else 10, group)
    return [*_rows("killed", killed), *_rows(f"stopped (lease {LEASE_S:g} s)", stopped)]


def _times(how: signal.Signals, times: int, group: Group) -> list[float]:
    rng, took = random.Random(3), []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # the last watchdog may still be ending
        for _ in range(times):
            command = [sys.executable, "-c", ACTING, f"{folder}/journal", group.path.name, str(LEASE_S)]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as acting:
                assert acting.stdout is not None
                assert acting.stdout.readline() == b"acting\n"
                time.sleep(rng.uniform(0, 0.02))
                acting.send_signal(how)
                began_s = time.monotonic()
                if how == signal.SIGKILL:
                    acting.wait()
                took.append(_until(group.file, group.original, began_s))
                acting.kill()
            recover(Path(folder) / "journal", wait_s=LEASE_S + 2)  # its watchdog has ended: the next has its own
    return took


def _until(file: Path, original: str, began_s: float) -> float:
    """Seconds until the original is back, and stays for 20 ms; infinite after four times the bar."""
    while (now_s := time.monotonic()) - began_s < 4 * BAR_S:
        if file.read_text() == original:
            time.sleep(0.02)
            if file.read_text() == original:
                return now_s - began_s
        time.sleep(0.001)
    return float("inf")


def _rows(how: str, took: list[float]) -> list[dict[str, Any]]:
    worst = max(took)
    what = f"controller {how} in mid-action {len(took)} times: "
    bar = {"unit": "s", "bar": f"≤ {BAR_S:g} s", "peer": None}
    return [
        {
            "what": f"{what}median until restored",
            "value": round(statistics.median(took), 4),
            **bar,
            "bar": None,
            "met": None,
        },
        {"what": f"{what}longest until restored", "value": round(worst, 4), **bar, "met": worst <= BAR_S},
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="fewer times")
    options = parser.parse_args()
    try:
        found = rows(options.quick)
    except ActuateError as error:
        found = [{"what": str(error), "value": None, "unit": "", "bar": None, "met": None, "peer": None}]
    if options.json:
        print(json.dumps(found))
        return
    for row in found:
        print(f"{row['what']:100} {row['value']} {row['unit']} {row['bar']} {'met' if row['met'] else 'NOT MET'}")


if __name__ == "__main__":
    main()
