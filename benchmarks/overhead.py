"""What vagus costs a Ray workload: tasks a second with vagus on against off, in the same cluster, in pairs of rounds.

    python -m benchmarks.overhead [--json] [--quick] [--pairs 8] [--seconds 10] [--seed 1] [--peer]

Starts a Ray node of its own, with a processor for each of the machine's, and a driver that keeps them all busy: waves of
tasks of about 1 ms, then of about 10 ms, each a fixed amount of work. Rounds with vagus as it is by default and with
`vagus down` alternate in an order drawn from the seed; what counts is the ratio within each pair, its mean and the middle
95 % of a bootstrap over the pairs. Others share the processors of a virtual machine, whose speed was seen to halve within
a minute: each task says what processor time its fixed work took, and tasks/s are told as seen, and at an equal speed
(times that time, over the nominal one). How much of that time vagus itself adds, by using caches, is a line too. Also told: what processor time vagus' own processes took meanwhile. Everything is
ended and removed at the end, also on Ctrl-C and SIGTERM. A cluster that runs is not touched, but would disturb.

--peer: instead of vagus, Debian's prometheus-node-exporter and a prometheus that scrapes it each second.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, NamedTuple, Protocol

import psutil

from benchmarks.idle import is_ours, usage
from benchmarks.overhead_pairs import OFF, ON, cost, order
from vagus.cli.demo.unbroken import unbroken, unwind_on_end
from vagus.config import Config
from vagus.errors import Unsupported, VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch
from vagus.runtime.cluster import ClusterFile, free_port

TASKS_MS = (1.0, 10.0)
BAR_PERCENT = 3.0
SETTLE_S = 8.0  # after a change: what starts or ends is not what it costs to run
CHANGE_S = 8.0  # about, to start or to end it
PEER = ("prometheus-node-exporter", "prometheus")
PEER_READY_S = 30.0
ROOT = Path(__file__).parents[1]
SCRAPE = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ['127.0.0.1:{port}']}}]
"""

Say = Callable[[str], None]


class Measured(Protocol):
    """What is turned on and off."""

    name: str

    def set(self, on: bool) -> None:
        """Returns when it runs, or is gone; idempotent. Raises VagusError."""

    def cpu_s(self) -> dict[int, float]:
        """Processor time so far of each of its processes, by pid."""


class Vagus:
    """vagus with its defaults, in a Ray that is there."""

    name = "vagus"

    def __init__(self, home: Path, cluster: ClusterFile) -> None:
        self._home = home
        self._cluster = cluster
        self._on = False

    def set(self, on: bool) -> None:
        if on and not self._on:
            self._on = True  # half up, it must be ended too
            launch.up(Config(home=str(self._home)), address=self._cluster.address)
        elif not on and self._on:
            problems = launch.down(self._home)
            self._on = False
            if problems:
                raise VagusError(f"vagus down left: {'; '.join(problems)}")

    def cpu_s(self) -> dict[int, float]:
        return {pid: cpu_s for pid, (name, cpu_s, _) in usage(self._cluster.id).items() if is_ours(name)}


class Prometheus:
    """Debian's node exporter and a server that scrapes it. Raises Unsupported where one is not installed."""

    name = "prometheus"

    def __init__(self, folder: Path) -> None:
        for program in PEER:
            if shutil.which(program) is None:
                raise Unsupported(f"{program} is not installed: apt-get install {' '.join(PEER)}")
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def set(self, on: bool) -> None:
        if on and not self._running:
            self._folder.mkdir(parents=True, exist_ok=True)
            exported, served = free_port(0), free_port(0)
            (self._folder / "prometheus.yml").write_text(SCRAPE.format(port=exported))
            self._start(PEER[0], f"--web.listen-address=127.0.0.1:{exported}")
            self._start(
                PEER[1],
                f"--config.file={self._folder}/prometheus.yml",
                f"--storage.tsdb.path={self._folder}/tsdb",
                f"--web.listen-address=127.0.0.1:{served}",
            )
            self._await(exported, served)
        elif not on:
            for process in self._running:
                process.kill()
                process.wait()
            self._running.clear()

    def _start(self, *command: str) -> None:
        with open(self._folder / f"{command[0]}.log", "ab") as log:
            self._running.append(
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )  # Ctrl-C is for us, who end it
            )

    def _await(self, *ports: int) -> None:
        deadline_s = time.monotonic() + PEER_READY_S
        while not all(ray_cluster.answers(f"127.0.0.1:{port}") for port in ports):
            if time.monotonic() > deadline_s or any(process.poll() is not None for process in self._running):
                raise VagusError(f"{' or '.join(PEER)} does not start; what it said is in {self._folder}")
            time.sleep(0.1)

    def cpu_s(self) -> dict[int, float]:
        found = {}
        for process in self._running:
            times = psutil.Process(process.pid).cpu_times()
            found[process.pid] = times.user + times.system
        return found


