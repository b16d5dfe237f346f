"""The ZooKeeper filter on the logs of a real ensemble."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from vagus.health.filter_zookeeper import ZooKeeperFilter
from vagus.model import Report

LOGS = Path(__file__).parents[2].parent / "shared" / "data" / "zookeeper"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not LOGS.is_dir(), reason=f"no ZooKeeper logs at {LOGS}"),
]


def test_the_filter_finds_the_known_events() -> None:
    log_filter = ZooKeeperFilter()
    found: Counter[tuple[str, str, str]] = Counter()
    lines = 0
    for path in sorted(LOGS.glob("*.out")):
        for line in path.read_text(errors="replace").splitlines():
            lines += 1
            report = log_filter.read(line, str(path), 1)
            if isinstance(report, Report):
                assert report.t_ns > 1_495_000_000 * 10**9, "the line's time, not the time of reading"
                (context,) = report.contexts
                found[report.observer, report.subject, context] += 1
    assert lines > 20_000
    assert found == {
        ("peer@0", "peer@1", "WorkerSender"): 2,
        ("peer@0", "peer@2", "WorkerSender"): 2,
        ("peer@0", "peer@7", "WorkerSender"): 1,
        ("peer@3", "peer@1", "WorkerSender"): 1,
        ("peer@3", "peer@2", "WorkerSender"): 1,
    }
