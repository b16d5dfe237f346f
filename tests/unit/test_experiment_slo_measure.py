"""`vagus experiment slo`: violations, percentiles, cores, detection, mitigation."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from tests.fixtures.slo_results_made import hog, over_from, quiet, sampled
from vagus.cli.experiment.slo_measure import (
    answered,
    broke,
    judged,
    mitigation_s,
    note_kind,
    over_ratio,
    percentile,
    requested,
    slices,
    used,
    violations,
)
from vagus.cli.experiment.slo_results import Windows
from vagus.cli.experiment.slo_sampling import throttled_ratio


def test_violations_are_late_and_failed_requests_of_the_measured_part() -> None:
    due = np.array([-1.0, 3.0, 0.0, 2.0, 10.0])
    took = np.array([9.0, math.inf, 0.1, 0.3, 9.0])
    found = answered(due, took, 10.0)
    assert found.due_s.tolist() == [0.0, 2.0, 3.0]
    assert violations(found.latency_s, 0.2) == 2
    assert violations(found.latency_s, 0.3) == 1  # as long as the SLO is in time


def test_failed_requests_count_as_long_as_one_waits() -> None:
    took = np.array([0.1] * 98 + [math.inf] * 2)
    assert percentile(took, 0.5, 10.0) == 0.1
    assert percentile(took, 0.99, 10.0) == 10.0
    assert percentile(took[:0], 0.5, 10.0) is None


def test_windows_of_the_warm_up_and_empty_ones_are_not_counted() -> None:
    windows = Windows(
        t_s=(-1.0, 0.5, 1.0, 1.5, 2.0, 9.0),
        p50_s=(None,) * 6,
        p99_s=(9.0, 0.1, 0.3, None, 0.2, 9.0),
        rate_hz=(None,) * 6,
        failed_ratio=(None,) * 6,
    )
    assert over_ratio(windows, 0.2, 5.0) == pytest.approx(1 / 3)
    assert over_ratio(windows, 0.2, 0.2) is None


def test_requested_cores_are_the_limits_weighted_with_how_long_they_were_in_force() -> None:
    found = sampled({"a": (9.0, 1.0, 1.0, 2.0), "b": (9.0, 0.5, 0.5, 0.5)})
    assert requested(found, 2.0) == pytest.approx((1.5 * 0.5 + 1.5 * 0.5 + 2.5 * 1.0) / 2.0)
    assert used(found, 2.0) == pytest.approx(2 * (0.3 + 0.4) / 2)


def test_without_a_limit_there_is_no_sum_of_limits() -> None:
    assert requested(sampled({"a": (1.0, None, 1.0), "b": (1.0, 1.0, 1.0)}), 2.0) is None
    assert requested(sampled({"a": (None, 1.0, 1.0)}), 2.0) == 1.0  # it had none only in the warm-up


def test_half_seconds_over_the_slo() -> None:
    what = answered(np.array([0.1, 0.2, 0.6, 1.2]), np.array([0.1, 0.9, 0.1, math.inf]), 2.0)
    assert slices(what, 0.2, 2.0).tolist() == [True, False, True, False]


def test_mitigated_when_the_slo_is_kept_again() -> None:
    found = judged(hog(), over_from((11.0, 12.5)), quiet())
    assert (found.detected_s, found.detected_by, found.mitigated_s) == (11.5, "window", 13.0)
    assert mitigation_s(found) == 1.5


def test_a_short_pause_is_no_mitigation() -> None:
    found = judged(hog(), over_from((11.0, 12.0), (13.5, 14.0)), quiet())
    assert found.mitigated_s == 14.5


def test_what_lasts_until_the_injection_ends_is_censored() -> None:
    found = judged(hog(), over_from((11.0, 21.0)), quiet())
    assert found.mitigated_s is None
    assert mitigation_s(found) == 8.5
    late = judged(hog(), over_from((11.0, 12.0), (19.0, 21.0)), quiet())
    assert late.mitigated_s == 12.5  # what comes later is another time


def test_what_was_over_the_slo_before_the_injection_is_not_its_detection() -> None:
    found = judged(hog(), over_from((5.0, 9.0), (25.0, 26.0)), quiet())
    assert found.detected_s is None
    assert mitigation_s(found) is None


def test_throttling_tells_before_requests_are_late() -> None:
    rows = 60
    throttled = tuple(0.8 if 10.6 < 0.5 * i - 0.5 < 11.6 else 0.0 for i in range(rows))
    seen = sampled({"a": (1.0,) * 25 + (1.5,) * 35}, {"a": throttled})
    found = judged(hog(), over_from((11.5, 12.0)), seen)
    assert (found.detected_s, found.detected_by) == (11.0, "throttled")
    assert found.mitigated_s == 12.5
    assert found.raised_s == 12.0
    never_late = judged(hog(), [False] * rows, seen)
    assert never_late.mitigated_s == never_late.detected_s == 11.0


def test_what_was_throttled_and_never_late_broke_nothing() -> None:
    throttled = tuple(0.8 if 10.6 < 0.5 * i - 0.3 < 11.6 else 0.0 for i in range(60))
    seen = sampled({"a": (1.0,) * 60}, {"a": throttled})
    seen = msgspec.structs.replace(seen, t_s=tuple(0.5 * i - 0.3 for i in range(60)))  # between two half seconds
    found = judged(hog(), [False] * 60, seen)
    assert found.detected_s == pytest.approx(10.7)
    assert found.mitigated_s == found.detected_s  # at once
    assert not broke(found)
    assert mitigation_s(found) is None


def test_only_raises_within_the_injection_count() -> None:
    early = sampled({"a": (1.0,) * 10 + (2.0,) * 50})
    falling = sampled({"a": tuple(2.0 - 0.01 * i for i in range(60))})
    assert judged(hog(), [False] * 60, early).raised_s is None
    assert judged(hog(), [False] * 60, falling).raised_s is None


def test_throttled_share_is_of_the_group_or_replica_that_is_throttled_most() -> None:
    assert throttled_ratio({"": 1.0, "r0": 0.0}, {"": 1.1, "r0": 0.4, "r1": 9.0}, 0.5) == pytest.approx(0.8)
    assert throttled_ratio({"": math.nan}, {"": math.nan}, 0.5) == 0.0
    assert throttled_ratio({"": 1.0}, {"": 2.0}, 0.0) == 0.0


def test_notes_are_counted_without_their_numbers() -> None:
    assert note_kind("at most 50% at once, towards 0.8124") == note_kind("at most 50% at once, towards 1.2e-05")
