"""A defect behind the overview: it is counted and logged, and its detail does not leave the gateway."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, MemoryBackend
from glance_backend import Glance

from vagus.clock import ManualClock
from vagus.gateway.fanout import DEFECT, gather
from vagus.gateway.overview_board import PERIODS_S, Board

SECRET = "the password is hunter2"


async def fails(*args: Any) -> Any:
    raise KeyError(SECRET)


def logged(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(str(record.exc_info[1]) for record in caplog.records if record.exc_info)


async def test_a_node_with_a_defect_is_missing_without_its_detail(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    backend, counted = MemoryBackend(), []
    monkeypatch.setattr(backend, "status", fails, raising=False)
    with caplog.at_level(logging.ERROR, "vagus"):
        gathered = await gather(backend, "status", (), "", 1.0, failed=counted.append)
    assert [(m.node, m.error) for m in gathered.missing] == [("a", DEFECT)]
    assert SECRET in logged(caplog)
    assert len(counted) == 1
    assert counted[0].startswith("status of a: KeyError: ")


async def test_a_node_that_takes_too_long_itself_is_no_defect() -> None:
    backend, counted = MemoryBackend(), []

    async def late() -> None:
        raise asyncio.TimeoutError

    backend.status = late
    gathered = await gather(backend, "status", (), "", 1.0, failed=counted.append)
    assert [(m.node, m.error) for m in gathered.missing] == [("a", "no answer in time")]
    assert counted == []


@pytest.mark.parametrize("name", sorted(PERIODS_S))
async def test_a_section_with_a_defect_says_so_and_no_more(name: str, caplog: pytest.LogCaptureFixture) -> None:
    counted: list[str] = []
    board = Board(Glance(), ManualClock(NOW_NS), 1.0, counted.append)
    board._new_asks = lambda: type("Asks", (), dict.fromkeys([*PERIODS_S, "past"], fails))()
    with caplog.at_level(logging.ERROR, "vagus"):
        woken = board.join()
        while len(board.known) < len(PERIODS_S):
            woken.clear()
            await woken.wait()
    error = board.known[name].error
    board.close()
    assert error == DEFECT
    assert SECRET in logged(caplog)
    assert any(what.startswith(f"overview of {name}: KeyError: ") for what in counted)
