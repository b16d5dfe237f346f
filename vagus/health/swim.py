"""Membership: who is there, who is suspected, who is dead. SWIM with Lifeguard's local health awareness.

A state machine that performs nothing: time and random numbers come in, directives go out. Each protocol period a node
pings one member, in a shuffled order that reaches everybody; without an answer it asks others to ping it, and without
any it suspects it, and says so. The suspect may refute, by a higher incarnation; else it counts as dead. News travel
with pings and acks, and while there are any, a few times each period by themselves.

What is added to the papers: time that this process did not run counts for no time-out (OwnTime); a few members, and
those that vouched for the suspect lately, probe it as soon as they hear of a suspicion, and accusers go on looking, so
that confirmations are independent and quick; the dead are probed now and then, so that a healed partition heals here.
Sources: Das, Gupta, Motivala, SWIM (2002); Dadgar, Phillips, Currey, Lifeguard (2017).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable
from random import Random
from typing import Any, NamedTuple

from vagus.health.agenda import Agenda
from vagus.health.awareness import Awareness, OwnTime
from vagus.health.members import ALIVE, DEAD, LEFT, SUSPECT, THERE, Member, Members
from vagus.health.rumours import Rumours
from vagus.health.suspicion import CONFIRMATIONS, Suspicion
from vagus.health.swim_messages import (
    MAX_INCARNATION,
    Ack,
    Message,
    Nack,
    Ping,
    PingReq,
    State,
    Tell,
    Update,
    decode,
    encode,
)
from vagus.model import MAX_DOUBT

MAX_RELAYS = 256
MAX_TOLD = 16
"""Whom a leaving node tells itself; they tell the others."""
PROXIES = 3
FANOUT = 3
TOLERANCE_S = 0.05
ROUNDING_S = 1e-6
"""What is due so soon is due now: own time and its caller's differ by sums of floats."""
VOUCH_S = 15.0
"""How often a member asks one of those that ping it to vouch for it."""
VOUCHED_S = 120.0
"""For how long that counts."""


class Send(NamedTuple):
    """A directive: this payload to these members."""

    to: tuple[str, ...]
    payload: bytes


class Changed(NamedTuple):
    """A directive: a member's state is new here, by what this node saw or was told. silent_s: since its last word."""

    member: str
    state: State
    silent_s: float


class Probed(NamedTuple):
    """A directive: what this node itself saw. silent_s: since the member's last word; rtt_s: 0 when not measured.

    vouch: the member asks to have it told that it is there; check: it was looked at because others suspect it.
    """

    member: str
    ok: bool
    state: State
    silent_s: float
    rtt_s: float = 0.0
    vouch: bool = False
    check: bool = False


Directive = Send | Changed | Probed


class _Probe:
    """A ping that waits for its answer."""

    def __init__(self, member: Member, sent_s: float, check: bool) -> None:
        self.member = member
        self.was = member.state
        self.sent_s = sent_s
        self.check = check
        self.asked: tuple[str, ...] = ()
        self.nacks: set[str] = set()


