"""What GET /v1/overview sends, as records; what an older gateway does not send is empty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from vagus.errors import PeerUnreachable


class Missing(msgspec.Struct):
    """A node that did not answer, and why."""

    node: str
    error: str = ""


class Section(msgspec.Struct, kw_only=True):
    """What all sections say. error: why it is not newer; refused: names that the access rules keep from the reader."""

    missing: list[Missing] = []
    missing_count: int = 0
    error: str = ""
    refused: list[str] = []


class Signal(msgspec.Struct):
    """A number of each node. unit: ratio, bytes/s or none."""

    name: str
    title: str = ""
    unit: str = ""


class Hello(msgspec.Struct):
    """Who answers. points: how many columns of signals are kept."""

    node: str = ""
    cluster: str = ""
    points: int = 60
    signals: list[Signal] = []


class Signals(Section):
    """All columns: by node a line for each signal, oldest first."""

    t_ms: list[int] = []
    lines: dict[str, list[list[float | None]]] = {}


class Tick(Section):
    """The newest column: by node a value for each signal."""

    t_ms: int
    values: dict[str, list[float | None]] = {}


class Ill(msgspec.Struct):
    """An actor that is not healthy."""

    name: str
    state: str = ""
    error: str = ""


class Node(msgspec.Struct):
    """What a node says of itself."""

    node: str
    series: int = 0
    actors: int = 0
    restarts: int = 0
    ill: list[Ill] = []
    ill_count: int = 0
    errors: list[str] = []
    error_count: int = 0


class Lacking(msgspec.Struct):
    """What the cluster lacks, and what to do."""

    what: str
    why: str = ""
    todo: str = ""


class Nodes(Section):
    """All nodes that answered."""

    nodes: list[Node] = []
    lacking: list[Lacking] = []


class Context(msgspec.Struct):
    """The verdict in one context."""

    context: str
    status: str = ""
    score: float | None = None
    accusers: list[str] = []


class Cell(msgspec.Struct):
    """What one observer said last."""

    observer: str
    status: str = ""
    t_ms: int = 0


class Subject(msgspec.Struct):
    """A subject that is not healthy, with who says what."""

    subject: str
    status: str = ""
    t_ms: int = 0
    contexts: list[Context] = []
    cells: list[Cell] = []
    cells_left: int = 0


class Verdicts(Section):
    """The worst subjects first; counts by status."""

    counts: dict[str, int] = {}
    left_off: int = 0
    subjects: list[Subject] = []
    unshown: int = 0


class Feed(msgspec.Struct):
    """A feed at a node. codes: how often each outcome; failing: location and why."""

    name: str
    node: str = ""
    schedule: str = ""
    kind: str = ""
    locations: int = 0
    codes: dict[str, int] = {}
    failing: list[tuple[str, str]] = []
    failing_count: int = 0
    error: str = ""


class Feeds(Section):
    """Those that fail first."""

    feeds: list[Feed] = []
    left_off: int = 0


class Arm(msgspec.Struct):
    """An arm of a group."""

    arm: str
    drawn: int = 0
    probability: float | None = None
    mean: float | None = None


class Group(msgspec.Struct):
    """Decisions of a group. line: rewards, oldest first; note: why its leader said nothing."""

    group: str
    decisions: int = 0
    rewards: int = 0
    mean: float | None = None
    line: list[float | None] = []
    arms: list[Arm] = []
    policy: str = ""
    leader: str = ""
    regret: float | None = None
    note: str = ""


class Decisions(Section):
    """The groups with the newest decisions; known: how many there are."""

    groups: list[Group] = []
    known: int = 0


class Limit(msgspec.Struct):
    """A receipt: what a limit was, was asked to be, and is. dry: only said."""

    t_ms: int
    node: str = ""
    controller: str = ""
    target: str = ""
    resource: str = ""
    before: float | None = None
    requested: float | None = None
    after: float | None = None
    dry: bool = False
    reason: str = ""
    note: str = ""
    error: str = ""


class Limits(Section):
    """The newest first."""

    receipts: list[Limit] = []
    left_off: int = 0


TYPES: Mapping[str, Any] = {
    "hello": Hello,
    "signals": Signals,
    "tick": Tick,
    "nodes": Nodes,
    "verdicts": Verdicts,
    "feeds": Feeds,
    "decisions": Decisions,
    "limits": Limits,
}


def read(name: str, data: bytes) -> Any:
    """An event as its record; None for one that this version does not know. Raises PeerUnreachable."""
    if name not in TYPES:
        return None
    try:
        return msgspec.json.decode(data, type=TYPES[name])
    except (msgspec.DecodeError, ValueError) as error:
        raise PeerUnreachable(f"the gateway sent {name} in a form that cannot be read: {error}") from error