class Workload:
    """The driver's process."""

    def __init__(self, home: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.overhead_work", str(home)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, start_new_session=True,
        )  # fmt: skip

    def ready(self) -> dict[str, Any]:
        return self._line()

    def run(self, tasks_ms: float, seconds: float) -> dict[str, Any]:
        """Raises VagusError when it ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"tasks_ms": tasks_ms, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise VagusError(f"the workload's driver ended with code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def end(self) -> None:
        """Idempotent."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None and not pipe.closed:
                pipe.close()
        self._process.wait()


class Round(NamedTuple):
    """state: on or off; task_cpu_ms: processor time that a task took; cores: processor seconds a second of what is
    measured."""

    pair: int
    state: str
    tasks_ms: float
    tasks_s: float
    task_cpu_ms: float
    cores: float

    @property
    def level_s(self) -> float:
        """Tasks a second of a machine whose speed is always the same."""
        return self.tasks_s * self.task_cpu_ms / self.tasks_ms


def perform(pairs: int, seconds: float, seed: int, peer: bool, say: Say) -> list[Round]:
    """All rounds. Raises VagusError; whatever happens, nothing is left behind."""
    unwind_on_end()
    with ExitStack() as stack:
        try:
            return _perform(pairs, seconds, seed, peer, say, stack)
        finally:
            with unbroken():
                stack.close()


def _perform(pairs: int, seconds: float, seed: int, peer: bool, say: Say, stack: ExitStack) -> list[Round]:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vagus-overhead-")))
    home = folder / "ray"
    home.mkdir(mode=0o700)
    measured: Measured
    if peer:
        measured = Prometheus(folder / "peer")
    say("starting Ray")
    options = [f"--num-cpus={os.cpu_count() or 1}", "--include-dashboard=false"]
    cluster = ray_cluster.start(home, options=options)
    stack.callback(_end_ray, home, cluster, say)
    if not peer:
        before = os.environ.get("RAY_AUTH_TOKEN_PATH")
        os.environ["RAY_AUTH_TOKEN_PATH"] = cluster.auth_token_path  # vagus joins: the token is that of who started Ray
        stack.callback(_set_back, "RAY_AUTH_TOKEN_PATH", before)
        measured = Vagus(folder / "vagus", cluster)
    stack.callback(measured.set, False)
    work = Workload(home)
    stack.callback(work.end)
    told = work.ready()
    say(f"{told['cpus']} processors, {told['loops_per_ms']:.0f} loops a millisecond")
    rounds: list[Round] = []
    for pair, states in enumerate(order(Random(seed), pairs)):
        for state in states:
            measured.set(state == ON)
            time.sleep(SETTLE_S)
            for tasks_ms in TASKS_MS:
                rounds.append(_round(pair, state, tasks_ms, seconds, measured, work))
                done = rounds[-1]
                say(
                    f"pair {pair + 1} of {pairs}, {measured.name} {state:3}: {done.tasks_s:7.1f} tasks/s of {tasks_ms:g} ms, "
                    f"{measured.name} {done.cores:.3f} cores"
                )
    return rounds


def _round(pair: int, state: str, tasks_ms: float, seconds: float, measured: Measured, work: Workload) -> Round:
    before, began_s = measured.cpu_s(), time.monotonic()
    found = work.run(tasks_ms, seconds)
    took_s, after = time.monotonic() - began_s, measured.cpu_s()
    spent_s = sum(cpu_s - before.get(pid, 0.0) for pid, cpu_s in after.items())
    return Round(pair, state, tasks_ms, found["tasks_s"], found["task_cpu_ms"], spent_s / took_s)


