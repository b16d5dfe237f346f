"""The page of the cluster in a real browser: loads, updates, filters, survives a lost connection, is worked with keys."""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import home_page
from browser import browser, needs_chromium
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving
from glance_backend import HOSTILE, Glance
from home_page import CONTRAST, LIVE, NODES, SUBJECTS, UNNAMED, clicked, filtered, shown, text_of

from vagus.clock import NS
from vagus.model import Metric, Report, Status

pytestmark = [pytest.mark.system, needs_chromium]
opened = home_page.opened  # the fixture


async def test_each_section_shows_what_there_is(opened: Any) -> None:
    page, served = opened
    assert not await page.run("location.hash"), "the token has left the address"
    assert await page.run(NODES) == ["a", "b"]
    assert "no data" in await text_of(page, "#nodes [data-node=b]"), "a counter has no rate yet"
    served.backend.second += 10
    served.gateway.site.clock.advance(10)
    await page.until("!document.querySelector('#nodes [data-node=b]').innerText.includes('no data')")
    b = await text_of(page, '#nodes [data-node="b"]')
    for word in ("25 %", "2.5", "1 kB/s", "boom", "hardware: no /dev/mem"):
        assert word in b, word
    assert await page.run("document.querySelector('#nodes svg path').getAttribute('d').length") > 300
    assert "node:c is missing" in await text_of(page, "#nodes .said")
    await page.until(f"{SUBJECTS}.length === 2")
    await clicked(page, '#health [data-subject="db@a"] summary')
    health = await text_of(page, '#health [data-subject="db@a"]')
    assert "api@1" in health
    assert (
        await page.run("document.querySelector('#health [data-subject=\"db@a\"] .badge').getAttribute('aria-label')")
        == "unhealthy"
    )
    assert "read" in health
    assert "1 with errors" in await text_of(page, "#feeds .said")
    decisions = await text_of(page, "#decisions")
    for word in ("isp=1", "regret 2", "mean reward 3", "75 %", "auto at a"):
        assert word in decisions, word
    limits = await text_of(page, "#limits")
    for word in ("cgroup:web cpu_cores", "now 1.2", "pid:1 cpu_cores", "nothing was written", "1 refused"):
        assert word in limits, word
    await clicked(page, '#limits [data-limit="cgroup:web cpu_cores"] summary')
    assert "EACCES" in await text_of(page, "#limits")
    forecast = await text_of(page, "#forecast")
    for word in ("now ", "next ", "± 2 %", "steady", "where 95 of 100 fall"):
        assert word in forecast, word
    highest = await page.run("document.querySelector('#forecast .upright span').textContent")
    assert float(highest.split()[0]) < 200, f"{highest}: what knew little at first sets no scale"
    assert "host.cpu.user" in await page.run("document.querySelector('#of-signal').selectedOptions[0].text")
    assert page.errors == []


async def test_it_changes_without_a_reload_and_what_is_open_stays_open(opened: Any) -> None:
    page, served = opened
    await page.run("window.same = true")
    await page.until(f"{SUBJECTS}.length === 2")
    await clicked(page, '#health [data-subject="db@a"] summary')
    assert await page.run("document.activeElement.tagName") == "SUMMARY"
    report = Report("web@7", "db@a", NOW_NS + NS, {"read": Metric(Status.DYING, 40.0)})
    served.backend.stores["a"].submit(report, NOW_NS + NS, 0)
    await page.until("document.querySelector('#health [data-subject=\"db@a\"]').innerText.includes('web@7')")
    assert await page.run("document.querySelector('#health [data-subject=\"db@a\"] details').open")
    assert await page.run("document.activeElement.closest('li')?.dataset.subject") == "db@a"
    before = await page.run("document.querySelector('#nodes [data-node=a] .value').textContent")
    served.backend.second += 30
    served.gateway.site.clock.advance(30)
    await page.until(f"document.querySelector('#nodes [data-node=a] .value').textContent !== {before!r}")
    served.backend.peers = ("b", "n3")
    await page.until(f"{NODES}.join() === 'a,b,n3'")
    served.backend.gone.add("b")
    await page.until("document.querySelector('#nodes [data-node=b]').innerText.includes('does not answer')")
    assert "no answer from b" in await text_of(page, "#nodes .said")
    served.backend.gone.clear()
    served.backend.peers = ("b",)
    await page.until(f"{NODES}.join() === 'a,b'")  # one that left is gone when its last value is
    assert await page.run("window.same")
    assert page.errors == []


async def test_filters_by_words_and_by_node(opened: Any) -> None:
    page, _ = opened
    await page.until(f"{SUBJECTS}.length === 2")
    await filtered(page, "boom")
    await page.until(f"{NODES}.join() === 'b'")
    await filtered(page, "db unhealthy")
    await page.until(f"{SUBJECTS}.join() === 'db@a'")
    await filtered(page, "nothing like it")
    await page.until(f"!{NODES}.length && !{SUBJECTS}.length")
    assert "Nothing fits" in await text_of(page, "#nodes .none")
    await filtered(page, "")
    await page.run(
        "(() => { const s = document.querySelector('#node'); s.value = 'a'; s.dispatchEvent(new Event('change')); })()"
    )
    await page.until(f"{NODES}.join() === 'a' && {SUBJECTS}.join() === 'db@a'")
    assert await page.run("document.querySelectorAll('#limits .cards > li').length") == 2
    assert "of all nodes" in await text_of(page, "#decisions .said")
    assert page.errors == []


