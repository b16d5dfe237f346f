"""What is said of a peer is taken back at its return, whatever was told of it meanwhile."""

from __future__ import annotations

from vagus.clock import NS
from vagus.health.members import State
from vagus.health.swim import Changed, Probed
from vagus.health.vouching import Vouching
from vagus.model import Status

ALIVE, SUSPECT, DEAD, LEFT = State


def _accused(vouching: Vouching) -> None:
    first = vouching.report(Probed("a", False, SUSPECT, 1.0), 10.0, 10 * NS)
    assert first is not None
    assert first.contexts["swim"].status is Status.MAYBE_UNHEALTHY
    dead = vouching.report(Changed("a", DEAD, 4.0), 13.0, 13 * NS)
    assert dead is not None
    assert dead.contexts["swim"].status is Status.DEAD


def test_who_was_called_dead_and_then_replaced_is_cleared_at_the_first_answer() -> None:
    vouching = Vouching("me", 1.0)
    _accused(vouching)
    assert vouching.report(Changed("a", LEFT, 5.0), 14.0, 14 * NS) is None  # the supervisor has no address of it
    assert vouching.report(Changed("a", ALIVE, 0.0), 15.0, 15 * NS) is None
    back = vouching.report(Probed("a", True, ALIVE, 0.0, 0.001), 16.0, 16 * NS)
    assert back is not None
    assert back.contexts["swim"].status is Status.HEALTHY
    assert vouching.report(Probed("a", True, ALIVE, 0.0, 0.001), 17.0, 17 * NS) is None, "once is enough"


def test_a_return_after_the_accusation_has_ended_is_no_news() -> None:
    vouching = Vouching("me", 1.0)
    _accused(vouching)
    ended_s = 13.0 + vouching.ttl_ns / NS + 1
    assert vouching.report(Changed("a", LEFT, 5.0), ended_s, round(ended_s) * NS) is None
    assert vouching.report(Probed("a", True, ALIVE, 0.0, 0.001), ended_s + 1, round(ended_s + 1) * NS) is None
