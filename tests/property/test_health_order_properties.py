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


spans = st.tuples(st.sampled_from(["add", "extend", "remove"]), st.integers(1, 60), st.integers(0, 9))


@given(st.lists(spans, max_size=60))
@settings(deadline=None, max_examples=40)
def test_known_is_a_set(steps: list[tuple[str, int, int]]) -> None:
    known, model = Known(), {0}
    for step, first, more in steps:
        span = set(range(first, first + more + 1))
        if step == "add":
            assert known.add(first) is (first not in model)
            model.add(first)
        elif step == "extend":
            known.extend(first, first + more)
            model |= span
        else:
            known.remove(first, first + more)
            model -= span
        assert known.high == max(model)
        missing = {n for low, high in known.gaps() for n in range(low, high + 1)}
        assert missing == set(range(known.high + 1)) - model
        assert all((n in known) == (n in model) for n in range(75))
        assert {n for low, high in known.within(5, 50) for n in range(low, high + 1)} == model & set(range(5, 51))


@given(st.lists(st.integers(1, 300), max_size=200), st.booleans())
@settings(deadline=None, max_examples=30)
def test_known_keeps_few_gaps_and_errs_on_the_side_it_was_told(numbers: list[int], fill: bool) -> None:
    known = Known(max_gaps=5, fill=fill)
    for count, number in enumerate(numbers, 1):
        known.add(number)
        assert len(known.gaps()) <= 5
        model = {0, *numbers[:count]}
        held = {n for n in range(301) if n in known}
        assert held >= model if fill else held <= model
        assert known.high == max(model)


def test_statuses_are_ordered_by_severity() -> None:
    names = ["INVALID", "NA", "HEALTHY", "PENDING", "MAYBE_UNHEALTHY", "UNHEALTHY", "DYING", "DEAD"]
    assert [status.name for status in sorted(Status)] == names
