"""In doubt: the last safe limit, then the calibrated rule, then what was there before; up again when doubt is over."""

from __future__ import annotations

import pytest

from vagus.controllers.ladder import PROOF, SETTLE_S, Doubt, Ladder, LastSafe, Rung
from vagus.model import Target

WEB = (Target("cgroup", "web"), "cpu_cores")
SIGHT, HAND, POLICY = Doubt("stale", "sight"), Doubt("no watchdog", "hand"), Doubt("it fails", "policy")


def climb(ladder: Ladder, course: list[tuple[float, list[Doubt]]]) -> list[str]:
    return [ladder.step(doubts, at_s).value for at_s, doubts in course]


@pytest.mark.parametrize("doubt", [SIGHT, POLICY])
def test_down_with_time_and_up_again(doubt: Doubt) -> None:
    ladder = Ladder(hold_s=30, rule_s=600)
    course = [(0.0, []), (1.0, [doubt]), (30.9, [doubt]), (31.0, [doubt]), (630.0, [doubt]), (631.0, [doubt])]
    assert climb(ladder, course) == ["trust", "hold", "hold", "rule", "rule", "restore"]
    assert climb(ladder, [(632, []), (631 + SETTLE_S, [])]) == ["restore", "trust"]
    assert climb(ladder, [(700, [doubt])]) == ["hold"], "a new doubt begins at the top"


def test_without_a_sound_hand_no_rule_acts() -> None:
    assert climb(Ladder(30, 600), [(0, [HAND]), (31, [HAND]), (32, [SIGHT, HAND])]) == ["hold", "restore", "restore"]


def test_without_a_rule_it_restores() -> None:
    assert climb(Ladder(30, 0), [(0, [SIGHT]), (30, [SIGHT])]) == ["hold", "restore"]


def test_a_short_doubt_costs_nothing_and_one_that_flaps_counts_as_one() -> None:
    ladder = Ladder(30, 600)
    assert climb(ladder, [(0, [SIGHT]), (1, [])]) == ["hold", "trust"]
    flapping = [(float(t), [SIGHT] if t % 2 else []) for t in range(2, 40)]
    assert "rule" in climb(ladder, flapping)
    calm = Ladder(30, 600)
    rare = [(t * (SETTLE_S + 1), [SIGHT] if t % 3 == 0 else []) for t in range(40)]
    assert set(climb(calm, rare)) == {"hold", "trust"}


def test_once_restored_it_stays_so_until_doubt_is_over() -> None:
    ladder = Ladder(1, 0)
    assert climb(ladder, [(0, [SIGHT]), (2, [SIGHT]), (3, []), (4, [SIGHT]), (8, [])])[-1] == "restore"
    assert ladder.step([], 4 + SETTLE_S) is Rung.TRUST


def test_the_last_safe_limit_is_the_one_that_stood() -> None:
    safe = LastSafe()
    for _ in range(PROOF):
        safe.trusted({WEB: 2.0})
    safe.trusted({WEB: 1.0})  # tightened just before doubt
    assert safe.looser({WEB: 1.0}) == {WEB: 2.0}
    assert safe.looser({WEB: 3.0}) == {}, "never tighter"
    for _ in range(PROOF):
        safe.trusted({WEB: 1.0})
    assert safe.looser({WEB: 1.0}) == {}
    safe.trusted({})
    assert safe.looser({WEB: 0.5}) == {}, "restored: nothing is known any more"
