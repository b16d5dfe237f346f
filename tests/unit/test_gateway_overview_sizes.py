"""Events of a large cluster: none is large, a reader has all of them in the end, and 50 nodes are as before."""

from __future__ import annotations

import json
import random
import re
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN
from glance_backend import Glance

from vagus.access import CLUSTER
from vagus.cli.top.state import State, told
from vagus.cli.top.told import read
from vagus.clock import ManualClock
from vagus.gateway.door import Keys
from vagus.gateway.fanout import Gathered
from vagus.gateway.overview_asks import Known
from vagus.gateway.overview_board import Board
from vagus.gateway.overview_events import Events
from vagus.gateway.overview_shapes import MAX_TEXT, MAX_WRONG, shape_nodes
from vagus.gateway.overview_signals import POINTS, Column, tidy
from vagus.model import ActorStatus, NodeStatus

MAX_BYTES = 256_000


def opened(columns: list[Column]) -> list[bytes]:
    """What a viewer gets who comes when these columns are known."""
    clock = ManualClock(NOW_NS)
    board = Board(Glance(), clock, 1.0, pytest.fail)
    board.columns.extend(columns)
    board._put("signals", Known(Gathered({})))
    return Events(board, Keys("a", clock, TOKEN), CLUSTER).news()


def columns_of(nodes: int) -> list[Column]:
    rng = random.Random(7)
    names = [f"rack-{n // 40}-host-{n}" for n in range(nodes)]
    return [
        Column(
            1_700_000_000_000 + 5000 * at, {name: tuple(tidy(rng.random() * 1e6) for _ in range(4)) for name in names}
        )
        for at in range(POINTS)
    ]


def parsed(events: list[bytes]) -> list[tuple[str, bytes]]:
    found = re.findall(rb"event: (\w+)\ndata: (.*)\n\n", b"".join(events))
    return [(name.decode(), data) for name, data in found]


def test_a_thousand_nodes_come_in_events_of_a_bearable_size_and_all_of_it_comes() -> None:
    columns = columns_of(1000)
    events = opened(columns)
    assert max(map(len, events)) < MAX_BYTES
    state = State()
    for name, data in parsed(events):
        state = told(state, name, read(name, data))
    assert len(state.history) == 1000
    for node in ("rack-0-host-0", "rack-24-host-999"):
        assert state.history[node] == tuple(zip(*(column.values[node] for column in columns), strict=True))
    assert (state.t_ms, state.columns) == (columns[-1].t_ms, POINTS)


def test_fifty_nodes_get_all_of_it_in_one_event() -> None:
    columns = columns_of(50)
    (_, hello), (name, data) = parsed(opened(columns))
    assert json.loads(hello)["points"] == POINTS
    signals = json.loads(data)
    assert (name, signals["t_ms"]) == ("signals", [column.t_ms for column in columns])
    assert {len(line) for lines in signals["lines"].values() for line in lines} == {POINTS}
    assert len(signals["lines"]) == 50


def nodes_of(count: int) -> tuple[dict[str, NodeStatus], dict[str, Any]]:
    ill = (ActorStatus("vagus:feed@b", "feed", "b", "UNHEALTHY", last_error="x" * 500),)
    parts = {f"n{n:04}": NodeStatus(f"n{n:04}", NOW_NS, ill, 200, errors=("y" * 500,)) for n in range(count)}
    return parts, shape_nodes(parts)


def test_what_is_wrong_is_told_of_some_nodes_and_counted_of_all() -> None:
    for count in (MAX_WRONG, 1000):
        _, shaped = nodes_of(count)
        told_of = [one for one in shaped["nodes"] if one["ill"] or one["errors"]]
        assert len(told_of) == MAX_WRONG
        assert [len(told_of[-1]["ill"][0]["error"]), len(told_of[-1]["errors"][0])] == [MAX_TEXT, MAX_TEXT]
        assert {(one["ill_count"], one["error_count"]) for one in shaped["nodes"]} == {(1, 1)}
        assert len(shaped["nodes"]) == count
        assert len(json.dumps(shaped)) < MAX_BYTES
