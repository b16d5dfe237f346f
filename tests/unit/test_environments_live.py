"""The running system as a world, over a connection that says what the test wants."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from vagus.environments.live import LiveWorld
from vagus.errors import ConfigError, PeerUnreachable
from vagus.model import Acted, Action, ControlState

A = "cgroup:app/a"
SEEN = {"usage_cores": 0.2, "limit_cpu_cores": 0.5, "elapsed_s": 1.0}


def state(t_ns: int, latency_s: float = 0.1, rate_hz: float = 10.0, **changes: Any) -> ControlState:
    given: dict[str, Any] = {
        "node": "n",
        "controller": "c",
        "policy": "remote",
        "steerable": True,
        "t_ns": t_ns,
        "period_s": 1.0,
        "armed": True,
        "rung": "trust",
        "targets": {A: SEEN},
        "objective": {"latency_s": latency_s, "slo_s": 0.2, "rate_hz": rate_hz},
        "limits": {},
        "bounds": {"cpu_cores": (0.1, 2.0)},
        "vectors": {},
        **changes,
    }
    return ControlState(**given)


class Says:
    """A connection: answers one state after the other, the last one for ever."""

    def __init__(self, *states: ControlState) -> None:
        self.states = list(states)
        self.asked: list[int] = []
        self.acted: list[tuple[Action, ...]] = []
        self.done = True

    def state(self, controller: str, node: str = "", after_ns: int = 0) -> ControlState:
        self.asked.append(after_ns)
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]

    def act(self, controller: str, actions: Iterable[Action], node: str = "", wait: bool = True) -> Acted:
        self.acted.append(tuple(actions))
        t_ns = 2_000_000_000 if self.done else 0
        return Acted("n", "c", len(self.acted[-1]), self.done, t_ns, True, "trust", (), {})


def world(*states: ControlState) -> tuple[LiveWorld, Says]:
    says: Any = Says(*states)
    return LiveWorld(says, "c"), says


S = 1_000_000_000


def test_what_is_seen_is_of_a_whole_period_after_the_limits_were_set() -> None:
    live, says = world(state(S), state(S), state(2 * S), state(2 * S), state(3 * S, 0.3, 20.0))
    live.reset(0)
    seen = live.step({(A, "cpu_cores"): 0.7})
    assert seen.now_s == 3.0, "an answer that is no later step is asked for anew"
    assert says.asked[2:] == [2 * S] * 3
    assert [action.value for action in says.acted[-1]] == [0.7]
    assert (seen.violations, seen.requests) == (40.0, 40.0), "two seconds at 20 a second, all too late"


def test_a_clock_that_is_set_back_is_another_step() -> None:
    live, _ = world(state(9 * S), state(9 * S), state(S))
    live.reset(0)
    seen = live.step({})
    assert (seen.now_s, seen.requests) == (1.0, 0.0)


def test_unknown_rates_are_no_requests() -> None:
    live, _ = world(state(S), state(S, math.nan, math.nan))
    seen = live.reset(0)
    assert (seen.violations, seen.requests) == (0.0, 0.0)


def test_who_takes_no_actions_or_no_steps_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="set policy: remote"):
        world(state(S, steerable=False))
    monkeypatch.setattr("vagus.environments.live.PATIENCE_S", -3.0)
    live, _ = world(state(2 * S))
    with pytest.raises(PeerUnreachable, match="takes no step"):
        live.step({})
    live, _ = world(state(2 * S, targets={A: {}}))
    with pytest.raises(PeerUnreachable, match="cannot read any"):
        live.reset(0)
