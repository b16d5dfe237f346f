"""What all actors share: a loop that ends is no secret, and the processor's share counts from the start of the work."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from vagus.actors.base import Actor, Seat
from vagus.actors.usage import Share
from vagus.config import Config
from vagus.runtime.shell import Shell


async def _fails() -> None:
    raise KeyError("up")


@pytest.fixture
def actor(tmp_path: Path) -> Actor:
    return Actor(Seat("collector", "n1", str(tmp_path), Config()), links=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("vital", "state"), [(True, "UNHEALTHY"), (False, "HEALTHY")])
async def test_an_actor_whose_vital_loop_ended_says_that_it_is_unhealthy(actor: Actor, vital: bool, state: str) -> None:
    await actor.begin()
    actor.spawn(_fails(), vital=vital)
    while not actor.errors:
        await asyncio.sleep(0)
    said = await actor.describe()
    assert (said.state, said.last_error) == (state, "background task: KeyError: 'up'")
    await actor.end()
    assert (await actor.describe()).state == "DRAINED"


async def test_the_loop_that_ends_with_its_actor_is_no_failure(actor: Actor) -> None:
    await actor.begin()
    actor.spawn(asyncio.sleep(3600), vital=True)
    await actor.end()
    assert (actor.broken, actor.errors) == (False, 0)


async def test_a_loop_whose_cancellation_is_swallowed_once_ends_with_its_actor(actor: Actor, monkeypatch) -> None:
    """As before Python 3.12 asyncio.wait_for does when the answer comes at that very moment."""
    monkeypatch.setattr("vagus.actors.base.CANCEL_AGAIN_S", 0.01)
    swallowed = 0

    async def step() -> None:
        nonlocal swallowed
        try:
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            swallowed += 1
            if swallowed > 1:
                raise

    await actor.begin()
    actor.every(0.0, step)
    await asyncio.sleep(0.005)
    await asyncio.wait_for(actor.end(), 10)
    assert (swallowed, actor.state) == (2, "DRAINED")


def test_the_share_leaves_the_start_out_and_follows_the_last_minute() -> None:
    share = Share()
    assert share.ratio(100.0, 2.0) is None  # loading took two seconds of processor
    assert share.ratio(100.5, 2.1) is None
    assert share.ratio(102.0, 2.1) == pytest.approx(0.05)
    for second in range(103, 400):
        share.ratio(float(second), 2.1 + 0.5 * max(0, second - 200))
    assert share.ratio(400.0, 102.1) == pytest.approx(0.5)


@pytest.mark.parametrize("broken", [True, False])
async def test_a_broken_actor_beats_no_more_so_that_the_supervisor_replaces_it(actor: Actor, broken: bool) -> None:
    shell = object.__new__(Shell)
    shell._actor, shell._beat_s = actor, 0.0
    actor.broken = broken
    await shell._beat()
    assert (shell._beat_s == 0.0) == broken
