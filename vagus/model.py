"""The records, in the order data flows: Stream, Sample, Event, Span, Report, Inference, Decision, Action, Receipt.

All are msgspec structs: immutable, typed, array-like on the wire (MessagePack). Decoding bytes from outside into
them checks types and sizes; a bad record raises `msgspec.ValidationError` there, `ConfigError` when built in Python.
Those that an observer or a learner holds by the hundred thousand are kept from the garbage collector (gc=False): nothing that they
refer to refers back, and looking through them would hold everything up for tens of milliseconds.
Times are `t_ns`: integer nanoseconds since the Unix epoch.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping
from typing import Any

import msgspec

from vagus.errors import ConfigError

Scalar = str | int | float | bool

DTYPES: Mapping[str, str] = {
    "f8": "float64",
    "f4": "float32",
    "i8": "int64",
    "i4": "int32",
    "u8": "uint64",
    "u4": "uint32",
}
MAX_NAME = 200
MAX_LABEL_VALUE = 500
MAX_LABELS = 30
MAX_FIELDS = 2000
MAX_DOUBT = 8
MIN_T_NS = 0
MAX_T_NS = 4_102_444_800 * 10**9  # year 2100: later times are mistakes of unit or of calendar

_KIND = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z0-9_]+)*\Z")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_FIELD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.forecast|\.mse)?\Z")


def check_name(what: str, value: str) -> str:
    """A non-empty printable name of at most 200 characters, else ConfigError."""
    if not value or len(value) > MAX_NAME or not value.isprintable():
        raise ConfigError(f"{what} must be 1 to {MAX_NAME} printable characters, got {value[:50]!r} ({len(value)})")
    return value


def check_time(t_ns: int) -> int:
    """Nanoseconds between 1970 and 2100, else ConfigError."""
    if not MIN_T_NS <= t_ns < MAX_T_NS:
        raise ConfigError(f"t_ns={t_ns} is not a time between 1970 and 2100 in nanoseconds since the epoch")
    return t_ns


# --- sense ---------------------------------------------------------------------------------------------------------


class Field(msgspec.Struct, frozen=True, array_like=True):
    """One typed number of a stream.

    name: `[A-Za-z_][A-Za-z0-9_]*`, with `.forecast` or `.mse` behind it for what is predicted of the field; unit: `s`, `bytes`, `ratio`, `1/s` …, empty for a plain count;
    dtype: one of f8 f4 i8 i4 u8 u4; counter: True when it only grows, except for resets.
    """

    name: str
    unit: str = ""
    dtype: str = "f8"
    counter: bool = False

    def __post_init__(self) -> None:
        if len(self.name) > MAX_NAME or not _FIELD.match(self.name):
            raise ConfigError(f"field name {self.name[:50]!r} is not [A-Za-z_][A-Za-z0-9_]*")
        if self.dtype not in DTYPES:
            raise ConfigError(f"field {self.name}: dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")


class Stream(msgspec.Struct, frozen=True, array_like=True):
    """What a sensor says it will send: on which node, of which dotted kind, with which fields and labels.

    Two streams with the same `key` (kind, node and labels) are the same stream.
    """

    node: str
    kind: str
    fields: tuple[Field, ...]
    labels: dict[str, str] = {}

    def __post_init__(self) -> None:
        check_name("node", self.node)
        if len(self.kind) > MAX_NAME or not _KIND.match(self.kind):
            raise ConfigError(f"stream kind {self.kind[:50]!r} is not dotted words such as 'host.cpu'")
        if not 1 <= len(self.fields) <= MAX_FIELDS:
            raise ConfigError(f"stream {self.kind} has {len(self.fields)} fields; 1 to {MAX_FIELDS} are allowed")
        if len({f.name for f in self.fields}) != len(self.fields):
            raise ConfigError(f"stream {self.kind} names a field twice")
        if len(self.labels) > MAX_LABELS:
            raise ConfigError(f"stream {self.kind} has {len(self.labels)} labels; at most {MAX_LABELS} are allowed")
        for label, value in self.labels.items():
            if not _LABEL.match(label) or label == "node" or len(value) > MAX_LABEL_VALUE:
                raise ConfigError(
                    f"stream {self.kind}: label {label[:50]!r} is malformed, reserved, or its value too long"
                )

    @property
    def key(self) -> str:
        """The identity as text, e.g. `net.link{dev="eth0",node="a"}`; labels sorted, values quoted."""
        return self.kind + labels_text({**self.labels, "node": self.node})

    def series(self, field: str) -> str:
        """The name of one series, e.g. `net.link.rx_bytes{dev="eth0",node="a"}`."""
        return f"{self.kind}.{field}" + labels_text({**self.labels, "node": self.node})

    def __hash__(self) -> int:
        return hash((self.kind, self.node, tuple(sorted(self.labels.items()))))


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels as `{a="x",b="y"}`, sorted; backslash, quote and newline escaped as in the Prometheus text format."""
    quoted = (f'{k}="{escape_label(v)}"' for k, v in sorted(labels.items()))
    return "{" + ",".join(quoted) + "}"


