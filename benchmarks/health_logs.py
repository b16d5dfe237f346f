"""Lines of logs that the filters read per CPU-second, against a bare scan of the same lines for the same rules.

    python benchmarks/health_logs.py [--json]

The limit is what Python can do: one compiled alternation of all rules' expressions, searched in each line by `re`,
with nothing split, timed, named or reported. The ZooKeeper lines are the real ones in ../shared/data, read with
Panorama's filter file and with the filter's own rules; where that folder is absent, and for the other plugins, healthy
lines of the published forms with one event in a hundred.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable
from pathlib import Path

from vagus.actors.log_filters import make_log_filter
from vagus.health import LogFilter
from vagus.health.filter_cassandra import CassandraFilter
from vagus.health.filter_hdfs import HdfsFilter
from vagus.health.filter_kafka import KafkaFilter
from vagus.health.filter_syslog import SyslogFilter
from vagus.health.filter_zookeeper import ZooKeeperFilter
from vagus.health.log_rules import RuleFilter

LOGS = Path(__file__).parents[1].parent / "shared" / "data" / "zookeeper"
LINES = 40_000
EVERY = 100
NOW = 1_798_675_200_000_000_000

MADE: dict[type[RuleFilter], tuple[str, str]] = {
    ZooKeeperFilter: (
        "2017-05-26 17:26:04,437 [myid:0] - INFO  [Thread-{n}:NIOServerCnxn@1008] - Closed socket connection for client "
        "/127.0.0.1:{n} (no session established for client)",
        "2017-05-26 17:26:04,937 [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - Cannot open channel to 1 "
        "at election address pano1/10.0.0.5:3888",
    ),
    HdfsFilter: (
        "081109 204005 35 INFO dfs.FSNamesystem: BLOCK* NameSystem.addStoredBlock: blockMap updated: 10.251.73.220:50010 "
        "is added to blk_{n} size 67108864",
        "16/03/30 08:33:32 INFO hdfs.DFSClient: Excluding datanode 10.0.0.11:50010",
    ),
    CassandraFilter: (
        "INFO  [GossipStage:1] 2020-10-23 08:01:42,066 StorageService.java:2394 - Node /192.168.106.{n} state jump to NORMAL",
        "INFO [GossipStage:1] 2020-03-16 16:39:12,368 Gossiper.java:1198 - InetAddress 127.0.0.2:7000 is now DOWN",
    ),
    KafkaFilter: (
        "[2021-12-22 13:03:15,571] INFO [Partition t-{n} broker=1] ISR updated to 1,2 and version updated to 47 "
        "(kafka.cluster.Partition)",
        "[2021-12-22 13:03:15,590] ERROR Shutdown broker because all log dirs in /d have failed (kafka.log.LogManager)",
    ),
    SyslogFilter: (
        "Jun 14 15:16:01 combo sshd(pam_unix)[{n}]: authentication failure; logname= uid=0 euid=0 tty=NODEVssh ruser= "
        "rhost=218.188.2.4",
        "Feb 23 16:44:36 jobs kernel: [38775494.393661] nf_conntrack: table full, dropping packet",
    ),
}


def cpu_s(work: Callable[[], int]) -> tuple[float, int]:
    """The least CPU seconds of three runs, and what the last one found."""
    best, found = float("inf"), 0
    for _ in range(3):
        began = time.process_time()
        found = work()
        best = min(best, time.process_time() - began)
    return best, found


def scan(kind: type[RuleFilter]) -> re.Pattern[str]:
    """All rules' expressions as one, without their names and anchors."""
    bare = (re.sub(r"\(\?P<\w+>", "(?:", rule.pattern.pattern) for rule in kind.rules)
    return re.compile("|".join(f"(?:{p.removeprefix(chr(92) + 'A')})" for p in bare if "(?P=" not in p))


def scan_file(path: Path) -> re.Pattern[str]:
    """The same of a filter file: its texts and expressions, without anchors and names."""
    chains = json.loads(path.read_text())["FilterTree"]
    found = []
    for clause in (clause for chain in chains for clause in chain["Chain"]):
        text, operator = clause["Pattern"], clause["Operator"]
        parts = [text] if operator in ("~", "==") else re.findall(r"'(.*?)'", text)
        found += [re.escape(part) if "~" not in operator else part.lstrip("^").rstrip("$") for part in parts]
    return re.compile("|".join(f"(?:{re.sub(r'[(][?]P<[^>]*>', '(?:', part)})" for part in dict.fromkeys(found)))


def compare(log_filter: LogFilter, pattern: re.Pattern[str], lines: list[str]) -> dict[str, float]:
    """Lines per CPU-second of a filter and of the bare scan, their ratio, and events."""

    def filtered() -> int:
        return sum(log_filter.read(line, "log", NOW) is not None for line in lines)

    def scanned() -> int:
        return sum(pattern.search(line) is not None for line in lines)

    (own, events), (bare, _) = cpu_s(filtered), cpu_s(scanned)
    rates = {"lines_per_s": len(lines) / own, "scan_lines_per_s": len(lines) / bare, "ratio_to_scan": bare / own}
    return {**rates, "events": float(events), "lines": float(len(lines)), "cpu_s": own}


def made_lines(healthy: str, event: str) -> list[str]:
    return [event if n % EVERY == 0 else healthy.replace("{n}", str(n)) for n in range(LINES)]


def measure() -> dict[str, dict[str, float]]:
    """Figures by what was read."""
    found = {k.name: compare(k("n1"), scan(k), made_lines(*MADE[k])) for k in MADE}
    if LOGS.is_dir():
        lines = [line for p in sorted(LOGS.glob("*.out")) for line in p.read_text(errors="replace").splitlines()]
        files = {"filter_file": str(LOGS / "zoo_filter.json"), "ensemble": str(LOGS / "zoo.cfg")}
        found["zookeeper real, own rules"] = compare(ZooKeeperFilter("n1"), scan(ZooKeeperFilter), lines)
        by_file = make_log_filter("zookeeper", "n1", **files)
        found["zookeeper real, filter file"] = compare(by_file, scan_file(LOGS / "zoo_filter.json"), lines)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    wants_json = parser.parse_args().json
    found = measure()
    if wants_json:
        print(json.dumps(found))
        return
    for name, figures in found.items():
        print(
            f"{name:28} {figures['lines_per_s']:12,.0f} lines/s  {figures['ratio_to_scan']:6.2f} x a bare scan "
            f"({figures['scan_lines_per_s']:,.0f})  {figures['events']:.0f} events, {figures['cpu_s']:.3f} s"
        )


if __name__ == "__main__":
    main()
