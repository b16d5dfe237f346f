"""Several steps seen as one."""

from __future__ import annotations

import math

import pytest

from vagus.policies.frames import Frames


def seen(use: float, elapsed_s: float, throttled: float = 0.0, limit: float = 1.0) -> dict[str, dict[str, float]]:
    return {"a": {"usage_cores": use, "limit_cores": limit, "throttled_ratio": throttled, "elapsed_s": elapsed_s}}


def test_uses_are_means_over_time_and_limits_the_latest() -> None:
    frames = Frames(1.0)
    assert not frames.see(seen(1.0, 0.8, 0.5, 1.0), {"latency_s": 0.1, "rate_hz": 5.0}, 0.8)
    assert frames.hurt_s == {"a": pytest.approx(0.4)}
    assert frames.see(seen(0.0, 0.2, 0.0, 2.0), {"latency_s": 0.3, "rate_hz": math.nan}, 0.2)
    signals, objective, elapsed_s = frames.take()
    assert signals["a"] == {
        "usage_cores": pytest.approx(0.8),
        "throttled_ratio": pytest.approx(0.4),
        "limit_cores": 2.0,
        "elapsed_s": pytest.approx(1.0),
    }
    assert objective == {"latency_s": 0.3, "rate_hz": 5.0}
    assert elapsed_s == pytest.approx(1.0)
    assert frames.hurt_s == {}, "the next one begins"


def test_what_is_not_known_is_left_out_of_means() -> None:
    frames = Frames(1.0)
    frames.see(seen(math.nan, 0.5, math.nan), {}, 0.5)
    frames.see(seen(0.6, 0.5, 0.2), {}, 0.5)
    frames.see({"b": {}}, {}, 0.5)
    signals, _, _ = frames.take()
    assert signals["a"]["usage_cores"] == pytest.approx(0.6)
    assert signals["a"]["throttled_ratio"] == pytest.approx(0.2)
    assert "b" not in signals