def escape_label(value: str) -> str:
    """A label value with backslash, quote and newline escaped."""
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One reading of a stream: as many values as it has fields, in their order; NaN where a float is missing."""

    stream: Stream
    t_ns: int
    values: tuple[float | int, ...]


class Level(str, enum.Enum):
    """Levels of events, syslog's spelling reduced to five."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    FATAL = "fatal"


class Event(msgspec.Struct, frozen=True, array_like=True):
    """Something that happened: a dotted name, typed fields (NetLogger's events, but typed)."""

    t_ns: int
    event: str
    node: str
    level: Level = Level.INFO
    source: str = ""
    fields: dict[str, Scalar] = {}

    def __post_init__(self) -> None:
        check_time(self.t_ns)
        check_name("event", self.event)


class Kind(str, enum.Enum):
    """OpenTelemetry's kinds of span."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class Span(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One operation of one request in one component, as OpenTelemetry's.

    trace_id, span_id: 32 and 16 hexadecimal digits in lower case (W3C trace context), or any text of a file; parent_id:
    empty for the first of a request. service: service.name; component: the instance that did it (pod, container, host),
    the service where unknown. follows: it does not hold its parent up (Jaeger's FOLLOWS_FROM, a link).
    """

    trace_id: str
    span_id: str
    parent_id: str
    service: str
    component: str
    operation: str
    start_ns: int
    end_ns: int
    kind: Kind = Kind.INTERNAL
    error: bool = False
    follows: bool = False
    node: str = ""  # whose gateway took it
    attributes: dict[str, Scalar] = {}

    def __post_init__(self) -> None:
        check_time(self.start_ns)
        check_time(self.end_ns)
        if self.end_ns < self.start_ns:
            raise ConfigError(f"span {self.span_id[:40]!r} of {self.operation[:40]!r} ends before it starts")
        for what, value in (("trace id", self.trace_id), ("span id", self.span_id), ("operation", self.operation)):
            check_name(what, value)

    @property
    def duration_ns(self) -> int:
        return self.end_ns - self.start_ns


class Net(str, enum.Enum):
    """Network code of an item: how the fetch went."""

    OK = "ok"
    NOT_MODIFIED = "not_modified"
    TIMEOUT = "timeout"
    REFUSED = "refused"
    STATUS = "status"  # an HTTP error status or a non-zero exit
    TOO_LARGE = "too_large"
    FAILED = "failed"
    MISSED = "missed"  # not fetched at all: the previous run was still going, or backing off; the note says which


class Data(str, enum.Enum):
    """Data code of a parse, PADS' own: the worst of its parts."""

    GOOD = "Good"
    MAYBE = "Maybe"
    NESTED = "Nested"
    SYNTAX = "Syntax"
    SEMANTIC = "Semantic"
    NONE = "None"  # nothing to parse


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """Names one item: the feed that fetched it, where, for which tick, and which part of what came."""

    feed: str
    location: str
    due_ns: int
    part: str = ""


class Meta(msgspec.Struct, frozen=True, array_like=True):
    """Of each item of a feed: which feed and location, when it was due and when it arrived, how fetch and parse went.

    part: which element of a flattened value, such as `3` or `3.0`; provenance: the items that it was made from, or
    whose content said that it should be fetched.
    """

    feed: str
    location: str
    due_ns: int
    arrived_ns: int
    net: Net
    data: Data = Data.NONE
    errors: int = 0
    size_bytes: int = 0
    note: str = ""
    started_ns: int = 0
    part: str = ""
    provenance: tuple[Origin, ...] = ()

    @property
    def origin(self) -> Origin:
        """What names this item."""
        return Origin(self.feed, self.location, self.due_ns, self.part)


