"""Whatever comes and goes: each thing that is missed is told once an episode, and since when it is, never changes."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.actors.topology import TOGETHER_S, Topology
from vagus.clock import NS, ManualClock
from vagus.config import ExpectedSettings
from vagus.model import Inference, Status, Verdict

NAMES = ("a", "b", "c", "b-0123ab")
looks = st.tuples(
    st.frozensets(st.sampled_from(NAMES)),
    st.frozensets(st.sampled_from(NAMES)),  # dead by their peers' word
    st.sampled_from([None, *Status]),  # of the service
    st.booleans(),  # whether an actor loops
    st.sampled_from([0.5, 1.0, 14.0, 16.0, 70.0]),
)
expected = st.one_of(
    st.integers(0, 5), st.lists(st.sampled_from(("a", "b", "c", "d")), unique=True, max_size=4).map(tuple)
)


@given(expected, st.lists(looks, max_size=30), st.sampled_from([0.0, 60.0]))
@settings(max_examples=100, deadline=None)
def test_episodes(nodes: int | tuple[str, ...], steps: list[tuple[frozenset[str], ...]], grace: float) -> None:
    clock = ManualClock()
    began_ns = clock.time_ns()
    # alone among the tellers: node a tells everything
    topology = Topology(ExpectedSettings(nodes=nodes, services=("web",), grace=grace), "a", clock)
    missed: dict[str, int] = {}
    before, fell_s = {"a"}, -math.inf
    for present, dead, service, loops, pause_s in steps:
        clock.advance(pause_s)
        contexts = {f"node:{name}": {"swim": Verdict(Status.DEAD, 0.0)} for name in dead}
        verdicts = {subject: Inference(subject, 1, Status.DEAD, found, ()) for subject, found in contexts.items()}
        if service is not None:
            verdicts["web"] = Inference("web", 1, service, {"read": Verdict(service, 0.0)}, ())
        looping = {"vagus:feed@b": "it ended"} if loops else {}
        events = topology.look(present, verdicts.get, looping)
        found = {one.what: one for one in topology.missing}
        assert len(found) == len(topology.missing)
        assert "node:a" not in found, "it answers"
        assert ("vagus:feed@b" in found) == loops
        alive = (present | {"a"}) - dead | {"a"}
        if isinstance(nodes, int):
            assert len([w for w in found.values() if w.kind == "node" and w.why != "crash-looping"]) <= max(
                0, nodes - len(alive)
            )
        for one in found.values():
            assert began_ns <= one.since_ns <= clock.time_ns()
            assert one.since_ns == missed.get(one.what, one.since_ns), "since when it is missed stays"
            assert one.why in ("missing", "dead", "unhealthy", "crash-looping")
            assert one.error
            assert one.todo
        if service is not None and Status.UNHEALTHY > service > Status.NA:
            assert found.get("web") is None or found["web"].why == "crash-looping"
        told = [str(e.fields["subject"]) for e in events if e.event == "topology.missing"]
        fell_s = clock.monotonic_ns() / NS if before - alive else fell_s
        if clock.monotonic_ns() / NS - fell_s > TOGETHER_S:
            assert set(told) <= found.keys() - missed.keys(), "never twice, unless who was to tell it fell"
        assert len(set(told)) == len(told)
        if alive == {"a"}:
            assert set(told) >= found.keys() - missed.keys(), "who is alone tells all"
        before = alive
        assert [e.event for e in events].count("topology.complete") <= bool(missed and not found)
        missed = {what: one.since_ns for what, one in found.items()}
        assert Topology(ExpectedSettings(nodes=nodes), "a", clock).restore(topology.state()) is None
    assert clock.time_ns() >= began_ns + len(steps) * NS // 2
