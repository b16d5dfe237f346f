"""The published form of Pytheas' front server (nsdi2017-ddn: player.php): two fields of a form, one of them tabs.

`method=request&payload=F1⇥…⇥F15⇥D1⇥D2…` is answered by one of the decisions D, as plain text;
`method=update&payload=F1⇥…⇥F15⇥D⇥COST` reports what became of D. The form is percent-encoded, so that no character
of a value but the tab means anything. An update has no id: it is joined to the oldest request of the same features
that got that decision.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import Annotated, Literal
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from vagus.clock import NS
from vagus.controllers.decide.arms import MAX_ARMS
from vagus.controllers.decide.outstanding import MAX_REWARD
from vagus.errors import ConfigError

FEATURES = (
    *("Time", "BufRate", "AvgBitrate", "JoinTime", "Asn", "City", "Country", "ConnType", "State", "Os"),
    *("Liveorvod", "ObjectId", "PlayerType", "InitBitrate", "InitCdn"),
)
"""What a session's values mean, by their place."""
MAX_WAITING = 100_000
WAIT_NS = 3600 * NS

Session = tuple[tuple[str, ...], str]
"""The values of a session, and its decision."""


class PytheasForm(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The fields of the form. payload: values between tabs: 15 features, then decisions, or a decision and its cost."""

    method: Literal["request", "update"]
    payload: Annotated[str, Meta(max_length=1 << 20)]


class Asks(msgspec.Struct, frozen=True):
    """A request: the values of the features, and the decisions that are feasible."""

    values: tuple[str, ...]
    arms: tuple[str, ...]


class Tells(msgspec.Struct, frozen=True):
    """An update: smaller costs are better."""

    values: tuple[str, ...]
    arm: str
    cost: float


def read_form(body: bytes) -> Asks | Tells:
    """The form as what it means. Raises ConfigError."""
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=10
        )
    except ValueError as error:
        raise ConfigError(f"not a form with percent-encoded values: {error}") from error
    fields = dict(pairs)
    if len(fields) < len(pairs):
        raise ConfigError("a field of the form is given twice")
    try:
        form = msgspec.convert(fields, PytheasForm)
    except msgspec.ValidationError as error:
        raise ConfigError(f"the form has a method (request or update) and a payload: {error}") from error
    count = len(FEATURES)
    parts = form.payload.rstrip("\r\n").split("\t", count + MAX_ARMS)
    values, rest = tuple(parts[:count]), tuple(parts[count:])
    if form.method == "request":
        if not rest:
            raise ConfigError(f"a request has {count} features and a decision at least, not {len(parts)} values")
        return Asks(values, rest)
    if len(rest) != 2:
        raise ConfigError(f"an update has {count} features, a decision and its cost, not {len(parts)} values")
    try:
        cost = float(rest[1])
    except ValueError as error:
        raise ConfigError(f"the cost {rest[1][:50]!r} is not a number") from error
    if not -MAX_REWARD <= cost <= MAX_REWARD:
        raise ConfigError(f"the cost must be a finite number within ±{MAX_REWARD:g}, not {rest[1][:50]}")
    return Tells(values, rest[0], cost)


class Sessions:
    """Which decisions wait for an update, by what the update will say. Bounded: the oldest are forgotten."""

    def __init__(self, most: int = MAX_WAITING, wait_ns: int = WAIT_NS) -> None:
        self._most = most
        self._wait_ns = wait_ns
        self._waiting: OrderedDict[Session, deque[tuple[int, str]]] = OrderedDict()
        self._told: OrderedDict[Session, tuple[int, str, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._told)

    def decided(self, session: Session, decision_id: str, now_ns: int) -> None:
        """A decision was made for a session."""
        self._waiting.setdefault(session, deque(maxlen=100)).append((now_ns, decision_id))
        self._waiting.move_to_end(session)
        while len(self._waiting) > self._most:
            self._waiting.popitem(last=False)

    def told(self, session: Session, cost: float, now_ns: int) -> str | None:
        """The decision that an update is about; the same one again when the same is said again. None: unknown."""
        waiting = self._waiting.get(session)
        while waiting:
            made_ns, decision_id = waiting.popleft()
            if not waiting:
                del self._waiting[session]
            if now_ns - made_ns <= self._wait_ns:
                self.joined(session, decision_id, cost, now_ns)
                return decision_id
        told_ns, decision_id, before = self._told.get(session, (0, "", math.nan))
        return decision_id if cost == before and now_ns - told_ns <= self._wait_ns else None

    def joined(self, session: Session, decision_id: str, cost: float, now_ns: int) -> None:
        """An update was about this decision."""
        self._told[session] = (now_ns, decision_id, cost)
        self._told.move_to_end(session)
        while len(self._told) > self._most:
            self._told.popitem(last=False)
