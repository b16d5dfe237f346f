"""Each idea of membership by itself: awareness, own time, suspicion, rumours, probing, refuting, vouching."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest

from vagus.health.agenda import Agenda
from vagus.health.awareness import Awareness, OwnTime
from vagus.health.members import FORGET_S, MAX_MEMBERS, Members
from vagus.health.rumours import BUDGET_BYTES, Rumours
from vagus.health.suspicion import Suspicion, timeout_s
from vagus.health.swim import Changed, Directive, Probed, Send, Swim
from vagus.health.swim_messages import Ack, Message, Nack, Ping, PingReq, State, Tell, Update, decode, encode
from vagus.health.vouching import Vouching
from vagus.model import Metric, Report, Status

ALIVE, SUSPECT, DEAD, LEFT = State
T_NS = 1_700_000_000 * 10**9


# --- awareness ---------------------------------------------------------------------------------------------------


def test_awareness_stretches_time_outs_and_is_bounded() -> None:
    awareness = Awareness()
    assert awareness.scale(2.0) == 2.0
    awareness.add(-1)
    assert awareness.score == 0
    awareness.add(3)
    assert awareness.scale(2.0) == 8.0
    awareness.add(100)
    assert awareness.score == 8
    off = Awareness(0)
    off.add(5)
    assert off.scale(2.0) == 2.0


def test_own_time_stands_still_while_its_process_sleeps() -> None:
    own = OwnTime(0.1)
    assert own.wake(10.0, 10.0) == (10.0, 0.0)
    assert own.wake(10.05, 10.0) == (10.05, 0.0)
    now_s, slept_s = own.wake(15.0, 11.0)
    assert (now_s, slept_s) == (11.0, 4.0)
    assert own.wake(16.0, 12.0) == (12.0, 0.0)


def test_an_agenda_runs_in_order_and_what_it_adds() -> None:
    agenda, done = Agenda(), []
    agenda.at(2.0, done.append, "b")
    agenda.at(1.0, lambda: agenda.at(1.5, done.append, "a"))
    agenda.at(9.0, done.append, "c")
    assert agenda.due_s == 1.0
    agenda.run(2.0)
    assert (done, agenda.due_s) == (["a", "b"], 9.0)


# --- suspicion and rumours ------------------------------------------------------------------------------------------


def test_a_suspicion_ends_sooner_with_each_independent_accuser() -> None:
    assert [round(timeout_s(5, 30, c, 3), 1) for c in range(4)] == [30.0, 17.5, 10.2, 5.0]  # the paper's curve
    assert timeout_s(5, 30, 0, 0) == 5
    suspicion = Suspicion(100.0, 1.0, 50, ["a"])
    alone_s = suspicion.due_s
    assert not suspicion.add("a")
    assert suspicion.due_s == alone_s
    assert [suspicion.add(name) for name in "bcde"] == [True, True, True, False]
    assert 100 + suspicion.least_s == suspicion.due_s < alone_s == 100 + 6 * suspicion.least_s


def test_where_nobody_could_confirm_the_least_time_counts() -> None:
    assert Suspicion(0.0, 1.0, 2, ["a"]).due_s == 3.0
    assert Suspicion(0.0, 1.0, 3, ["a"]).due_s == 18.0


def test_rumours_are_told_so_often_and_the_newest_first() -> None:
    rumours = Rumours()
    rumours.put(Update("a", SUSPECT, 1, ("x",)))
    assert rumours.take(9) == (Update("a", SUSPECT, 1, ("x",)),)
    rumours.put(Update("b", DEAD, 2))
    assert [update.member for update in rumours.take(9)] == ["b", "a"], "what was told least"
    rumours.put(Update("a", ALIVE, 2))
    assert Update("a", SUSPECT, 1, ("x",)) not in rumours.take(9), "what is new of a member replaces the old"
    told = 0
    while rumours.take(9):
        told += 1
    assert told == 3, "4 x log10(10) times each"
    rumours.put(Update("c", DEAD, 2))
    assert rumours.take(9, copies=4)
    assert len(rumours) == 0


def test_a_message_takes_as_much_news_as_fits_and_one_at_least() -> None:
    rumours = Rumours()
    for number in range(100):
        rumours.put(Update(f"member-{number}" + "x" * 50, DEAD, 1))
    taken = rumours.take(100)
    assert 5 < len(taken) < 20
    assert sum(update.size_bytes for update in taken) <= BUDGET_BYTES
    large = Rumours()
    large.put(Update("ü" * 180, SUSPECT, 1, tuple(f"{n}" + "ü" * 170 for n in range(4))))
    assert len(large.take(100)) == 1


# --- members ---------------------------------------------------------------------------------------------------------


def test_every_member_is_probed_once_in_each_pass() -> None:
    members = Members(Random(1))
    names = {f"n{n}" for n in range(20)}
    for name in names:
        members.add(name, 0.0)
    passes = [[member.name for _ in range(20) if (member := members.next())] for _ in range(3)]
    assert all(set(one) == names for one in passes)
    assert passes[1] != passes[2], "in another order"
    members.become(members["n3"], DEAD, 1.0)
    rest = [members.next() for _ in range(19)]
    assert {member.name for member in rest if member is not None} == names - {"n3"}


def test_members_are_bounded_and_who_left_is_forgotten() -> None:
    members = Members(Random(1))
    for number in range(MAX_MEMBERS):
        assert members.add(f"n{number}", 0.0)
    assert members.add("more", 0.0) is None
    members.become(members["n5"], LEFT, 1.0)
    members.forget(1.0 + FORGET_S / 2)
    assert members.get("n5") is not None
    assert members.add("more", 2.0), "for one that is needed"
    assert members.get("n5") is None
    assert members.count(ALIVE, SUSPECT, DEAD, LEFT) == len(members) == MAX_MEMBERS
    assert members.some(2, (DEAD,)) == ()
    empty = Members(Random(1))
    assert empty.next() is None
    for name in ("", "x" * 181, "a\nb"):
        assert empty.add(name, 0.0) is None


# --- the protocol, message by message ----------------------------------------------------------------------------


class Driver:
    """One node `me` among others that the test plays, and what it sends."""

    def __init__(self, *others: str, **options: int) -> None:
        self.now_s = 100.0
        self.swim = Swim("me", Random(3), self.now_s, incarnation=10, **options)
        self.seen: list[Changed | Probed] = []
        self.sent: list[tuple[str, Message]] = []
        self.take(self.swim.peers(others, self.now_s))

    def take(self, directives: list[Directive]) -> None:
        for directive in directives:
            if isinstance(directive, Send):
                message = decode(directive.payload)
                assert message is not None
                self.sent += [(to, message) for to in directive.to]
            else:
                self.seen.append(directive)

    def run(self, for_s: float) -> None:
        end_s = self.now_s + for_s
        while self.swim.due_s <= end_s:
            self.now_s = self.swim.due_s
            self.take(self.swim.tick(self.now_s))
        self.now_s = end_s

    def hear(self, peer: str, message: Message | bytes) -> list[tuple[str, Message]]:
        """What is sent in answer."""
        self.sent.clear()
        body = message if isinstance(message, bytes) else encode(message)
        self.take(self.swim.on_message(peer, body, self.now_s))
        return list(self.sent)

    def probe(self) -> tuple[str, Ping]:
        """Runs until somebody is pinged."""
        self.sent.clear()
        while True:
            for to, message in self.sent:
                if isinstance(message, Ping):
                    return to, message
            self.now_s = self.swim.due_s
            self.take(self.swim.tick(self.now_s))

    def state(self, member: str) -> State:
        return self.swim.members[member].state


def test_an_answered_ping_is_a_round_trip() -> None:
    me = Driver("a", "b")
    to, ping = me.probe()
    me.now_s += 0.02
    me.hear(to, Ack(5, (), ping.number, vouch=True))
    seen = me.seen[-1]
    assert isinstance(seen, Probed)
    assert (seen.member, seen.ok, seen.vouch, round(seen.rtt_s, 6)) == (to, True, True, 0.02)
    assert me.swim.members[to].incarnation == 5
    me.hear(to, Ack(5, (), ping.number))
    assert me.swim.counts["late"] == 1, "an answer counts once"


def test_without_an_answer_others_are_asked_and_their_ack_counts() -> None:
    me = Driver("a", "b", "c", "d", "e")
    to, ping = me.probe()
    me.sent.clear()
    me.run(0.5)
    asked = [(proxy, m) for proxy, m in me.sent if isinstance(m, PingReq)]
    assert len(asked) == 3
    assert all(m.member == to and m.number == ping.number and proxy != to for proxy, m in asked)
    outsider = next(name for name in "abcde" if name != to and name not in dict(asked))
    me.hear(outsider, Ack(1, (), ping.number))
    assert me.swim.counts["late"] == 1, "from one that was not asked"
    me.hear(asked[0][0], Ack(1, (), ping.number))
    me.run(0.5)
    assert me.state(to) is ALIVE
    assert not me.swim.members[to].direct


def test_missed_nacks_say_that_it_is_us() -> None:
    me = Driver("a", "b", "c", "d")
    to, ping = me.probe()
    me.run(0.5)
    for proxy in {proxy for proxy, m in me.sent if isinstance(m, PingReq)}:
        me.hear(proxy, Nack(1, (), ping.number))
    me.run(0.49)
    assert (me.state(to), me.swim.doubt) == (ALIVE, 0)
    me.run(0.02)
    assert (me.state(to), me.swim.doubt) == (SUSPECT, 0), "all of them answered: it is the other"
    alone = Driver("a", "b", "c", "d")
    alone.probe()
    alone.run(1.01)
    assert alone.swim.doubt == 3, "none of them answered"


def test_a_ping_is_answered_and_once_in_a_while_asks_to_be_vouched_for() -> None:
    me = Driver("a", "b")
    me.run(16.0)
    answers = [me.hear("a", Ping(1, (), n)) for n in range(3)]
    acks = [message for answer in answers for to, message in answer if to == "a" and isinstance(message, Ack)]
    assert [(ack.number, ack.vouch) for ack in acks] == [(0, True), (1, False), (2, False)]
    me.run(16.0)
    (through_others,) = [m for _, m in me.hear("a", Ping(1, (), 9, direct=False)) if isinstance(m, Ack)]
    assert not through_others.vouch


def test_a_ping_for_another_is_relayed_with_its_answer_or_a_nack() -> None:
    me = Driver("a", "b")
    (relayed,) = [(to, m) for to, m in me.hear("a", PingReq(1, (), 77, "b")) if isinstance(m, Ping)]
    assert relayed[0] == "b"
    assert not relayed[1].direct
    me.sent.clear()
    me.run(0.45)
    assert ("a", 77) in [(to, m.number) for to, m in me.sent if isinstance(m, Nack)]
    late = me.hear("b", Ack(1, (), relayed[1].number))
    assert [(to, m.number) for to, m in late if isinstance(m, Ack)] == [("a", 77)], "a late answer is one too"
    (nack,) = [m for _, m in me.hear("a", PingReq(1, (), 78, "stranger")) if isinstance(m, Nack)]
    assert nack.number == 78


def test_suspects_are_told_with_every_ping() -> None:
    me = Driver("a")
    me.hear("x", Tell(1, (Update("a", SUSPECT, 4, ("x",)),)))
    me.hear("a", Tell(3, ()))
    assert me.state("a") is SUSPECT, "an older word is no refutation"
    answer = me.hear("a", Ping(3, (), 1))
    assert answer[0][1].updates[0] == Update("a", SUSPECT, 4, ("x",))
    me.hear("a", Tell(5, ()))
    assert me.state("a") is ALIVE


def test_a_suspicion_of_this_node_is_refuted_and_raises_its_doubt() -> None:
    me = Driver("a", "b")
    me.hear("a", Tell(1, (Update("me", SUSPECT, 9, ("a",)),)))
    assert (me.swim.incarnation, me.swim.doubt) == (10, 0), "of an earlier incarnation: long refuted"
    for _ in range(3):
        me.hear("a", Tell(1, (Update("me", SUSPECT, 10, ("a",)),)))
    assert (me.swim.incarnation, me.swim.doubt) == (11, 1), "once"
    me.run(0.01)
    assert any(Update("me", ALIVE, 11) in m.updates for _, m in me.sent)
    me.hear("a", Tell(1, (Update("me", LEFT, 11),)))
    assert (me.swim.incarnation, me.swim.doubt) == (12, 1), "a leave of an earlier life is no reproach"


@pytest.mark.parametrize(
    ("known", "news", "then"),
    [
        (ALIVE, Update("a", SUSPECT, 5, ("x",)), SUSPECT),
        (ALIVE, Update("a", SUSPECT, 4, ("x",)), ALIVE),
        (ALIVE, Update("a", DEAD, 5), DEAD),
        (ALIVE, Update("a", DEAD, 4), ALIVE),
        (ALIVE, Update("a", LEFT, 5), LEFT),
        (SUSPECT, Update("a", ALIVE, 5), SUSPECT),
        (SUSPECT, Update("a", ALIVE, 6), ALIVE),
        (SUSPECT, Update("a", DEAD, 5), DEAD),
        (DEAD, Update("a", SUSPECT, 9, ("x",)), DEAD),
        (DEAD, Update("a", ALIVE, 5), DEAD),
        (DEAD, Update("a", ALIVE, 6), ALIVE),
        (LEFT, Update("a", ALIVE, 9), LEFT),
        (LEFT, Update("a", DEAD, 9), LEFT),
    ],
)
def test_which_news_override_which(known: State, news: Update, then: State) -> None:
    me = Driver("a", "b")
    me.hear("a", Tell(5, ()))
    if known is not ALIVE:
        me.hear("b", Tell(1, (Update("a", known, 5, ("b",)),)))
    assert me.state("a") is known
    me.hear("b", Tell(1, (news,)))
    assert me.state("a") is then


def test_confirmations_by_different_accusers_end_a_suspicion_sooner() -> None:
    me = Driver("a", "b", "c", "d", "e", "f", awareness=0)
    me.hear("b", Tell(1, (Update("a", SUSPECT, 1, ("b",)),)))
    suspicion = me.swim.members["a"].suspicion
    assert suspicion is not None
    alone_s = suspicion.due_s
    me.hear("c", Tell(1, (Update("a", SUSPECT, 1, ("b", "c")),)))
    assert suspicion.accusers == ["b", "c"]
    assert suspicion.due_s < alone_s
    me.hear("d", Tell(1, (Update("a", SUSPECT, 1, ("d", "e")),)))
    me.run(3.01)
    assert me.state("a") is DEAD


def test_who_hears_of_a_suspicion_looks_for_itself_and_then_goes_on_looking() -> None:
    me = Driver("a", "b")
    me.hear("b", Tell(1, (Update("a", SUSPECT, 1, ("b",)),)))
    pings = [m for to, m in me.sent if to == "a" and isinstance(m, Ping)]
    assert len(pings) == 1
    me.hear("a", Ack(1, (), pings[0].number))
    assert me.seen[-1] == Probed("a", True, SUSPECT, 0.0, 0.0, False, True)
    quiet = Driver("a", "b", awareness=0)
    quiet.hear("b", Tell(1, (Update("a", SUSPECT, 1, ("b",)),)))
    quiet.run(2.9)
    failed = [seen for seen in quiet.seen if isinstance(seen, Probed) and seen.member == "a" and not seen.ok]
    assert len(failed) >= 2
    assert quiet.swim.members["a"].accused


def test_a_node_that_slept_accuses_nobody_and_doubts_itself() -> None:
    me = Driver("a", "b")
    to, ping = me.probe()
    me.now_s += 30.0
    me.take(me.swim.tick(me.now_s))
    assert me.state(to) is ALIVE
    assert me.swim.doubt == 8
    me.hear(to, Ack(1, (), ping.number))
    assert me.swim.doubt == 7, "the answer lay in the socket's buffer"
    off = Driver("a", "b", awareness=0)
    to, _ = off.probe()
    off.now_s += 30.0
    off.take(off.swim.tick(off.now_s))
    assert off.state(to) is SUSPECT, "without Lifeguard"


def test_a_node_without_peers_gets_well_by_itself() -> None:
    me = Driver()
    me.run(3.0)
    me.now_s += 30.0
    me.take(me.swim.tick(me.now_s))
    assert me.swim.doubt >= 7
    me.run(60.0)
    assert me.swim.doubt == 0


def test_a_node_to_which_all_others_are_dead_doubts_itself() -> None:
    me = Driver("a", "b", "c", "d")
    me.run(200.0)
    assert {me.state(name) for name in "abcd"} == {DEAD}
    assert me.swim.doubt >= 4


def test_peers_come_leave_and_come_back_with_the_news() -> None:
    me = Driver("a", "b")
    me.hear("a", Tell(5, ()))
    me.take(me.swim.peers(["b"], me.now_s))
    assert me.state("a") is LEFT
    me.hear("b", Tell(1, (Update("a", ALIVE, 9),)))
    assert me.state("a") is LEFT, "others' word does not bring it back"
    me.hear("a", Tell(5, ()))
    assert me.state("a") is ALIVE, "its own does"
    me.take(me.swim.peers(["b"], me.now_s))
    me.take(me.swim.peers(["a", "b", "me"], me.now_s))
    assert me.state("a") is ALIVE
    assert me.swim.members.get("me") is None
    me.hear("b", Tell(1, (Update("a", LEFT, 5),)))
    me.hear("a", Tell(5, ()))
    assert me.state("a") is LEFT, "what it said before it left came late"
    me.hear("a", Tell(6, ()))
    assert me.state("a") is ALIVE, "a new life"


def test_who_leaves_tells_and_then_is_silent() -> None:
    me = Driver("a", "b")
    me.sent.clear()
    me.take(me.swim.leave(me.now_s))
    assert {to for to, _ in me.sent} == {"a", "b"}
    assert all(m.updates == (Update("me", LEFT, 10),) for _, m in me.sent)
    assert me.swim.due_s == float("inf")
    assert me.hear("a", Ping(1, (Update("me", LEFT, 10),), 1)) == []


def test_malformed_messages_and_strangers_are_counted() -> None:
    me = Driver("a")
    name = "x" * 181
    for body in (b"", b"\xff", b"\x91" * 5000, encode(Tell(1, (Update(name, DEAD, 1),))), encode(Ping(-1, (), 1))):
        me.hear("a", body)
    assert me.swim.counts["bad"] == 5
    me.hear("a", Tell(1, (Update("nobody", DEAD, 1),)))
    assert me.swim.counts["strangers"] == 1
    me.hear(name, Tell(1, ()))
    me.hear("me", Ping(1, (), 1))
    assert me.swim.counts["crowded"] == 1
    assert len(me.swim.members) == 1


def test_relays_are_bounded() -> None:
    me = Driver("a", "b")
    answers = [me.hear("a", PingReq(1, (), n, "b")) for n in range(300)]
    refused = sum(isinstance(m, Nack) for answer in answers for _, m in answer)
    assert refused == 300 - 256
    me.run(5.0)
    assert any(isinstance(m, Ping) for _, m in me.hear("a", PingReq(1, (), 1, "b"))), "they end"


# --- vouching --------------------------------------------------------------------------------------------------------


def metric(report: Report | None) -> Metric | None:
    return report.contexts["swim"] if report is not None else None


def test_what_was_seen_becomes_evidence() -> None:
    vouching = Vouching("n1", 1.0)
    assert vouching.report(Probed("n2", True, ALIVE, 0.0, 0.0123), 0.0, T_NS) is None
    report = vouching.report(Probed("n2", True, ALIVE, 0.0, 0.0123, vouch=True), 1.0, T_NS)
    assert report is not None
    assert (report.observer, report.subject, report.t_ns) == ("vagus:observer@n1", "node:n2", T_NS)
    assert report.ttl_ns == 120 * 10**9
    assert metric(report) == Metric(Status.HEALTHY, 12.3)
    failed = vouching.report(Probed("n2", False, SUSPECT, 2.5), 4.0, T_NS)
    assert metric(failed) == Metric(Status.MAYBE_UNHEALTHY, 2.5)
    assert metric(vouching.report(Changed("n2", DEAD, 6.0), 8.0, T_NS)) == Metric(Status.DEAD, 6.0)
    assert metric(vouching.report(Probed("n2", True, DEAD, 0.0), 30.0, T_NS)) == Metric(Status.HEALTHY, 0.0)


def test_hearsay_is_no_evidence() -> None:
    vouching = Vouching("n1", 1.0)
    for state in State:
        assert vouching.report(Changed("n2", state, 5.0), 0.0, T_NS) is None


def test_an_accusation_is_repeated_ever_more_seldom_and_taken_back_after_a_leave() -> None:
    vouching = Vouching("n1", 1.0)
    times = [s for s in range(400) if vouching.report(Probed("n2", False, DEAD, 1.0), float(s), T_NS)]
    assert times[:5] == [0, 1, 2, 4, 8]
    assert 30 < max(b - a for a, b in pairwise(times)) <= 60
    vouching.report(Changed("n2", LEFT, 1.0), 400.0, T_NS)
    back = metric(vouching.report(Probed("n2", True, ALIVE, 0.0), 401.0, T_NS))
    assert back == Metric(Status.HEALTHY, 0.0), "others still hold the accusation until its time to live ends"


def test_who_checked_a_suspect_and_found_it_well_says_so() -> None:
    vouching = Vouching("n1", 1.0)
    assert metric(vouching.report(Probed("n2", True, SUSPECT, 0.0, check=True), 0.0, T_NS)) is not None
    assert vouching.report(Probed("n2", True, SUSPECT, 0.0, check=True), 5.0, T_NS) is None
