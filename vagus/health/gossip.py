"""Gossip: each report is pushed to all peers at once; anti-entropy finds what a peer missed.

A state machine that performs nothing: it answers events with `Send` directives. Every node keeps the reports of the
last `window_ns`, its own and others', and once per tick tells a random peer which it knows: of each origin the highest
number and the gaps. The peer sends what is missing, and answers with a digest of its own if it lacks something. So a
lost datagram, a restart and a partition heal, also through third nodes. After Demers et al., Epidemic Algorithms
(PODC'87), with push for the common case.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush
from random import Random
from typing import NamedTuple

import msgspec

from vagus.clock import NS
from vagus.health.known import Gap, Known
from vagus.model import Report

MAX_SEQ = 1 << 62
MAX_ORIGINS = 4096
DIGEST_GAPS = 16
"""Gaps told of one origin in a digest; the next one tells the rest."""

Entry = tuple[str, int, tuple[Gap, ...]]


class Push(msgspec.Struct, frozen=True, array_like=True, tag=0):
    """Reports, each in MessagePack; more: the sender has more that the receiver lacks."""

    reports: tuple[msgspec.Raw, ...]
    more: bool = False


class Digest(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """What the sender knows of the origins after `after` up to `upto` ("": no bound), those not named: nothing.

    entries: origin, highest number, gaps below it. answer: send a digest back if you lack something.
    """

    after: str
    upto: str
    entries: tuple[Entry, ...]
    answer: bool


class Send(NamedTuple):
    """A directive: this payload to these peers."""

    to: tuple[str, ...]
    payload: bytes


class _Origin:
    """What is known of one origin, and which of its reports are still held."""

    def __init__(self) -> None:
        self.known = Known()
        self.held: dict[int, bytes] = {}
        self.seqs: list[int] = []  # the keys of held, sorted
        self.last_ns = 0


class Gossip:
    """One node's side; pure, deterministic for a given `rng`.

    window_ns, max_reports: what is retained to fill others' gaps, oldest dropped first; chunk_bytes: size of a
    payload (a larger single report goes alone); budget: payloads in answer to one digest.
    `counts`: bad, late, duplicate, filled (reports sent to fill gaps), dropped (beyond max_reports).
    """

    def __init__(
        self,
        node: str,
        rng: Random,
        *,
        window_ns: int = 300 * NS,
        max_reports: int = 20_000,
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
        self._peers: tuple[str, ...] = ()
        self._origins: dict[str, _Origin] = {}
        self._ages: list[tuple[int, str, int]] = []  # heap of what is held: (t_ns, origin, seq)
        self._encoder = msgspec.msgpack.Encoder()
        self._messages: msgspec.msgpack.Decoder[Push | Digest] = msgspec.msgpack.Decoder(Push | Digest)
        self._reports = msgspec.msgpack.Decoder(Report)

    def __len__(self) -> int:
        """Reports retained."""
        return len(self._ages)

    def peers(self, names: Iterable[str]) -> None:
        """Sets whom this node gossips with; itself is left out."""
        self._peers = tuple(sorted(set(names) - {self.node}))

    def highest(self, origin: str) -> int:
        """The highest number known of an origin, 0 if none."""
        found = self._origins.get(origin)
        return found.known.high if found else 0

    def restore(self, reports: Iterable[Report], now_ns: int) -> None:
        """Takes history back after a restart: it is not asked for again, and fills others' gaps."""
        for report in reports:
            self._keep(report, self._encoder.encode(report), now_ns)

    def greet(self, peer: str) -> list[Send]:
        """What to send to a peer that is new, or back: both learn what they miss."""
        return self._digest(peer, answer=True)

    def on_local(self, reports: Sequence[Report], now_ns: int) -> list[Send]:
        """Accepted reports of this node, to be pushed to all peers."""
        encoded = [self._encoder.encode(report) for report in reports]
        for report, data in zip(reports, encoded, strict=True):
            self._keep(report, data, now_ns)
        if not self._peers:
            return []
        return [Send(self._peers, self._encoder.encode(Push(chunk))) for chunk in self._chunks(encoded)]

    def on_message(self, peer: str, payload: bytes, now_ns: int) -> tuple[list[Report], list[Send]]:
        """A payload from an authenticated peer: the reports that are new here, and what to send. Never raises."""
        try:
            message = self._messages.decode(payload)
        except (ValueError, RecursionError):  # msgspec's errors are ValueErrors; nesting may exhaust the stack
            self.counts["bad"] += 1
            return [], []
        if isinstance(message, Digest):
            return [], self._answer(peer, message)
        new = []
        for raw in message.reports:
            data = bytes(raw)
            try:
                report = self._reports.decode(data)
            except (ValueError, RecursionError):
                self.counts["bad"] += 1
                continue
            if self._keep(report, data, now_ns):
                new.append(report)
        return new, self._digest(peer, answer=False) if message.more else []

    def tick(self, now_ns: int) -> list[Send]:
        """Forgets what is older than the window and sends a digest to one random peer."""
        while self._ages and self._ages[0][0] + self.window_ns <= now_ns:
            self._drop_oldest()
        for name, origin in list(self._origins.items()):
            if not origin.held and origin.last_ns + 2 * self.window_ns <= now_ns:
                del self._origins[name]  # whatever still travels is too old to be taken
        return self.greet(self.rng.choice(self._peers)) if self._peers else []

    # --- what is retained ------------------------------------------------------------------------------------------

    def _keep(self, report: Report, data: bytes, now_ns: int) -> bool:
        """Retains a report; False if it was known or cannot count."""
        if not report.origin or not 0 < report.seq < MAX_SEQ:
            self.counts["bad"] += 1
            return False
        origin = self._origins.get(report.origin)
        if origin is None:
            if len(self._origins) >= MAX_ORIGINS:
                self.counts["bad"] += 1
                return False
            origin = self._origins[report.origin] = _Origin()
        if not origin.known.add(report.seq):
            self.counts["duplicate"] += 1
            return False
        origin.last_ns = now_ns
        if not -self.window_ns < now_ns - report.t_ns < self.window_ns:
            self.counts["late"] += 1
            return False
        origin.held[report.seq] = data
        if origin.seqs and report.seq < origin.seqs[-1]:
            insort(origin.seqs, report.seq)
        else:
            origin.seqs.append(report.seq)
        heappush(self._ages, (report.t_ns, report.origin, report.seq))
        if len(self._ages) > self.max_reports:
            self._drop_oldest()
            self.counts["dropped"] += 1
        return True

    def _drop_oldest(self) -> None:
        _, name, seq = heappop(self._ages)
        origin = self._origins[name]
        del origin.held[seq]
        at = bisect_left(origin.seqs, seq)
        del origin.seqs[at]
        if at == 0:
            origin.known.cover(seq)  # what was missed before it is as old: nobody needs to send it

    # --- messages --------------------------------------------------------------------------------------------------

    def _chunks(self, encoded: Iterable[bytes]) -> Iterator[tuple[msgspec.Raw, ...]]:
        chunk: list[msgspec.Raw] = []
        size = 0
        for data in encoded:
            if chunk and size + len(data) > self.chunk_bytes - 8:
                yield tuple(chunk)
                chunk, size = [], 0
            chunk.append(msgspec.Raw(data))
            size += len(data)
        if chunk:
            yield tuple(chunk)

    def _digest(self, peer: str, *, answer: bool) -> list[Send]:
        digests: list[Digest] = []
        entries: list[Entry] = []
        after, size = "", 0
        for name in sorted(self._origins):
            known = self._origins[name].known
            gaps = known.gaps()
            if len(gaps) > DIGEST_GAPS:  # drawn, not the lowest: some gaps nobody can fill
                gaps = tuple(sorted(self.rng.sample(gaps, DIGEST_GAPS)))
            entry = (name, known.high, gaps)
            entry_bytes = 4 * len(name) + 16 + 20 * len(entry[2])
            if entries and size + entry_bytes > self.chunk_bytes:
                upto = entries[-1][0]
                digests.append(Digest(after, upto, tuple(entries), answer))
                after, entries, size = upto, [], 0
            entries.append(entry)
            size += entry_bytes
        digests.append(Digest(after, "", tuple(entries), answer))
        return [Send((peer,), self._encoder.encode(digest)) for digest in digests]

    def _answer(self, peer: str, digest: Digest) -> list[Send]:
        theirs = {name: (high, gaps) for name, high, gaps in digest.entries}
        mine = [name for name in self._origins if digest.after < name and (not digest.upto or name <= digest.upto)]
        self.rng.shuffle(mine)  # if the peer refuses some, the others still get their turn
        chunks = self._chunks(data for name in mine for data in self._missing(name, *theirs.get(name, (0, ()))))
        sends: list[Send] = []
        chunk = next(chunks, None)
        while chunk is not None and len(sends) < self.budget:
            following = next(chunks, None)
            more = following is not None and len(sends) + 1 == self.budget
            sends.append(Send((peer,), self._encoder.encode(Push(chunk, more))))
            self.counts["filled"] += len(chunk)
            chunk = following
        if digest.answer and any(self._lacks(name, high, gaps) for name, (high, gaps) in theirs.items()):
            sends += self._digest(peer, answer=False)
        return sends

    def _missing(self, name: str, high: int, gaps: Sequence[Gap]) -> Iterator[bytes]:
        """What is held of an origin and not known to the sender of a digest, lowest number first."""
        origin = self._origins[name]
        for first, last in (*gaps, (high + 1, MAX_SEQ)):
            for seq in origin.seqs[bisect_left(origin.seqs, first) : bisect_right(origin.seqs, last)]:
                yield origin.held[seq]

    def _lacks(self, name: str, high: int, gaps: Sequence[Gap]) -> bool:
        origin = self._origins.get(name)
        if origin is None:
            return True
        known = origin.known
        return high > known.high or any(
            not any(low <= first and last <= up for low, up in gaps) for first, last in known.gaps() if first <= high
        )