def _end_ray(home: Path, cluster: ClusterFile, say: Say) -> None:
    for problem in ray_cluster.stop(home, cluster):
        say(f"left: {problem}")


def _set_back(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def rows(rounds: list[Round], name: str, seed: int) -> list[dict[str, Any]]:
    """The table; the bar is vagus' own."""
    table = []
    peer = None if name == Vagus.name else " + ".join(PEER)
    for tasks_ms in sorted({one.tasks_ms for one in rounds}):
        mine = [one for one in rounds if one.tasks_ms == tasks_ms]
        done = {(one.pair, one.state): one for one in mine}
        pairs = [(done[pair, ON], done[pair, OFF]) for pair in sorted({one.pair for one in mine})]
        seen = cost([(on.tasks_s, off.tasks_s) for on, off in pairs], Random(seed))
        level = cost([(on.level_s, off.level_s) for on, off in pairs], Random(seed))
        slower = cost([(on.task_cpu_ms, off.task_cpu_ms) for on, off in pairs], Random(seed))
        of = f"tasks of {tasks_ms:g} ms"
        bar, met = (f"<= {BAR_PERCENT:g} %", level.percent <= BAR_PERCENT) if peer is None else (None, None)
        for what, value, unit in (
            (f"{of} without {name}: median", median(off.tasks_s for _, off in pairs), "tasks/s"),
            (f"{of} with {name}: median", median(on.tasks_s for on, _ in pairs), "tasks/s"),
            (f"{of}: fewer with {name}, as seen, mean", seen.percent, "%"),
            (f"{of}: fewer with {name}, as seen, lower end of 95 %", seen.low, "%"),
            (f"{of}: fewer with {name}, as seen, upper end of 95 %", seen.high, "%"),
            (f"{of}: processor time of one more with {name}, mean", -slower.percent, "%"),
            (f"{of}: processor time of one more with {name}, lower end of 95 %", -slower.high, "%"),
            (f"{of}: processor time of one more with {name}, upper end of 95 %", -slower.low, "%"),
            (f"{of}: fewer with {name}, at equal speed, lower end of 95 %", level.low, "%"),
            (f"{of}: fewer with {name}, at equal speed, upper end of 95 %", level.high, "%"),
            (f"{of}: {name}'s processes", median(one.cores for one in mine if one.state == ON), "cores"),
        ):
            table.append({"what": what, "value": value, "unit": unit, "bar": None, "met": None, "peer": peer})
        what = f"{of}: fewer with {name}, at equal speed, mean of {level.pairs} pairs"
        table.append({"what": what, "value": level.percent, "unit": "%", "bar": bar, "met": met, "peer": peer})
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--quick", action="store_true", help="2 pairs of 3 seconds: shows that it runs, and little else"
    )
    parser.add_argument("--pairs", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10.0, help="of a round, for each length of task")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--peer", action="store_true")
    given = parser.parse_args()
    pairs, seconds = (2, 3.0) if given.quick else (given.pairs, given.seconds)
    if not 1 <= pairs <= 1000 or not 1 <= seconds <= 3600:
        parser.error("--pairs is 1 to 1000, --seconds 1 to 3600")

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    name = Prometheus.name if given.peer else Vagus.name
    lasts_s = 20 + pairs * 2 * (len(TASKS_MS) * seconds + SETTLE_S + CHANGE_S)
    say(
        f"{pairs} pairs of rounds with {name} on and off: about {lasts_s / 60:.0f} minutes; nothing else should run here"
    )
    try:
        found = rows(perform(pairs, seconds, given.seed, given.peer, say), name, given.seed)
    except VagusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted: all is ended and removed", file=sys.stderr)
        return 130
    if given.json:
        print(json.dumps(found))
    else:
        for row in found:
            met = "" if row["met"] is None else "met" if row["met"] else "NOT MET"
            print(f"{row['what']:72} {row['value']:10.3f} {row['unit']:8} {row['bar'] or '':8} {met}")
    return int(any(row["met"] is False for row in found))


if __name__ == "__main__":
    raise SystemExit(main())
