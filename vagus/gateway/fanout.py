"""One question to every node, and one answer from what came back; what did not is listed, never hidden."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from vagus.errors import ConfigError, NoData, PeerUnreachable, VagusError
from vagus.gateway.backend import Backend
from vagus.model import Inference, SensorInfo

log = logging.getLogger("vagus")
DEFECT = "a defect, see the gateway's log"
"""All that a reader is told of an error that nobody foresaw: its text may hold anything."""
_FORESEEN = (VagusError, asyncio.TimeoutError, TimeoutError)


class MissingNode(msgspec.Struct, frozen=True):
    """A node whose part of the answer is missing, and why."""

    node: str
    error: str


@dataclass(frozen=True)
class Gathered:
    """Answers by node, the nodes that did not answer, and the names of what the access rules left out."""

    parts: Mapping[str, Any]
    missing: tuple[MissingNode, ...] = field(default=())
    refused: tuple[str, ...] = field(default=())

    @property
    def partial(self) -> bool:
        """Whether any node's part is missing."""
        return bool(self.missing)


class Unanswered(PeerUnreachable):
    """No node answered. missing: which ones, and why."""

    def __init__(self, missing: Sequence[MissingNode]) -> None:
        super().__init__("no node answered: " + "; ".join(f"{m.node}: {m.error}" for m in missing)[:800])
        self.missing = tuple(missing)


async def gather(
    backend: Backend,
    method: str,
    args: tuple[Any, ...] | Callable[[str], tuple[Any, ...]],
    node: str,
    timeout_s: float,
    without: Container[str] = (),
    failed: Callable[[str], None] = lambda what: None,
) -> Gathered:
    """Asks `node` ("": every node that is not in `without`) and waits at most `timeout_s`.

    args: the same for all, or by node. failed: told of each defect that is a missing part here, with its detail.
    Raises ConfigError when the question is wrong, NoData for an unknown node, PeerUnreachable when nobody answered.
    """
    nodes = [name for name in _nodes(backend, node) if name not in without]
    if not nodes:
        raise PeerUnreachable("no node is left that answered before")
    args_of = args if callable(args) else lambda name: args
    tasks = {asyncio.ensure_future(_one(backend, name, method, args_of(name))): name for name in nodes}
    try:
        await asyncio.wait(tasks, timeout=timeout_s)
    finally:
        for task in tasks:
            task.cancel()  # no effect on those that are done
    parts: dict[str, Any] = {}
    missing = []
    for task, name in tasks.items():
        if not task.done() or task.cancelled():
            missing.append(MissingNode(name, f"no answer within {timeout_s:g} s"))
            continue
        error = task.exception()
        if error is None:
            parts[name] = task.result()
        elif isinstance(error, ConfigError) or (len(nodes) == 1 and not isinstance(error, PeerUnreachable)):
            raise error
        else:
            if not isinstance(error, _FORESEEN):
                log.error("a node failed", exc_info=error, extra={"node": name, "method": method})
                failed(f"{method} of {name}: {type(error).__name__}: {error}"[:300])
            missing.append(MissingNode(name, _why(error)))
    if not parts:
        raise Unanswered(missing)
    return Gathered(parts, tuple(missing))


def _why(error: BaseException) -> str:
    if isinstance(error, VagusError):
        return str(error)[:300]
    return "no answer in time" if isinstance(error, _FORESEEN) else DEFECT


def _nodes(backend: Backend, node: str) -> list[str]:
    known = sorted({backend.node, *backend.nodes()})
    if not node:
        return known
    if node not in known:
        raise NoData(f"there is no node {node[:80]!r}; known nodes: {', '.join(known)[:400]}")
    return [node]


async def _one(backend: Backend, node: str, method: str, args: tuple[Any, ...]) -> Any:
    if node == backend.node:
        return await getattr(backend, method)(*args)
    return await backend.ask(node, method, args)


def merge_inferences(parts: Iterable[Iterable[Inference]]) -> list[Inference]:
    """The newest inference of each subject, by subject; at equal times the more severe, then the better informed."""
    newest: dict[str, Inference] = {}
    for part in parts:
        for inference in part:
            known = newest.get(inference.subject)
            if known is None or _rank(inference) > _rank(known):
                newest[inference.subject] = inference
    return [newest[subject] for subject in sorted(newest)]


def _rank(inference: Inference) -> tuple[int, int, int, int]:
    return inference.t_ns, inference.status, len(inference.observers), len(inference.reports)


def merge_sensors(parts: Iterable[Iterable[SensorInfo]]) -> list[SensorInfo]:
    """All streams by key; one that two nodes know (a move, a shared feed) spans what either has."""
    merged: dict[str, SensorInfo] = {}
    for part in parts:
        for info in part:
            key = info.stream.key
            known = merged.get(key)
            merged[key] = info if known is None else _both(known, info)
    return [merged[key] for key in sorted(merged)]


def _both(one: SensorInfo, other: SensorInfo) -> SensorInfo:
    newer = one if one.last_ns >= other.last_ns else other
    return msgspec.structs.replace(
        newer,
        first_ns=min(one.first_ns, other.first_ns),
        samples=max(one.samples, other.samples),
        live=one.live or other.live,
        expires_ns=max(one.expires_ns, other.expires_ns),
    )


def merge_records(parts: Iterable[Iterable[Any]], limit: int) -> list[Any]:
    """The newest `limit` records of all nodes, newest first; a record that gossip brought to several counts once."""
    unique = {msgspec.msgpack.encode(record): record for part in parts for record in part}
    return sorted(unique.values(), key=time_of, reverse=True)[:limit]


def time_of(record: Any) -> int:
    """When a record happened: t_ns, or for an item of a feed when it arrived."""
    return int(getattr(record, "t_ns", 0) or getattr(record, "arrived_ns", 0))
