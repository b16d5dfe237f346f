"""The ZooKeeper filter on the logs of a real ensemble: its own rules, and Panorama's filter and ensemble files."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.actors.log_filters import make_log_filter
from vagus.cli import cli
from vagus.health.filter_zookeeper import ZooKeeperFilter
from vagus.model import Report

LOGS = Path(__file__).parents[2].parent / "shared" / "data" / "zookeeper"

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not LOGS.is_dir(), reason=f"no ZooKeeper logs at {LOGS}"),
]


def test_the_filters_own_rules_find_the_known_events() -> None:
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
        ("peer@0", "peer@4", "RecvWorker"): 1,
        ("peer@0", "peer@8", "RecvWorker"): 1,
        ("peer@3", "peer@1", "WorkerSender"): 1,
        ("peer@3", "peer@2", "WorkerSender"): 1,
    }


LISTENER = "QuorumListener", "HEALTHY", 90.0
EXPECTED = {
    0: {
        **{(f"peer@{n}", *LISTENER): 2 if n in (4, 8) else 1 for n in range(1, 10)},
        **{(f"peer@{n}", "WorkerSender", "MAYBE_UNHEALTHY", 40.0): 1 if n == 7 else 2 for n in (1, 2, 7)},
        **{(f"peer@{n}", c, "MAYBE_UNHEALTHY", 50.0): 2 for n in (4, 8) for c in ("RecvWorker", "SendWorker")},
    },
    1: {(f"peer@{n}", *LISTENER): 1 for n in range(10) if n != 1},
    2: {(f"peer@{n}", *LISTENER): 1 for n in (0, 3, 4, 5, 6, 7, 8, 9)},
    3: {
        **{(f"peer@{n}", *LISTENER): 1 for n in (0, 4, 5, 6, 7, 8, 9)},
        **{(f"peer@{n}", "WorkerSender", "MAYBE_UNHEALTHY", 40.0): 1 for n in (1, 2)},
    },
}


@pytest.mark.parametrize(("number", "count"), [(0, 24), (1, 9), (2, 8), (3, 9)])
def test_feature_11_panoramas_filter_and_ensemble_files_find_what_the_reference_finds(number: int, count: int) -> None:
    files = "--filter", str(LOGS / "zoo_filter.json"), "--ensemble", str(LOGS / "zoo.cfg")
    args = ["zookeeper", str(LOGS / f"zookeeper_pano{number}.out"), *files, "--stale", "-1", "--dry-run", "--json"]
    result = CliRunner().invoke(cli, ["health", "logtail", *args])
    assert result.exit_code == 0, result.stderr
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(events) == count
    assert {e["observer"] for e in events} == {f"peer@{number}"}
    assert Counter((e["subject"], e["context"], e["status"], e["score"]) for e in events) == EXPECTED[number]


def test_of_equal_events_within_a_second_the_first_is_reported() -> None:
    log = str(LOGS / "zookeeper_pano0.out")
    files = "--filter", str(LOGS / "zoo_filter.json"), "--ensemble", str(LOGS / "zoo.cfg")
    result = CliRunner().invoke(cli, ["health", "logtail", "zookeeper", log, *files, "--stale", "-1", "--dry-run"])
    assert result.stderr == "6748 lines, 24 events, 16 would be reported, 8 merged\n"


def test_the_filter_file_is_read_as_it_is() -> None:
    made = make_log_filter("zookeeper", filter_file=str(LOGS / "zoo_filter.json"), ensemble=str(LOGS / "zoo.cfg"))
    prefix = "2017-05-26 17:26:04,937 [myid:0] - "
    said = {
        "INFO  [LearnerHandler-/10.0.0.7:33894:LearnerHandler@1] - Synchronizing with Follower sid: 3": "peer@3 HEALTHY",
        "WARN  [LearnerHandler-/10.0.0.7:33894:LearnerHandler@1] - ******* GOODBYE /10.0.0.7:33894 ********": "peer@3 DEAD",
        "ERROR [LearnerHandler-/10.0.0.7:33894:LearnerHandler@1] - Something else": "",
        "WARN  [QuorumPeer[myid=0]/0:0:0:0:0:0:0:0:2181:Follower@89] - Exception when following the leader /10.0.0.8:2888": "peer@4 UNHEALTHY",
        "WARN  [SyncThread:9:SyncRequestProcessor@148] - Too busy to snap, skipping": "peer@9 UNHEALTHY",
        "WARN  [Snapshot Thread:DataTree@1] - Slow serializing node /x": "peer@0 UNHEALTHY",
        "INFO  [pano0/10.0.0.4:3888:QuorumCnxManager$Listener@511] - Received connection request /10.9.9.9:1": "peer@10.9.9.9 HEALTHY",
    }
    for line, expected in said.items():
        report = made.read(prefix + line, "z", 1)
        assert (report is None) == (not expected), line
        if report is not None:
            (metric,) = report.contexts.values()
            assert f"{report.subject} {metric.status}" == expected
