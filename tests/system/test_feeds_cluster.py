"""Feeds on three Ray nodes: spread by location, seen from any gateway, and whole again after a kill."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from itertools import pairwise

import pytest
from conftest import NODES, eventually

pytestmark = pytest.mark.system

LOCATIONS = 12


def shares(connection):
    """The locations that each node fetches, when all of them have an owner."""
    answer = connection.get("/v1/feeds")
    assert not answer["partial"], answer["missing"]
    found = {f["node"]: f["locations"] for f in answer["feeds"] if f["name"] == "spread" and f["locations"]}
    return found if sum(found.values()) == LOCATIONS else None


def test_each_location_is_fetched_by_one_node_once_a_second(at, web):
    found = eventually(lambda: shares(at("n2")), what="shares of all locations")
    assert len(found) > 1, "at more than one node"
    time.sleep(2.0)  # shares have settled: what is counted is a span of time
    until_s = time.monotonic()
    counts = Counter(path for t_s, path in list(web.asked) if until_s - 2.0 <= t_s < until_s)
    assert len(counts) == LOCATIONS
    assert max(counts.values()) <= 3, f"in two seconds at most three ticks of a location begin: {counts}"


def test_items_of_all_nodes_are_seen_from_any(at, web):
    def items(node: str):
        answer = at(node).get("/v1/feeds/spread/items?limit=500&since=5s")
        return answer["items"] if {i["meta"]["location"] for i in answer["items"]} == _all(web) else None

    for node in NODES:
        found = eventually(lambda node=node: items(node), what=f"items of all nodes at {node}")
        assert len({item["node"] for item in found}) > 1
    series = at("n1").query("feed.spread.load1", since="1m")
    assert {s.stream.labels["location"] for s in series} == _all(web)
    entries = [e for e in at("n3").directory("feed") if e.name == "spread"]
    assert {entry.node for entry in entries} == set(NODES)
    assert all(entry.labels["every"] == "1s" for entry in entries)


def _all(web) -> set[str]:
    return {f"{web.url}/h{n}" for n in range(LOCATIONS)}


def test_a_killed_feed_actor_is_back_its_missed_ticks_are_items_and_nothing_moved(at, web):
    before = eventually(lambda: shares(at("n1")))
    node = max(before, key=lambda name: (name != "n1", before[name]))
    name = f"vagus:feed@{node}"
    old = {a.name: a for n in at("n1").status() for a in n.actors}[name]
    killed_ns = time.time_ns()
    os.kill(old.pid, signal.SIGKILL)

    def back():
        found = {a.name: a for n in at("n1").status() for a in n.actors}.get(name)
        return found and found.state == "HEALTHY" and found.pid != old.pid and found

    assert eventually(back, within_s=10.0, what=f"{name} is back").restarts == old.restarts + 1
    assert eventually(lambda: shares(at("n1"))) == before

    def dues():
        answer = at("n1").get("/v1/feeds/spread/items?limit=10000&since=60s")
        mine = [i["meta"] for i in answer["items"] if i["node"] == node and i["meta"]["due_ns"] > killed_ns - 5 * 10**9]
        whole = all(m["due_ns"] > killed_ns + 12 * 10**9 for m in _last(mine).values()) and len(_last(mine))
        return mine if whole == before[node] else None

    found = eventually(dues, within_s=30.0, what="items of the time after the kill")
    assert "missed" in {meta["net"] for meta in found}
    for location in _last(found):
        ticks = sorted(meta["due_ns"] for meta in found if meta["location"] == location)
        gaps = {b - a for a, b in pairwise(ticks)}
        assert gaps <= {10**9}, f"{location}: each tick has exactly one item, the bytes before the kill are kept"


def _last(metas) -> dict[str, dict]:
    return {meta["location"]: meta for meta in sorted(metas, key=lambda meta: meta["due_ns"])}
