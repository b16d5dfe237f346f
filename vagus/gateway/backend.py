"""What the gateway needs of the node that it serves. The collector actor provides it; tests provide a small one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vagus.access import Principal
from vagus.controllers.decide.table import DecisionTable
from vagus.controllers.localise import Ranking
from vagus.gateway.path import Trace
from vagus.gateway.traces import Found, TraceQuestion
from vagus.inputs.admission import Taken
from vagus.model import (
    Ack,
    Acted,
    Action,
    ControlState,
    Decision,
    DirectoryEntry,
    Event,
    FeedStatus,
    Inference,
    Logged,
    NodeStatus,
    Page,
    Report,
    Reward,
    Sample,
    SensorInfo,
    Span,
)
from vagus.store import Batch

FANNED = (
    "query",
    "sensors",
    "directory",
    "path",
    "inferences",
    "status",
    "records",
    "decision_log",
    "latest",
    "follow",
    "observer",
    "feeds",
    "feed_items",
    "traces",
    "spans",
    "controllers",
    "control_state",
    "control_act",
)
"""Methods that are asked of every node: the gateway merges the answers."""
OBSERVER_METHODS = (
    "report",
    "register",
    "unregister",
    "handles",
    "panorama",
    "panoramas",
    "matrix",
    "subjects",
    "watch",
    "unwatch",
    "about",
)
"""What the gateway asks of a node's observer."""


class Backend(Protocol):
    """One node. Methods named in FANNED answer for this node only; `ask` calls one of them on any node."""

    node: str
    cluster: str

    def nodes(self) -> Sequence[str]:
        """Every node of the cluster that is known, this one included."""

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        """`method` of FANNED on another node. Raises PeerUnreachable."""

    async def take(self, who: Principal, samples: Sequence[Sample], events: Sequence[Event]) -> Taken:
        """Stores what `who` sends, as far as it is admitted. ACCEPTED means committed: it survives kill -9."""

    async def take_spans(self, who: Principal, spans: Sequence[Span]) -> Taken:
        """The same of spans; access rules call one `span.SERVICE`."""

    async def report(self, reports: Sequence[Report]) -> list[Ack]:
        """Hands reports to the node's observer. ACCEPTED means that they survive kill -9."""

    async def observer(self, method: str, args: tuple[Any, ...]) -> Any:
        """One of OBSERVER_METHODS of the node's observer. Raises VagusError for another, PeerUnreachable."""

    async def query(self, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Batch]:
        """Samples in [start_ns, end_ns); at most `limit` newest ticks of each stream (0: all)."""

    async def sensors(self, selector: str) -> list[SensorInfo]: ...

    async def directory(self, history: bool) -> list[DirectoryEntry]:
        """What the node's actors offer; with `history` also what has ended."""

    async def path(self, target: str, history: bool) -> Trace:
        """The route from this node to an address. Raises ConfigError."""

    async def inferences(self, subject: str) -> list[Inference]:
        """All inferences without their reports ("" as subject), or one with them (empty list: unknown)."""

    async def records(
        self,
        kind: str,
        start_ns: int,
        end_ns: int,
        limit: int,
        event: str = "",
        where: Sequence[str] = (),
        level: str = "",
    ) -> list[Any]:
        """Newest first; kind is event, receipt, decision, reward, report or item (the Meta of a feed's item).

        event, where, level: of events alone; see store/events.py. Raises ConfigError when they are malformed.
        """

    async def traces(self, asked: TraceQuestion) -> Found:
        """The newest traces with a stored span that the question means."""

    async def spans(self, traces: Sequence[str], most: int) -> list[Span]:
        """Stored spans of these traces, trace by trace, at most `most`."""

    async def rankings(self, since_ns: int, limit: int) -> list[Ranking]:
        """The latest ranking of suspects of slow requests, then those kept since `since_ns`, newest first.

        Raises NoData where nothing localises, PeerUnreachable.
        """

    async def controllers(self) -> list[str]:
        """The names of the node's controllers."""

    async def control_state(self, controller: str, after_ns: int, wait_s: float) -> ControlState:
        """What one of them saw at its last step; with `wait_s` waits for another step than that of `after_ns`.

        Raises NoData, PeerUnreachable.
        """

    async def control_act(self, controller: str, actions: Sequence[Action], wait_s: float) -> Acted:
        """Limits for its next step; with `wait_s` waits for that. Raises ConfigError, NoData, PeerUnreachable."""

    async def decision_log(self, start_ns: int, end_ns: int, limit: int, group: str | None) -> list[Logged]:
        """Decisions logged here, newest first, each with its reward; group: None: of all."""

    async def status(self) -> NodeStatus: ...

    async def latest(self, selectors: Sequence[str]) -> list[Sample]:
        """The newest sample of each live stream that any of the selectors selects, narrowed."""

    async def follow(self, selector: str, events: str, after: str, since_ns: int, until: str, wait_s: float) -> Page:
        """The items after a position; "": from now on, or with `since_ns` the past first. Waits for a first one.

        selector: of samples; events: glob patterns of names; until: a position at which to stop, and what counts as
        now. Asking again with the `after` of a page goes on exactly there, also after a restart.
        """

    async def feeds(self) -> list[FeedStatus]:
        """What the node's feed actor says of each feed; empty on a node that fetches none."""

    async def feed_items(self, feed: str, limit: int, start_ns: int, end_ns: int) -> list[tuple[int, bytes]] | None:
        """The newest items of a feed, oldest first: when each arrived, and itself as JSON. None: no such feed here.

        With `end_ns` those of [start_ns, end_ns), parsed again from the archive; else those still in memory.
        """

    def refused(self, event: Event) -> None:
        """Stores that somebody was refused; never blocks."""

    table: DecisionTable

    def decided(self, decision: Decision) -> None:
        """Logs a decision, in batches; never blocks."""

    async def explain(self, group: str) -> Mapping[str, Any]:
        """What the group's leader knows: policy, options, leader, epoch, rewards, and arms: a list of objects with arm,
        probability and what the policy says (mean, evidence, ...). Raises NoData for an unknown one, PeerUnreachable.
        """

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]:
        """Outcomes of decisions, on their way to the learner: ACCEPTED again for the same
        reward, IGNORED for another one than before, FAILED for an unknown decision."""
