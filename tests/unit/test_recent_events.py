"""The ring of events that subscriptions follow where there is no collector: each once, in order, gaps told."""

from __future__ import annotations

import asyncio

import pytest

from vagus.actors.recent import MOST, Recent
from vagus.errors import ConfigError
from vagus.model import Event, Level, Page

NS = 10**9


def event(n: int, name: str = "health.changed") -> Event:
    return Event(n * NS, name, "n1", Level.INFO, "test", {"n": n})


def numbers(page: Page) -> list[int]:
    return [int(record.t_ns) // NS for _, record in page.items]


async def begin(recent: Recent, since: int = 0, until: str = "") -> str:
    return (await recent.follow("*", "", since * NS, until, 0.0)).after


async def ask(recent: Recent, after: str, until: str = "", events: str = "health.*") -> Page:
    return await recent.follow(events, after, 0, until, 0.0)


async def test_from_now_on_each_once() -> None:
    recent = Recent([event(1), event(2)])
    at = await begin(recent)
    assert numbers(await ask(recent, at)) == []
    recent.note(event(3))
    recent.note(event(4, "other"))
    recent.note(event(5))
    page = await ask(recent, at)
    assert numbers(page) == [3, 5]
    assert page.live
    assert numbers(await ask(recent, page.items[0][0])) == [5], "an item's position goes on behind it"
    assert numbers(await ask(recent, page.after)) == []


async def test_the_past_first_in_pages() -> None:
    recent = Recent(map(event, range(1, MOST + 11)))
    first = await recent.follow("*", "", 5 * NS, "", 0.0)
    assert (first.behind, first.live) == (True, False)
    page = await ask(recent, first.after)
    assert (numbers(page)[0], len(page.items), page.behind, page.live) == (5, MOST, True, False)
    rest = await ask(recent, page.after)
    assert (numbers(rest)[-1], rest.live) == (MOST + 10, True)


async def test_until_stops_there() -> None:
    recent = Recent([event(1)])
    end = await begin(recent)
    recent.note(event(2))
    start = await begin(recent, since=1, until=end)
    page = await ask(recent, start, until=end)
    assert (numbers(page), page.reached) == ([1], True)
    again = await ask(recent, page.after, until=end)
    assert (numbers(again), again.reached) == ([], True)
    assert await begin(recent, until=end) == end


async def test_it_waits_for_the_first() -> None:
    recent = Recent()
    at = await begin(recent)
    waiting = asyncio.ensure_future(recent.follow("health.*", at, 0, "", 30.0))
    await asyncio.sleep(0)
    recent.note(event(1, "other"))
    await asyncio.sleep(0)
    recent.note(event(2))
    assert numbers(await waiting) == [2]


async def test_what_is_forgotten_is_a_gap() -> None:
    recent = Recent(most=3)
    at = await begin(recent)
    for n in range(1, 6):
        recent.note(event(n))
    page = await ask(recent, at)
    assert "older than what this observer remembers" in page.gap
    assert numbers(await ask(recent, page.after)) == [3, 4, 5]
    assert len(recent) == 3


async def test_another_life_goes_on_by_time() -> None:
    first = Recent(map(event, range(1, 4)))
    at = (await ask(first, await begin(first, since=1))).items[1][0]
    second = Recent(map(event, range(1, 6)))
    page = await ask(second, at)
    assert "restarted" in page.gap
    assert numbers(await ask(second, page.after)) == [3, 4, 5]


@pytest.mark.parametrize("wrong", ["x", "1.2", "a.b.c", ".1.2", "a.1.", "a.-1.2", "a.1." + "9" * 60, "a.١.2"])
async def test_positions_that_are_none(wrong: str) -> None:
    with pytest.raises(ConfigError, match="no position"):
        await ask(Recent(), wrong)
