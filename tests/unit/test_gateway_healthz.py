"""GET /healthz when something is missing of what is expected: 503, what, for whom, and for whom not."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

import vagus
from vagus.clock import NS
from vagus.config import AccessRule
from vagus.errors import PeerUnreachable
from vagus.gateway.openapi import describe
from vagus.gateway.routes import ROUTES
from vagus.gateway.routes_health import CHECK_NS
from vagus.model import Missing, NodeStatus

GONE = Missing("node:c", "node", "dead", NOW_NS - 5 * NS, "c", "nobody hears of it", "look at the machine")
DOWN = Missing("service:pay", "service", "unhealthy", NOW_NS, "", "read: UNHEALTHY, says web@1", "vagus health")
DESCRIPTION = describe(ROUTES)


class Lacking(MemoryBackend):
    """A node that misses something."""

    def __init__(self, missing: tuple[Missing, ...] = (GONE, DOWN)) -> None:
        super().__init__()
        self.missing = missing
        self.fails = False
        self.asked = 0

    async def status(self) -> NodeStatus:
        self.asked += 1
        if self.fails:
            raise PeerUnreachable("the store is not open")
        return NodeStatus("a", NOW_NS, missing=self.missing)


@pytest.fixture
def served() -> Iterator[Any]:
    with serving(Lacking()) as running:
        yield running


def test_what_is_missing_is_503_with_all_that_is_known_of_it(served: Any) -> None:
    status, _, answer = served.ask("GET", "/healthz")
    assert (status, answer["status"], answer["node"]) == (503, "degraded", "a")
    assert answer["missing"] == [
        {
            "what": "node:c",
            "kind": "node",
            "why": "dead",
            "since_ns": NOW_NS - 5 * NS,
            "node": "c",
            "error": "nobody hears of it",
            "todo": "look at the machine",
        },
        {
            "what": "service:pay",
            "kind": "service",
            "why": "unhealthy",
            "since_ns": NOW_NS,
            "node": "",
            "error": "read: UNHEALTHY, says web@1",
            "todo": "vagus health",
        },
    ]
    assert answer["error"]["code"] == "incomplete"
    assert answer["error"]["message"] == "not as expected: node:c (dead), service:pay (unhealthy)"
    assert answer["details"]["ill"] == []
    content = DESCRIPTION["paths"]["/healthz"]["get"]["responses"]["503"]["content"]["application/json"]
    jsonschema.Draft202012Validator({"components": DESCRIPTION["components"], **content["schema"]}).validate(answer)


def test_without_a_token_no_name_is_told(served: Any) -> None:
    status, _, answer = served.ask("GET", "/healthz", token=None)
    assert status == 503
    assert [(one["kind"], one["why"], one["since_ns"]) for one in answer["missing"]] == [
        ("node", "dead", NOW_NS - 5 * NS),
        ("service", "unhealthy", NOW_NS),
    ]
    assert answer["error"]["message"] == "not as expected: a node (dead), a service (unhealthy)"
    text = json.dumps(answer)
    assert "details" not in answer
    assert not any(word in text for word in ("node:c", "pay", "web@1", "hears", "machine"))


def test_who_may_not_read_the_status_is_told_no_name_either() -> None:
    rules = (AccessRule(who=("token:cluster",), read=("status",)),)
    with serving(Lacking(), access=rules, tokens={"other": "another-token-of-the-tests"}) as served:
        known, other = (served.ask("GET", "/healthz", token=t)[2] for t in (TOKEN, "another-token-of-the-tests"))
        assert [one["what"] for one in known["missing"]] == ["node:c", "service:pay"]
        assert [one["what"] for one in other["missing"]] == ["", ""]


def test_the_scope_of_the_node_alone_is_200_whatever_is_missing_elsewhere(served: Any) -> None:
    status, _, answer = served.ask("GET", "/healthz?scope=node", token=None)
    assert (status, answer) == (200, {"status": "ok", "node": "a", "version": vagus.__version__})
    assert served.ask("GET", "/healthz?scope=cluster")[0] == 503
    status, _, answer = served.ask("GET", "/healthz?scope=all")
    assert (status, answer["error"]["where"]) == (422, "query.scope")


def test_it_is_looked_at_once_a_second_at_most_and_recovers(served: Any) -> None:
    for _ in range(5):
        assert served.ask("GET", "/healthz", token=None)[0] == 503
        assert served.ask("GET", "/healthz?scope=node", token=None)[0] == 200
    assert served.backend.asked == 1
    served.backend.missing = ()
    served.gateway.site.clock.advance(CHECK_NS / NS + 0.1)
    assert served.ask("GET", "/healthz", token=None)[0] == 200


def test_what_was_missing_stands_while_the_node_does_not_say(served: Any) -> None:
    assert served.ask("GET", "/healthz")[0] == 503
    served.backend.fails = True
    for _ in range(2):
        served.gateway.site.clock.advance(CHECK_NS / NS + 0.1)
        status, _, answer = served.ask("GET", "/healthz")
        assert (status, answer["details"]["ill"]) == (503, ["a"])
        assert [one["what"] for one in answer["missing"]] == ["node:c", "service:pay"]


def test_a_call_that_was_cancelled_within_is_an_error_like_any_other(served: Any) -> None:
    async def cancelled() -> NodeStatus:
        raise asyncio.CancelledError

    status, served.backend.status = served.backend.status, cancelled
    if sys.version_info >= (3, 11):
        assert served.ask("GET", "/healthz")[0] == 200, "nothing was missing when it was last known"
    served.backend.status = status
    served.gateway.site.clock.advance(CHECK_NS / NS + 0.1)
    assert served.ask("GET", "/healthz")[0] == 503, "it is asked again"


def test_many_that_are_missing_make_no_long_message() -> None:
    many = tuple(Missing(f"node:n{n}", "node", "dead", NOW_NS) for n in range(1000))
    with serving(Lacking(many)) as served:
        answer = served.ask("GET", "/healthz")[2]
        assert answer["error"]["message"].endswith("node:n4 (dead) and 995 more")
        assert [one["what"] for one in answer["missing"]] == [f"node:n{n}" for n in range(100)]


def test_status_and_metrics_have_it_too(served: Any) -> None:
    (node,) = (n for n in served.ask("GET", "/v1/status")[2]["nodes"] if n["node"] == "a")
    assert [one["what"] for one in node["missing"]] == ["node:c", "service:pay"]
    text = served.ask("GET", "/metrics")[2].decode()
    assert 'vagus_missing{kind="node",node="a",what="node:c",why="dead"} 1\n' in text
    assert 'vagus_node_missing{node="a"} 2\n' in text
