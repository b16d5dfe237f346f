"""The talk's Pulse.fml: machines from a daily list, and of each a pair of what ping and `ssh HOST uptime` say.

    python loopback.py python pulse.py                        pings and logs in to this machine
    python pulse.py --local                                   no ssh: uptime of this machine for all, which it says
    python loopback.py python pulse.py --every 2s --lists 3   a day takes two seconds

mypy knows what comes: Feed[tuple[Ping, UptimeLine]].
"""

from __future__ import annotations

import argparse
import sys
from itertools import islice
from pathlib import Path

import vagus
from vagus.feeds import Feed, Item, all_, base, every, once, pair, proc
from vagus.feeds.formats.hosts import Comment, Data, hosts
from vagus.feeds.formats.ping import Ping, PingOutput
from vagus.feeds.formats.uptime import Uptime, UptimeLine


def pulse(machines: str, period: str, ssh: tuple[str, ...]) -> Feed[tuple[Ping, UptimeLine]]:
    """A pair for each machine of the list, once for each list. ssh: what runs `uptime` there, before the host."""

    def stats(machine: Data) -> Feed[tuple[Ping, UptimeLine]]:
        when = once(timeout="60s")
        where = (*ssh, machine.host) if ssh else ()
        return pair(
            base(
                proc("ping", "-c", "2", "-i", "0.2", machine.host),
                when,
                PingOutput(),
                options={"proc": {"good_exits": [0, 1]}},  # no answer is a value too
            ),
            base(proc(*where, "uptime"), when, Uptime()),
        )

    host_list: Feed[list[Comment | Data]] = base(
        all_(f"file:{machines}"), every(period, timeout="5s", start="now"), hosts()
    )
    return host_list.flatten().where(Data).foreach(stats).named("pulse")


def line(item: Item[tuple[Ping, UptimeLine]]) -> str:
    """A pair in words; a side that failed is None, whatever its type says."""
    machine = next((origin.location.split()[-1] for origin in item.meta.provenance if "ping" in origin.location), "?")
    ping: Ping | None
    uptime: UptimeLine | None
    ping, uptime = item.value or (None, None)
    if ping is None or not ping.sent:
        answers = "ping failed"
    else:
        rtt = f", {ping.rtt_avg_ms:.2f} ms" if ping.rtt_avg_ms is not None else ""
        answers = f"{ping.received or 0} of {ping.sent} answers{rtt}"
    load = "no uptime" if uptime is None else f"up {(uptime.up_s or 0) / 3600:.1f} h, load {uptime.load1}"
    return f"{machine}: {answers}; {load}"


def main() -> None:
    """Prints a line for each pair."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machines", default="machine_list")
    parser.add_argument("--every", default="24h", help="how often the list is read")
    parser.add_argument("--lists", type=int, default=1, help="how many lists are waited for")
    parser.add_argument("--ssh", default="ssh -F ssh_config", help="what logs in")
    parser.add_argument("--local", action="store_true", help="run uptime here instead")
    given = parser.parse_args()
    if given.local:
        print("without ssh: each uptime is this machine's", file=sys.stderr)
    feed = pulse(given.machines, given.every, () if given.local else tuple(given.ssh.split()))
    listed, _ = hosts().parse(Path(given.machines).read_bytes())
    count = sum(isinstance(one, Data) for one in listed or [])
    with vagus.stream(feed) as pairs:
        for item in islice(pairs, count * given.lists):
            print(line(item), flush=True)


if __name__ == "__main__":
    main()