class Page(msgspec.Struct, frozen=True, array_like=True):
    """A part of a subscription to one node: items, each with the position after it; `after` is that of the page.

    A position is text that only the node understands; asking again with it goes on exactly there.
    """

    items: tuple[tuple[str, Sample | Event], ...]
    after: str
    gap: str = ""  # why something may be missing here, or come twice; empty: nothing does
    behind: bool = False  # more can be had at once
    live: bool = True  # the past is done
    reached: bool = False  # what was asked for as the end: all before it is done, and nothing after it


# --- infer ---------------------------------------------------------------------------------------------------------


class Status(enum.IntEnum):
    """Panorama's statuses, in order of severity."""

    INVALID = 0
    NA = 1
    HEALTHY = 2
    PENDING = 3
    MAYBE_UNHEALTHY = 4
    UNHEALTHY = 5
    DYING = 6
    DEAD = 7

    def __str__(self) -> str:
        return self.name

    @classmethod
    def parse(cls, text: str) -> Status:
        """A status from its name in any case, or its client letter: n h p m u d dd. Raises ConfigError."""
        found = _LETTERS.get(text.lower()) or cls.__members__.get(text.upper())
        if found is None:
            known = ", ".join(map(str, _LETTERS.values()))  # not INVALID, which only decoding needs
            raise ConfigError(f"status {text[:50]!r} is not one of {known} or {' '.join(_LETTERS)}")
        return found


_LETTERS = {
    "n": Status.NA,
    "h": Status.HEALTHY,
    "p": Status.PENDING,
    "m": Status.MAYBE_UNHEALTHY,
    "u": Status.UNHEALTHY,
    "d": Status.DYING,
    "dd": Status.DEAD,
}


