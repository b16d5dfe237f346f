"""CPU of reading a network device by SNMP: one poll of a device in steady state, versions 2c and 3.

    python benchmarks/devices.py [--interfaces 48] [--json]

Against Debian's snmpd in a network namespace of its own (root; `unshare`), so that the number of interfaces is known.
Thread CPU of this side; the peer in the same run is the bare exchange: the datagrams of such a poll sent and received
without being made or read.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "fixtures"))

from snmp_agent import SNMPD, USER, Agent

from vagus.collectors import device_mib as mib
from vagus.collectors.device import rows
from vagus.collectors.device_session import SnmpSession
from vagus.collectors.device_state import DeviceState
from vagus.config import SnmpSettings

POLLS = 20


async def measure(device: SnmpSettings) -> dict[str, float]:
    """Mean thread CPU of a poll, and what it gives."""
    session, state = await SnmpSession.open(device), DeviceState("bench", device)
    requests = 0
    ask = session._ask

    async def counted(*given: Any) -> Any:
        nonlocal requests
        requests += 1
        return await ask(*given)

    session._ask = counted  # type: ignore[method-assign]

    async def poll() -> int:
        answer, t_ns = await session.get(mib.SCALARS), time.time_ns()
        if state.inventory_due(t_ns, answer):
            table = await session.walk(mib.IDENTITY, device.max_interfaces + 1)
            state.inventory(t_ns, rows(table), await session.walk(mib.ADDRESSES, 512))
        read = rows(await session.walk(state.columns, len(state.interfaces)))
        return sum(len(getattr(r, "values", ())) for r in state.taken(t_ns, 0.0, answer, read))

    for _ in range(2):
        series = await poll()
    requests, began_s = 0, time.thread_time()
    for _ in range(POLLS):
        await poll()
    cpu_s = (time.thread_time() - began_s) / POLLS
    session.close()
    exchanges = requests / POLLS
    return {
        "interfaces": len(state.interfaces),
        "series": series,
        "requests": exchanges,
        "cpu_s_per_poll": cpu_s,
        "cpu_s_per_series": cpu_s / series,
        "core_ratio_at_10_s": cpu_s / 10,
        "ratio_to_bare_exchange": cpu_s / (exchanges * bare_s()),
    }


def bare_s() -> float:
    """Thread CPU of sending a datagram and receiving one of 1400 bytes."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
    ):
        one.bind(("127.0.0.1", 0))
        two.connect(one.getsockname())
        began_s = time.thread_time()
        for _ in range(1000):
            two.send(bytes(1400))
            one.recv(2000)
        return (time.thread_time() - began_s) / 1000


async def run(agent: Agent) -> dict[str, dict[str, float]]:
    """Both versions."""
    where = {"host": "127.0.0.1", "port": agent.port}
    v2c = SnmpSettings(**where, community_file=str(agent.community_file))
    v3 = SnmpSettings(**where, version="3", user=USER, key_file=str(agent.key_file))
    return {"v2c": await measure(v2c), "v3": await measure(v3)}


def inside(interfaces: int) -> dict[str, dict[str, float]]:
    """In a namespace of its own: makes the interfaces, starts snmpd, measures."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for pair in range((interfaces - 1) // 2):
        names = ["ip", "link", "add", f"p{pair}a", "type", "veth", "peer", "name", f"p{pair}b"]
        subprocess.run(names, check=True)
    with tempfile.TemporaryDirectory() as folder:
        agent = Agent(Path(folder), "bench")
        agent.start()
        try:
            return asyncio.run(run(agent))
        finally:
            agent.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--interfaces", type=int, default=48)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    if SNMPD is None or os.geteuid() != 0:
        sys.exit("needs root and snmpd (Debian: snmpd)")
    if os.environ.get("VAGUS_BENCH_INSIDE") != "1":
        environment = {**os.environ, "VAGUS_BENCH_INSIDE": "1"}
        sys.exit(subprocess.call(["unshare", "-n", sys.executable, __file__, *sys.argv[1:]], env=environment))
    found = inside(given.interfaces)
    if given.json:
        print(json.dumps(found, indent=2))
        return
    for version, figures in found.items():
        print(f"{version}  " + "  ".join(f"{name}={value:.4g}" for name, value in figures.items()))


if __name__ == "__main__":
    main()
