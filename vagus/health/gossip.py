"""Gossip: each report is pushed to all peers that want it at once; anti-entropy finds what a peer missed.

A state machine that performs nothing: it answers events with `Send` directives, and queues none. What it retains is
what the views of the local store hold. Once per tick every node tells a random peer which numbers it knows: of each
origin the highest and the gaps. The peer sends what it holds of the rest, says which numbers are superseded, and
answers with a digest of its own if it lacks something. So a lost datagram, a hung peer, a restart and a partition
heal, also through third nodes. After Demers et al., Epidemic Algorithms (PODC'87), with push for the common case.

Interest is learned, as in Panorama (OSDI'18, section 4): a peer answers Ignore to what it does not want, and is not
sent that for a while; when it wants it later it says so to all, and gets what is held.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

import msgspec

from vagus.clock import NS
from vagus.health.announcing import Announcing
from vagus.health.audience import Audience
from vagus.health.digests import read_digest, write_digests
from vagus.health.filling import fill
from vagus.health.gossip_messages import (
    Digest,
    Ignore,
    Message,
    Push,
    Want,
    Wanted,
    chunks,
    decode,
    encode,
    is_unknown,
)
from vagus.health.interest import Named
from vagus.health.local import LocalStore
from vagus.health.retained import Retained
from vagus.model import Report

EAGER = 3
"""Peers asked in a tick after one that brought something by asking; else one."""
ASKED = 3
ASKED_ORIGINS = 8
"""Origins asked about themselves in a tick, each so often after somebody else's digest told more of it."""
RESTORED_NS = 180 * NS
RESTORED = 60
"""A peer that begins to want a subject is sent at once what was reported here: not older, not more; the rest heals."""


class Send(NamedTuple):
    """A directive: this payload to these peers."""

    to: tuple[str, ...]
    payload: bytes


