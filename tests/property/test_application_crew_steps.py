"""Whatever dies, answers or is wanted: a service never has more replicas than wanted, nor two of one number."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.cli.application.crew import Crew

EVENT = st.one_of(
    st.tuples(st.just("want"), st.integers(0, 5)),
    st.tuples(st.just("die"), st.integers(0, 6)),
    st.tuples(st.just("ready"), st.integers(0, 6)),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 7.0, 40.0])),
)


class Machine:
    """Performs orders; checks each."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.living: set[int] = set()
        self.listed: set[int] = set()
        self.asked: set[int] = set()

    def step(self, now_s: float, ended: set[int], ready: frozenset[int]) -> None:
        self.living -= ended
        for order in self.crew.step(now_s, dict.fromkeys(ended, 1), ready & self.living):
            number = order.number
            if order.todo == "start":
                assert number not in self.living
                self.living.add(number)
            elif order.todo == "bury":
                assert number not in self.living
                self.listed.discard(number)
                self.asked.discard(number)
            else:
                assert number in self.living, order
                if order.todo == "admit":
                    self.listed.add(number)
                elif order.todo == "withdraw":
                    self.listed.remove(number)
                else:
                    assert number not in self.listed
                    assert order.todo == "kill" or number not in self.asked
                    self.asked.add(number)
        assert self.listed == set(self.crew.numbers("serving"))
        assert len(self.crew.numbers("starting", "serving")) <= self.crew.wanted


@settings(deadline=None, max_examples=100)
@given(st.lists(EVENT, max_size=40), st.integers(0, 5))
def test_invariants_and_that_it_settles(events: list[tuple[str, float]], wanted: int) -> None:
    crew = Crew(int(wanted), 5.0)
    machine, now_s = Machine(crew), 0.0
    for what, value in events:
        ended: set[int] = set()
        ready: set[int] = set()
        if what == "want":
            crew.wanted = int(value)
        elif what == "wait":
            now_s += value
        elif what == "die":
            ended = {int(value)} & machine.living
        else:
            ready = {int(value)}
        machine.step(now_s, ended, frozenset(ready))
    for _ in range(60):  # all goes well from here: what was asked to end ends, what starts answers
        now_s += 1.0
        machine.step(now_s, set(machine.asked & machine.living), frozenset(range(10)))
    assert crew.settled
    assert len(machine.listed) == crew.wanted == len(machine.living)
