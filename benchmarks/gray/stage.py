"""One scenario, in namespaces that `run` made: builds it, breaks it, listens, and says what was found in one line of JSON.

Four nodes have observers: three with a client program each, and a judge without, whose verdict counts. Three servers
on hosts of their own; one of them, drawn by the seed, is the culprit. The monitor has a host of its own.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.gray.faults import disk, step_clock
from benchmarks.gray.hosts import Hosts
from benchmarks.gray.scenarios import SCENARIOS, Culprit
from benchmarks.gray.servers import SERVERS, Place
from vagus.model import Status

CLIENTS = ("n1", "n2", "n3")
JUDGE = "n4"
NAMES = ("a", "b", "c")
MONITOR = "m"
START_S = 30.0


class Options(msgspec.Struct):
    """settle_s: before the fault, the detectors learn meanwhile how regular the beats are; watch_s: after it.

    folder: empty, for this run alone; tag: begins the names of control groups; template: what servers' `prepare` made."""

    scenario: str
    seed: int
    strategy: str
    quiet: bool
    settle_s: float
    watch_s: float
    folder: str
    tag: str
    template: str


class Heard:
    """The JSON lines that programs print, as they come."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self._news = threading.Condition()

    def listen(self, program: subprocess.Popen[str]) -> None:
        threading.Thread(target=self._read, args=(program,), daemon=True).start()

    def _read(self, program: subprocess.Popen[str]) -> None:
        assert program.stdout is not None
        for line in program.stdout:
            with self._news:
                self.lines.append(json.loads(line) if line.startswith("{") else {"ready": line.strip()})
                self._news.notify_all()

    def wait_ready(self, count: int, what: str) -> None:
        """Until so many programs have said that they are ready. Raises TimeoutError."""
        with self._news:
            if not self._news.wait_for(lambda: sum("ready" in line for line in self.lines) >= count, START_S):
                raise TimeoutError(f"{what}: {count} were to be ready within {START_S:.0f} s")


class Stage:
    """Everything that runs."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.scenario = SCENARIOS[options.scenario]
        self.server = SERVERS[self.scenario.server]
        self.random = random.Random(f"{options.scenario} {options.seed}")
        self.culprit = self.random.choice(NAMES)
        self.folder = Path(options.folder)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755", "gray", str(self.folder)], check=True)
        self.hosts = Hosts([*CLIENTS, JUDGE, *NAMES, MONITOR], self.folder / "hosts")
        self.servers: dict[str, subprocess.Popen[str]] = {}
        self.programs: list[subprocess.Popen[str]] = []
        self.verdicts = Heard()
        self.suspicions = Heard()
        self.device = ""

    def run(self) -> dict[str, Any]:
        """What was found."""
        self._start_observers()
        for name in NAMES:
            self._start_server(name)
        self.verdicts.wait_ready(len(CLIENTS) + 1, "observers")
        self._start_clients()
        self._start_monitor()
        time.sleep(self.options.settle_s + self.random.random())
        begun_s = time.monotonic()
        if not self.options.quiet:
            self.scenario.fault(self._outside())
        broken_s = time.monotonic()
        time.sleep(self.options.watch_s)
        dead = [program.args for program in self.programs if program.poll() is not None]
        if dead:
            raise RuntimeError(f"ended by themselves: {dead}")
        return {**self._found(begun_s, broken_s), "fault_took_s": round(broken_s - begun_s, 2)}

    # --- building --------------------------------------------------------------------------------------------------

    def _python(self, host: str, module: str, *argv: str, **environment: str) -> subprocess.Popen[str]:
        log = (self.folder / f"{module}-{host}.log").open("w")
        command = [sys.executable, "-m", f"benchmarks.gray.{module}", *argv]
        program = self.hosts.start(host, command, environment, stdout=subprocess.PIPE, stderr=log)
        self.programs.append(program)
        return program

    def _start_observers(self) -> None:
        peers = {node: self.hosts.addresses[node] for node in (*CLIENTS, JUDGE)}
        for node in peers:
            given = {"node": node, "home": str(self.folder / "home"), "strategy": self.options.strategy, "peers": peers}
            self.verdicts.listen(self._python(node, "observer", json.dumps(given)))

    def _start_server(self, name: str) -> None:
        folder, data, clock = (self.folder / f"{name}{kind}" for kind in ("", ".data", ".clock"))
        folder.mkdir()
        if self.scenario.disk and name == self.culprit:
            self.device = disk(data)
        else:
            data.mkdir()
        if self.scenario.clock:
            step_clock(clock, 0)
        template = Path(self.options.template)
        place = Place(self.hosts, name, folder, data, template, clock if self.scenario.clock else None)
        self.servers[name] = self.server.start(place)

    def _targets(self) -> list[str]:
        return [f"{name}={self.hosts.addresses[name]}:{self.server.port}" for name in NAMES]

    def _start_clients(self) -> None:
        programs = Heard()
        for number, node in enumerate(CLIENTS, 1):  # one after the other: their connections come in a known order
            home = str(self.folder / "home")
            programs.listen(self._python(node, f"clients.{self.scenario.client}", *self._targets(), VAGUS_HOME=home))
            programs.wait_ready(number, f"the client on {node}")

    def _start_monitor(self) -> None:
        self.suspicions.listen(self._python(MONITOR, "heartbeat", self.scenario.server, *self._targets()))

    def _outside(self) -> Culprit:
        name, folder = self.culprit, self.folder
        paths = folder / name, folder / f"{name}.data", folder / f"{name}.clock"
        pid, tag = self.servers[name].pid, self.options.tag
        return Culprit(name, pid, paths[0], paths[1], self.device, paths[2], self.server.port, self.hosts, CLIENTS, tag)

    # --- judging ---------------------------------------------------------------------------------------------------

    def _found(self, begun_s: float, broken_s: float) -> dict[str, Any]:
        guilty = f"{self.scenario.server}@{self.culprit}"
        told = [line for line in list(self.verdicts.lines) if "subject" in line]
        bad = [line for line in told if Status[line["status"]] > Status.MAYBE_UNHEALTHY]
        touched = sorted(
            {f"{line['subject']} by {line['node']}" for line in bad if line["subject"] != guilty or line["t"] < begun_s}
        )
        convictions = [line for line in bad if line["subject"] == guilty and line["t"] >= begun_s]
        mine = [line for line in convictions if line["node"] == JUDGE]
        found: dict[str, Any] = {
            "scenario": self.scenario.name,
            "seed": self.options.seed,
            "strategy": self.options.strategy,
            "quiet": self.options.quiet,
            "culprit": guilty,
            "convicted_s": None,
            "contexts": [],
            "accusers": [],
            "status": "",
            "healthy_touched": touched,
            "first_anywhere_s": min((round(line["t"] - broken_s, 2) for line in convictions), default=None),
        }
        if mine:
            first = mine[0]
            contexts = {name: given for name, given in first["contexts"].items() if given[1]}
            found |= {
                "convicted_s": round(max(0.0, first["t"] - broken_s), 2),
                "status": first["status"],
                "contexts": sorted(contexts),
                "accusers": sorted({accuser for _, accusers in contexts.values() for accuser in accusers}),
            }
        last = [line for line in told if line["subject"] == guilty and line["node"] == JUDGE]
        found["at_the_end"] = last[-1]["status"] if last else ""
        found["evidence"] = [{**line, "t": round(line["t"] - broken_s, 2)} for line in last[-20:]]
        for detector in ("heartbeat", "phi"):
            found[detector] = self._suspected(detector, begun_s, broken_s)
        return found

    def _suspected(self, detector: str, begun_s: float, broken_s: float) -> dict[str, Any]:
        """When it first suspected the culprit, how often it changed its mind, whether it does at the end; whom else."""
        said = [line for line in list(self.suspicions.lines) if line.get("detector") == detector]
        mine = [line for line in said if line["server"] == self.culprit and line["t"] >= begun_s]
        others = {line["server"] for line in said if line not in mine and line["suspected"]}
        first = next((line["t"] - broken_s for line in mine if line["suspected"]), None)
        return {
            "suspected_s": None if first is None else round(first, 2),
            "times": sum(line["suspected"] for line in mine),
            "at_the_end": bool(mine and mine[-1]["suspected"]),
            "others": sorted(others),
        }


def main() -> None:
    options = msgspec.json.decode(sys.argv[1], type=Options)
    print(json.dumps(Stage(options).run()), flush=True)


if __name__ == "__main__":
    main()
