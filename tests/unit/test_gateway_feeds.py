"""Feeds over HTTP: every node's share, items of all nodes in order, partial answers, what access rules leave."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

from vagus.client.connection import Connection
from vagus.clock import NS
from vagus.config import AccessRule
from vagus.errors import NoData


def test_each_feed_at_each_node_that_fetches_some_of_it():
    with serving() as served:
        status, _, answer = served.ask("GET", "/v1/feeds")
        assert status == 200
        assert [(f["name"], f["node"], f["codes"]["ok/Good"]) for f in answer["feeds"]] == [
            ("comon", "a", 3),
            ("comon", "b", 3),
        ]
        assert answer["feeds"][0]["next_due_ns"] == NOW_NS + NS
        assert not answer["partial"]
        assert [f["node"] for f in served.ask("GET", "/v1/feeds?node=b")[2]["feeds"]] == ["b"]
        assert served.ask("GET", "/v1/feeds?node=z")[0] == 404
        assert served.ask("GET", "/v1/feeds?colour=1")[0] == 422


def test_items_of_all_nodes_in_the_order_of_their_arrival():
    with serving() as served:
        answer = served.ask("GET", "/v1/feeds/comon/items?limit=3")[2]
        found = [(i["node"], i["meta"]["arrived_ns"] - NOW_NS, i["value"]["load1"]) for i in answer["items"]]
        assert found == [("b", 1 - NS, 1), ("a", 0, 0), ("b", 1, 1)], "the newest"
        answer = served.ask("GET", f"/v1/feeds/comon/items?limit=3&start={NOW_NS - 4 * NS}&end={NOW_NS - NS}")[2]
        found = [(i["node"], i["meta"]["due_ns"] - NOW_NS) for i in answer["items"]]
        assert found == [("a", -4 * NS), ("b", -4 * NS), ("a", -3 * NS)], "of a span the oldest"
        assert served.ask("GET", "/v1/feeds/other/items")[0] == 404
        assert served.ask("GET", "/v1/feeds/comon/items?limit=0")[0] == 422
        assert served.ask("GET", "/v1/feeds/comon/items?since=1m&start=5")[0] == 422
        assert served.ask("GET", "/v1/feeds/comon/items", token=None)[0] == 401


def test_a_node_that_does_not_answer_is_named():
    with serving(MemoryBackend(peers=("b", "c"))) as served:
        for path in ("/v1/feeds", "/v1/feeds/comon/items"):
            answer = served.ask("GET", path)[2]
            assert answer["partial"]
            assert [m["node"] for m in answer["missing"]] == ["c"]
        status, _, answer = served.ask("GET", "/v1/feeds/other/items")
        assert (status, answer["items"], answer["partial"]) == (200, [], True), "node c may have it"


def test_the_same_from_python():
    with serving(MemoryBackend(peers=("b", "c"))) as served, Connection(served.url, TOKEN) as connection:
        found = connection.feeds()
        assert [(f.name, f.node, f.codes["timeout/None"]) for f in found] == [("comon", "a", 1), ("comon", "b", 1)]
        assert [node for node, _ in found.missing] == ["c"]
        items = connection.feed_items("comon", limit=2)
        assert [(item["node"], item["value"]) for item in items] == [("a", {"load1": 0}), ("b", {"load1": 1})]
        assert items.partial
        with pytest.raises(NoData):
            connection.feed_items("other", node="a")


@pytest.mark.parametrize(("read", "status"), [(("feed.*",), 200), (("feed.comon",), 200), (("host.*",), 403)])
def test_access_rules_name_a_feed_by_the_kind_of_its_streams(read, status):
    with serving(access=(AccessRule(who=("token:cluster",), read=read),)) as served:
        assert served.ask("GET", "/v1/feeds", token=TOKEN)[0] == status
        assert served.ask("GET", "/v1/feeds/comon/items")[0] == status
