"""Sealed datagrams: opened once, by the cluster, in time; refused and counted otherwise."""

from __future__ import annotations

import random

import pytest

from vagus.clock import ManualClock
from vagus.errors import ConfigError
from vagus.sealing import MAX_DATAGRAM_BYTES, Opened, Sealer

KEY = bytes(range(32))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def pair(clock: ManualClock) -> tuple[Sealer, Sealer]:
    return Sealer(KEY, "n1", clock=clock), Sealer(KEY, "n2", clock=clock)


@pytest.mark.says("sealed")
def test_what_one_seals_another_opens_and_nobody_reads(pair: tuple[Sealer, Sealer]) -> None:
    one, two = pair
    sealed = one.seal(b"db is unhealthy")
    assert b"unhealthy" not in sealed
    assert b"n1" not in sealed
    assert two.open(sealed) == Opened("n1", b"db is unhealthy")
    assert two.open(one.seal(b"")) == Opened("n1", b"")
    assert not two.refused


@pytest.mark.says("sealed-dropped")
def test_every_flipped_bit_and_every_cut_is_refused(pair: tuple[Sealer, Sealer]) -> None:
    one, two = pair
    sealed = one.seal(b"x" * 20)
    for at in range(len(sealed)):
        broken = bytearray(sealed)
        broken[at] ^= 1 << at % 8
        assert two.open(bytes(broken)) is None
        assert two.open(sealed[:at]) is None
    assert two.refused["forged"] > 0
    assert two.refused["size"] > 0
    assert two.refused["version"] > 0
    assert two.open(sealed) is not None, "refusals leave no trace in the replay window"


@pytest.mark.says("sealed-replay")
def test_a_replay_is_refused_reordering_is_not(pair: tuple[Sealer, Sealer]) -> None:
    one, two = pair
    sealed = [one.seal(bytes([n])) for n in range(100)]
    random.Random(1).shuffle(sealed)
    assert all(two.open(datagram) for datagram in sealed)
    assert not any(two.open(datagram) for datagram in sealed)
    assert two.refused == {"replayed": 100}
    late = one.seal(b"late")
    for _ in range(2000):
        two.open(one.seal(b""))
    assert two.open(late) is None, "too far behind to tell"


@pytest.mark.says("sealed-replay")
def test_a_stale_datagram_is_refused_even_of_an_unknown_session(
    pair: tuple[Sealer, Sealer], clock: ManualClock
) -> None:
    one, two = pair
    sealed = one.seal(b"x")
    clock.advance(121)
    assert two.open(sealed) is None
    assert two.refused == {"stale": 1}
    assert two.open(one.seal(b"y")) is not None


@pytest.mark.says("sealed-dropped")
def test_another_key_and_an_echo_are_refused(pair: tuple[Sealer, Sealer], clock: ManualClock) -> None:
    one, two = pair
    assert two.open(Sealer(bytes(32), "n1", clock=clock).seal(b"x")) is None
    assert one.open(one.seal(b"x")) is None
    assert (two.refused, one.refused) == ({"forged": 1}, {"reflected": 1})


def test_a_restarted_sender_is_heard_at_once(pair: tuple[Sealer, Sealer], clock: ManualClock) -> None:
    _, two = pair
    assert [two.open(Sealer(KEY, "n1", clock=clock).seal(b"x")) for _ in range(3)] == [Opened("n1", b"x")] * 3


def test_sessions_are_bounded(pair: tuple[Sealer, Sealer], clock: ManualClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.sealing.MAX_SESSIONS", 3)
    _, two = pair
    got = [two.open(Sealer(KEY, f"m{n}", clock=clock).seal(b"x")) for n in range(5)]
    assert [opened is not None for opened in got] == [True, True, True, False, False]
    assert two.refused == {"crowded": 2}
    clock.advance(241)
    assert two.open(Sealer(KEY, "m9", clock=clock).seal(b"x")) is not None


@pytest.mark.says("limit-sealed")
def test_bad_settings_are_refused(pair: tuple[Sealer, Sealer]) -> None:
    with pytest.raises(ConfigError, match="must have 32"):
        Sealer(b"short", "n1")
    with pytest.raises(ConfigError, match="node name"):
        Sealer(KEY, "")
    with pytest.raises(ConfigError, match="session"):
        Sealer(KEY, "n1", session=b"x")
    with pytest.raises(ConfigError, match="at most"):
        pair[0].seal(bytes(MAX_DATAGRAM_BYTES))
