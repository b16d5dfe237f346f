"""HTB: a class changed and read back, beside `tc class change` and a bare netlink round trip.

Run as root: python -m benchmarks.act_traffic [--json] [--quick]
In a network namespace of its own (needs ip and tc): first from outside, which takes a thread that enters it for each
request, then from inside, as on a node's own devices.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Callable
from typing import Any

from vagus.actuators.apply import apply
from vagus.actuators.traffic import Traffic
from vagus.model import Action, Target
from vagus.shaping import messages as made
from vagus.undo import netlink as nl
from vagus.undo import undo

BAR_MS = 8.0
NAME = f"vgbench{os.getpid()}"


def median_ms(call: Callable[[int], object], times: int) -> float:
    """Median milliseconds of a call, which gets the number of the round."""
    took = []
    for i in range(times + 5):
        begin = time.perf_counter_ns()
        call(i)
        took.append(time.perf_counter_ns() - begin)
    return statistics.median(took[5:]) / 1e6


def ran(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


def measure(times: int) -> dict[str, float]:
    """Medians in milliseconds by name."""
    ran("ip", "netns", "add", NAME)
    try:
        ran("ip", "-n", NAME, "link", "add", "va", "type", "veth", "peer", "name", "vb")
        ran("tc", "-n", NAME, "qdisc", "add", "dev", "va", "root", "handle", "1:", "htb", "default", "10")
        change = ["class", "change", "dev", "va", "parent", "1:", "classid", "1:10", "htb", "rate"]
        ran("tc", "-n", NAME, *change[:1], "add", *change[2:], "8mbit")
        found = {f"{what}, in another namespace": ms for what, ms in acted(f"{NAME}/va", times).items()}
        nl.enter(NAME)  # this thread, for the rest of its life: what it does takes no other thread
        found |= acted("va", times)
        with nl.opened() as link:
            index = int.from_bytes(look(link, "va")[4:8], "little")
            asked = made.traffic(nl.GETTCLASS, nl.ACK | nl.ECHO, index, 0x10010, 0x10000)
            found["bare"] = median_ms(lambda _: nl.request(link, asked), times)

        def tc(i: int) -> None:
            ran("tc", *change, f"{8 + i % 2}mbit")
            ran("tc", "class", "show", "dev", "va")

        found["tc"] = median_ms(tc, max(times // 10, 10))
        return found
    finally:
        ran("ip", "netns", "del", NAME)


def look(link: Any, name: str) -> bytes:
    return nl.request(link, made.link(nl.GETLINK, nl.ACK, 0, content=made.attribute(3, made.text(name))))[0][1]


def acted(device: str, times: int) -> dict[str, float]:
    traffic = Traffic()
    classed, flow, whole = (Target("net", name) for name in (f"{device}/1:10", f"{device}/dport=80", device))

    def change(i: int) -> None:
        plan = traffic.plan(Action(classed, "net_bytes_s", 1e6 + i % 2 * 1e5))
        apply(plan)
        if not plan.shown(traffic.read(classed, "net_bytes_s")):
            raise AssertionError("the limit is not there")

    def made_and_undone(target: Target, resource: str) -> Callable[[int], None]:
        def call(_: int) -> None:
            plan = traffic.plan(Action(target, resource, 1e6))
            apply(plan)
            if undo(plan.undo):
                raise AssertionError("it was not undone")

        return call

    return {
        "class": median_ms(change, times),
        "read": median_ms(lambda _: traffic.read(classed, "net_bytes_s"), times),
        "flow": median_ms(made_and_undone(flow, "net_bytes_s"), max(times // 10, 10)),
        "incoming": median_ms(made_and_undone(whole, "net_in_bytes_s"), max(times // 10, 10)),
    }


def rows(times: int) -> list[dict[str, Any]]:
    """What is printed."""
    if os.geteuid() or not (shutil.which("ip") and shutil.which("tc")):
        why = "HTB: needs root, ip and tc"
        return [{"what": why, "value": None, "unit": "", "bar": "≤ 8 ms", "met": None, "peer": ""}]
    found = measure(times)
    peer = f"tc class change and show {found.pop('tc'):.2f} ms; a bare netlink round trip {found.pop('bare'):.3f} ms"
    named = {
        "class": "an HTB class planned, changed, and read back",
        "read": "an HTB class read",
        "flow": "a flow's class and filters made and undone",
        "incoming": "what comes in: ifb, HTB and redirection made and undone",
    }
    found = dict(sorted(found.items(), key=lambda item: list(named).index(item[0].partition(",")[0])))
    return [
        {
            "what": named[name.partition(",")[0]] + name.removeprefix(name.partition(",")[0]),
            "value": round(ms, 3),
            "unit": "ms",
            "bar": "≤ 8 ms" if name.startswith("class") else "",
            "met": ms <= BAR_MS if name.startswith("class") else None,
            "peer": peer if name.startswith("class") else "",
        }
        for name, ms in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    found = rows(50 if options.quick else 300)
    if options.json:
        print(json.dumps(found))
        return
    for row in found:
        print(f"{row['what']}: {row['value']} {row['unit']} {row['bar']} {row['peer']}")


if __name__ == "__main__":
    main()
