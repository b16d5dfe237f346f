"""The questions behind the overview: leaders that hang, nodes that were away."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS
from glance_backend import Glance

from vagus.clock import NS, ManualClock
from vagus.controllers.decide.records import Row, TableUpdate
from vagus.errors import PeerUnreachable
from vagus.gateway.fanout import DEFECT
from vagus.gateway.overview_asks import Asks, Known
from vagus.gateway.overview_board import PERIODS_S, Board
from vagus.gateway.overview_shapes import MAX_GROUPS, shape_decisions, shape_limits
from vagus.model import Receipt, Target

# --- leaders ---------------------------------------------------------------------------------------------------------


class Led(Glance):
    """As many groups as are shown; their leaders answer once all of them are asked, but those that `hang`."""

    def __init__(self) -> None:
        super().__init__()
        self.names = [f"g={n}" for n in range(MAX_GROUPS)]
        self.decisions.clear()
        self.table.apply(TableUpdate(2, 0, None, dict.fromkeys(self.names, Row(("x",), (1.0,)))))
        self.hung = {"g=3"}
        self.asked_of: set[str] = set()
        self.all_asked = asyncio.Event()

    async def explain(self, group: str) -> Mapping[str, Any]:
        self.asked_of.add(group)
        if self.asked_of >= set(self.names):
            self.all_asked.set()
        await (asyncio.Event().wait() if group in self.hung else self.all_asked.wait())
        if group == "g=5":
            raise PeerUnreachable("vagus:decide@b does not answer")
        if group == "g=7":
            raise KeyError("hunter2")
        return {"policy": "auto", "leader": "a", "arms": []}


async def test_leaders_are_asked_at_once_and_each_costs_its_own_group_alone() -> None:
    counted: list[str] = []
    asks = Asks(Led(), ManualClock(NOW_NS), 0.05, counted.append)
    known = await asks.decisions()
    shaped = shape_decisions(known.gathered.parts, known.more["explained"], known.more["groups"])
    notes = {group["group"]: group["note"] for group in shaped["groups"]}
    assert {group: note for group, note in notes.items() if note} == {
        "g=3": "its leader did not answer within 0.05 s",
        "g=5": "vagus:decide@b does not answer",
        "g=7": DEFECT,
    }
    assert len(notes) == MAX_GROUPS
    assert [what.partition(":")[0] for what in counted] == ["explain of g=7"]


def test_leaders_count_among_the_questions() -> None:
    board = Board(Glance(tuple(f"n{n}" for n in range(299))), ManualClock(NOW_NS), 1.0, print)
    without_s = board.period_s
    board.known["decisions"] = Known(more={"explained": {f"g={n}": {} for n in range(MAX_GROUPS)}})
    stretch = board.period_s / PERIODS_S["signals"]
    asks_per_s = 300 * sum(1 / period_s for period_s in PERIODS_S.values()) + MAX_GROUPS / PERIODS_S["decisions"]
    assert asks_per_s / stretch == pytest.approx(30.0)
    assert board.period_s > without_s


# --- receipts --------------------------------------------------------------------------------------------------------


class Receipts(Glance):
    """Nodes a and b with receipts of their own; notes how far back each is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.told: dict[str, list[Receipt]] = {"a": [], "b": []}
        self.since_ns: dict[str, list[int]] = {"a": [], "b": []}

    def set(self, node: str, t_ns: int) -> None:
        what = ("shop", "cgroup1", Target.parse("cgroup:web"), "cpu_cores", 2.0, 1.0, 1.0, False)
        self.told[node].append(Receipt(t_ns, node, *what))

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        if method == "records" and node not in self.gone:
            return self._receipts_of(node, *args)
        return await super().ask(node, method, args)

    async def records(self, *args: Any) -> list[Any]:
        return self._receipts_of("a", *args)

    def _receipts_of(self, node: str, kind: str, start_ns: int, end_ns: int, limit: int) -> list[Receipt]:
        self.since_ns[node].append(start_ns)
        return [r for r in reversed(self.told[node]) if start_ns <= r.t_ns < end_ns][:limit]


async def test_a_node_that_was_away_is_asked_for_what_it_missed_and_the_others_are_not() -> None:
    backend, clock = Receipts(), ManualClock(NOW_NS)
    asks = Asks(backend, clock, 1.0, print)
    made: list[tuple[str, int]] = []

    async def round_of(*nodes: str, advance_s: int = 10) -> list[tuple[str, int]]:
        for node in nodes:
            backend.set(node, clock.time_ns() - NS)
            made.append((node, clock.time_ns() - NS))
        known = await asks.limits()
        clock.advance(advance_s)
        shown = shape_limits(known.gathered.parts)["receipts"]
        return sorted((one["node"], one["t_ms"] * 1_000_000) for one in shown)

    assert await round_of("a", "b") == sorted(made)
    backend.gone.add("b")
    for _ in range(30):
        assert len(await round_of("a", "b")) == len(backend.told["a"]) + 1
    of_a = [NOW_NS - 3600 * NS, *(NOW_NS + (10 * n - 30) * NS for n in range(30))]
    assert backend.since_ns["a"] == of_a, "only what is new, though b is away"
    backend.gone.clear()
    assert await round_of() == sorted(made), "all of it, and each once"
    assert backend.since_ns["b"] == [NOW_NS - 3600 * NS, NOW_NS - 30 * NS]
    assert await round_of("b") == sorted(made)
    assert backend.since_ns["b"][-1] > NOW_NS + 200 * NS, "nor b again"
    clock.advance(3600)
    assert await round_of() == [], "what is older than an hour goes"
