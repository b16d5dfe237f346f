"""CoMon in Python: the feeds of the talk's Comon.simple.fml and CoMon.fml, and its program: the 10 least loaded nodes.

python comon.py                                        the nodes of the vagus that runs here, every 600 s
python comon.py --every 10s --fetch 2s                 the same, sped up
python comon.py --nodelist file:nodelist --report 'http://{}:3121'     as at PlanetLab: a host on each line of a file
python comon.py http://a.example.org:3121 http://b.example.org:3121    these sites
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from heapq import nsmallest

import vagus
from vagus.config import seconds
from vagus.feeds import Feed, Item, Record, Stream, all_, base, entries, entry, every, later_than
from vagus.feeds.formats import hosts


class CoMon(Record, style="entries", sep=": "):
    date: float = entry("Date")
    vm_stat: list[float] = entries("VMStat")
    cpu_use: list[int] = entries("CPUUse")
    dns_fail: list[float] = entries("DNSFail")
    rwfs: int = entry("RWFS")
    load: float = entry("5minload", min=0)


def simple(sites: list[str], period: str) -> Feed[CoMon]:
    """Comon.simple.fml: fetch from all sites in a list."""
    return base(all_(sites), every(period, timeout="60s", start="now"), CoMon)


def comon(nodelist: str, report: str, period: str) -> Feed[CoMon]:
    """CoMon.fml: repeatedly get the current node list, and from each of its nodes a report."""
    nodes = base(all_(nodelist), every("24h", timeout="5s"), hosts.hosts()).flatten().where(hosts.Data)
    return nodes.foreach(lambda n: base(all_(report.format(n.host)), every(period, timeout="60s"), CoMon))


def add(table: dict[str, float], item: Item[float]) -> dict[str, float]:
    return table if item.value is None else {**table, item.meta.location: item.value}


def find_nodes(rest: Stream[CoMon], every_s: float) -> Iterator[list[tuple[float, str]]]:
    """Every so many seconds the 10 locations with the least load."""
    empty: dict[str, float] = {}
    while not rest.ended:
        part, rest = rest.slice_until(later_than(time.time() + every_s))
        loads = part.map(lambda report: report.load).fold(add, empty)
        yield nsmallest(10, ((load, location) for location, load in loads.items()))


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument("sites", nargs="*", help="instead of a node list")
    given.add_argument("--nodelist", default="gateway:/v1/comon/nodes")
    given.add_argument("--report", default="gateway:/v1/comon?node={}", help="where a node's report is")
    given.add_argument("--fetch", default="5m", help="how often reports are fetched")
    given.add_argument("--every", default="600s", help="how often the table is shown")
    given.add_argument("--tables", type=int, default=0, help="end after so many; 0: never")
    args = given.parse_args()
    feed = simple(args.sites, args.fetch) if args.sites else comon(args.nodelist, args.report, args.fetch)
    with vagus.stream(feed, "comon") as items:
        for number, nodes in enumerate(find_nodes(items, seconds(args.every)), 1):
            print(time.strftime("%H:%M:%S"), *(f"{load:6.2f}  {where}" for load, where in nodes), sep="\n", flush=True)
            if number == args.tables:
                break


if __name__ == "__main__":
    main()
