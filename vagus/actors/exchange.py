"""What an observer and its peers tell each other: gossip on the wire, into the local store, and out of it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from vagus.actors.datagrams import Address
from vagus.actors.keeping import Kept
from vagus.actors.wire import GOSSIP, Wire
from vagus.health.gossip import Gossip, Send
from vagus.health.local import LocalStore
from vagus.model import Ack, Inference, Report

LONG = {"ttl": "long"}

Changed = Callable[[Inference | None], "list[Kept]"]
"""Takes note of a verdict that may have changed: what is to be kept of it."""


class Exchange:
    """Performs what `gossip` directs, and merges what peers send into `local`. `counts`: merged.

    What came together is judged once for each subject, and kept in one commit by `keep`, which must not wait: a slow
    disk delays neither verdicts nor gossip. Nothing queues here, so a peer that hangs costs no memory.
    """

    def __init__(
        self,
        wire: Wire,
        gossip: Gossip,
        local: LocalStore,
        changed: Changed,
        keep: Callable[[list[Kept]], None],
        failed: Callable[[str, BaseException], None],
    ) -> None:
        self.wire = wire
        self.gossip = gossip
        self.counts: Counter[str] = Counter()
        self._local = local
        self._changed = changed
        self._keep = keep
        self._failed = failed
        self._kept: list[Kept] = []
        wire.hear(GOSSIP, self._hear)
        wire.met.append(lambda _: gossip.peers(wire.addresses))
        wire.drained.append(self._heard)

    def connect(self, addresses: Mapping[str, Address], key: bytes | str) -> None:
        """Takes the peers' numeric addresses and greets the new ones. Raises ConfigError for a bad key."""
        new = self.wire.connect(addresses, key)
        self.gossip.peers(self.wire.addresses)
        for node in new:
            self._send(self.gossip.greet(node))

    def tell(self, accepted: Sequence[Report], now_ns: int) -> None:
        """Tells the peers of reports that were accepted here."""
        if accepted:
            self._send(self.gossip.on_local(accepted, now_ns))

    def news(self) -> None:
        """Tells the peers what is of interest here from now on, or no longer."""
        self._send(self.gossip.news(time.time_ns()))

    def tick(self) -> None:
        """Once in a gossip period: asks a peer what is missing here."""
        self._send(self.gossip.tick(time.time_ns()))

    def _send(self, sends: Iterable[Send]) -> None:
        for send in sends:
            self.wire.send(send.to, send.payload)

    def _hear(self, node: str, body: bytes) -> None:
        now_ns = time.time_ns()
        reports, answers = self.gossip.on_message(node, body, now_ns)
        last = {report.subject: at for at, report in enumerate(reports)}
        for at, report in enumerate(reports):
            self._merge(report, now_ns, judge=last[report.subject] == at)
        self._send(answers)

    def _heard(self) -> None:
        self._local.advance(self.gossip.highest(self.wire.node))
        kept, self._kept = self._kept, []
        self._keep(kept)

    def _merge(self, report: Report, now_ns: int, *, judge: bool) -> None:
        try:
            ack, change = self._local.merge(report, now_ns, judge=judge)
        except Exception as error:  # a strategy from elsewhere: one subject fails, not the gossip
            self._failed(f"infer {report.subject}", error)
            ack, change = Ack.ACCEPTED, None
        if ack is Ack.ACCEPTED:
            self.counts["merged"] += 1
            self._kept.append(kept(report, self._local.ttl_ns))
        self._kept += self._changed(change)


def kept(report: Report, ttl_ns: int) -> Kept:
    """A report's record, with a mark (LONG) on those that count longer than the store's own time to live."""
    index = {"subject": report.subject}
    return Kept("report", report, report.t_ns, index if report.ttl_ns <= ttl_ns else {**index, **LONG})
