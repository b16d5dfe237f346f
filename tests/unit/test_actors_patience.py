"""Calls to other nodes wait as long as their past says: hung nodes are given up soon, slow ones get their time."""

from __future__ import annotations

from typing import Any

import pytest

from vagus.actors.patience import FIRST_S, FLOOR_S, Patience
from vagus.errors import PeerUnreachable


class Links:
    """A node that takes `takes_s` for each answer, on a clock of its own."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.takes_s = 0.01
        self.waits: list[float] = []
        self.there = True

    def nodes(self) -> tuple[str, ...]:
        return ("a",)

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        self.waits.append(timeout_s)
        if not self.there:
            raise PeerUnreachable("there is none of that name")
        self.now_s += min(self.takes_s, timeout_s)
        if self.takes_s > timeout_s:
            raise PeerUnreachable(f"no answer within {timeout_s:g} s")
        return args


@pytest.fixture
def links() -> Links:
    return Links()


async def ask(patience: Patience, times: int) -> None:
    for _ in range(times):
        assert await patience.call("c@b", "status", 1) == (1,)


async def test_a_node_that_hangs_is_given_up_after_the_floor_and_then_backed_off(links: Links) -> None:
    patience = Patience(links, 5.0, lambda: links.now_s)
    await ask(patience, 20)
    assert links.waits[0] == FIRST_S
    assert links.waits[-1] == FLOOR_S
    links.takes_s = 1e9
    for _ in range(4):
        with pytest.raises(PeerUnreachable):
            await patience.call("c@b", "status")
    assert links.waits[-4:] == pytest.approx([1.0, 2.0, 4.0, 5.0])


async def test_a_node_that_is_slow_by_nature_gets_its_time(links: Links) -> None:
    patience = Patience(links, 5.0, lambda: links.now_s)
    for k in range(50):
        links.takes_s = 2.0 + 0.3 * (k % 2)
        await patience.call("c@b", "status")
    assert 2.3 < links.waits[-1] < 4.0
    links.takes_s = 0.01
    await ask(patience, 60)
    assert links.waits[-1] < 1.5


async def test_an_actor_that_is_not_there_tells_nothing_of_its_pace(links: Links) -> None:
    patience = Patience(links, 5.0, lambda: links.now_s)
    await ask(patience, 20)
    links.there = False
    for _ in range(5):
        with pytest.raises(PeerUnreachable):
            await patience.call("c@b", "status")
    assert links.waits[-1] == FLOOR_S


async def test_a_ceiling_below_the_floor_is_the_floor(links: Links) -> None:
    await ask(Patience(links, 0.2, lambda: links.now_s), 1)
    assert links.waits == [FLOOR_S]