class Gossip:
    """One node's side; pure, deterministic for a given `rng`.

    local: the store whose interest counts and whose views say what is retained; without one all is wanted and
    retained. window_ns: how long reports count; max_reports: retained at most; chunk_bytes: size of a payload (a
    larger single report goes alone); budget: payloads in answer to one digest.
    `counts`: bad, unknown (messages of other versions), late, ahead, duplicate, foreign (not wanted here), filled
    (reports sent to fill gaps), dropped (no longer retained, since there were more than max_reports).
    """

    def __init__(
        self,
        node: str,
        rng: Random,
        *,
        local: LocalStore | None = None,
        window_ns: int = 300 * NS,
        max_reports: int = 200_000,
        chunk_bytes: int = 1200,
        budget: int = 64,
    ) -> None:
        self.node = node
        self.rng = rng
        self.chunk_bytes = chunk_bytes
        self.budget = budget
        self.counts: Counter[str] = Counter()
        self._local = local
        self._peers: tuple[str, ...] = ()
        self._addressed: frozenset[str] = frozenset()
        self._retained = Retained(local, window_ns, max_reports, self.counts)
        self._audience = Audience(window_ns)
        self._announcing = Announcing(rng)
        self._answered: set[tuple[str, str]] = set()  # digests that were answered by one in this tick
        self._learnt = False
        self._behind: dict[str, int] = {}  # origins of which somebody knows more: how often to ask themselves
        self._reports = msgspec.msgpack.Decoder(Report)

    def __len__(self) -> int:
        """Reports retained."""
        return len(self._retained)

    def peers(self, names: Iterable[str]) -> None:
        """Sets whom this node gossips with; itself is left out."""
        self._peers = tuple(sorted(set(names) - {self.node}))
        self._addressed = frozenset(self._peers)
        self._audience.only(self._addressed)
        self._announcing.only(self._peers)

    def highest(self, origin: str) -> int:
        """The highest number known of an origin, 0 if none."""
        found = self._retained.origins.get(origin)
        return found.known.high if found else 0

    def restore(self, reports: Iterable[Report], now_ns: int) -> None:
        """Takes history back after a restart: it is not asked for again, and fills others' gaps."""
        for report in reports:
            self._retained.keep(report, now_ns, wanted=True)
        self._retained.release(now_ns)

    def greet(self, peer: str) -> list[Send]:
        """What to send to a peer that is new, or back: both learn what they miss."""
        return self._digest(peer, answer=True)

    def on_local(self, reports: Sequence[Report], now_ns: int) -> list[Send]:
        """Accepted reports of this node, to be pushed to all peers that want them."""
        for report in reports:
            self._retained.keep(report, now_ns, wanted=True)
        return self.news(now_ns) + self._push(reports, now_ns)

    def news(self, now_ns: int) -> list[Send]:
        """What to tell peers after `watch` or `unwatch`; a tick says it too."""
        self._retained.release(now_ns)
        changes = self._local.interest.changes() if self._local is not None else {}
        if not changes:
            return []
        grown = [subject for subject, wanted in changes.items() if wanted]
        sends = [Send(self._peers, encode(ignore)) for ignore in self._ignores(s for s in changes if not changes[s])]
        if grown:
            self._announcing.grow(grown)
            self._retained.unlearn()
            sends += self._announce()
        return sends if self._peers else []

    def on_message(self, peer: str, payload: bytes, now_ns: int) -> tuple[list[Report], list[Send]]:
        """A payload from an authenticated peer: the reports that are new here, and what to send. Never raises."""
        self._retained.release(now_ns)
        try:
            return self._on(peer, decode(payload), now_ns)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; nesting may exhaust the stack
            self.counts["unknown" if is_unknown(payload) else "bad"] += 1
            return [], []

    def tick(self, now_ns: int) -> list[Send]:
        """Forgets what is too old, and sends a digest to one random peer, or a few if it paid to ask."""
        sends = self.news(now_ns)
        self._retained.age(now_ns)
        self._audience.expire(now_ns)
        self._answered.clear()
        asked = self.rng.sample(self._peers, min(EAGER if self._learnt else 1, len(self._peers)))
        self._learnt = False
        sends += self._announce()
        return sends + [send for peer in asked for send in self.greet(peer)] + self._ask_origins(asked)

    # --- messages --------------------------------------------------------------------------------------------------

    def _on(self, peer: str, message: Message, now_ns: int) -> tuple[list[Report], list[Send]]:
        if isinstance(message, Push):
            return self._on_push(peer, message, now_ns)
        if isinstance(message, Digest):
            self._audience.meet(peer, message.epoch)
            return [], self._answer(peer, message, now_ns)
        if isinstance(message, Ignore):
            self._audience.ignore(peer, message.subjects, message.epoch, now_ns)
        elif isinstance(message, Wanted):
            self._announcing.acknowledged(peer, message.epoch)
        else:
            return [], self._on_want(peer, message, now_ns)
        return [], []

    def _on_push(self, peer: str, push: Push, now_ns: int) -> tuple[list[Report], list[Send]]:
        new: list[Report] = []
        unwanted: dict[str, None] = {}
        ahead = self.counts["ahead"]
        for raw in push.reports:
            try:
                report = self._reports.decode(raw)
            except (ValueError, RecursionError):
                self.counts["bad"] += 1
                continue
            if self._retained.keep(report, now_ns, wanted=False):
                new.append(report)
            elif self._local is not None and not self._local.wants(report.subject):
                unwanted[report.subject] = None
        if ahead == self.counts["ahead"]:
            for cover in push.covers:
                if not cover.foreign or push.epoch == self._announcing.epoch:
                    self._retained.cover(cover, now_ns)
        self._learnt |= any(not cover.foreign for cover in push.covers)  # of what is not wanted there is always more
        sends = [Send((peer,), encode(ignore)) for ignore in self._ignores(unwanted)]
        return new, sends + (self._digest(peer, answer=False) if push.more else [])

    def _on_want(self, peer: str, want: Want, now_ns: int) -> list[Send]:
        """Acknowledges, and sends what was reported here; other nodes send what was reported there."""
        sends = [Send((peer,), encode(Wanted(want.epoch)))]
        if self._local is None or not self._audience.want(peer, want.subjects, want.since, want.epoch):
            return sends
        wanted = Named(want.subjects)
        reports: list[Report] = []
        for subject in self._local.subjects() if wanted.globs else want.subjects:
            if wanted(subject):
                views = self._local.panorama(subject).values()
                mine = [r for view in views for r in view if r.origin == self.node and r.t_ns > now_ns - RESTORED_NS]
                reports += sorted(mine, key=lambda report: report.t_ns)[-RESTORED:]
        pushes = chunks((encode(report) for report in reports), self.chunk_bytes - 16)
        return sends + [
            Send((peer,), encode(Push(chunk))) for _, chunk in zip(range(self.budget), pushes, strict=False)
        ]

    def _push(self, reports: Sequence[Report], now_ns: int) -> list[Send]:
        if not self._peers or not reports:
            return []
        groups: dict[tuple[str, ...], list[bytes]] = {}
        for report in reports:
            ignoring = self._audience.ignoring(report.subject, now_ns)
            to = tuple(peer for peer in self._peers if peer not in ignoring) if ignoring else self._peers
            groups.setdefault(to, []).append(encode(report))
        return [
            Send(to, encode(Push(chunk)))
            for to, encoded in groups.items()
            if to
            for chunk in chunks(encoded, self.chunk_bytes - 16)
        ]

    def _announce(self) -> list[Send]:
        return [Send(to, encode(want)) for to, want in self._announcing.pending(self._peers)]

    def _ignores(self, subjects: Iterable[str]) -> Iterator[Ignore]:
        told: list[str] = []
        size = 0
        for subject in subjects:
            if told and size > self.chunk_bytes - 200:
                yield Ignore(tuple(told), self._announcing.epoch)
                told, size = [], 0
            told.append(subject)
            size += 4 * len(subject)
        if told:
            yield Ignore(tuple(told), self._announcing.epoch)

    def _ask_origins(self, asked: Sequence[str]) -> list[Send]:
        """Digests about themselves to a few origins of which somebody knows more: they can always tell."""
        known = [name for name in self._behind if name in self._addressed and name not in asked]
        sends: list[Send] = []
        for name in self.rng.sample(known, min(ASKED_ORIGINS, len(known))):
            after = max((other for other in self._retained.origins if other < name), default="")
            sends += self._digest(name, answer=False, after=after, upto=name)
        self._behind = {name: tries - 1 for name, tries in self._behind.items() if tries > 1}
        return sends

    def _digest(self, peer: str, *, answer: bool, after: str = "", upto: str = "") -> list[Send]:
        epoch = self._announcing.epoch
        digests = write_digests(
            self._retained, self.rng, self.chunk_bytes, answer=answer, after=after, upto=upto, epoch=epoch
        )
        return [Send((peer,), encode(digest)) for digest in digests]

    def _answer(self, peer: str, digest: Digest, now_ns: int) -> list[Send]:
        theirs = read_digest(digest)
        mine = self._retained.between(digest.after, digest.upto)
        self.rng.shuffle(mine)  # if the peer refuses some, the others still get their turn
        pushes = fill(
            ((name, self._retained.origins[name], gap) for name, gap in self._retained.beyond(mine, theirs)),
            lambda subject: self._audience.wants(peer, subject, now_ns),
            chunk_bytes=self.chunk_bytes - 64,
            budget=self.budget,
            epoch=self._audience.epoch(peer),
        )
        self.counts["filled"] += sum(len(push.reports) for push in pushes)
        sends = [Send((peer,), encode(push)) for push in pushes]
        lacking = [name for name, (high, gaps) in theirs.items() if self._retained.lacks(name, high, gaps)]
        self._behind.update((name, ASKED) for name in lacking if name in self._addressed)
        asked = (peer, digest.after)
        if digest.answer and lacking and asked not in self._answered:  # a peer that hung brings many old digests
            self._answered.add(asked)
            sends += self._digest(peer, answer=False, after=digest.after, upto=digest.upto)
        return sends
