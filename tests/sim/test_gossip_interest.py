"""Feature 7: parallel push to all that want to hear, interest learned, un-ignored and made up for; on a simulated network."""

from __future__ import annotations

import msgspec
import pytest

from benchmarks.health_sim import Network, chatter, healed_partition
from vagus.clock import NS
from vagus.health.gossip import RESTORED, Send
from vagus.health.gossip_messages import Digest, Ignore, Push, Want, Wanted, decode, encode
from vagus.model import Report, Status

U, H = Status.UNHEALTHY, Status.HEALTHY


def kinds(sends: list[Send]) -> dict[type, int]:
    """How many messages of each kind, to however many."""
    found: dict[type, int] = {}
    for send in sends:
        found[type(decode(send.payload))] = found.get(type(decode(send.payload)), 0) + 1
    return found


def held(network: Network, node: str, subject: str) -> set[tuple[str, int]]:
    return {(r.origin, r.seq) for view in network.stores[node].panorama(subject).values() for r in view}


def watched(names: str) -> Network:
    return Network(names, 1, delay_ns=NS // 50, interest="watched")


def test_feature_7_a_report_is_pushed_to_all_at_once() -> None:
    network = Network("abcdef", 1)
    report = network.report("a", "web", U)
    (send,) = network.gossips["a"]._push([report], network.now_ns)
    assert send.to == ("b", "c", "d", "e", "f"), "one directive, sealed once"
    network.run(1)
    assert all(held(network, name, "web") for name in "abcdef")


def test_feature_7_a_peer_that_does_not_watch_answers_ignore_and_is_skipped() -> None:
    network = watched("abc")
    network.stores["b"].watch("db")
    network.report("a", "db", U)
    network.run(2)
    assert (len(held(network, "b", "db")), len(held(network, "c", "db"))) == (1, 0)
    report = network.report("a", "db", H)
    network.travelling.clear()
    (send,) = network.gossips["a"]._push([report], network.now_ns)
    assert send.to == ("b",)
    network.run(301)
    report = network.stores["a"].submit(report, network.now_ns)[1]
    later = msgspec.structs.replace(report, t_ns=network.now_ns)
    (send,) = network.gossips["a"]._push([later], network.now_ns)
    assert send.to == ("b", "c"), "soft state: the lease has ended"


def test_feature_7_who_watches_later_says_so_and_gets_what_is_held_though_its_numbers_were_known() -> None:
    network = watched("abc")
    for n in range(30):
        network.report("a", "db", U, f"o{n % 3}")
    network.report("b", "db", U)
    network.run(3)
    assert held(network, "c", "db") == set()
    network.stores["c"].watch("db")
    network.send("c", network.gossips["c"].news(network.now_ns))
    network.run(1)
    assert held(network, "c", "db") == held(network, "a", "db")
    assert len(held(network, "c", "db")) == 31
    network.report("a", "db", H, "o9")
    network.run(1)
    assert "o9" in network.stores["c"].panorama("db"), "and is pushed to again"


def test_feature_7_at_once_comes_what_is_young_and_not_too_much_of_it() -> None:
    network = watched("ab")
    network.report("a", "db", U, "old")
    network.run(200)
    for n in range(100):
        network.report("a", "db", U, f"o{n}")
    network.run(1)
    network.stores["b"].watch("d?")
    sends = network.gossips["b"].news(network.now_ns)
    assert kinds(sends) == {Want: 1}
    _, answers = network.gossips["a"].on_message("b", sends[0].payload, network.now_ns)
    assert kinds(answers)[Wanted] == 1
    restored = [raw for send in answers if isinstance(push := decode(send.payload), Push) for raw in push.reports]
    observers = {msgspec.msgpack.decode(raw, type=Report).observer for raw in restored}
    assert observers == {f"o{n}" for n in range(40, 100)}
    assert len(observers) == RESTORED
    _, again = network.gossips["a"].on_message("b", sends[0].payload, network.now_ns)
    assert kinds(again) == {Wanted: 1}, "acknowledged again, not sent again"
    network.run(3)
    assert held(network, "b", "db") == held(network, "a", "db"), "the rest heals"


def test_feature_7_wanting_is_repeated_until_acknowledged_and_not_for_ever() -> None:
    network = watched("abc")
    network.report("a", "db", U)
    network.report("b", "db", U)
    network.run(2)
    network.deaf = {"a", "b"}
    gossip = network.gossips["c"]
    network.stores["c"].watch("db")
    told = [gossip.tick(network.now_ns + n * NS) for n in range(200)]
    tries = [n for n, sends in enumerate(told) if Want in kinds(sends)]
    assert 5 <= len(tries) <= 10
    assert tries[-1] < 100
    network.deaf = set()
    network.until_agreed(5)
    assert len(held(network, "c", "db")) == 2, "a digest tells them that interest has changed"


def test_feature_4_stopping_tells_the_peers_and_wipes() -> None:
    network = Network("abc", 1, delay_ns=NS // 50)
    network.report("a", "db", U)
    network.run(1)
    network.stores["b"].unwatch("db")
    sends = network.gossips["b"].news(network.now_ns)
    assert (kinds(sends), sends[0].to) == ({Ignore: 1}, ("a", "c"))
    network.send("b", sends)
    network.run(1)
    assert len(network.gossips["b"]) == 0
    (send,) = network.gossips["a"]._push([network.report("a", "db", H)], network.now_ns)
    assert send.to == ("c",)
    network.run(5)
    assert held(network, "b", "db") == set()
    network.stores["b"].watch("db")
    network.until_agreed(5)
    assert len(held(network, "b", "db")) == 2


def test_what_a_peer_ignored_before_its_restart_is_forgotten() -> None:
    network = watched("ab")
    network.report("a", "db", U)
    network.run(2)
    assert not network.gossips["a"]._audience.wants("b", "db", network.now_ns)
    network.boot("b", interest="all")
    network.until_agreed(3)
    assert len(held(network, "b", "db")) == 1


def test_an_old_ignore_or_cover_does_not_undo_a_new_interest() -> None:
    network = watched("ab")
    report = network.report("a", "db", U)
    network.travelling.clear()
    one, two = network.gossips["a"], network.gossips["b"]
    (push,) = one._push([report], network.now_ns)
    _, (ignore,) = two.on_message("a", push.payload, network.now_ns)
    one.on_message("b", ignore.payload, network.now_ns)
    network.report("a", "db", U)
    (old_cover,) = one.on_message("b", two.greet("a")[0].payload, network.now_ns)[1]
    assert decode(old_cover.payload).covers[0].foreign
    network.stores["b"].watch("db")
    want = two.news(network.now_ns)[0]
    one.on_message("b", want.payload, network.now_ns)
    one.on_message("b", ignore.payload, network.now_ns)
    assert one._audience.wants("b", "db", network.now_ns), "the repeated Ignore is older than the Want"
    two.on_message("a", old_cover.payload, network.now_ns)
    network.until_agreed(3)
    assert len(held(network, "b", "db")) == 2


def test_what_peers_ignore_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.health.audience.MAX_IGNORED", 50)
    network = watched("ab")
    gossip = network.gossips["a"]
    for n in range(100):
        gossip.on_message("b", encode(Ignore((f"s{n}",), 7)), network.now_ns)
    assert len(gossip._audience) == 50
    gossip.on_message("b", encode(Digest("", "", (), False, 8)), network.now_ns)
    assert len(gossip._audience) == 0, "another epoch: all anew"


@pytest.mark.parametrize("lost", [0, 3])
def test_much_new_interest_is_told_in_small_messages_and_one_lost_forgets_what_was_ignored(lost: int) -> None:
    network = watched("ab")
    one, two = network.gossips["a"], network.gossips["b"]
    for n in range(10):
        one.on_message("b", encode(Ignore((f"s{n}", f"t{n}"), two._announcing.epoch)), network.now_ns)
    for n in range(1500):
        network.stores["b"].watch(f"s{n}")
    wants = [send.payload for send in two.news(network.now_ns)]
    assert len(wants) > 10
    assert all(len(want) <= 1300 for want in wants)
    told = [answer.payload for want in wants[lost:] for answer in one.on_message("b", want, network.now_ns)[1]]
    for payload in told:
        two.on_message("a", payload, network.now_ns)
    assert not any(not one._audience.wants("b", f"s{n}", network.now_ns) for n in range(10))
    assert one._audience.wants("b", "t0", network.now_ns) is True, "more changed than is remembered: all anew"
    assert Want not in kinds(two.tick(network.now_ns)), "acknowledged"


@pytest.mark.parametrize("seed", range(2))
def test_stores_of_mixed_interest_agree_after_loss_and_a_partition(seed: int) -> None:
    rounds, network = healed_partition(seed, nodes=20, interest="watched")
    assert rounds <= 10
    assert any(not store.wants("s1") for store in network.stores.values())
    chatter(network, 1, subjects=20, share=0.2)
    assert network.until_agreed(10) <= 10
