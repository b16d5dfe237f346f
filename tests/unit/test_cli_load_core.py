"""The pure half of the load generator: histograms that add up, a schedule fixed beforehand, figures of what became of it."""

import itertools
import math
from random import Random

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.cli.load import histogram
from vagus.cli.load.command import check_address
from vagus.cli.load.plan import FEATURES, Plan, arms_of, check, drawing, due
from vagus.cli.load.tally import Tally, latency, merged, summary, trouble
from vagus.errors import ConfigError

values = st.integers(0, 10**12)


def plan(**more):
    return Plan(
        **{"url": "http://127.0.0.1:1", "token": "t", "rate": 100.0, "requests": 50, "arms": ("a", "b"), **more}
    )


def counts_of(found):
    counts = {}
    for value in found:
        bucket = histogram.bucket_of(value)
        counts[bucket] = counts.get(bucket, 0) + 1
    return counts


@settings(max_examples=40, deadline=None)
@given(value=values)
def test_a_bucket_is_at_most_a_128th_too_high_and_never_too_low(value):
    bucket = histogram.bucket_of(value)
    assert value <= histogram.highest_in(bucket) <= value + value / 128
    assert histogram.highest_in(bucket - 1) < value or bucket == 0
    assert histogram.bucket_of(histogram.highest_in(bucket)) == bucket
    assert histogram.bucket_of(histogram.highest_in(bucket) + 1) == bucket + 1


@settings(max_examples=40, deadline=None)
@given(found=st.lists(values, min_size=1, max_size=50), share=st.sampled_from([0.0, 0.5, 0.9, 0.99, 1.0]))
def test_quantiles_are_those_of_the_values_to_a_128th(found, share):
    exact = sorted(found)[max(1, math.ceil(share * len(found) - 1e-9)) - 1]
    assert exact <= histogram.quantile(counts_of(found), share) <= exact * (1 + 1 / 128)
    assert histogram.mean(counts_of(found)) == pytest.approx(sum(found) / len(found), rel=1 / 128, abs=1)
    points = list(histogram.cumulative(counts_of(found)))
    assert points == sorted(points)
    assert points[-1][1] == 1.0


def test_quantiles_over_all_count_what_was_not_answered_as_slower():
    counts = counts_of([10] * 90)
    assert histogram.quantile(counts, 0.9, total=100) == 10
    assert math.isnan(histogram.quantile(counts, 0.91, total=100))
    assert math.isnan(histogram.quantile({}, 0.5))
    assert list(histogram.cumulative(counts, total=180))[-1][1] == 0.5


@settings(max_examples=30, deadline=None)
@given(
    requests=st.integers(1, 200),
    workers=st.integers(1, 7),
    rate=st.floats(0.5, 1e5),
    poisson=st.booleans(),
)
def test_all_workers_together_are_the_whole_load(requests, workers, rate, poisson):
    made = [
        list(due(plan(requests=requests, workers=workers, number=n, rate=rate, poisson=poisson)))
        for n in range(workers)
    ]
    assert all(times == sorted(times) for times in made)
    together = sorted(itertools.chain(*made))
    assert len(together) == requests
    if not poisson:
        assert together == pytest.approx([k / rate for k in range(requests)])


def test_poisson_gaps_have_the_rate_and_are_the_same_for_the_same_seed():
    one = plan(poisson=True, requests=4000, rate=1000.0)
    times = list(due(one))
    assert times == list(due(one))
    assert times != list(due(msgspec.structs.replace(one, seed=1)))
    assert times[-1] == pytest.approx(4.0, rel=0.1)


def test_features_are_drawn_as_specified():
    draw = drawing(["n=1..3", "x=-0.5..0.5", "city=Bern|Basel", "fixed=yes", "neg=-3..-2"], Random(1))
    made = [draw() for _ in range(100)]
    assert {one["n"] for one in made} == {1, 2, 3}
    assert all(-0.5 <= one["x"] <= 0.5 for one in made)
    assert {one["city"] for one in made} == {"Bern", "Basel"}
    assert {one["fixed"] for one in made} == {"yes"}
    assert {one["neg"] for one in made} == {-3, -2}
    assert len(drawing(FEATURES, Random(1))()) == 15


@pytest.mark.parametrize("spec", ["", "x", "=1", "x=", "x=5..1", "x\n=1"])
def test_a_wrong_feature_says_what_would_be_right(spec):
    with pytest.raises(ConfigError):
        drawing([spec], Random(1))


def test_arms_are_a_number_or_names():
    assert arms_of("3") == ("arm-1", "arm-2", "arm-3")
    assert arms_of("a, b") == ("a", "b")
    for wrong in ("0", "1001", "a,a", "a,,b", ""):
        with pytest.raises(ConfigError):
            arms_of(wrong)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rate": 0},
        {"rate": math.nan},
        {"rate": 1e7},
        {"requests": 0},
        {"requests": 10**6, "rate": 1.0},
        {"connections": 0},
        {"updates": 1.5},
        {"timeout_s": 0},
        {"delay_s": math.inf},
        {"features": ("x",)},
    ],
)
def test_a_plan_out_of_bounds_is_refused(wrong):
    with pytest.raises(ConfigError):
        check(plan(**wrong))


def test_a_good_plan_is_taken():
    assert check(plan()).duration_s == 0.5


def told(seed, requests=200):
    rng, tally = Random(seed), Tally(workers=1, cpu_s=0.5)
    for n in range(requests):
        kind, at = rng.choice(["decide", "update"]), n / 50
        tally.was_due(kind, at)
        if rng.random() < 0.9:
            tally.answered(kind, at, at + rng.expovariate(100))
        else:
            tally.failed("time-out", at)
        tally.sent_late(1e-4)
    return tally


def test_tallies_add_up_exactly_in_any_order_and_over_the_wire():
    parts = [told(seed) for seed in range(3)]
    packed = [msgspec.msgpack.decode(msgspec.msgpack.encode(part), type=Tally) for part in parts]
    assert packed == parts
    one, other = merged(parts), merged(reversed(packed))
    assert one == other
    figures = summary(one, 3)
    assert figures["requests"] == 600
    assert figures["answered"] + figures["failed"] == 600
    assert sum(second["done"] for second in figures["seconds"]) == figures["answered"]
    assert sum(second["due"] for second in figures["seconds"]) == 600
    assert figures["failures"] == {"time-out": figures["failed"]}
    assert trouble(figures) == ""
    assert "were lost" in trouble(summary(one, 4))


def test_a_generator_that_is_late_says_so():
    tally = told(1)
    for _ in range(100):
        tally.sent_late(0.2)
    assert "too little CPU" in trouble(summary(tally, 1))


def test_latency_counts_from_when_it_was_due():
    tally = Tally()
    tally.was_due("decide", 1.0)
    tally.answered("decide", 1.0, 3.5)
    assert latency(tally.kinds["decide"])["p50"] == pytest.approx(2500, rel=1 / 128)
    assert (tally.seconds[1].due, tally.seconds[3].done) == (1, 1)


def test_only_ones_own_are_loaded():
    asked = []

    def gateways():
        asked.append(1)
        return {"http://10.0.0.7:7117"}

    for url in ("http://127.0.0.1:80", "http://[::1]:80", "http://127.8.8.8:80"):
        check_address(url, gateways)
    assert asked == []
    check_address("http://10.0.0.7:7117", gateways)
    for url in ("http://10.0.0.7:80", "http://8.8.8.8", "http://example.com", "http://127.0.0.1.example.com"):
        with pytest.raises(ConfigError, match="one's own only"):
            check_address(url, gateways)
