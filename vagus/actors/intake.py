"""The one way in for what others send: judged, then stored with what else waits in one commit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from vagus.access import Access, Principal
from vagus.actors.batcher import Batcher
from vagus.actors.sensing import Sensing
from vagus.inputs.admission import Admission, Taken
from vagus.inputs.refusals import BadInput
from vagus.model import Ack, Event, Sample, Span

MAX_WAITING = 50_000
MAX_SENDERS = 10_000  # kinds of which it is known who sends them
MAX_COMMIT = 10_000  # of one commit: the next tick waits for it
BUSY = 20_000  # so many waiting: listeners stop reading
SLICE = 2000  # records that are judged at once
_INPUTS = {"token": "gateway", "uid": "ingest"}  # by kind of principal; a listener's name is its input


class Intake:
    """`take` is what listeners and the gateway call. Counts what was taken and what was not.

    spans: is given those that are committed; never blocks.
    """

    def __init__(
        self, node: str, access: Access, sensing: Sensing, spans: Callable[[Sequence[Span]], None] = lambda spans: None
    ) -> None:
        self.node = node
        self.accepted = 0
        self.senders: dict[str, str] = {}  # by kind: who sent it last
        self.bad = BadInput(node, f"vagus:collector@{node}")
        self.spans = 0
        self._sensing = sensing
        self._spans_taken = spans
        self._admission = Admission(node, access, sensing.owns)
        self._commits: Batcher[Sample | Event | Span, Ack] = Batcher(self._commit, MAX_WAITING, MAX_COMMIT)

    async def take(
        self, who: Principal, samples: Sequence[Sample], events: Sequence[Event], spans: Sequence[Span] = ()
    ) -> Taken:
        """Stores what is admitted; when it returns that is committed. Raises StoreError, PeerUnreachable (overload).

        After a StoreError the store keeps what it had taken in, and may still commit it.
        """
        records: list[Sample | Event | Span] = [*samples, *events, *spans]
        acks: list[Ack] = []
        reasons: dict[str, None] = {}
        for first in range(0, len(records), SLICE):
            part = records[first : first + SLICE]
            refused = self._admission.judge(who, part, time.time_ns())
            kept = [r for r, reason in zip(part, refused, strict=True) if not reason] if any(refused) else part
            await (self._commits.put(kept) if kept else asyncio.sleep(0))
            acks += [Ack.FAILED if reason else Ack.ACCEPTED for reason in refused]
            reasons.update(dict.fromkeys(reason for reason in refused if reason))
            self._sent_by(who, kept)
        if reasons:
            known = next(iter(reasons))
            self.bad.note(_INPUTS.get(who.kind, who.name), "refused", known, acks.count(Ack.FAILED))
        return Taken(tuple(acks), tuple(reasons)[:5])

    def _sent_by(self, who: Principal, records: Sequence[Sample | Event | Span]) -> None:
        kinds = {record.stream.kind for record in records if isinstance(record, Sample)}
        if len(self.senders) < MAX_SENDERS or kinds <= self.senders.keys():
            self.senders.update(dict.fromkeys(kinds, str(who)))

    async def _commit(self, records: list[Sample | Event | Span]) -> list[Ack]:
        samples = [record for record in records if isinstance(record, Sample)]
        events = [record for record in records if isinstance(record, Event)]
        spans = [record for record in records if isinstance(record, Span)]
        if records:
            await self._sensing.put(samples, events, spans)
        if spans:
            self.spans += len(spans)
            self._spans_taken(spans)
        self.accepted += len(records)
        return [Ack.ACCEPTED] * len(records)

    @property
    def busy(self) -> bool:
        """Whether so much waits for the store that nothing more should be read."""
        return self._commits.queued > BUSY

    async def tell(self) -> None:
        """Stores what is to be told of refusals; called each second."""
        events = [*self._admission.told(), *self.bad.due(time.time_ns())]
        if events:
            await self._sensing.put((), events)

    def figures(self) -> dict[str, float]:
        """Counters since start."""
        return {
            "inputs_accepted": float(self.accepted),
            "inputs_refused": float(self.bad.counts.total()),
            "inputs_streams": float(self._admission.streams),
            "inputs_waiting": float(self._commits.queued),
            "spans_taken": float(self.spans),
        }
