"""Membership: how soon a killed node is dead to all others, false alarms, and what it costs; beside serf's agents.

    python -m benchmarks.health_swim [--seconds 20] [--rounds 3] [--json]

Five processes of ours and five of Debian's `serf` (SWIM with Lifeguard, in Go, settings for a LAN) run at the same time
on loopback, are left idle, and then lose one each by SIGKILL. Both probe once a second. CPU seconds are the processes'
own, so that a noisy machine does not matter to them. The simulation says how often a slow member of 24 raises false
alarms, with local health awareness and without it.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.shown import parser, show

NODES = 5
WAIT_S = 60.0
TICK_S = 1 / os.sysconf("SC_CLK_TCK")
FIXTURES = Path(__file__).parents[1] / "tests" / "fixtures"

CHILD = """
    import asyncio, json, sys, time
    from vagus.actors.membership import Membership
    from vagus.actors.wire import Wire
    from vagus.health.swim import Changed, DEAD
    import uvloop

    class Telling(Membership):
        def _perform(self, swim, directives):
            for directive in directives:
                if isinstance(directive, Changed) and directive.state is DEAD:
                    print(f"dead {directive.member}", flush=True)
            super()._perform(swim, directives)

    async def main():
        wire = Wire(sys.argv[1], lambda where, error: print("error", where, error, flush=True))
        membership = Telling(wire, 1.0, lambda reports: None, lambda where, error: print("error", error, flush=True))
        wire.open("127.0.0.1", int(sys.argv[2]))
        membership.start()
        wire.connect({node: tuple(address) for node, address in json.loads(sys.argv[3]).items()}, bytes(range(32)))
        membership.set_peers()
        print("ready", flush=True)
        await asyncio.Event().wait()

    uvloop.run(main())
