"""The demo tells each change once."""

from __future__ import annotations

from vagus.cli.demo.receipts import Told
from vagus.model import Receipt, Target


def receipt(
    t_ns: int, before: float | None, after: float | None, *, dry: bool = False, note: str = "", error: str = ""
) -> Receipt:
    return Receipt(
        t_ns, "a", "demo", "cgroup1", Target.parse("cgroup:hog"), "cpu_cores", before, after, after, dry, "slow",
        note, error,
    )  # fmt: skip


def test_each_change_once_oldest_first_and_none_from_before_the_story() -> None:
    told = Told(since_ns=10)
    given = [receipt(12, 1.0, 0.5), receipt(11, None, 1.0), receipt(9, None, 2.0)]
    assert told.news(given) == [
        "set cpu_cores of cgroup:hog from no limit to 1.00, because slow",
        "set cpu_cores of cgroup:hog from 1.00 to 0.50, because slow",
    ]
    assert told.limit == 0.5
    assert told.news(given) == []


def test_held_ones_and_those_that_change_nothing_are_not_told() -> None:
    told = Told()
    assert told.news([receipt(1, 1.0, 1.0, note="held: cool-down"), receipt(2, 0.5, 0.5)]) == []
    assert told.limit == 0.5


def test_dry_ones_are_told_on_change() -> None:
    told = Told()
    would = "would set cpu_cores of cgroup:hog from no limit to 0.50, dry, because slow"
    assert told.news([receipt(1, None, 0.5, dry=True)]) == [would]
    assert told.news([receipt(2, None, None, dry=True, note="held: cool-down"), receipt(3, None, None, dry=True)]) == []
    assert told.news([receipt(4, None, 0.5, dry=True)]) == []
    assert told.limit == 0.5
    assert told.news([receipt(5, None, 0.25, dry=True)]) == [would.replace("0.50", "0.25")]


def test_errors_are_told_once() -> None:
    told = Told()
    assert told.news([receipt(1, None, None, error="gone"), receipt(2, None, None, error="gone")]) == [
        "cannot limit cpu_cores of cgroup:hog: gone"
    ]
    assert told.news([receipt(3, None, 0.5, dry=True, error="Unsupported: no cgroups")]) == [
        "would set cpu_cores of cgroup:hog from no limit to 0.50, dry, because slow"
        " (cannot limit cpu_cores of cgroup:hog: Unsupported: no cgroups)"
    ]
    assert told.news([receipt(4, None, 0.5, dry=True, error="Unsupported: no cgroups")]) == []
    assert told.news([receipt(5, None, None, error="other")]) == ["cannot limit cpu_cores of cgroup:hog: other"]
