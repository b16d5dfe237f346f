"""Items of a feed over HTTP, narrowed by an expression and to the newest of each location."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import MemoryBackend, Served, serving

from vagus.model import Data, Meta, Net, to_builtins


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving() as running:
        yield running


def asked(served: Served, query: str) -> tuple[int, Any]:
    status, _, body = served.ask("GET", f"/v1/feeds/comon/items?{query}")
    return status, body


def test_the_newest_of_each_location(served: Served) -> None:
    every = asked(served, "limit=1000")[1]["items"]
    status, found = asked(served, "latest=true")
    newest: dict[str, int] = {}
    for item in every:
        location = item["meta"]["location"]
        newest[location] = max(newest.get(location, 0), item["meta"]["arrived_ns"])
    assert status == 200
    assert len(newest) < len(every)
    assert {i["meta"]["location"]: i["meta"]["arrived_ns"] for i in found["items"]} == newest


def test_an_expression_narrows_and_a_limit_counts_what_is_left(served: Served) -> None:
    every = asked(served, "limit=1000")[1]["items"]
    kept = [item for item in every if item["value"]["load1"] > 0.5]
    assert 0 < len(kept) < len(every)
    assert asked(served, "where=load1%3E0.5")[1]["items"] == kept
    assert asked(served, "where=load1%3E0.5&limit=1")[1]["items"] == kept[-1:]
    assert asked(served, "where=nothing%3E1")[1]["items"] == []


def test_a_wrong_expression_says_where(served: Served) -> None:
    status, body = asked(served, "where=load1%20%3E%3E%202")
    assert status == 422
    assert "expression" in body["error"]["message"]


def test_the_newest_of_a_list_that_became_shorter_has_no_rows_of_before() -> None:
    class Lists(MemoryBackend):
        def _feed_items(self, node: str, feed: str, limit: int, start_ns: int, end_ns: int) -> Any:
            if node != "a":
                return None
            parts = [(10, "0"), (10, "1"), (10, "2"), (20, "0"), (20, "1")]  # the second tick has one less
            metas = [Meta("slices", "http://a/", due, due + 5, Net.OK, Data.GOOD, part=part) for due, part in parts]
            metas.insert(3, Meta("slices", "http://a/", 15, 12, Net.MISSED, Data.NONE))
            return [(m.arrived_ns, json.dumps({"meta": to_builtins(m), "value": 1}).encode()) for m in metas]

    with serving(Lists()) as running:
        found = running.ask("GET", "/v1/feeds/slices/items?latest=true")[2]["items"]
    assert [(item["meta"]["due_ns"], item["meta"]["part"]) for item in found] == [(20, "0"), (20, "1")]
