"""What a node admits of others: kinds and events that are not its own, plausible times, a bounded number of streams."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from vagus.access import Access, Principal, Refusals
from vagus.clock import NS
from vagus.inputs.names import MAX_EVENT_FIELDS
from vagus.model import MAX_NAME, Ack, Event, Sample, Span, Stream

AHEAD_S = 3600
MAX_STREAMS = 20_000
FORGET_S = 86_400  # a stream that was silent for so long counts no more
MAX_KNOWN = 10_000
RESERVED_KINDS = frozenset(
    {"cgroup", "collector", "feed", "host", "net", "pressure", "probe", "resctrl", "snmp", "vagus"}
)
"""First words of kinds that only vagus' own sensors send; kinds of the node's collectors are added as they are seen."""
RESERVED_EVENTS = frozenset({"actor", "collector", "probe", "remote_write", "vagus"})
OWN_EVENTS = frozenset(
    {
        "access.refused",
        "clock.stepped",
        "health.changed",
        "input.refused",
        "path.changed",
        "topology.complete",
        "topology.missing",
    }
)
SHARED_KINDS = frozenset({"service.heartbeat"})
"""The collector asks services, and services tell: those that tell have a label `instance`."""

_RANGES = {"i8": (-(1 << 63), 1 << 63), "i4": (-(1 << 31), 1 << 31), "u8": (0, 1 << 64), "u4": (0, 1 << 32)}


class Taken(NamedTuple):
    """What became of samples, events and spans, in this order: ACCEPTED is committed, FAILED was refused; why, each once."""

    acks: tuple[Ack, ...]
    reasons: tuple[str, ...] = ()

    @property
    def refused(self) -> int:
        """How many were."""
        return sum(ack is not Ack.ACCEPTED for ack in self.acks)


class Admission:
    """Judges what others send to `node`. owned: whether a kind is one that a collector of the node sends.

    Refusals by the access rules become events for `refusals` to count; `told` gives those that are due.
    """

    def __init__(self, node: str, access: Access, owned: Callable[[str], bool], max_streams: int = MAX_STREAMS) -> None:
        self.node = node
        self._access = access
        self._owned = owned
        self._max_streams = max_streams
        self._streams: dict[Stream, int] = {}  # when last heard of, to the minute
        self._looked_ns = 0
        self._known: dict[tuple[Principal, str, bool], str] = {}
        self._refusals = Refusals(node, f"vagus:collector@{node}")
        self._told: list[Event] = []

    @property
    def streams(self) -> int:
        """Streams of others in the last day."""
        return len(self._streams)

    def told(self) -> list[Event]:
        """`access.refused` events since the last call."""
        told, self._told = self._told, []
        return told

    def judge(self, who: Principal, records: Sequence[Sample | Event | Span], now_ns: int) -> list[str]:
        """Why each record is refused; empty text for those that are admitted."""
        latest_ns = now_ns + AHEAD_S * NS
        reasons = []
        for record in records:
            if isinstance(record, Span):
                reasons.append(
                    self._name(who, f"span.{record.service}", False, now_ns) or self._span(record, latest_ns)
                )
            elif record.t_ns > latest_ns:
                reasons.append("its time is more than one hour ahead of this node's clock; check both clocks")
            elif isinstance(record, Event):
                reasons.append(self._name(who, record.event, True, now_ns) or self._event(record))
            else:
                kind = record.stream.kind
                reasons.append(self._name(who, kind, False, now_ns) or self._sample(record, now_ns))
        return reasons

    def _name(self, who: Principal, name: str, event: bool, now_ns: int) -> str:
        """Why `who` may not send what is called so; remembered."""
        if not event and name not in SHARED_KINDS and self._owned(name):
            return f"kind {name} is sent by a collector of this node; choose another, such as app.{name}"
        key = (who, name, event)
        known = self._known.get(key)
        if known is None or (known and not self._access.open):  # each refusal by a rule is noted
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[key] = self._find(who, name, event, now_ns)
        return known

    def _find(self, who: Principal, name: str, event: bool, now_ns: int) -> str:
        word = name.partition(".")[0]
        if event and (word in RESERVED_EVENTS or name in OWN_EVENTS):
            return f"event {name} is one that only vagus itself sends"
        if not event and word in RESERVED_KINDS:
            return f"kinds {word}.* are sent by vagus' own sensors alone; choose another, such as app.{name}"
        if self._access.allows(who, "send", name):
            return ""
        told = self._refusals.note(str(who), "send", name, now_ns)
        if told is not None:
            self._told.append(told)
        return f"{who} may not send {name!r} at {self.node}; a rule under `access` in vagus.yaml would allow it"

    def _event(self, event: Event) -> str:
        if event.node != self.node:
            return f"it names another node than {self.node}"
        if event.source.startswith("vagus:") or len(event.source) > MAX_NAME:
            return f"source {event.source[:40]!r} is vagus' own, or longer than {MAX_NAME} characters"
        if len(event.fields) > MAX_EVENT_FIELDS:
            return f"it has {len(event.fields)} fields; at most {MAX_EVENT_FIELDS} are allowed"
        return ""

    def _span(self, span: Span, latest_ns: int) -> str:
        if span.node != self.node:
            return f"it names another node than {self.node}"
        if span.end_ns > latest_ns:
            return "it ends more than one hour ahead of this node's clock; check both clocks"
        return ""

    def _sample(self, sample: Sample, now_ns: int) -> str:
        stream, values = sample.stream, sample.values
        if stream.node != self.node:
            return f"it names another node than {self.node}"
        if stream.kind in SHARED_KINDS and "instance" not in stream.labels:
            return f"{stream.kind} of others needs a label `instance`: without one it is what the collector found"
        if len(values) != len(stream.fields):
            return f"{stream.kind} has {len(stream.fields)} fields, the sample {len(values)} values"
        for field, value in zip(stream.fields, values, strict=True):
            limits = _RANGES.get(field.dtype)
            if limits and not (isinstance(value, int) and limits[0] <= value < limits[1]):
                return f"{stream.kind}.{field.name} is {field.dtype} and cannot hold {value!r}"
        heard_ns = self._streams.get(stream)
        if heard_ns is None and len(self._streams) >= self._max_streams and not self._forget(now_ns):
            return f"{self._max_streams} streams of others are here already: use fewer label values"
        if heard_ns is None or abs(now_ns - heard_ns) > NS * 60:
            self._streams[stream] = now_ns
        return ""

    def _forget(self, now_ns: int) -> bool:
        """Makes room: streams that were silent for a day are no longer here. Looks once a minute."""
        if abs(now_ns - self._looked_ns) > NS * 60:
            self._looked_ns = now_ns
            self._streams = {s: t for s, t in self._streams.items() if abs(now_ns - t) < FORGET_S * NS}
        return len(self._streams) < self._max_streams
