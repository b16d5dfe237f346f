"""What every registered strategy and log filter must hold."""

from __future__ import annotations

import copy
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.clock import NS
from vagus.health import LOG_FILTERS, STRATEGIES
from vagus.model import Inference, Metric, Report, Status

NOW = 1_700_000_000 * NS

views = st.dictionaries(
    st.sampled_from("abcd"),
    st.lists(
        st.dictionaries(
            st.sampled_from(["read", "write"]),
            st.builds(Metric, st.sampled_from(Status), st.floats(-100, 100)),
            min_size=1,
        ),
        min_size=1,
        max_size=10,
    ),
)


@pytest.mark.parametrize("name", list(STRATEGIES))
@given(said=views)
@settings(deadline=None, max_examples=30)
def test_a_strategy_infers_from_anything_and_changes_nothing(name: str, said: dict) -> None:
    strategy = STRATEGIES.make(name, pending_ns=3 * NS)
    panorama = {o: [Report(o, "s", NOW + n, c) for n, c in enumerate(view)] for o, view in said.items()}
    before = copy.deepcopy(panorama)
    got = strategy.infer("s", panorama, NOW + 100)
    assert panorama == before
    assert isinstance(got, Inference)
    assert (got.subject, got.t_ns, got.strategy, got.observers) == ("s", NOW + 100, name, tuple(sorted(said)))
    contexts = {context for view in said.values() for report in view for context in report}
    assert set(got.contexts) == contexts
    assert got.status == max((v.status for v in got.contexts.values()), default=Status.NA)
    assert all(set(v.accusers) <= set(said) for v in got.contexts.values())
    assert strategy.infer("s", dict(reversed(panorama.items())), NOW + 100) == got, "order of observers is no matter"


@pytest.mark.parametrize("name", list(STRATEGIES))
def test_a_strategy_sees_the_obvious(name: str) -> None:
    strategy = STRATEGIES.make(name)
    for status in (Status.HEALTHY, Status.UNHEALTHY, Status.DEAD):
        panorama = {o: [Report(o, "s", NOW - n * NS, {"read": Metric(status, 7)}) for n in (4, 2, 0)] for o in "abc"}
        got = strategy.infer("s", panorama, NOW)
        assert (got.status, got.contexts["read"].score) == (status, 7)
        assert got.contexts["read"].accusers == (() if status == Status.HEALTHY else ("a", "b", "c"))


PIECES = [
    "2017-05-26 17:26:04,937 [myid:0] - WARN  [",
    "WorkerSender[myid=0]:QuorumCnxManager@382] - ",
    "Cannot open channel to 1 at election address ",
    "[    1.280168] ",
    "Jun  3 10:00:01 web7 kernel: ",
    "Out of memory: Killed process 1",
    "I/O error, dev ",
    "INFO: task ",
    "blocked for more than ",
    "[1]: segfault at ",
    "eth0: Link is Down",
    "2022-12-02 15:22:04,287 INFO  [main] org.apache.hadoop.hdfs.StateChange: ",
    "BLOCK* removeDeadDatanode: lost heartbeat from ",
    "Error Recovery for block x in pipeline a:1, b:1: bad datanode ",
    "ABORTING region server a,1,2",
    "INFO  [GossipStage:1] 2020-10-23 08:01:42,096 Gossiper.java:1090 - InetAddress /",
    "10.0.0.1 is now DOWN",
    "[2019-09-21 11:24:07,626] WARN [ReplicaFetcher replicaId=4, leaderId=0, fetcherId=0] ",
    "Connection to node 1 (a) could not be established. Broker may not be available",
    "Shrinking ISR from 1,2,3 to 1,2. Out of sync replicas: (brokerId: 3, a)",
    "systemd[1]: a.service: Failed with result 'x'",
    '{"_TRANSPORT":"kernel","MESSAGE":"',
    "__CURSOR=s=739ad463348b4ceca5a9e69c95a3c93f;",
    "MESSAGE",
]


@pytest.mark.parametrize("name", list(LOG_FILTERS))
@given(
    pieces=st.lists(st.one_of(st.sampled_from(PIECES), st.text(max_size=20)), max_size=8),
    t_ns=st.integers(0, 4_102_444_799 * NS),
)
@settings(deadline=None, max_examples=30)
def test_a_filter_never_raises(name: str, pieces: list[str], t_ns: int) -> None:
    got = LOG_FILTERS.make(name, "n1").read("".join(pieces), "/var/log/x", t_ns)
    assert got is None or isinstance(got, Report)


@pytest.mark.parametrize("name", list(LOG_FILTERS))
def test_a_filter_is_not_slowed_by_hostile_lines(name: str) -> None:
    log_filter = LOG_FILTERS.make(name)
    hostile = [
        start + piece * (64_000 // len(piece))
        for start in (
            "",
            PIECES[0],
            PIECES[3],
            PIECES[4],
            PIECES[3] + "INFO: task blocked for more than ink segfault at ",
            PIECES[11] + PIECES[12],
            PIECES[11] + "Error Recovery for bad datanode ",
            PIECES[15],
            PIECES[17] + "could not be established. Connection to node 1 (",
            PIECES[17] + "Shrinking ISR from 1 to Out of sync replicas: (brokerId: 3, ",
            PIECES[4].replace("kernel", "systemd") + "Failed with result Started ",
        )
        for piece in (
            "a",
            " ",
            ":",
            ":a",
            "[",
            "]: ",
            "a[1",
            "-;",
            "Link ",
            "task a:1 ",
            "1,",
            "@1] - ",
            "(a) ",
            "a=1 ",
        )
    ]
    began = time.process_time()
    for line in hostile:
        log_filter.read(line, "/var/log/x", NOW)
    assert time.process_time() - began < 0.5
