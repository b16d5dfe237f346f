"""Stores that saw the same reports agree; intervals behave as a set; statuses are ordered by severity."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.clock import NS
from vagus.health import STRATEGIES
from vagus.health.known import Known
from vagus.health.local import LocalStore
from vagus.model import Metric, Report, Status

NOW = 1_700_000_000 * NS

metrics = st.builds(Metric, st.sampled_from(Status), st.floats(allow_nan=False, allow_infinity=False))
reports = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.integers(0, 20),
        st.dictionaries(st.sampled_from(["read", "write"]), metrics, min_size=1),
        st.sampled_from("xy"),
    ),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize("name", ["paper", "majority"])
@given(given=reports, seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_any_order_with_repeats_gives_the_same_inference(name: str, given: list, seed: int) -> None:
    made = [Report(o, "s", NOW + t, contexts, origin, n + 1) for n, (o, t, contexts, origin) in enumerate(given)]
    shuffled = made + random.Random(seed).choices(made, k=5)
    random.Random(seed).shuffle(shuffled)
    one, two = (LocalStore(node, STRATEGIES.make(name)) for node in ("n1", "n2"))
    for report in made:
        one.merge(report, NOW + 50)
    for report in shuffled:
        two.merge(report, NOW + 50)
    assert one.inference("s") == two.inference("s")
    verdict = one.inferences()[0]
    assert verdict.status == max(v.status for v in verdict.contexts.values())
    assert len(one) == len(two) == sum(len(view) for view in one.panorama("s").values())


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 40)), max_size=60))
@settings(deadline=None, max_examples=100)
def test_known_is_a_set(steps: list[tuple[bool, int]]) -> None:
    known, model = Known(), {0}
    for cover, number in steps:
        if cover:
            known.cover(number)
            model |= set(range(number + 1))
        else:
            assert known.add(number) is (number not in model)
            model.add(number)
        assert known.high == max(model)
        missing = {n for first, last in known.gaps() for n in range(first, last + 1)}
        assert missing == set(range(known.high + 1)) - model
        assert all((n in known) == (n in model) for n in range(45))


@given(st.lists(st.integers(1, 10_000), max_size=200))
@settings(deadline=None, max_examples=50)
def test_known_keeps_few_gaps(numbers: list[int]) -> None:
    known = Known(max_gaps=5)
    for number in numbers:
        known.add(number)
        assert number in known
        assert len(known.gaps()) <= 5


def test_statuses_are_ordered_by_severity() -> None:
    names = ["INVALID", "NA", "HEALTHY", "PENDING", "MAYBE_UNHEALTHY", "UNHEALTHY", "DYING", "DEAD"]
    assert [status.name for status in sorted(Status)] == names
