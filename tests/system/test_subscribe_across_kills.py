"""A subscription through one node's gateway to all three, while another node's collector is killed: each item once."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import Any

import pytest
from conftest import NODES, eventually

pytestmark = pytest.mark.system


def test_each_sample_once_although_a_remote_collector_is_killed(at):
    def pids() -> dict[str, int]:
        return {a.node: a.pid for n in at("n1").status() for a in n.actors if a.role == "collector"}

    eventually(lambda: set(pids()) == set(NODES), 60.0, "all nodes answer")
    seen: list[tuple[str, str, int]] = []
    with at("n1").subscribe("host.cpu.*", since="5s") as tail:

        def run() -> None:
            try:
                for tick in tail.ticks():
                    seen.append((tick.node, str(tick.labels), tick.t_ns))
            except Exception:  # closed under it: the end of the test
                pass

        reading = threading.Thread(target=run, daemon=True)
        reading.start()
        eventually(lambda: {node for node, _, _ in seen} == set(NODES), 20.0, "all nodes are heard")
        for _ in range(2):
            pid = pids()["n3"]
            os.kill(pid, signal.SIGKILL)
            eventually(lambda old=pid: pids().get("n3", old) != old, 60.0, "it is replaced")
            after_ns = time.time_ns()
            eventually(lambda t=after_ns: any(s[0] == "n3" and s[2] > t for s in seen), 30.0, "it is heard again")
        assert (tail.dropped, tail.gaps, tail.reconnects, tail.missing) == (0, {}, 0, {})
    reading.join(15)
    first_ns, last_ns = min(t for _, _, t in seen), max(t for n, _, t in seen if n == "n3")
    stored: set[tuple[str, str, int]] = set()
    for series in _query(at, first_ns, last_ns):
        stored |= {(series.stream.node, str(series.stream.labels), t) for t in series.t_ns.tolist()}
    heard = {s for s in seen if s[2] < last_ns}
    assert len(set(seen)) == len(seen)
    assert {s for s in stored if s[0] == "n3"} == {s for s in heard if s[0] == "n3"}
    assert heard <= stored


def _query(at: Any, first_ns: int, last_ns: int) -> Any:
    found = at("n1").query("host.cpu.*", start=first_ns, end=last_ns)
    assert not found.partial
    return found
