"""The page of health in a real browser, over a real observer: what a person sees, presses and reads."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
from browser import Page, browser, needs_chromium

from vagus.actors.health_server import HealthServer
from vagus.clock import NS
from vagus.config import Config, GatewaySettings
from vagus.model import Metric, Report, Status

pytestmark = [pytest.mark.system, needs_chromium]
H, P, U, D = Status.HEALTHY, Status.PENDING, Status.UNHEALTHY, Status.DEAD
HOSTILE = '<img src=x onerror="window.hacked=1">'
ROWS = "[...document.querySelectorAll('tbody tr')].map(row => row.dataset.subject)"


def said(
    status: Status, subject: str = "db", observer: str = "api", *, context: str = "read", ago_s: float = 0
) -> Report:
    return Report(observer, subject, time.time_ns() - round(ago_s * NS), {context: Metric(status, 30.0)})


def cell(subject: str, observer: str) -> str:
    """A script that finds a cell; observer "": the head of the row."""
    row = f"[...document.querySelectorAll('tbody tr')].find(row => row.dataset.subject === {subject!r})"
    if not observer:
        return f"{row}?.cells[0]"
    heads = "[...document.querySelectorAll('thead th')].map(head => head.textContent)"
    return f"{row}?.cells[{heads}.indexOf({observer!r})]"


class Shown:
    """A server with a page open on it."""

    def __init__(self, server: HealthServer, page: Page) -> None:
        self.page = page
        self.server = server
        self.token = (server.home / "token").read_text()
        self.url = f"{server.url}/health"

    async def report(self, *reports: Report) -> None:
        assert self.server.observer is not None
        await self.server.observer.report(reports)

    async def open(self) -> None:
        await self.page.open("about:blank")
        await self.page.open(f"{self.url}#token={self.token}")
        await self.page.until("document.querySelector('#state').className === 'live'")

    async def letter(self, subject: str, observer: str, letter: str) -> None:
        await self.page.until(f"{cell(subject, observer)}?.textContent === {letter!r}")

    async def click(self, subject: str, observer: str) -> None:
        await self.page.run(f"{cell(subject, observer)}.setAttribute('data-test', '1')")
        await self.page.click("[data-test]")
        await self.page.run("document.querySelector('[data-test]').removeAttribute('data-test')")

    async def evidence(self) -> str:
        return str(
            await self.page.until(
                "!document.querySelector('#evidence').hidden && document.querySelector('#evidence').innerText"
            )
        )


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Any]:
    server = HealthServer(tmp_path, "n1", Config(gateway=GatewaySettings(port=0)))
    await server.start()
    try:
        async with browser() as page:
            await page.appear()
            yield Shown(server, page)
    finally:
        await server.stop()


async def test_the_matrix_its_evidence_and_what_is_new(shown):
    await shown.report(said(H, ago_s=5), said(U), said(H, "cache"), said(P, "cache", "web"))
    await shown.open()
    assert await shown.page.run(ROWS) == ["db", "cache"]  # the worst first
    await shown.letter("db", "api", "U")
    await shown.letter("cache", "web", "P")
    await shown.click("db", "api")
    text = await shown.evidence()
    assert "UNHEALTHY, inferred by" in text
    assert await shown.page.run("[...document.querySelectorAll('.contexts th')].every(head => head.textContent)")
    assert await shown.page.run("document.querySelector('.contexts .badge').getAttribute('aria-label')") == "unhealthy"
    newest, older = text.split("What api reported")[1].split("accepted by n1")[:2]
    assert ("U" in newest, "h" in older) == (True, True)
    assert "ago" in newest
    # a report from elsewhere: seen without a reload, also by the pane, and nothing moves
    await shown.page.run("window.same = true")
    await shown.report(said(D), said(U, "new", "third"))
    await shown.letter("db", "api", "DD")
    await shown.letter("new", "third", "U")
    await shown.page.until("document.querySelector('#evidence').innerText.includes('DEAD')")
    assert await shown.page.run(f"{cell('db', 'api')}.getAttribute('aria-selected')") == "true"
    assert await shown.page.run("window.same")
    assert shown.page.errors == []


async def test_names_from_outside_are_text(shown):
    await shown.report(said(U, HOSTILE, HOSTILE, context=HOSTILE))
    await shown.open()
    await shown.click(HOSTILE, HOSTILE)
    text = await shown.evidence()
    assert HOSTILE in text
    assert f"What {HOSTILE} reported" in text
    assert await shown.page.run("document.querySelectorAll('img').length + Number(!!window.hacked)") == 0
    assert await shown.page.run("document.querySelector('#context').options[1].text") == HOSTILE
    refused = await shown.page.run("(() => { try { document.body.innerHTML = 'x'; } catch (e) { return e.name; } })()")
    assert refused == "TypeError"  # Trusted Types


async def test_the_token_leaves_the_address_and_stays_in_the_tab(shown):
    await shown.report(said(U))
    await shown.page.open(shown.url)
    await shown.page.until("!document.querySelector('#door').hidden")
    await shown.page.run("document.querySelector('#token').value = 'not-the-token-at-all'")
    await shown.page.click("form button")
    await shown.page.until("document.querySelector('#refused').textContent.includes('token')")
    await shown.page.run(f"document.querySelector('#token').value = {shown.token!r}")
    await shown.page.click("form button")
    await shown.letter("db", "api", "U")
    assert await shown.page.run("document.querySelector('#door').hidden")
    await shown.open()
    assert await shown.page.run("location.href") == shown.url
    await shown.page.open(shown.url)
    await shown.letter("db", "api", "U")


async def test_filter_contexts_and_verdicts_narrow(shown):
    both = Report("api", "db", time.time_ns(), {"read": Metric(H, 1.0), "write": Metric(U, 2.0)})
    await shown.report(both, said(H, "cache", "web"), said(H, "cart", "api"))
    await shown.open()

    async def filtered(text: str) -> Any:
        await shown.page.run(
            f"(() => {{ const f = document.querySelector('#filter'); f.value = {text!r};"
            " f.dispatchEvent(new Event('input')); })()"
        )
        return await shown.page.run(f"document.querySelector('#matrix').hidden ? [] : {ROWS}")

    assert await filtered("ca") == ["cache", "cart"]
    assert await filtered("healthy") == ["cache", "cart"]  # not unhealthy
    assert await filtered("by:api") == ["db", "cart"]
    assert await shown.page.run("[...document.querySelectorAll('thead th')].map(h => h.textContent)") == [
        "subject",
        "api",
    ]
    assert await filtered("write") == ["db"]
    assert await filtered("nothing like it") == []
    assert "Nothing matches" in await shown.page.run("document.querySelector('#none').textContent")
    await filtered("")
    await shown.page.run(
        "(() => { const s = document.querySelector('#context'); s.value = 'read'; s.dispatchEvent(new Event('change')); })()"
    )
    await shown.letter("db", "api", "h")
    await shown.page.run(
        "(() => { const s = document.querySelector('#context'); s.value = ''; s.dispatchEvent(new Event('change')); })()"
    )
    await shown.page.click("#legend button[data-status=UNHEALTHY]")
    assert await shown.page.run(ROWS) == ["db"]


async def test_it_is_worked_with_the_keyboard_alone(shown):
    await shown.report(said(U), said(H, "cache"), said(H, "cache", "web"))
    await shown.open()
    for _ in range(12):
        await shown.page.press("Tab")
        if await shown.page.run("!!document.activeElement.closest('tbody')"):
            break
    assert await shown.page.run("document.activeElement.textContent.includes('db')")
    await shown.page.press("ArrowRight")
    assert await shown.page.run("document.activeElement.getAttribute('aria-label')") == "api on db: read UNHEALTHY 30"
    await shown.page.press("Enter")
    assert "What api reported" in await shown.evidence()
    await shown.page.press("Escape")
    await shown.page.until("document.querySelector('#evidence').hidden")
    await shown.page.press("ArrowDown")
    await shown.page.press("Enter")
    assert "cache" in await shown.evidence()


async def test_a_gateway_that_is_gone_is_told_and_found_again(shown):
    await shown.report(said(U))
    await shown.open()
    port = int(shown.server.url.rpartition(":")[2])
    shown.server.config = Config(gateway=GatewaySettings(port=port))
    await shown.server.stop()
    await shown.page.until("document.querySelector('#state').className === 'lost'")
    await shown.server.start()
    await shown.page.until("document.querySelector('#state').className === 'live'")
    await shown.letter("db", "api", "U")


async def test_two_hundred_subjects_by_fifty_observers(shown):
    """Scroll, selection and focus stay while every cell changes; the statuses are told apart without colours."""

    async def everybody(status: Status) -> None:
        for first in range(0, 200, 20):
            names = [(f"subject-{n:03}", f"observer-{m:02}") for n in range(first, first + 20) for m in range(50)]
            await shown.report(*(said(status, *pair) for pair in names))

    await everybody(H)
    await shown.open()
    await shown.page.until("document.querySelectorAll('td.HEALTHY').length === 10000")
    await shown.click("subject-002", "observer-03")
    await shown.evidence()
    await shown.page.run("document.querySelector('#scroll').scrollTop = 1500")
    await everybody(U)
    await shown.page.until("document.querySelectorAll('td.UNHEALTHY').length === 10000", 60)
    assert await shown.page.run("document.querySelector('#scroll').scrollTop") == 1500
    assert await shown.page.run(f"{cell('subject-002', 'observer-03')}.getAttribute('aria-selected')") == "true"
    assert await shown.page.run(f"{cell('subject-002', 'observer-03')} === document.activeElement")


@pytest.mark.parametrize("dark", [False, True])
async def test_statuses_differ_in_lightness_and_letters_can_be_read(shown, dark):
    await shown.page.appear(dark=dark)
    await shown.report(*(said(status, status.name.lower()) for status in Status if status >= H))
    await shown.open()
    colours = await shown.page.run(
        """Object.fromEntries([...document.querySelectorAll('td[class]')].map(td => {
            const style = getComputedStyle(td);
            return [td.className, [style.backgroundColor, style.color, td.textContent]];
        }))"""
    )
    page = luminance(await shown.page.run("getComputedStyle(document.body).backgroundColor"))
    order = ["HEALTHY", "PENDING", "MAYBE_UNHEALTHY", "UNHEALTHY", "DYING", "DEAD"]
    away = [abs(lightness(luminance(colours[name][0])) - lightness(page)) for name in order]
    assert away == sorted(away)
    assert min(b - a for a, b in pairwise(away)) > 4, away
    for name in order:
        back, ink = (luminance(colour) for colour in colours[name][:2])
        assert (max(back, ink) + 0.05) / (min(back, ink) + 0.05) >= 4.5, name  # WCAG AA
    assert len({colours[name][2] for name in order}) == len(order)


def luminance(colour: str) -> float:
    """WCAG's relative luminance of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def lightness(y: float) -> float:
    """CIE L* of a luminance."""
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y
