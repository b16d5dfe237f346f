"""What the supervisor says of actors that crash-loop: at once, again and again, and that they do no more."""

from __future__ import annotations

from vagus.actors.base import Seat
from vagus.actors.crash_loops import ENDS, STEADY_S
from vagus.config import Config
from vagus.model import Report, Status
from vagus.runtime.actor_states import REPEAT_S, ActorStates
from vagus.runtime.plan import Observed

T_NS = 1_700_000_000 * 10**9
NAME = "vagus:feed@b"


def seen(ends: int, state: str = "UNHEALTHY", since_s: float = 0.0) -> dict[str, Observed]:
    ends_s = tuple(float(n) for n in range(ends))
    one = Observed(Seat("feed", "b", "", Config()), "id-b", state, since_s, ends_s=ends_s)
    well = Observed(Seat("feed", "a", "", Config()), "id-a", "HEALTHY")
    return {NAME: one, "vagus:feed@a": well}


def said(reports: list[Report]) -> list[tuple[str, Status, float]]:
    assert all(report.observer == "vagus:supervisor" and report.ttl_ns > 0 for report in reports)
    return [(r.subject, r.contexts["restarts"].status, r.contexts["restarts"].score) for r in reports]


def test_who_ends_often_is_accused_until_it_stays_up() -> None:
    states = ActorStates()
    assert states.due(seen(ENDS - 1), 10.0, T_NS) == []
    accused = states.due(seen(ENDS), 10.0, T_NS)
    assert said(accused) == [(NAME, Status.UNHEALTHY, 3.0)]
    assert said(states.due(seen(ENDS), 11.0, T_NS)) == [(NAME, Status.UNHEALTHY, 3.0)], "nobody took it"
    states.taken(accused, 11.0)
    assert states.due(seen(ENDS, "HEALTHY", 11.5), 12.0, T_NS) == []
    assert said(states.due(seen(ENDS), 11.0 + REPEAT_S, T_NS)) == [(NAME, Status.UNHEALTHY, 3.0)]
    cleared = states.due(seen(ENDS, "HEALTHY", 12.0), 12.0 + STEADY_S, T_NS)
    assert said(cleared) == [(NAME, Status.HEALTHY, 3.0)]
    states.taken(cleared, 80.0)
    assert states.due(seen(ENDS, "HEALTHY", 12.0), 81.0, T_NS) == []


def test_a_seat_that_nobody_wants_any_more_is_forgotten() -> None:
    states = ActorStates()
    states.taken(states.due(seen(ENDS), 10.0, T_NS), 10.0)
    assert states.due({}, 11.0, T_NS) == []
    assert said(states.due(seen(ENDS), 12.0, T_NS)) == [(NAME, Status.UNHEALTHY, 3.0)], "another life is another story"