"""


class Process:
    """One member: its process, and when it said that others are dead."""

    def __init__(self, name: str, command: list[str], marks: tuple[str, str], ready: str) -> None:
        self.name = name
        self.dead: dict[str, float] = {}
        self.ready = threading.Event()
        self._marks, self._ready = marks, ready
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        before, after = self._marks
        for line in self.process.stdout:
            if self._ready in line:
                self.ready.set()
            if before in line:
                name = line.split(before, 1)[1].split(after, 1)[0].strip()
                self.dead.setdefault(name, time.monotonic())

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) * TICK_S

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


def ports(count: int) -> list[int]:
    """Free ports, UDP and TCP."""
    socks = []
    for _ in range(count):
        sock = socket.socket()
        sock.bind(("127.0.0.1", 0))
        socks.append(sock)
    found = [int(sock.getsockname()[1]) for sock in socks]
    for sock in socks:
        sock.close()
    return found


def ours() -> list[Process]:
    """Five of our members."""
    names = [f"n{n}" for n in range(NODES)]
    addresses = {name: ("127.0.0.1", port) for name, port in zip(names, ports(NODES), strict=True)}
    return [
        Process(
            name,
            [sys.executable, "-c", textwrap.dedent(CHILD), name, str(addresses[name][1]), json.dumps(addresses)],
            ("dead ", "\n"),
            "ready",
        )
        for name in names
    ]


def serfs(program: str) -> list[Process]:
    """Five agents."""
    binds = ports(NODES)
    members = []
    for number, (bind, rpc) in enumerate(zip(binds, ports(NODES), strict=True)):
        command = [program, "agent", f"-node=n{number}", f"-bind=127.0.0.1:{bind}", f"-rpc-addr=127.0.0.1:{rpc}"]
        command += [f"-retry-join=127.0.0.1:{binds[0]}"] if number else []
        ready = "EventMemberJoin" if not number else "agent: joined: 1"
        members.append(Process(f"n{number}", command, ("EventMemberFailed: ", " "), ready))
    return members


def run(members: list[Process]) -> None:
    for member in members:
        if not member.ready.wait(WAIT_S):
            raise SystemExit(f"{member.process.args[0]}: {member.name} does not start")


def kill_one(members: list[Process]) -> tuple[list[float], int]:
    """Seconds until each of the others said so of one that was killed, and how many living were said to be dead."""
    victim, others = members[-1], members[:-1]
    false = sum(len(member.dead) for member in members)
    killed_s = time.monotonic()
    victim.kill()
    while any(victim.name not in member.dead for member in others):
        if time.monotonic() - killed_s > WAIT_S:
            raise SystemExit(f"{members[0].process.args[0]}: not all knew after {WAIT_S:.0f} s")
        time.sleep(0.01)
    false += sum(len(member.dead.keys() - {victim.name}) for member in others)
    return [member.dead[victim.name] - killed_s for member in others], false


def real(seconds_s: float, rounds: int) -> dict[str, float]:
    """Both kinds side by side."""
    program = shutil.which("serf")
    times: dict[str, list[float]] = {"vagus": [], "serf": []}
    cpu: dict[str, list[float]] = {"vagus": [], "serf": []}
    false = {"vagus": 0, "serf": 0}
    for _ in range(rounds):
        clusters = {"vagus": ours()} | ({"serf": serfs(program)} if program else {})
        try:
            for members in clusters.values():
                run(members)
            time.sleep(3.0)
            before = {kind: sum(m.cpu_s() for m in members) for kind, members in clusters.items()}
            began_s = time.monotonic()
            time.sleep(seconds_s)
            minutes = (time.monotonic() - began_s) / 60
            for kind, members in clusters.items():
                cpu[kind].append((sum(m.cpu_s() for m in members) - before[kind]) / NODES / minutes)
            with ThreadPoolExecutor() as pool:
                found = dict(zip(clusters, pool.map(kill_one, clusters.values()), strict=True))
            for kind, (seen_s, wrong) in found.items():
                times[kind].append(max(seen_s))
                false[kind] += wrong
        finally:
            for members in clusters.values():
                for member in members:
                    member.kill()
    figures: dict[str, float] = {}
    for kind in times:
        if times[kind]:
            figures[f"{kind}_all_know_s"] = statistics.median(times[kind])
            figures[f"{kind}_all_know_worst_s"] = max(times[kind])
            figures[f"{kind}_false_alarms"] = float(false[kind])
            figures[f"{kind}_cpu_s_per_minute"] = statistics.median(cpu[kind])
    if program:
        figures["detection_to_serf"] = figures["vagus_all_know_s"] / figures["serf_all_know_s"]
        figures["cpu_to_serf"] = figures["vagus_cpu_s_per_minute"] / max(figures["serf_cpu_s_per_minute"], TICK_S)
    return figures


async def observers_cpu(seconds_s: float) -> float:
    """CPU seconds a minute that membership adds to a whole observer: three with it, three without, in this process."""
    from vagus.actors.base import Seat
    from vagus.actors.observer import ObserverActor
    from vagus.config import Config, HealthSettings

    async def spent_s(probe: str) -> float:
        with tempfile.TemporaryDirectory() as home:
            config = Config(health=HealthSettings(probe=probe))
            nobody: Any = None
            options = {"key": bytes(range(32))}
            actors = [ObserverActor(Seat("observer", f"n{n}", home, config, options=options), nobody) for n in range(3)]
            for actor in actors:
                await actor.begin()
            addresses = {actor.seat.node: await actor.address() for actor in actors}
            for actor in actors:
                await actor.set_peers(addresses)
            await asyncio.sleep(2.0)
            before_s = time.process_time()
            await asyncio.sleep(seconds_s)
            cpu_s = time.process_time() - before_s
            for actor in actors:
                await actor.end()
            return cpu_s / 3 * 60 / seconds_s

    return await spent_s("1s") - await spent_s("60s")


def simulated() -> dict[str, float]:
    """False alarms that one slow member of 24 raises in a minute: its messages take 0.8 s longer each way."""
    sys.path.insert(0, str(FIXTURES))
    from swim_network import Network

    from vagus.health.swim import Probed

    found = {}
    for name, awareness in (("aware", 8), ("unaware", 0)):
        alarms = 0
        for seed in range(3):
            network = Network(24, seed, awareness=awareness)
            network.run(10)
            network.seen.clear()
            network.nodes["n0"].lag_s = 0.8
            network.run(60)
            probes = (seen.what for seen in network.seen if isinstance(seen.what, Probed))
            alarms += sum(not probe.ok and probe.member != "n0" for probe in probes)
        found[f"slow_member_false_alarms_{name}"] = alarms / 3
    found["awareness_ratio"] = found["slow_member_false_alarms_unaware"] / max(
        1 / 3, found["slow_member_false_alarms_aware"]
    )
    return found


def measure(seconds_s: float = 20.0, rounds: int = 3) -> dict[str, float]:
    """All figures; those of serf only where it is installed."""
    figures = real(seconds_s, rounds) | simulated()
    figures["observer_core_ratio"] = asyncio.run(observers_cpu(seconds_s)) / 60
    figures["bar_core_ratio"] = 0.003
    return figures


def main() -> None:
    options = parser(__doc__)
    options.add_argument("--seconds", type=float, default=20.0, help="of idleness, in which CPU is measured")
    options.add_argument("--rounds", type=int, default=3)
    given = options.parse_args()
    show(measure(given.seconds, given.rounds), given.json)


if __name__ == "__main__":
    main()
