"""Health's routes over three real nodes: any gateway answers for all of them, and reaches the observer of each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from conftest import NODES, eventually

import vagus

pytestmark = pytest.mark.system


def ask(connection: vagus.Vagus, method: str, path: str, body: Any = None, **query: str) -> Any:
    packed = None
    if body is not None:
        import msgspec

        packed = msgspec.msgpack.encode(body)
    answer, _ = connection.request(method, path, query=query, body=packed)
    return json.loads(answer)


def test_a_handle_at_another_node_and_the_views_that_all_nodes_share(at):
    near = at("n1")
    handle = ask(near, "POST", "/v1/register", {"module": "shop", "observer": "cart@n2"}, node="n2")["handle"]
    report = {"observer": "cart@n2", "subject": "shared disk", "contexts": {"write": ["u", 7]}, "handle": handle}
    assert ask(near, "POST", "/v1/report", report, node="n2") == {"results": ["ACCEPTED"]}
    other = {**report, "observer": "somebody else"}
    assert ask(near, "POST", "/v1/report", other, node="n2") == {"results": ["FAILED"]}
    for node in NODES:  # by gossip, and each observer asked through one gateway
        path = "/v1/health/shared%20disk/panorama"
        views = eventually(lambda node=node, path=path: ask(near, "GET", path, node=node)["panorama"], what=node)
        assert [(r["origin"], r["contexts"]["write"]["score"]) for r in views["cart@n2"]] == [("n2", 7.0)]
    merged = ask(at("n3"), "GET", "/v1/health/shared%20disk/panorama")
    assert (len(merged["panorama"]["cart@n2"]), merged["partial"]) == (1, False)


def test_the_matrix_covers_all_nodes(at):
    def shown():
        answer = ask(at("n3"), "GET", "/v1/matrix")
        assert not answer["partial"], answer["missing"]
        return {f"collector@{node}" for node in NODES} <= set(answer["observers"]) and answer

    answer = eventually(shown, what="every collector's view")
    assert {cell["subject"] for cell in answer["cells"]} == {subject["subject"] for subject in answer["subjects"]}
    listed = ask(at("n2"), "GET", "/v1/subjects")["subjects"]
    assert {subject["subject"] for subject in answer["subjects"]} <= {entry["subject"] for entry in listed}


def test_each_observer_says_whom_it_knows(at):
    for node in NODES:
        about = ask(at("n1"), "GET", "/v1/observer", node=node)["observer"]
        assert about["node"] == node
        assert set(NODES) - {node} <= set(about["peers"])
        assert about["memory_bytes"] > 1e6


def test_a_changed_verdict_is_pushed_to_subscribers(at):
    connection = at("n3")
    with connection.subscribe(events="health.changed", since="5m", patience="10s") as changes:
        assert connection.report("pushed", {"read": ("UNHEALTHY", 1)}, observer="api@n3") == "ACCEPTED"
        told = set()
        for change in changes.ticks():
            if change.fields.get("subject") == "pushed":
                assert change.fields["status"] == "UNHEALTHY"
                assert change.node not in told, "each node's change once"
                told.add(change.node)
                if told == set(NODES):
                    break
    stored, _ = connection.request("GET", "/v1/records", query={"kind": "event", "event": "health.changed"})
    nodes = [e["node"] for e in json.loads(stored)["records"] if e["fields"].get("subject") == "pushed"]
    assert sorted(nodes) == sorted(NODES), "and each is stored once"