class Swim:
    """One node's side; deterministic for a given `rng`. All `now_s` are seconds of a clock that never goes back.

    incarnation: higher than in an earlier life, such as the wall time; awareness: its maximum, 0 turns Lifeguard's
    part of it (and the notice of own sleep) off. Every event answers with directives; `due_s` says when to `tick`.
    `counts`: bad (malformed), strangers (news of who is not known here), crowded (beyond the bounds), probes, missed
    (without answer), late (answers to nothing that waits), refuted (suspicions of this node), slept (late ticks).
    """

    def __init__(
        self,
        node: str,
        rng: Random,
        now_s: float,
        *,
        incarnation: int = 0,
        period_s: float = 1.0,
        awareness: int = MAX_DOUBT,
    ) -> None:
        self.node = node
        self.incarnation = incarnation
        self.period_s = period_s
        self.awareness = Awareness(awareness)
        self.members = Members(rng)
        self.counts: Counter[str] = Counter()
        self._rng = rng
        self._time = OwnTime(max(TOLERANCE_S, period_s / 10) if awareness else math.inf)
        self._now_s = now_s
        self._rumours = Rumours()
        self._agenda = Agenda()
        self._numbered = rng.randrange(1 << 32)  # an earlier life's acks match nothing
        self._probes: dict[int, _Probe] = {}
        self._probed: set[str] = set()
        self._relays: dict[int, tuple[str, str, int]] = {}  # by number: who asked, about whom, under which number
        self._telling = False
        self._leaving = False
        self._vouch_s = now_s - rng.uniform(0, VOUCH_S * 2 / 3)  # those that start together do not ask together
        self._todo: list[Directive] = []
        self._later(rng.random() * period_s, self._round)

    # --- events ----------------------------------------------------------------------------------------------------

    def peers(self, names: Iterable[str], now_s: float) -> list[Directive]:
        """Who else is in the cluster, all of them. Who is not among them has left, until it speaks again."""
        self._begin(now_s)
        wanted = set(names) - {self.node}
        for member in self.members:
            if member.name in wanted:
                if member.state is LEFT:
                    member.incarnation += 1
                    self._become(member, ALIVE)
            elif member.state is not LEFT:
                self._left(member, -1)
        for name in sorted(wanted):
            self._met(name)
        return self._end()

    def meet(self, name: str, now_s: float) -> list[Directive]:
        """A node that this cluster's key speaks for, and that nobody told of."""
        self._begin(now_s)
        self._met(name)
        return self._end()

    def on_message(self, peer: str, body: bytes, now_s: float) -> list[Directive]:
        """A body from an authenticated peer, which need not be known. Never raises."""
        self._begin(now_s)
        message = decode(body)
        member = self._met(peer) if message is not None else None
        if message is None:
            self.counts["bad"] += 1
        elif member is not None and not self._leaving:
            self._heard(member, message.incarnation)
            for update in message.updates:
                self._learn(update)
            self._take(member, message)
        return self._end()

    def tick(self, now_s: float) -> list[Directive]:
        """To be called at `due_s`. A call that comes much later says that this node slept: it will doubt itself."""
        self._begin(now_s)
        self._now_s = max(self._now_s, min(self._agenda.due_s, self._now_s + ROUNDING_S))
        self._agenda.run(self._now_s)
        return self._end()

    def leave(self, now_s: float) -> list[Directive]:
        """This node ends on purpose: the others are told, and nothing more is done."""
        self._begin(now_s)
        self._leaving = True
        self._agenda.clear()
        to = self.members.some(MAX_TOLD, THERE)
        if to:
            self._todo.append(Send(to, encode(Tell(self.incarnation, (Update(self.node, LEFT, self.incarnation),)))))
        return self._end()

    @property
    def due_s(self) -> float:
        """When to tick next."""
        return self._agenda.due_s + self._time.slept_s

    @property
    def doubt(self) -> int:
        """How unwell this node is: 0 to 8."""
        return self.awareness.score

    def silent_s(self, member: Member) -> float:
        """How long nothing came from it, as far as this node was there to hear it."""
        return max(0.0, self._now_s - member.heard_s)

    # --- probing ---------------------------------------------------------------------------------------------------

    def _round(self) -> None:
        self._later(self.awareness.scale(self.period_s), self._round)
        self.members.forget(self._now_s)
        member = self.members.next()
        if member is not None:
            self._probe(member)
        elif self.awareness.score > self.members.count(DEAD):
            self.awareness.add(-1)  # nobody can answer; but where many are dead to us, it may well be us
        # together they ask after each of the dead every four periods, however many members there are
        dead = self.members.count(DEAD)
        if dead and self._rng.random() < dead / (4 * self._size()):
            self._retry()

    def _retry(self) -> None:
        for name in self.members.some(1, (DEAD,)):
            self._probe(self.members[name])

    def _check(self, member: Member) -> None:
        if member.state is SUSPECT:
            self._probe(member, check=True)

    def _probe(self, member: Member, check: bool = False) -> None:
        if member.name in self._probed:
            return
        self.counts["probes"] += 1
        number = self._number()
        self._probes[number] = _Probe(member, self._now_s, check)
        self._probed.add(member.name)
        self._send(member.name, Ping, number)
        if member.state is not DEAD:
            self._later(self.awareness.scale(self.period_s / 2), self._ask, number)
        self._later(self.awareness.scale(self.period_s), self._missed, number)

    def _ask(self, number: int) -> None:
        """No answer so far: others are to try."""
        probe = self._probes.get(number)
        if probe is not None:
            probe.asked = self.members.some(PROXIES, (ALIVE,), probe.member.name)
            for proxy in probe.asked:
                self._send(proxy, PingReq, number, probe.member.name)

    def _acked(self, peer: Member, ack: Ack) -> None:
        relay = self._relays.get(ack.number)
        if relay is not None and relay[1] == peer.name:
            del self._relays[ack.number]
            self._send(relay[0], Ack, relay[2])
            return
        probe = self._probes.get(ack.number)
        if probe is None or (peer is not probe.member and peer.name not in probe.asked):
            self.counts["late"] += 1
            return
        del self._probes[ack.number]
        member = probe.member
        self._probed.discard(member.name)
        self.awareness.add(-1)
        member.accused, member.direct, rtt_s = False, peer is member, 0.0
        vouch = ack.vouch and member.direct
        if member.direct:
            rtt_s = self._now_s - probe.sent_s
            member.rtt_s += (rtt_s - member.rtt_s) / 8 if member.rtt_s else rtt_s
        if vouch:
            member.vouched_s = self._now_s
        self._todo.append(Probed(member.name, True, member.state, 0.0, rtt_s, vouch, probe.check))

    def _missed(self, number: int) -> None:
        """Nobody got an answer. Missed nacks say that it may be us."""
        probe = self._probes.pop(number, None)
        if probe is None:
            return
        member = probe.member
        self._probed.discard(member.name)
        if member.state is LEFT:
            return
        self.counts["missed"] += 1
        self.awareness.add(len(probe.asked) - len(probe.nacks) if probe.asked else int(probe.was is ALIVE))
        member.accused = True
        if member.state is ALIVE:
            self._suspect(member, member.incarnation, (self.node,))
        elif member.state is SUSPECT:
            self._confirm(member, (self.node,))
        self._todo.append(Probed(member.name, False, member.state, self.silent_s(member), check=probe.check))
        self._check(member)  # who accuses goes on looking

    # --- answering -------------------------------------------------------------------------------------------------

    def _take(self, peer: Member, message: Message) -> None:
        if isinstance(message, Ping):
            vouch = message.direct and self._now_s - self._vouch_s >= max(VOUCH_S, 5 * self.period_s)
            if vouch:
                self._vouch_s = self._now_s
            self._send(peer.name, Ack, message.number, vouch)
        elif isinstance(message, PingReq):
            self._relay(peer, message)
        elif isinstance(message, Ack):
            self._acked(peer, message)
        elif isinstance(message, Nack):
            probe = self._probes.get(message.number)
            if probe is not None and peer.name in probe.asked:
                probe.nacks.add(peer.name)

    def _relay(self, peer: Member, asked: PingReq) -> None:
        target = self.members.get(asked.member)
        if target is None or target.state is LEFT or len(self._relays) >= MAX_RELAYS:
            self._send(peer.name, Nack, asked.number)
            return
        number = self._number()
        self._relays[number] = (peer.name, target.name, asked.number)
        self._send(target.name, Ping, number, False)
        self._later(self.period_s * 0.4, self._nack, number)

    def _nack(self, number: int) -> None:
        relay = self._relays.get(number)
        if relay is not None:
            self._send(relay[0], Nack, relay[2])
            self._later(self.period_s * 2, self._relays.pop, number, None)  # a late answer is passed on all the same

    # --- what members are ------------------------------------------------------------------------------------------

    def _met(self, name: str) -> Member | None:
        member = self.members.get(name)
        if member is None and name != self.node:
            member = self.members.add(name, self._now_s)
            if member is None:
                self.counts["crowded"] += 1
            else:
                self._todo.append(Changed(name, ALIVE, 0.0))
        return member

    def _heard(self, member: Member, incarnation: int) -> None:
        """A word from itself: it is there, in this incarnation at least."""
        member.heard_s = self._now_s
        if incarnation > member.incarnation:
            if member.state is ALIVE:
                member.incarnation = incarnation
            else:
                self._alive(member, incarnation)

    def _learn(self, update: Update) -> None:
        """News from whomever."""
        if update.member == self.node:
            self._about_me(update)
            return
        member = self.members.get(update.member)
        if member is None:
            self.counts["strangers"] += 1
        elif member.state is LEFT:
            return  # only its own word brings it back
        elif update.state is ALIVE:
            if update.incarnation > member.incarnation:
                self._alive(member, update.incarnation)
        elif update.incarnation < member.incarnation:
            return
        elif update.state is LEFT:
            self._left(member, update.incarnation)
            self._spread(update)
        elif member.state is DEAD:
            if update.state is DEAD:
                member.incarnation = update.incarnation
        elif update.state is DEAD:
            self._dead(member, update.incarnation)
        elif member.state is SUSPECT and update.incarnation == member.incarnation:
            self._confirm(member, update.by)
        else:
            self._suspect(member, update.incarnation, update.by)

    def _about_me(self, update: Update) -> None:
        """A suspicion is refuted: we are here. To have come so far it needed some cause in us."""
        if update.state is not ALIVE and update.incarnation >= self.incarnation:
            self.incarnation = min(update.incarnation + 1, MAX_INCARNATION)
            self.counts["refuted"] += 1
            self.awareness.add(int(update.state is not LEFT))
            self._spread(Update(self.node, ALIVE, self.incarnation))

    def _become(self, member: Member, state: State) -> None:
        self.members.become(member, state, self._now_s)
        self._todo.append(Changed(member.name, state, self.silent_s(member)))

    def _alive(self, member: Member, incarnation: int) -> None:
        was, member.incarnation = member.state, incarnation
        if was is not ALIVE:
            self._become(member, ALIVE)
        self._spread(Update(member.name, ALIVE, incarnation))
        if member.accused:
            self._probe(member)  # to take back what was said of it, or not
        if was is DEAD:
            self._retry()  # a partition may have healed

    def _suspect(self, member: Member, incarnation: int, by: Iterable[str]) -> None:
        member.incarnation = max(incarnation, 0)
        if member.state is not SUSPECT:
            self._become(member, SUSPECT)
        size = self._size()
        member.suspicion = Suspicion(self._now_s, self.period_s, size, by)
        self._tell_suspicion(member, member.suspicion)
        vouched = self._now_s - member.vouched_s < VOUCHED_S
        if self.node not in member.suspicion.accusers and (vouched or self._rng.random() < 2 * CONFIRMATIONS / size):
            self._probe(member, check=True)

    def _confirm(self, member: Member, by: Iterable[str]) -> None:
        suspicion = member.suspicion
        if suspicion is not None and sum(suspicion.add(name) for name in by):
            self._tell_suspicion(member, suspicion)

    def _tell_suspicion(self, member: Member, suspicion: Suspicion) -> None:
        self._spread(Update(member.name, SUSPECT, member.incarnation, tuple(suspicion.accusers)))
        self._agenda.at(suspicion.due_s, self._expired, member, suspicion)

    def _expired(self, member: Member, suspicion: Suspicion) -> None:
        if member.suspicion is suspicion and suspicion.due_s <= self._now_s:
            self._dead(member, member.incarnation)

    def _dead(self, member: Member, incarnation: int) -> None:
        member.incarnation = incarnation
        self._become(member, DEAD)
        self._spread(Update(member.name, DEAD, incarnation))

    def _left(self, member: Member, incarnation: int) -> None:
        member.incarnation, member.accused = incarnation, False
        self._rumours.drop(member.name)
        self._become(member, LEFT)

    # --- sending ---------------------------------------------------------------------------------------------------

    def _send(self, to: str, kind: type[Message], *args: Any) -> None:
        """A message with news; who is suspected or dead is told that first, so that it can refute (the buddy system)."""
        updates, member = self._rumours.take(self._size()), self.members.get(to)
        if member is not None and member.state in (SUSPECT, DEAD):
            by = tuple(member.suspicion.accusers) if member.suspicion else ()
            about = Update(to, member.state, max(member.incarnation, 0), by)
            updates = (about, *(update for update in updates if update.member != to))
        self._todo.append(Send((to,), encode(kind(self.incarnation, updates, *args))))

    def _spread(self, update: Update) -> None:
        self._rumours.put(update)
        if not self._telling:
            self._telling = True
            self._later(0.0, self._tell)

    def _tell(self) -> None:
        """News that wait for no ping, a few times each period while there are any."""
        to = self.members.some(FANOUT, THERE)
        updates = self._rumours.take(self._size(), len(to)) if to else ()
        self._telling = bool(updates)
        if updates:
            self._todo.append(Send(to, encode(Tell(self.incarnation, updates))))
            self._later(self.period_s / 5, self._tell)

    # --- inside ----------------------------------------------------------------------------------------------------

    def _begin(self, now_s: float) -> None:
        self._now_s, slept_s = self._time.wake(now_s, self._agenda.due_s)
        if slept_s:
            self.counts["slept"] += 1
            self.awareness.add(1 + int(slept_s / self.period_s))

    def _end(self) -> list[Directive]:
        todo, self._todo = self._todo, []
        return todo

    def _later(self, after_s: float, step: Callable[..., Any], *args: Any) -> None:
        self._agenda.at(self._now_s + after_s, step, *args)

    def _number(self) -> int:
        self._numbered += 1
        return self._numbered

    def _size(self) -> int:
        """Members that may be there, this node included."""
        return self.members.count(*THERE) + 1
