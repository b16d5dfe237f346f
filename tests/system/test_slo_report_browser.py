"""The report of `vagus experiment slo` in a real browser: narrow and wide, light and dark, by keyboard."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "lab"))
sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from browser import browser, needs_chromium
from slo_made import make

from vagus.cli.experiment.slo_report import write_report

pytestmark = [pytest.mark.system, needs_chromium]

LUMINANCE = """(colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(c => c / 255)
        .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
})"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slo")
    make(folder, seeds=(1, 2), run_s=120.0)
    return write_report(folder)


@pytest.fixture
async def page() -> AsyncIterator[Any]:
    async with browser() as opened:
        yield opened


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
async def test_it_fits_and_can_be_read(page: Any, report: Path, width: int, dark: bool):
    await page.appear(width=width, dark=dark)
    await page.open(report.as_uri())
    assert page.errors == []
    assert await page.run("document.documentElement.scrollWidth") <= width, "only tables scroll sideways"
    assert await page.run("performance.getEntriesByType('resource').length") == 0
    # what is drawn stays within its figure, with letters that can be read
    outside = await page.run(
        """[...document.querySelectorAll('svg[role=img]')].filter(s => s.checkVisibility()).flatMap(svg => {
            const box = svg.getBoundingClientRect();
            return [...svg.querySelectorAll('path.line, path.point, path.area, rect, text')].filter(e => {
                const b = e.getBoundingClientRect();
                return b.left < box.left - 3 || b.right > box.right + 14 || b.top < box.top - 6 || b.bottom > box.bottom + 6;
            }).map(e => e.outerHTML.slice(0, 120));
        })"""
    )
    assert outside == []
    smallest = await page.run(
        """Math.min(...[...document.querySelectorAll('svg[role=img] text')].filter(t => t.checkVisibility())
            .map(t => parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a))"""
    )
    assert smallest >= 7.5
    contrasts = await page.run(
        f"""(() => {{
            const lum = {LUMINANCE}, back = lum(getComputedStyle(document.body).backgroundColor);
            const against = c => (Math.max(lum(c), back) + .05) / (Math.min(lum(c), back) + .05);
            const style = (selector, name) => [...document.querySelectorAll(selector)].map(e => getComputedStyle(e)[name]);
            return {{text: Math.min(...style('p, li, td, th, small, figcaption', 'color').map(against)),
                     lines: Math.min(...style('svg path.line', 'stroke').map(against))}};
        }})()"""
    )
    assert contrasts["text"] >= 4.5, "WCAG AA"
    assert contrasts["lines"] >= 3, "WCAG AA of graphics"


async def test_it_says_who_wins_and_shows_every_policy(page: Any, report: Path):
    await page.appear(width=1200)
    await page.open(report.as_uri())
    verdict = await page.run("document.querySelector('#verdict').innerText")
    assert "throttle has the fewest SLO violations" in verdict
    assert "Where contenders lose" in verdict
    rows = await page.run("[...document.querySelectorAll('#merit tbody tr')].map(r => r.cells[0].innerText)")
    assert rows == ["none", "hpa", "aimd", "throttle", "ddpg", "ddpg-unguarded"]
    figures = await page.run(
        "[...document.querySelectorAll('figure svg')].filter(s => s.checkVisibility()).map(s => s.getAttribute('aria-label'))"
    )
    for name in rows:
        assert any(label.startswith(f"{name}, seed 1.") for label in figures), name
    assert not any("seed 2" in label for label in figures), "folded in"
    # all policies have the same axes
    ticks = await page.run(
        """[...document.querySelectorAll('figure svg')].filter(s => /, seed 1\\. 99th/.test(s.getAttribute('aria-label')))
            .map(s => [...s.querySelectorAll('text.t')].map(t => t.textContent).filter(t => t !== 'no limits').join())"""
    )
    assert len(ticks) == 6
    assert len(set(ticks)) == 1
    lines = await page.run(
        "new Set([...document.querySelectorAll('.key path.line')].map(e => getComputedStyle(e).stroke)).size"
    )
    assert lines == 6, "a colour each"


async def test_it_is_worked_with_the_keyboard_alone(page: Any, report: Path):
    await page.appear(width=400)
    await page.open(report.as_uri())
    for _ in range(12):
        await page.press("Tab")
        if await page.run("document.activeElement.tagName === 'SUMMARY'"):
            break
    assert await page.run("document.activeElement.innerText") == "Seed 2"
    await page.press("Enter")
    await page.until("document.activeElement.parentElement.open")
    shown = await page.run(
        "[...document.querySelectorAll('figure svg')].filter(s => s.checkVisibility() && /seed 2/.test(s.getAttribute('aria-label'))).length"
    )
    assert shown == 7
    wide = "document.querySelector('[aria-label=\"Figures of merit\"]')"
    assert await page.run(f"{wide}.scrollWidth > {wide}.clientWidth && {wide}.tabIndex === 0"), (
        "it can be scrolled by keys"
    )
