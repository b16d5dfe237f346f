"""The phi-accrual detector that runs beside in benchmarks.gray, against values of the paper's formula."""

from __future__ import annotations

import pytest

from benchmarks.gray.phi import MAX_PHI, THRESHOLD, PhiAccrual


def beaten(*distances_s: float, min_std_s: float = 0.0, window: int = 1000) -> tuple[PhiAccrual, float]:
    detector = PhiAccrual(min_std_s=min_std_s, window=window)
    now_s = 100.0
    detector.beat(now_s)
    for distance_s in distances_s:
        now_s += distance_s
        detector.beat(now_s)
    return detector, now_s


def test_nothing_is_suspected_before_the_first_beat() -> None:
    assert PhiAccrual().phi(1e9) == 0.0


@pytest.mark.parametrize(
    ("sigmas", "phi"),
    # -log10 of the normal distribution's upper tail, from its tables: Q(0) = 0.5, Q(1) = 0.158655, Q(2) = 0.0227501,
    # Q(3) = 0.00134990, Q(5.612) = 1e-8
    [(0, 0.30103), (1, 0.799546), (2, 1.643016), (3, 2.869698), (5.612001, 8.0)],
)
def test_phi_of_a_lateness_in_standard_deviations(sigmas: float, phi: float) -> None:
    detector, last_s = beaten(0.9, 1.1, 0.9, 1.1)  # mean 1, standard deviation 0.1
    assert detector.phi(last_s + 1.0 + 0.1 * sigmas) == pytest.approx(phi, abs=1e-4)


def test_irregular_beats_make_it_patient() -> None:
    regular, last_s = beaten(1.0, 1.0, 1.0, 1.0, min_std_s=0.1)
    irregular, _ = beaten(0.5, 1.5, 0.5, 1.5, min_std_s=0.1)
    assert regular.phi(last_s + 1.6) > THRESHOLD > irregular.phi(last_s + 1.6)


def test_regular_beats_are_given_a_least_deviation() -> None:
    detector, last_s = beaten(*[1.0] * 20, min_std_s=0.1)
    assert detector.phi(last_s + 1.1) == pytest.approx(0.799546, abs=1e-4)


def test_one_beat_is_judged_by_the_distance_that_is_expected() -> None:
    detector = PhiAccrual(first_s=2.0, min_std_s=0.1)
    detector.beat(0.0)
    assert detector.phi(2.0) == pytest.approx(0.30103, abs=1e-4)


def test_only_the_window_counts_and_phi_stays_finite() -> None:
    detector, last_s = beaten(*[9.0] * 50, *[1.0] * 5, min_std_s=0.1, window=5)
    assert detector.phi(last_s + 2.0) > THRESHOLD
    assert detector.phi(last_s + 1e6) == MAX_PHI
    detector.beat(last_s + 1e6)
    assert detector.phi(last_s + 1e6) < 1