class Metric(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One context of an observation: a status and a finite score (what it counts is the observer's choice)."""

    status: Status
    score: float = 0.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.score):
            raise ConfigError(f"score must be a finite number, got {self.score}")


class Report(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What one observer says of one subject: a metric for each context. Panorama's report.

    origin and seq name the copy for gossip: the node that accepted it and its counter there (0: not yet accepted).
    ttl_ns: for how long it counts (0: as long as the store says). doubt: how unwell whoever saw it was at that
    moment, Lifeguard's local health multiplier: 0 well, up to 8; a strategy may weigh it by 1 / (1 + doubt).
    """

    observer: str
    subject: str
    t_ns: int
    contexts: dict[str, Metric]
    origin: str = ""
    seq: int = 0
    ttl_ns: int = 0
    doubt: int = 0

    def __post_init__(self) -> None:
        check_name("observer", self.observer)
        check_name("subject", self.subject)
        check_time(self.t_ns)
        if not 1 <= len(self.contexts) <= 100:
            raise ConfigError(
                f"a report needs 1 to 100 contexts, this one on {self.subject!r} has {len(self.contexts)}"
            )
        for context in self.contexts:
            check_name("context", context)
        if not (0 <= self.ttl_ns < MAX_T_NS and 0 <= self.doubt <= MAX_DOUBT):
            raise ConfigError(
                f"the report on {self.subject!r}: ttl_ns={self.ttl_ns} must be 0 or nanoseconds, "
                f"doubt={self.doubt} a number from 0 to {MAX_DOUBT}"
            )


class Verdict(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The inferred state of one context: status, score, and the observers who accuse (anything worse than PENDING)."""

    status: Status
    score: float
    accusers: tuple[str, ...] = ()


class Inference(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The verdict on a subject: its worst context's status, every context, and the reports behind it."""

    subject: str
    t_ns: int
    status: Status
    contexts: dict[str, Verdict]
    observers: tuple[str, ...]
    strategy: str = "paper"
    reports: tuple[Report, ...] = ()


# --- decide --------------------------------------------------------------------------------------------------------


class Decision(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One answer of the decision service, with the exact probability with which that arm was drawn."""

    decision_id: str
    t_ns: int
    group: str
    arm: str
    propensity: float
    version: int
    arms: tuple[str, ...] = ()
    features: dict[str, Scalar] = {}


class Reward(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The outcome of a decision: any finite number, larger is better."""

    decision_id: str
    t_ns: int
    reward: float
    group: str = ""
    arm: str = ""


class Logged(msgspec.Struct, frozen=True, array_like=True):
    """A decision of the log with what became of it; reward None: nothing yet, or it never came."""

    decision_id: str
    t_ns: int
    group: str
    arm: str
    propensity: float
    version: int
    reward: float | None = None
    reward_t_ns: int = 0
    arms: tuple[str, ...] = ()
    features: dict[str, Scalar] = {}


# --- act -----------------------------------------------------------------------------------------------------------


class Target(msgspec.Struct, frozen=True, array_like=True):
    """What is steered, named by what it is: `cgroup:vagus/web`, `systemd:nginx.service`, `container:ID`,
    `pod:NAMESPACE/NAME`, `ray:ACTOR`, `pid:4711`, `resctrl:GROUP`, `net:DEVICE/CLASS`, `tunable:SERVICE`,
    `replicas:SERVICE`."""

    kind: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Target:
        """`kind:name`, e.g. `cgroup:vagus/web`. Raises ConfigError."""
        kind, colon, name = text.partition(":")
        if not (kind and colon and name) or len(text) > 4096:
            raise ConfigError(f"target {text[:80]!r} is not kind:name, such as cgroup:vagus/web or pid:4711")
        return cls(kind, name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


class Action(msgspec.Struct, frozen=True, array_like=True):
    """What a controller wants: this resource of this target at this value (None: no limit), and why."""

    target: Target
    resource: str  # cpu_cores, memory_bytes, io_read_bytes_s, llc_ways, net_bytes_s … : the unit is in the name
    value: float | None
    reason: str = ""
    confidence: float = 1.0  # of the policy in this, 0 to 1: the guard holds what it may not trust


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """What became of an action: before, requested, after; dry when nothing was written; error when refused.

    note says what the guard changed or why it held; error is empty on success.
    """

    t_ns: int
    node: str
    controller: str
    actuator: str
    target: Target
    resource: str
    before: float | None
    requested: float | None
    after: float | None
    dry: bool
    reason: str = ""
    note: str = ""
    error: str = ""


class ControlState(msgspec.Struct, frozen=True, array_like=True):
    """What a controller saw at its last step, and what is in force after it. NaN: not known, or no limit.

    t_ns: of that step, 0: there was none; rung: of its ladder (trust, hold, rule, restore); targets: the signals of each,
    none where it cannot be read; bounds: lowest and highest limit by resource; vectors: of each target that can be read,
    what a learned policy is given (`policies/control_state`); steerable: whether its policy takes actions from outside.
    """

    node: str
    controller: str
    policy: str
    steerable: bool
    t_ns: int
    period_s: float
    armed: bool
    rung: str
    targets: dict[str, dict[str, float]]
    objective: dict[str, float]
    limits: dict[str, dict[str, float]]
    bounds: dict[str, tuple[float, float]]
    vectors: dict[str, list[float]]


class Acted(msgspec.Struct, frozen=True, array_like=True):
    """The answer to actions from outside. done: whether the step that took them is over, `t_ns`, with its receipts of
    these limits; a limit without a receipt was already as wished. limits: in force, of these targets."""

    node: str
    controller: str
    accepted: int
    done: bool
    t_ns: int
    armed: bool
    rung: str
    receipts: tuple[Receipt, ...]
    limits: dict[str, dict[str, float]]


Directive = Action | Report | Event
"""What a controller's step may ask for."""


def to_builtins(record: Any) -> Any:
    """A record as JSON-ready builtins: structs become objects by field name, enums their names."""
    if isinstance(record, msgspec.Struct):
        if isinstance(record, Target):
            return str(record)
        return {name: to_builtins(getattr(record, name)) for name in record.__struct_fields__}
    if isinstance(record, Status):
        return record.name
    if isinstance(record, enum.Enum):
        return record.value
    if isinstance(record, dict):
        return {str(k): to_builtins(v) for k, v in record.items()}
    if isinstance(record, (list, tuple)):
        return [to_builtins(v) for v in record]
    if isinstance(record, float) and not math.isfinite(record):
        return None
    return record


# --- what vagus says of itself ---------------------------------------------------------------------------------------


class Ack(str, enum.Enum):
    """An observer's answer to a report: kept, not of interest here, or refused."""

    ACCEPTED = "ACCEPTED"
    IGNORED = "IGNORED"
    FAILED = "FAILED"


class Outlook(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a field at present: its value, the next one's prediction, the mean squared error of late."""

    field: str
    value: float
    forecast: float
    mse: float
    trend: str = ""  # rising, falling, steady, oscillating, level_shift; empty: not yet known


class SensorInfo(msgspec.Struct, frozen=True, array_like=True):
    """A stream in the directory: what it is and which time span of it is stored; live while samples arrive.

    The entry is soft state: a live one that is not renewed expires at `expires_ns` and is history from then on.
    """

    stream: Stream
    first_ns: int
    last_ns: int
    samples: int
    live: bool = False
    expires_ns: int = 0  # 0: history, there is no lease
    source: str = ""  # who sends it: a collector's name, or the principal of an application
    online: str = ""  # where it can be subscribed to: the URL of the node's gateway; empty: nowhere
    outlook: tuple[Outlook, ...] = ()  # of its fields, while live


class DirectoryEntry(msgspec.Struct, frozen=True, array_like=True):
    """Anything that can be discovered: a stream, or what an actor offers. Soft state, as SensorInfo is."""

    type: str  # stream, gateway, observer, feed, policy, actuator
    name: str
    node: str
    labels: dict[str, str] = {}  # of what is no stream: the actor behind it, and what it is set to
    live: bool = False
    state: str = ""  # of the actor behind it
    since_ns: int = 0
    last_ns: int = 0  # the last sign of life; of what has ended, when that was noticed
    expires_ns: int = 0  # 0: history, there is no lease
    online: str = ""  # the URL of the gateway to subscribe at, or to ask
    note: str = ""  # why it ended


class ActorStatus(msgspec.Struct, frozen=True, array_like=True):
    """What an actor says of itself, or the supervisor of one that does not answer."""

    name: str  # vagus:collector@NODE
    role: str
    node: str
    state: str  # STARTING HEALTHY UNHEALTHY DRAINING DRAINED
    pid: int = 0
    since_ns: int = 0
    restarts: int = 0
    errors: int = 0
    last_error: str = ""
    figures: dict[str, float] = {}  # e.g. series, ticks, cpu_s, rss_bytes: names carry units
    notes: tuple[str, ...] = ()  # lines for people: what an armed actuator would do, what happened


class FeedStatus(msgspec.Struct, frozen=True, array_like=True):
    """What a node's feed actor says of one declared feed: its own share, where the locations are spread over nodes."""

    name: str
    node: str
    kind: str = ""  # source, pair, union …: what it is made by
    schedule: str = ""  # every 5m, once
    shape: str = ""  # of its values, such as {load1: float [1], disks: list of record}
    tools: tuple[str, ...] = ()
    locations: int = 0  # that this node fetches for it
    codes: dict[str, int] = {}  # items since the start by net and data code, such as ok/Good
    next_due_ns: int = 0  # 0: nothing more is due
    failing: dict[str, str] = {}  # locations whose newest fetch failed, and why; at most 20
    failing_count: int = 0
    error: str = ""  # why it does not run


class Missing(msgspec.Struct, frozen=True, array_like=True):
    """Something that there should be, as `expected` in vagus.yaml has it, and that is not there or not well."""

    what: str  # its subject: node:NAME, that of a service, an actor; `nodes`: some, whose names nobody knows
    kind: str  # node service actor
    why: str  # missing dead unhealthy crash-looping
    since_ns: int
    node: str = ""
    error: str = ""  # what is known of it
    todo: str = ""


class NodeStatus(msgspec.Struct, frozen=True, array_like=True):
    """One node's part of `vagus status`."""

    node: str
    t_ns: int
    actors: tuple[ActorStatus, ...] = ()
    series: int = 0
    inferences: int = 0
    unhealthy: tuple[str, ...] = ()
    errors: tuple[str, ...] = ()
    receipts: tuple[Receipt, ...] = ()
    decisions: int = 0
    gateway: str = ""
    missing: tuple[Missing, ...] = ()  # of the whole cluster, as this node sees it