async def test_a_gateway_that_is_gone_is_told_and_found_again(opened: Any) -> None:
    page, served = opened
    port = int(served.url.rpartition(":")[2])
    served.call(served.gateway.stop())
    await page.until("document.querySelector('#state').className === 'lost'")
    words = await text_of(page, "#words")
    assert "not live since" in words
    assert "trying again in" in words
    assert await page.run(NODES) == ["a", "b"], "what was known stays"
    assert await page.run(CONTRAST) == []
    with serving(Glance(("b", "n3")), port=port) as again:
        again.gateway.site.board.pace = 0.05
        await page.until(f"{LIVE} && {NODES}.join() === 'a,b,n3'", 60)


async def test_no_token_a_wrong_one_and_a_good_one(opened: Any) -> None:
    page, served = opened
    await page.run("sessionStorage.clear()")
    await page.open("about:blank")
    await page.open(f"{served.url}/")
    await page.until("!document.querySelector('#door').hidden && document.querySelector('#main').hidden")
    await page.run("document.querySelector('#token').value = 'not-the-token-at-all'")
    await page.click("form button")
    await page.until("document.querySelector('#refused').textContent.includes('token')")
    await page.run(f"document.querySelector('#token').value = {TOKEN!r}")
    await page.click("form button")
    await page.until(f"{LIVE} && {NODES}.length === 2")
    assert await page.run("document.querySelector('#door').hidden")


async def test_a_cluster_with_nothing_says_so_and_a_broken_one_too() -> None:
    backend = MemoryBackend(())
    backend.streams["a"] = []

    async def nothing(*args: Any, **more: Any) -> list[Any]:
        return []

    backend.feeds = nothing  # type: ignore[method-assign]
    backend.records = nothing  # type: ignore[method-assign]
    with serving(backend) as served:
        served.gateway.site.board.pace = 0.05
        async with browser() as page:
            await page.appear()
            await shown(page, served.url)
            said = {
                "nodes": "no data",
                "health": "Nobody has reported anything yet.",
                "feeds": "No feeds are declared.",
                "decisions": "No group has decisions.",
                "limits": "No controller has changed",
                "forecast": "This node has no live signal.",
            }
            for section, words in said.items():
                await page.until(f"document.querySelector('#{section}').innerText.includes({words!r})")
            backend.latest = None  # type: ignore[method-assign,assignment]
            await page.until("document.querySelector('#nodes .said').innerText.includes('not renewed')")
            assert page.errors == []


async def test_names_from_outside_are_text_and_nothing_leaves_the_machine(opened: Any) -> None:
    page, served = opened
    await page.until(f"{SUBJECTS}.length === 2")
    assert HOSTILE in await page.run("document.querySelector('#health').textContent")
    assert HOSTILE in await page.run("document.querySelector('#feeds').textContent")
    assert await page.run("document.querySelectorAll('img').length + Number(!!window.hacked)") == 0
    asked = await page.run("performance.getEntriesByType('resource').map(one => one.name)")
    assert len(asked) > 10
    assert [name for name in asked if not name.startswith(f"{served.url}/")] == []
    assert page.errors == []


async def test_it_is_worked_with_the_keyboard_alone(opened: Any) -> None:
    page, _ = opened
    await page.until(f"{SUBJECTS}.length === 2")
    path = []
    for _ in range(60):
        await page.press("Tab")
        path.append(
            await page.run(
                "(document.activeElement.closest('section, header, .skip')?.id || document.activeElement.closest('header, .skip')?.tagName || '')"
            )
        )
        if path[-1] == "forecast":
            break
    order = list(dict.fromkeys(path))
    assert order[:2] == ["A", "HEADER"], "the skip link, then the header"
    assert [name for name in order if name.islower()] == ["nodes", "health", "feeds", "limits", "forecast"]
    await page.press("/", "/")
    assert await page.run("document.activeElement.id") != "filter", "a box keeps its keys"
    await page.run("document.activeElement.blur()")
    await page.press("/", "/")
    assert await page.run("document.activeElement.id") == "filter"
    for _ in range(2):
        await page.press("Tab")
        if await page.run("!!document.activeElement.closest('#nodes button')"):
            break
    await page.press("Tab")
    await page.press("Enter")
    await page.until("document.activeElement.id === 'of-signal'")
    assert await page.run("document.querySelector('#of-node').value") in ("a", "b")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1920])
async def test_it_fits_and_can_be_read(opened: Any, tmp_path: Path, dark: bool, width: int) -> None:
    page, _ = opened
    await page.appear(dark=dark, width=width, height=900)
    await page.until(f"{SUBJECTS}.length === 2")
    await page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert await page.run("document.documentElement.scrollWidth") <= width
    assert await page.run(CONTRAST) == []
    assert await page.run(UNNAMED) == []
    levels = await page.run("[...document.querySelectorAll('h1, h2, h3')].map(one => Number(one.tagName[1]))")
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    await page.picture(tmp_path / "home.png")
    assert (tmp_path / "home.png").stat().st_size > 10_000
