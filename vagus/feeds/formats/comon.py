"""CoMon's node report: `Key: values` lines over HTTP, as PlanetLab's nodes and vagus' own gateways serve them."""

from __future__ import annotations

from typing import Annotated

from vagus.feeds.formats.annotated import node_of
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.record import Record, entries, entry
from vagus.feeds.formats.types import Float


class CoMon(Record, style="entries", sep=": "):
    """The talk's five entries, and those of the node-centric table, which a report may lack. -1: not measured.

    date: seconds since 1970. vm_stat: the columns of vmstat. cpu_use: system and all, percent. dns_fail: share of
    lookups that failed, percent, of each name server. rwfs: how long the test of writing to the disk took, ms; -1:
    it could not be written. name: of the node, as a gateway of vagus tells it.
    """

    date: float = entry("Date", unit="s")
    vm_stat: list[int] = entries("VMStat")
    cpu_use: list[int] = entries("CPUUse")
    dns_fail: list[Annotated[float, Float(32)]] = entries("DNSFail")
    rwfs: int = entry("RWFS")
    name: str | None = entry("Name")
    uptime: float | None = entry("Uptime", unit="s")
    load1: float | None = entry("1minload")
    load5: float | None = entry("5minload")
    mem_size: float | None = entry("MemSize")
    free_mem: float | None = entry("FreeMem")
    gb_free: float | None = entry("GbFree")
    tx_rate: float | None = entry("TxRate")
    rx_rate: float | None = entry("RxRate")
    drift: float | None = entry("Drift", unit="s")
    live_slices: int | None = entry("LiveSlices")


def comon() -> Compiled[CoMon]:
    """A body as a `CoMon`; keys that it does not name are left alone."""
    return Compiled(node_of(CoMon), "comon")
