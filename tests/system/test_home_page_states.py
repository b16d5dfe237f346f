"""The page of the cluster in a real browser: what fails and comes back, what is hidden, refused, or very much."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import home_page
from browser import browser, needs_chromium
from gateway_backend import TOKEN, serving
from glance_backend import Glance
from home_page import LIVE, NODES, filtered, shown, text_of

from vagus.config import AccessRule

pytestmark = [pytest.mark.system, needs_chromium]
opened = home_page.opened  # the fixture
PATCHED = """(() => {
    const [fetched, later] = [window.fetch, window.setTimeout];
    window.failing = "";
    window.fetch = (path, ...more) => window.failing && String(path).includes(window.failing)
        ? Promise.reject(new Error("no way through")) : fetched(path, ...more);
    window.setTimeout = (what, ms, ...more) => later(what, ms === 15000 || ms === 60000 ? 50 : ms, ...more);
})()"""


async def test_a_node_whose_signals_come_late_is_the_one_that_is_shown(opened: Any) -> None:
    page, _ = opened
    await page.run(PATCHED)
    await page.run("window.failing = '/v1/sensors?node=b'")
    choose = "(() => { const s = document.querySelector('#of-node'); s.value = 'b'; s.dispatchEvent(new Event('change')); })()"
    await page.run(choose)
    await page.until("document.querySelector('#forecast .said').textContent.includes('no way through')")
    assert await page.run("document.querySelector('#forecast .figure').hidden"), "what is drawn was of another node"
    assert not await page.run("document.querySelector('#of-signal').options.length"), "what can be chosen was too"
    await page.run("window.failing = ''")
    await page.until("document.querySelector('#forecast svg.plot')?.getAttribute('aria-label').includes(' at b over')")
    assert await page.run("document.querySelector('#of-node').value") == "b"


async def test_limits_are_told_apart_without_colour_and_go_on_to_now(opened: Any) -> None:
    page, served = opened
    assert await page.run(
        "[...document.querySelectorAll('#limits .key')].map(one => one.parentElement.textContent).sort()"
    ) == ["done", "dry, nothing written", "refused"]
    forms = await page.run(
        "['', 'dry', 'failed'].map(kind => { const of = getComputedStyle(document.querySelector("
        "`#limits path[class='mark ${kind}']`)); return [of.strokeLinecap, of.strokeWidth]; }).join(';')"
    )
    assert forms == "round,6px;round,8px;square,9px"
    assert await page.run("document.querySelectorAll('#limits .mark.hole').length") == 1
    titles = await page.run("[...document.querySelectorAll('#limits title')].map(one => one.textContent).join()")
    assert " refused: p99 is" in titles
    assert " done: p99 is" in titles
    ends = "[...document.querySelectorAll('#limits .axis span:last-child')].map(one => one.textContent)"
    before = await page.run(ends)
    served.gateway.site.clock.advance(120)
    await page.until(f"{ends}.every((end, n) => end > {before!r}[n])")
    assert len(set(await page.run(ends))) == 1


async def test_who_looks_away_for_a_minute_asks_no_more_until_back(opened: Any) -> None:
    page, served = opened
    await page.run(PATCHED)
    look = "(() => {{ Object.defineProperty(document, 'hidden', {{ get: () => {}, configurable: true }}); document.dispatchEvent(new Event('visibilitychange')); }})()"
    await page.run(look.format("true"))
    await page.until("document.querySelector('#words').textContent.startsWith('paused')")
    async with asyncio.timeout(20):
        while len(served.gateway.site.board):
            await asyncio.sleep(0.01)
    await page.run(look.format("false"))
    await page.until(f"{LIVE} && {NODES}.length === 2")
    assert page.errors == []


async def test_a_tab_that_opens_in_the_background_asks_no_more_after_a_minute() -> None:
    hidden = "Object.defineProperty(document, 'hidden', { get: () => true, configurable: true });"
    with serving(Glance()) as served:
        async with browser() as page:
            await page.call("Page.addScriptToEvaluateOnNewDocument", source=hidden + PATCHED)
            await page.open(f"{served.url}/#token={TOKEN}")
            await page.until("document.querySelector('#words').textContent.startsWith('paused')")
            assert page.errors == []


async def test_a_token_that_the_rules_do_not_allow_the_page_is_kept() -> None:
    rule = AccessRule(who=("token:guest",), read=("host.*",))
    with serving(Glance(), tokens={"guest": "the-token-of-a-guest"}, access=(rule,)) as served:
        async with browser() as page:
            await page.appear()
            await page.open(f"{served.url}/#token=the-token-of-a-guest")
            await page.until(
                "!document.querySelector('#door').hidden && document.querySelector('#refused').textContent"
            )
            assert "a rule under `access`" in await text_of(page, "#refused"), "what to do"
            assert await text_of(page, "#words") == "not allowed with this token"
            assert await page.run("sessionStorage.length") == 1, "other pages may be allowed to it"


async def test_of_very_many_nodes_the_ill_and_the_first_have_cards() -> None:
    many = Glance(tuple(f"n{number}" for number in range(260)))
    many.gone.add("n250")
    with serving(many) as served:
        served.gateway.site.board.pace = 0.05
        async with browser() as page:
            await page.appear()
            await shown(page, served.url)
            await page.until(f"{NODES}.length === 200 && {NODES}[0] === 'n250'", 60)
            assert "61 of them not shown: choose one, or filter" in await text_of(page, "#nodes .said")
            assert await page.run("document.querySelector('#node').options.length") == 262
            await filtered(page, "n259")
            await page.until(f"{NODES}.join() === 'n259'")
