"""Whatever comes, membership neither raises nor grows, and its own books agree."""

from __future__ import annotations

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.health.swim import Send, Swim
from vagus.health.swim_messages import Ack, Nack, Ping, PingReq, State, Tell, Update, decode, encode

names = st.sampled_from(["a", "b", "c", "me", "stranger"])
numbers = st.integers(0, 3)
updates = st.lists(
    st.builds(Update, names, st.sampled_from(State), numbers, st.lists(names, max_size=3).map(tuple)), max_size=3
).map(tuple)
messages = st.one_of(
    st.builds(Ping, numbers, updates, numbers, st.booleans()),
    st.builds(PingReq, numbers, updates, numbers, names),
    st.builds(Ack, numbers, updates, numbers, st.booleans()),
    st.builds(Nack, numbers, updates, numbers),
    st.builds(Tell, numbers, updates),
)
steps = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.01, 0.4, 1.0, 30.0]),
        st.one_of(
            st.tuples(names, messages.map(encode) | st.binary(max_size=40)), st.none(), st.sets(names, max_size=3)
        ),
    ),
    max_size=40,
)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), steps)
def test_any_history(seed: int, history: list[tuple[float, object]]) -> None:
    now_s = 100.0
    swim = Swim("me", Random(seed), now_s, incarnation=1)
    swim.peers(["a", "b", "c"], now_s)
    for wait_s, event in history:
        now_s += wait_s
        if event is None:
            directives = swim.tick(now_s)
        elif isinstance(event, tuple):
            directives = swim.on_message(event[0], event[1], now_s)
        else:
            directives = swim.peers(event, now_s)
        for directive in directives:
            if isinstance(directive, Send):
                assert directive.to
                assert "me" not in directive.to
                assert decode(directive.payload) is not None
        assert 0 <= swim.doubt <= 8
        assert swim.members.count(*State) == len(swim.members) <= 4
        for member in swim.members:
            assert (member.suspicion is not None) == (member.state is State.SUSPECT)
        assert now_s < swim.due_s + 40
        assert swim.incarnation >= 1
