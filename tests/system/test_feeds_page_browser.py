"""The page of feeds in a real browser: the table, its order, its filter, one item, and names from outside as text."""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import to_builtins

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from browser import browser, needs_chromium
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

from vagus.clock import NS
from vagus.gateway.routes_feeds import ItemMeta, ItemShown, OriginShown

pytestmark = [pytest.mark.system, needs_chromium]
HOSTILE = '<img src=x onerror="window.hacked=1">'
LOCATIONS = "[...document.querySelectorAll('#items tbody tr')].map(row => row.dataset.location)"


def item(location: str, value: Any, net: str = "ok", data: str = "Good", ago_s: int = 1, errors: int = 0) -> ItemShown:
    origins = [OriginShown("nodes", "file:nodelist", NOW_NS, "0")]
    at_ns = NOW_NS - ago_s * NS
    meta = ItemMeta("comon", location, at_ns, at_ns, net, data, errors, 10, HOSTILE, at_ns - 2_500_000, "", origins)
    return ItemShown("a", meta, value)


ITEMS = [
    item("n1", {"load1": 5.0, "stat": {"r": 1}}, ago_s=30),
    item("n1", {"load1": 0.5, "stat": {"r": 2}}),
    item("n2", {"load1": 12.25, "name": HOSTILE}, data="Nested", errors=2),
    item("n10", None, net="timeout", data="None"),
]


class Feeds(MemoryBackend):
    """A node whose one feed has the items above."""

    def __init__(self) -> None:
        super().__init__()
        self.items = list(ITEMS)

    def _feed_items(self, node: str, feed: str, limit: int, start_ns: int, end_ns: int) -> Any:
        if node != "a" or feed != "comon":
            return None
        shown = [
            (i.meta.arrived_ns, json.dumps({k: v for k, v in to_builtins(i).items() if k != "node"}))
            for i in self.items
        ]
        return [(t_ns, text.encode()) for t_ns, text in shown][-limit:]


@pytest.fixture
async def opened() -> AsyncIterator[Any]:
    with serving(Feeds()) as served:
        async with browser() as page:
            await page.appear()
            await page.open("about:blank")
            await page.open(f"{served.url}/feeds?feed=comon#token={TOKEN}")
            await page.until("document.querySelector('#state').className === 'live'")
            yield page, served


async def test_a_table_of_the_newest_items_sorted_filtered_and_live(opened: Any) -> None:
    page, served = opened
    assert sorted(await page.run(LOCATIONS)) == ["n1", "n10", "n2"], "the newest of each location"
    assert "every 5m" in await page.run("document.querySelector('#about').innerText")
    assert not await page.run("location.hash")
    await page.click('[data-column="load1"]')
    assert await page.run(LOCATIONS) == ["n2", "n1", "n10"], "the largest first, what is missing last"
    await page.click('[data-column="load1"]')
    assert await page.run(LOCATIONS) == ["n1", "n2", "n10"]
    await page.click('[data-column="location"]')
    assert await page.run(LOCATIONS) == ["n1", "n2", "n10"], "numbers within names count as numbers"
    await page.run("window.same = true; document.querySelector('#where').value = 'load1 > 1'")
    await page.run("document.querySelector('#where').dispatchEvent(new Event('change'))")
    await page.until(f"{LOCATIONS}.join() === 'n2'")
    served.backend.items.append(item("n3", {"load1": 3.0}, ago_s=0))
    await page.until(f"{LOCATIONS}.join() === 'n2,n3'")
    await page.run("document.querySelector('#where').value = 'load1 > >'")
    await page.run("document.querySelector('#where').dispatchEvent(new Event('change'))")
    await page.until("!document.querySelector('#wrong').hidden")
    assert "expression" in await page.run("document.querySelector('#wrong').innerText")
    assert await page.run("window.same"), "all that without a reload"


async def test_one_item_with_its_evidence_and_names_from_outside_are_text(opened: Any) -> None:
    page, _ = opened
    await page.click('#items tr[data-location="n2"]')
    text = await page.until("!document.querySelector('#item').hidden && document.querySelector('#item').innerText")
    for shown in ("Nested 2", "2.5 ms", "nodes file:nodelist 0", HOSTILE, '"load1": 12.25'):
        assert shown in text, shown
    assert await page.run("document.querySelectorAll('img').length + Number(!!window.hacked)") == 0
    await page.press("Escape")
    await page.until("document.querySelector('#item').hidden")
    assert page.errors == []


async def test_cells_are_short_and_lose_nothing_that_matters(opened: Any) -> None:
    page, served = opened
    value = {"Date": 1795332416.417935, "MemSize": 24105.5625, "count": 123456789, "CPUUse": [21, 66]}
    served.backend.items = [item(f"gateway:/v1/comon?node=n{number}", value) for number in (10, 2)]
    await page.until(f"{LOCATIONS}.length === 2 && {LOCATIONS}.join().includes('gateway')")
    rows = await page.run("[...document.querySelectorAll('#items tbody tr')].map(row => row.innerText.split('\\t'))")
    assert [row[:6] for row in rows] == [
        ["n2", "ok", "1795332416", "24105.6", "123456789", "21 66"],
        ["n10", "ok", "1795332416", "24105.6", "123456789", "21 66"],
    ]
    assert await page.run("document.querySelector('#items tbody td').title") == "gateway:/v1/comon?node=n2"
    await page.click("#items tbody tr")
    assert '"CPUUse": [ 21, 66 ]' in await page.until("document.querySelector('#item pre')?.innerText")
    assert page.errors == []
