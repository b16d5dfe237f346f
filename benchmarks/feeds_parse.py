"""How fast formats parse, beside the barest loop in Python over the same bodies, in the same run.

The body: 100 `Key: value` lines, 1.5 KB, as CoMon's nodes serve it. The peer reads no value: it splits the text into
lines and each line at `: ` into a dict, and says nothing of errors. Ours gives five typed fields (three numbers, two
lists) with a descriptor. Each figure is the median of paired rounds, of processor time of this thread.

five_declared_to_partition: the peer's time ÷ ours, all well. broken: one field is no number, one is absent. prefix: all
keys begin with the same 18 characters. sixty: 60 fields are declared. lines: a positional record a line (a web
server's log of 100 requests) beside one regular expression with groups, which types nothing.
"""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks import shown
from vagus.feeds import FORMATS, U16, Record, entries, entry, lines

DECLARED = {
    3: b"Date: 1202486984.709880",
    20: b"VMStat: 10 14 64 22320",
    45: b"CPUUse: 60 100",
    70: b"DNSFail: 0.0",
    95: b"RWFS: 221",
}
BODY = b"\n".join(DECLARED.get(n, b"Value%02d: %.2f" % (n, 10 + n * 1.25)) for n in range(100)) + b"\n"
BROKEN = BODY.replace(b"CPUUse: 60 100", b"CPUUse: 60 x").replace(b"DNSFail", b"DNSFale")
PREFIXED = b"".join(b"node_report_value_%02d: %.2f\n" % (n, 10 + n * 1.25) for n in range(60))
LOG = b"".join(b"192.0.2.%d GET /a/%d HTTP/1.1 %d %d\n" % (n, n * 7, 200 + n, n * 911) for n in range(100))


class CoMon(Record, style="entries", sep=": "):
    """The five entries of the talk."""

    date: float = entry("Date")
    vm_stat: list[int] = entries("VMStat")
    cpu_use: list[int] = entries("CPUUse")
    dns_fail: float = entry("DNSFail")
    rwfs: int | None = entry("RWFS", check=lambda v: v >= 0)


class Request(Record, layout="{host} {method} {target} {protocol} {status} {size}"):
    """A request in a log."""

    host: str
    method: str
    target: str
    protocol: str
    status: U16
    size: int


def partition(body: bytes) -> dict[str, str]:
    """The peer: every line, nothing typed, nothing checked."""
    found = {}
    for line in body.decode().split("\n"):
        key, _, value = line.partition(": ")
        found[key] = value
    return found


_REQUEST = re.compile(r"([^ ]*) ([^ ]*) ([^ ]*) ([^ ]*) (\d+) (\d+)")


def grouped(body: bytes) -> list[Any]:
    """The peer of a log: one regular expression a line."""
    match = _REQUEST.fullmatch
    return [found.groups() for line in body.decode().split("\n") if (found := match(line))]


def _rate(work: Callable[[bytes], Any], body: bytes, seconds: float) -> float:
    """Calls per processor second."""
    calls, began = 0, time.thread_time()
    while (took := time.thread_time() - began) < seconds:
        for _ in range(50):
            work(body)
        calls += 50
    return calls / took


def compared(ours: Callable[[bytes], Any], peer: Callable[[bytes], Any], body: bytes, seconds: float) -> list[float]:
    """Medians over rounds: ours per second, the peer's, and the ratio of each round."""
    rounds = max(3, round(seconds / 0.1))
    rows = [(_rate(ours, body, 0.05), _rate(peer, body, 0.05)) for _ in range(rounds)]
    return [
        statistics.median(row[0] for row in rows),
        statistics.median(row[1] for row in rows),
        statistics.median(row[0] / row[1] for row in rows),
    ]


def measure(seconds: float = 2.0) -> dict[str, float]:
    """Documents per processor second, and ratios to the peers; `seconds` for each comparison."""
    names = [f"node_report_value_{n:02}" for n in (3, 11, 24, 37, 48)]
    prefixed = FORMATS.make("entries", fields=dict.fromkeys(names, "float")).parse
    wide = [f"node_report_value_{n:02}" for n in range(60)]
    sixty = FORMATS.make("entries", fields=dict.fromkeys(wide, "float")).parse
    requests = lines(Request).parse
    for parse, body, errors in (
        (CoMon.parse, BODY, 0), (CoMon.parse, BROKEN, 2), (prefixed, PREFIXED, 0), (sixty, PREFIXED, 0), (requests, LOG, 0),
    ):  # fmt: skip
        found: Any = parse(body)
        if found[1].errors != errors:
            raise RuntimeError(f"not parsed as it should be: {found}"[:500])
    ours, peer, ratio = compared(CoMon.parse, partition, BODY, seconds)
    log, expression, log_ratio = compared(requests, grouped, LOG, seconds)
    return {
        "parse_body_bytes": float(len(BODY)),
        "five_declared_per_cpu_s": ours,
        "partition_per_cpu_s": peer,
        "five_declared_to_partition": ratio,
        "broken_to_partition": compared(CoMon.parse, partition, BROKEN, seconds)[2],
        "prefix_to_partition": compared(prefixed, partition, PREFIXED, seconds)[2],
        "sixty_declared_to_partition": compared(sixty, partition, PREFIXED, seconds)[2],
        "log_lines_per_cpu_s": log * 100,
        "regex_lines_per_cpu_s": expression * 100,
        "log_lines_to_regex": log_ratio,
    }


if __name__ == "__main__":
    shown.run(__doc__, measure)
