"""Simulated applications of many shapes: the culprit comes first in a high share, what is healthy is not accused."""

from __future__ import annotations

import pytest

from tests.fixtures.applications import Application
from tests.fixtures.localised import Found, simulated
from vagus.config.act import LocaliseSettings
from vagus.controllers.localise.localiser import Localiser
from vagus.controllers.localise.svm import Svm, row_of
from vagus.traces.graph import build

pytestmark = pytest.mark.system  # for the time that it takes


@pytest.fixture(scope="module")
def cases() -> list[tuple[str, Found]]:
    found = [(fault.pod, f) for seed in range(5000, 5024) if (case := simulated(seed)) for _, fault, f in [case]]
    assert len(found) >= 20
    return found


def test_the_culprit_is_first_in_a_high_share(cases: list[tuple[str, Found]]) -> None:
    first = sum(f.place == 0 for _, f in cases) / len(cases)
    assert first >= 0.8
    assert sum(f.place < 3 for _, f in cases) / len(cases) >= 0.9
    assert sum(f.paper == 0 for _, f in cases) / len(cases) <= first - 0.3  # the paper's RI and CI alone


def test_the_svm_learns_from_injections_what_is_critical(cases: list[tuple[str, Found]]) -> None:
    svm = Svm()
    half = len(cases) // 2
    for pod, found in cases[:half]:
        suspects = found.ranking.suspects
        svm.learn([row_of(s, found.ranking.requests) for s in suspects], [s.component == pod for s in suspects])
    higher = pairs = 0
    for pod, found in cases[half:]:
        suspects = found.ranking.suspects
        chances = svm.probability([row_of(s, found.ranking.requests) for s in suspects])
        by_name = {s.component: c for s, c in zip(suspects, chances, strict=True)}
        if (culprit := by_name.get(pod)) is not None:
            pairs += len(by_name) - 1
            higher += sum(other is not None and other < culprit for name, other in by_name.items() if name != pod)
    assert higher / pairs >= 0.95  # the area under the curve, within each application


def test_without_a_fault_and_without_drift_few_windows_are_slow() -> None:
    slow = 0
    for seed in range(6000, 6012):
        app = Application(seed)
        app.drift = 0.0
        localiser = Localiser(LocaliseSettings(window="1d", normal_file="given"))
        localiser.learn(build(app.spans(1, 300)))
        localiser.add(build(app.spans(2, 200, window=True)), 0)
        ranking = localiser.rank(1_800_000_000 * 10**9)
        assert ranking is None or ranking.requests == 0  # all ended long before
        last = max(s.end_ns for s in app.spans(2, 200, window=True))
        localiser.add(build(app.spans(2, 200, window=True)), 0)
        ranking = localiser.rank(last)
        assert ranking is not None
        slow += ranking.slow
    assert slow <= 1
