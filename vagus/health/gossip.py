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

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import NamedTuple

import msgspec

from vagus.clock import NS
from vagus.health.announcing import Announcing
from vagus.health.audience import Audience
from vagus.health.filling import fill
from vagus.health.gossip_messages import (
    Cover,
    Digest,
    Entry,
    Ignore,
    Message,
    Push,
    Want,
    Wanted,
    chunks,
    decode,
    encode,
    is_unknown,
    pack_gaps,
    unpack_gaps,
)
from vagus.health.interest import Named
from vagus.health.known import Gap
from vagus.health.local import MAX_AHEAD_NS, LocalStore
from vagus.health.origin import Origin
from vagus.model import Report

MAX_SEQ = 1 << 62
MAX_ORIGINS = 4096
DIGEST_GAPS = 64
"""Gaps told of one origin in a digest; the next one tells the rest."""
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
        self.window_ns = window_ns
        self.max_reports = max_reports
        self.chunk_bytes = chunk_bytes
        self.budget = budget
        self.counts: Counter[str] = Counter()
        self._local = local
        self._peers: tuple[str, ...] = ()
        self._origins: dict[str, Origin] = {}
        self._audience = Audience(window_ns)
        self._announcing = Announcing(rng)
        self._size = 0
        self._unwanted: dict[str, None] = {}  # subjects of the payload at hand that are not wanted
        self._answered: set[tuple[str, str]] = set()  # digests that were answered by one in this tick
        self._learnt = False
        self._behind: dict[str, int] = {}  # origins of which somebody knows more: how often to ask themselves
        self._reports = msgspec.msgpack.Decoder(Report)
        if local is not None:
            local.dropped()  # from now on it collects

    def __len__(self) -> int:
        """Reports retained."""
        return self._size

    def peers(self, names: Iterable[str]) -> None:
        """Sets whom this node gossips with; itself is left out."""
        self._peers = tuple(sorted(set(names) - {self.node}))
        self._audience.only(self._peers)
        self._announcing.only(self._peers)

    def highest(self, origin: str) -> int:
        """The highest number known of an origin, 0 if none."""
        found = self._origins.get(origin)
        return found.known.high if found else 0

    def restore(self, reports: Iterable[Report], now_ns: int) -> None:
        """Takes history back after a restart: it is not asked for again, and fills others' gaps."""
        for report in reports:
            self._keep(report, now_ns, wanted=True)
        self._release()

    def greet(self, peer: str) -> list[Send]:
        """What to send to a peer that is new, or back: both learn what they miss."""
        return self._digest(peer, answer=True)

    def on_local(self, reports: Sequence[Report], now_ns: int) -> list[Send]:
        """Accepted reports of this node, to be pushed to all peers that want them."""
        for report in reports:
            self._keep(report, now_ns, wanted=True)
        return self.news(now_ns) + self._push(reports, now_ns)

    def news(self, now_ns: int) -> list[Send]:
        """What to tell peers after `watch` or `unwatch`; a tick says it too."""
        self._release()
        changes = self._local.interest.changes() if self._local is not None else {}
        if not changes:
            return []
        grown = [subject for subject, wanted in changes.items() if wanted]
        sends = [Send(self._peers, encode(ignore)) for ignore in self._ignores(s for s in changes if not changes[s])]
        if grown:
            self._announcing.grow(grown)
            for origin in self._origins.values():
                origin.unlearn()
            sends += self._announce()
        return sends if self._peers else []

    def on_message(self, peer: str, payload: bytes, now_ns: int) -> tuple[list[Report], list[Send]]:
        """A payload from an authenticated peer: the reports that are new here, and what to send. Never raises."""
        self._release()
        try:
            return self._on(peer, decode(payload), now_ns)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; nesting may exhaust the stack
            self.counts["unknown" if is_unknown(payload) else "bad"] += 1
            return [], []

    def tick(self, now_ns: int) -> list[Send]:
        """Forgets what is too old, and sends a digest to one random peer, or a few if it paid to ask."""
        sends = self.news(now_ns)
        for name, origin in list(self._origins.items()):
            origin.close(now_ns, self.window_ns + MAX_AHEAD_NS)
            if not origin.held and origin.heard_ns + 2 * self.window_ns <= now_ns:
                del self._origins[name]  # whatever still travels is too old to be taken
        self._audience.expire(now_ns)
        self._answered.clear()
        asked = self.rng.sample(self._peers, min(EAGER if self._learnt else 1, len(self._peers)))
        self._learnt = False
        sends += self._announce()
        return sends + [send for peer in asked for send in self.greet(peer)] + self._ask_origins(asked)

    # --- what is retained ------------------------------------------------------------------------------------------

    def _origin(self, name: str, now_ns: int) -> Origin | None:
        origin = self._origins.get(name)
        if origin is None and name and len(self._origins) < MAX_ORIGINS:
            origin = self._origins[name] = Origin(now_ns)
        return origin

    def _keep(self, report: Report, now_ns: int, *, wanted: bool) -> bool:
        """Retains a report; False if it was known or cannot count. wanted: whatever its subject."""
        seq = report.seq
        origin = self._origin(report.origin, now_ns) if 0 < seq < MAX_SEQ else None
        if origin is None:
            self.counts["bad"] += 1
            return False
        if report.t_ns > now_ns + MAX_AHEAD_NS:  # not known: it is wanted once the clocks agree
            self.counts["ahead"] += 1
            return False
        if not origin.known.add(seq) or seq in origin.held:
            self.counts["duplicate"] += 1
            return False
        origin.heard_ns = now_ns
        if report.t_ns + max(self.window_ns, report.ttl_ns) <= now_ns:
            self.counts["late"] += 1
            origin.stale.add(seq)
            return False
        if not wanted and self._local is not None and not self._local.wants(report.subject):
            self.counts["foreign"] += 1
            origin.foreign.add(seq)
            self._unwanted[report.subject] = None
            return False
        origin.hold(report)
        self._size += 1
        return True

    def _release(self) -> None:
        """Retains no longer what no view holds, nor more than `max_reports`: the oldest go."""
        for report, superseded in self._local.dropped() if self._local is not None else ():
            origin = self._origins.get(report.origin)
            if origin is None or origin.held.pop(report.seq, None) is None:
                continue
            self._size -= 1
            if not superseded:
                wanted = self._local is None or self._local.wants(report.subject)
                (origin.stale if wanted else origin.foreign).add(report.seq)
        while self._size > self.max_reports:
            largest = max(self._origins.values(), key=lambda origin: len(origin.held))
            dropped = largest.drop(self._size - self.max_reports)
            self._size -= dropped
            self.counts["dropped"] += dropped

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
        ahead = self.counts["ahead"]
        for raw in push.reports:
            try:
                report = self._reports.decode(raw)
            except (ValueError, RecursionError):
                self.counts["bad"] += 1
                continue
            if self._keep(report, now_ns, wanted=False):
                new.append(report)
        if ahead == self.counts["ahead"]:
            for cover in push.covers:
                if not cover.foreign or push.epoch == self._announcing.epoch:
                    self._cover(cover, now_ns)
        self._learnt |= bool(push.covers)
        unwanted, self._unwanted = self._unwanted, {}
        sends = [Send((peer,), encode(ignore)) for ignore in self._ignores(unwanted)]
        return new, sends + (self._digest(peer, answer=False) if push.more else [])

    def _cover(self, cover: Cover, now_ns: int) -> None:
        origin = self._origin(cover.origin, now_ns) if 0 < cover.count <= cover.last < MAX_SEQ else None
        if origin is None:
            self.counts["bad"] += 1
            return
        origin.heard_ns = now_ns
        origin.known.extend(cover.last - cover.count + 1, cover.last)
        if cover.foreign:
            origin.foreign.extend(cover.last - cover.count + 1, cover.last)

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
        known = [name for name in self._behind if name in self._peers and name not in asked]
        sends: list[Send] = []
        for name in self.rng.sample(known, min(ASKED_ORIGINS, len(known))):
            after = max((other for other in self._origins if other < name), default="")
            sends += self._digest(name, answer=False, after=after, upto=name)
        self._behind = {name: tries - 1 for name, tries in self._behind.items() if tries > 1}
        return sends

    def _digest(self, peer: str, *, answer: bool, after: str = "", upto: str = "") -> list[Send]:
        epoch = self._announcing.epoch
        digests: list[Digest] = []
        entries: list[Entry] = []
        size = 0
        for name in sorted(self._origins):
            if (name <= after and after) or (upto and name > upto):
                continue
            known = self._origins[name].known
            gaps = known.gaps()
            if len(gaps) > DIGEST_GAPS:  # drawn, not the lowest: some gaps nobody can fill
                gaps = tuple(sorted(self.rng.sample(gaps, DIGEST_GAPS)))
            entry = (name, known.high, pack_gaps(known.high, gaps))
            entry_bytes = len(name) + 16 + 5 * len(gaps)
            if entries and size + entry_bytes > self.chunk_bytes:
                digests.append(Digest(after, entries[-1][0], tuple(entries), answer, epoch))
                after, entries, size = entries[-1][0], [], 0
            entries.append(entry)
            size += entry_bytes
        digests.append(Digest(after, upto, tuple(entries), answer, epoch))
        return [Send((peer,), encode(digest)) for digest in digests]

    def _answer(self, peer: str, digest: Digest, now_ns: int) -> list[Send]:
        theirs: dict[str, tuple[int, tuple[Gap, ...]]] = {}
        for name, high, packed in digest.entries:
            if not 0 <= high < MAX_SEQ:
                raise ValueError(f"the number {high}")
            theirs[name] = high, unpack_gaps(high, packed)
        mine = [name for name in self._origins if digest.after < name and (not digest.upto or name <= digest.upto)]
        self.rng.shuffle(mine)  # if the peer refuses some, the others still get their turn
        pushes = fill(
            (
                (name, self._origins[name], *gap)
                for name in mine
                for gap in self._beyond(name, *theirs.get(name, (0, ())))
            ),
            lambda subject: self._audience.wants(peer, subject, now_ns),
            chunk_bytes=self.chunk_bytes - 64,
            budget=self.budget,
            epoch=self._audience.epoch(peer),
        )
        self.counts["filled"] += sum(len(push.reports) for push in pushes)
        sends = [Send((peer,), encode(push)) for push in pushes]
        lacking = [name for name, (high, gaps) in theirs.items() if self._lacks(name, high, gaps)]
        self._behind.update((name, ASKED) for name in lacking if name != self.node)
        if digest.answer and lacking:
            asked = (peer, digest.after)
            if asked not in self._answered:  # a peer that hung brings many old digests at once
                self._answered.add(asked)
                sends += self._digest(peer, answer=False, after=digest.after, upto=digest.upto)
        return sends

    def _beyond(self, name: str, high: int, gaps: Sequence[Gap]) -> Iterator[Gap]:
        """What the sender of a digest does not know of an origin, as far as it is known here."""
        yield from gaps
        mine = self._origins[name].known.high
        if mine > high:
            yield high + 1, mine

    def _lacks(self, name: str, high: int, gaps: Sequence[Gap]) -> bool:
        origin = self._origins.get(name)
        if origin is None:
            return high > 0
        known = origin.known
        if high > known.high:
            return True
        for first, last in known.gaps():
            at = bisect_right(gaps, (first, MAX_SEQ)) - 1
            if first <= high and (at < 0 or last > gaps[at][1]):
                return True
        return False
