"""Load-aware decisions: arms whose quality falls past a knee, with and without telling the service where it is."""

from __future__ import annotations

from collections import Counter, deque
from random import Random

import pytest

from vagus.clock import NS
from vagus.controllers.decide.decider import Decider
from vagus.errors import ConfigError

KNEES = {"near": 40.0, "far": 45.0, "slow": 400.0}  # sessions per second
WORTH = {"east": {"near": 1.0, "far": 0.8, "slow": 0.5}, "west": {"near": 0.9, "far": 0.85, "slow": 0.5}}
PER_S = {"east": 60, "west": 40}
SECONDS = 90


class _Clock:
    def __init__(self) -> None:
        self.now_ns = NS

    def time_ns(self) -> int:
        return self.now_ns

    def monotonic_ns(self) -> int:
        return self.now_ns


def _simulated(capacity: dict[str, float] | None, policy: str) -> tuple[float, dict[str, float]]:
    """The mean quality of the last 30 s, and of each arm the most sessions in any whole second of them."""
    clock, rng = _Clock(), Random(5)
    decider = Decider(policy, group_by=("region",), capacity=capacity, seed=3, clock=clock)
    pending: deque[tuple[int, str, float]] = deque()
    last_second: deque[tuple[int, str]] = deque()
    quality: list[float] = []
    seconds: list[Counter[str]] = []
    sessions = [region for region, count in PER_S.items() for _ in range(count)]
    for second in range(SECONDS):
        rng.shuffle(sessions)
        counted: Counter[str] = Counter()
        for at, region in enumerate(sessions):
            clock.now_ns = (second + 1) * NS + at * NS // len(sessions)
            while pending and pending[0][0] <= clock.now_ns:
                _, decision_id, reward = pending.popleft()
                decider.update(decision_id, reward)
            made = decider.decide({"region": region}, list(KNEES))
            last_second.append((clock.now_ns, made.arm))
            while last_second[0][0] <= clock.now_ns - NS:
                last_second.popleft()
            load = sum(arm == made.arm for _, arm in last_second) / KNEES[made.arm]
            worth = WORTH[region][made.arm] * min(1.0, max(0.0, 2.0 - load))  # none at twice the knee
            pending.append((clock.now_ns + NS, made.decision_id, worth + rng.gauss(0.0, 0.05)))
            counted[made.arm] += 1
            if second >= SECONDS - 30:
                quality.append(worth)
        seconds.append(counted)
    mean = {arm: sum(one[arm] for one in seconds[-30:]) / 30 for arm in KNEES}
    return sum(quality) / len(quality), mean


@pytest.mark.parametrize("policy", ["auto", "ucb"])
def test_no_arm_passes_its_knee_and_sessions_are_better_off(policy: str) -> None:
    told, loads = _simulated(KNEES, policy)
    untold, _ = _simulated(None, policy)
    assert all(loads[arm] <= KNEES[arm] for arm in KNEES), loads
    assert loads["near"] >= 0.8 * KNEES["near"], "capacity that is there is used"
    assert told > untold + 0.05, (told, untold)


def test_a_policy_that_weighs_each_request_by_itself_takes_no_capacity() -> None:
    with pytest.raises(ConfigError, match="capacity"):
        Decider("linear", capacity=KNEES)
