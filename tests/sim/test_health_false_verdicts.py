"""Minutes of GC pauses, overload and loss: `weighted` convicts nobody who is well, and still finds who is ill."""

from __future__ import annotations

from benchmarks.health_false import hour


def test_weighted_convicts_nobody_who_is_well() -> None:
    assert hour("weighted", 3, ill=False, seconds=120, nodes=6, services=3, overload_after_s=30) == (0, [], 0)


def test_paper_does_in_the_same_world() -> None:
    false, _, _ = hour("paper", 3, ill=False, seconds=40, nodes=6, services=3)
    assert false > 10, "else the world is too kind to show anything"


def test_weighted_finds_who_is_ill() -> None:
    false, found_s, missed = hour("weighted", 3, ill=True, seconds=180, nodes=6, services=3)
    assert (false, missed) == (0, 0)
    assert [time_s < 12 for time_s in found_s] == [True]
