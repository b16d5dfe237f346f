"""Gossip's messages: sizes, bounds, bad input. Convergence is in tests/sim."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from vagus.clock import NS
from vagus.health.gossip import Gossip, Send
from vagus.health.gossip_messages import Cover, Digest, Push, decode, encode, pack_gaps, unpack_gaps
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.model import Metric, Report, Status

NOW = 1_700_000_000 * NS


def gossip(node: str = "n1", peers: tuple[str, ...] = ("n2", "n3"), **bounds: Any) -> Gossip:
    made = Gossip(node, Random(1), **bounds)
    made.peers({*peers, node})
    return made


def report(seq: int, *, origin: str = "n1", t_ns: int = NOW, subject: str = "db") -> Report:
    return Report("a", subject, t_ns, {"read": Metric(Status.UNHEALTHY, 20)}, origin, seq)


def deliver(sends: list[Send], to: Gossip, sender: str) -> tuple[list[Report], list[Send]]:
    """What `to` makes of those of `sends` that are for it."""
    new, answers = [], []
    for send in sends:
        if to.node in send.to:
            got = to.on_message(sender, send.payload, NOW)
            new += got[0]
            answers += got[1]
    return new, answers


def test_a_local_report_goes_to_all_peers_at_once_in_small_payloads() -> None:
    one, two = gossip(), gossip("n2", ("n1",))
    reports = [report(n) for n in range(1, 101)]
    sends = one.on_local(reports, NOW)
    assert {send.to for send in sends} == {("n2", "n3")}, "sealed once for all"
    assert all(len(send.payload) <= 1200 for send in sends)
    assert len(sends) < 10
    assert deliver(sends, two, "n1") == (reports, [])
    assert deliver(sends, two, "n1") == ([], [])
    assert two.counts["duplicate"] == 100
    assert gossip(peers=()).on_local(reports, NOW) == []


def test_a_large_report_goes_alone() -> None:
    large = report(1, subject="s" * 200)
    large = msgspec.structs.replace(large, contexts={f"{n:0190d}": Metric(Status.UNHEALTHY) for n in range(20)})
    sends = gossip().on_local([report(2), large, report(3)], NOW)
    assert len(sends) == 3
    assert len(sends[1].payload) > 1200


def test_a_digest_brings_what_is_missing_and_asks_for_the_rest() -> None:
    one, two = gossip(), gossip("n2", ("n1",))
    mine = [report(n) for n in range(1, 10)]
    theirs = [report(n, origin="n2") for n in range(5, 8)]
    one.on_local(mine, NOW)
    two.on_local(theirs, NOW)
    deliver(one.on_local([report(12)], NOW), two, "n1")
    new, answers = deliver(Gossip.tick(one, NOW), two, "n1")
    assert new == [], "a digest carries no reports"
    new_at_one, _ = deliver(answers, one, "n2")
    assert new_at_one == theirs
    digest_back = [send for send in answers if isinstance(decode(send.payload), Digest)]
    assert digest_back
    new_at_two, further = deliver(deliver(digest_back, one, "n2")[1], two, "n1")
    assert new_at_two == mine
    assert further == [], "it ends there"
    assert deliver(Gossip.tick(two, NOW), one, "n2") == ([], []), "nothing is left to say"


def test_an_answer_is_bounded_and_asks_to_be_asked_again() -> None:
    one, two = gossip(budget=2), gossip("n2", ("n1",))
    one.peers(())
    one.on_local([report(n) for n in range(1, 500)], NOW)
    one.peers(("n2",))
    got, rounds = 0, 0
    sends = two.tick(NOW)
    while sends:
        answers = deliver(sends, one, "n2")[1]
        assert len(answers) <= 2
        new, sends = deliver(answers, two, "n1")
        got += len(new)
        rounds += 1
    assert got == 499
    assert rounds > 5


def test_what_is_retained_is_bounded_in_number_and_an_origin_is_forgotten_with_age() -> None:
    local = LocalStore("n1", Paper(), ttl_ns=10 * NS)
    one = gossip(max_reports=50, window_ns=10 * NS, local=local)
    made = [local.submit(report(0, subject=f"s{n}"), NOW)[1] for n in range(100)]
    one.on_local(made, NOW)
    one.tick(NOW)
    assert (len(one), one.counts["dropped"]) == (50, 50)
    local.tick(NOW + 10 * NS)
    one.tick(NOW + 10 * NS)
    assert (len(one), len(local)) == (0, 0)
    assert one.highest("n1") == made[-1].seq, "still known, so that echoes are not taken for news"
    one.tick(NOW + 20 * NS)
    assert one.highest("n1") == 0
    assert one.on_message("n2", payload(report(7, origin="n2", t_ns=NOW)), NOW + 20 * NS) == ([], [])
    assert one.counts["late"] == 1, "old news is not taken after it was forgotten"


def test_retained_is_what_the_views_hold_also_within_one_call() -> None:
    local = LocalStore("n1", Paper())
    one, two = gossip(local=local), gossip("n2", ("n1",))
    made = [local.submit(report(0, t_ns=NOW + n), NOW)[1] for n in range(1000)]
    one.on_local(made, NOW)
    assert len(one) == len(local) == 10
    new, _ = deliver(deliver(two.tick(NOW), one, "n2")[1], two, "n1")
    assert new == made[-10:]
    assert two._retained.origins["n1"].known.gaps() == ((1, made[0].seq - 1),), (
        "of the other 990 it knows that nobody needs them"
    )


def payload(*reports: Report, covers: tuple[Cover, ...] = (), epoch: int = 0) -> bytes:
    return encode(Push(tuple(msgspec.Raw(encode(r)) for r in reports), covers, epoch))


def test_digests_of_many_origins_are_cut_into_ranges() -> None:
    one, two = gossip(peers=("n2",)), gossip("n2", ("n1",))
    reports = [report(n, origin=f"origin-{n:03d}") for n in range(1, 301)]
    one.restore(reports, NOW)
    two.restore(reports[:150], NOW)
    two.restore(reports[170:], NOW)
    sends = two.tick(NOW)
    assert len(sends) > 3
    assert all(len(send.payload) <= 1300 for send in sends)
    new = deliver(deliver(sends, one, "n2")[1], two, "n1")[0]
    assert sorted(r.seq for r in new) == list(range(151, 171)), "only what is missing"


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\xc1",
        b"\x90",
        b"\x91" * 100_000,
        b"hello",
        msgspec.msgpack.encode([8, [["a"], 7, None]]),
        msgspec.msgpack.encode([9, "", "", [["n9", -1, []]], True]),
        msgspec.msgpack.encode([9, "", "", [["n9", 1 << 62, []]], True]),
        msgspec.msgpack.encode([9, "", "", [["n9", 5, [3]]], True]),
        msgspec.msgpack.encode([9, "", "", [["n9", 5, [0, 1]]], True]),
        msgspec.msgpack.encode([9, "", "", [["n9", 5, [1, 9]]], True]),
        msgspec.msgpack.encode([9, b"\xff\xff", "", [], True]),
        msgspec.msgpack.encode([10, "not a list", 5]),
        payload(covers=(Cover("n9", 5, 6),)),
        payload(covers=(Cover("n9", 1 << 62, 1),)),
        payload(covers=(Cover("", 5, 1),)),
        payload(report(1, origin="")),
        payload(report(1, origin="o" * 50_000)),
        payload(covers=(Cover("o" * 50_000, 5, 1),)),
        msgspec.msgpack.encode([9, "", "z" * 50_000, [], True]),
        msgspec.msgpack.encode([9, "", "", [["o" * 50_000, 5, []]], True]),
        msgspec.msgpack.encode([10, ["s" * 50_000], 5]),
        msgspec.msgpack.encode([11, [f"*{n}" for n in range(10_000)], 1, 2]),
        payload(report(0, origin="n2")),
        payload(report(1 << 63, origin="n2")),
        msgspec.msgpack.encode([8, [["a", "b", NOW, {}, "n2", 1]]]),
        msgspec.msgpack.encode([8, [["a", "b", -5, {"r": [5, 1.0]}, "n2", 1]]]),
    ],
)
def test_bad_payloads_are_counted(bad: bytes) -> None:
    one = gossip(local=LocalStore("n1", Paper()))
    assert one.on_message("n2", bad, NOW) == ([], [])
    assert one.counts["bad"] >= 1
    assert all(len(send.payload) < 100 for send in one.tick(NOW)), "nothing of it is told on"


def test_one_bad_report_does_not_spoil_its_neighbours() -> None:
    good = report(1, origin="n2")
    mixed = encode(Push((msgspec.Raw(encode(["x"])), msgspec.Raw(encode(good)))))
    one = gossip()
    assert one.on_message("n2", mixed, NOW) == ([good], [])
    assert one.counts["bad"] == 1


def test_messages_of_other_versions_are_counted_apart_and_fields_at_the_end_are_no_matter() -> None:
    one = gossip()
    for tag in (0, 7, 13, 100):
        assert one.on_message("n2", msgspec.msgpack.encode([tag, [], 1]), NOW) == ([], [])
    assert (one.counts["unknown"], one.counts["bad"]) == (4, 0)
    later = msgspec.msgpack.encode([8, [report(1, origin="n2")], [], 0, False, "new", {"in": 2.0}])
    assert len(one.on_message("n2", later, NOW)[0]) == 1
    assert msgspec.msgpack.encode([8, []])[0] >= 0x90, "no other protocol's first byte"


def test_gaps_travel_as_small_numbers() -> None:
    high, gaps = 10**15 + 100, ((1, 10**15 - 3), (10**15 + 7, 10**15 + 7), (10**15 + 90, 10**15 + 99))
    packed = pack_gaps(high, gaps)
    assert unpack_gaps(high, packed) == gaps
    assert len(encode(packed[:4])) <= 6


def test_a_report_ahead_of_this_clock_is_taken_once_the_clock_is_right() -> None:
    one = gossip()
    ahead = report(5, origin="n2", t_ns=NOW + 3600 * NS)
    cover = (Cover("n2", 5, 5),)
    assert one.on_message("n2", payload(ahead, covers=cover), NOW) == ([], [])
    assert (one.counts["ahead"], one.highest("n2")) == (1, 0), "so it is asked for again"
    assert one.on_message("n2", payload(ahead, covers=cover), NOW + 3600 * NS)[0] == [ahead]


def test_gaps_that_nobody_can_fill_are_given_up_after_the_window() -> None:
    one = gossip(window_ns=10 * NS)
    one.on_message("n2", payload(report(3, origin="n2")), NOW)
    assert one._retained.origins["n2"].known.gaps() == ((1, 2),)
    for second in range(0, 150, 10):
        one.on_message("n2", payload(report(4 + second, origin="n2", t_ns=NOW + second * NS)), NOW + second * NS)
        one.tick(NOW + second * NS)
    assert 1 in one._retained.origins["n2"].known
    assert list(one._retained.origins["n2"].vouched(1, 3)) == [], "but nobody is told that they are not needed"
