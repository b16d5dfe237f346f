"""What the supervisor needs of Ray: nodes, named actors, starting and ending one. Its tests provide a small one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol, TypeVar

import ray
from ray.exceptions import RayError
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from vagus.actors.base import Seat
from vagus.errors import PeerUnreachable
from vagus.runtime.links import ActorGone, answer, find, mapped
from vagus.runtime.names import NAMESPACE
from vagus.runtime.shell import OPTIONS, PROBES, SHELLS

T = TypeVar("T")
HEAD_TIMEOUT_S = 10.0
LEFT = "nodes that left"


class Handle(Protocol):
    """One running actor."""

    async def ask(self, method: str, *args: Any, timeout_s: float) -> Any:
        """A method of its Shell. Raises ActorGone, PeerUnreachable, or the VagusError that the method raised."""

    def kill(self) -> None:
        """Ends its process at once; nothing happens when that is gone."""


class Engine(Protocol):
    """Where actors run. Every method raises PeerUnreachable when the head does not answer in time."""

    async def nodes(self) -> list[Mapping[str, Any]]:
        """Ray's table of nodes."""

    async def names(self) -> list[str]:
        """Names of the actors of vagus that there are."""

    async def find(self, name: str) -> Handle:
        """Raises ActorGone."""

    async def create(self, seat: Seat, node_id: str, nodes: Sequence[str]) -> Handle:
        """A new actor, pinned to a node. Raises PeerUnreachable: one of that name is there; it is ended."""

    async def left(self) -> set[str]:
        """The ids that `set_left` was given last, by whichever supervisor."""

    async def set_left(self, node_ids: Iterable[str]) -> None:
        """Keeps the ids of nodes that took their leave for as long as the supervisor's own name is kept."""


class RayEngine:
    """Ray itself. Its calls block while the head is gone, so they have threads of their own."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(4, "ask-head")

    async def _in_thread(self, what: str, work: Callable[[], T]) -> T:
        future = asyncio.get_running_loop().run_in_executor(self._threads, work)
        return await answer(future, f"Ray's head ({what})", HEAD_TIMEOUT_S)

    async def nodes(self) -> list[Mapping[str, Any]]:
        return await self._in_thread("list of nodes", ray.nodes)

    async def names(self) -> list[str]:
        listed = await self._in_thread("list of actors", lambda: ray.util.list_named_actors(all_namespaces=True))
        return [entry["name"] for entry in listed if entry["namespace"] == NAMESPACE]

    async def find(self, name: str) -> Handle:
        return RayHandle(name, await self._in_thread("look-up", lambda: find(name)))

    async def create(self, seat: Seat, node_id: str, nodes: Sequence[str]) -> Handle:
        options = {**OPTIONS, "name": seat.name, "namespace": NAMESPACE, "label_selector": {"ray.io/node-id": node_id}}

        def make() -> Any:
            remote: Any = ray.remote
            shell = remote(concurrency_groups=PROBES)(SHELLS[seat.role])
            return shell.options(**options).remote(seat, tuple(nodes))

        try:
            return RayHandle(seat.name, await self._in_thread("new actor", make))
        except ValueError as error:
            with contextlib.suppress(ActorGone):
                (await self.find(seat.name)).kill()
            raise PeerUnreachable(f"an earlier {seat.name} still had the name; it was ended") from error

    async def left(self) -> set[str]:
        def read() -> bytes | None:
            return _internal_kv_get(LEFT, namespace=NAMESPACE)

        return set(((await self._in_thread("nodes that left", read)) or b"").decode().split())

    async def set_left(self, node_ids: Iterable[str]) -> None:
        content = " ".join(sorted(node_ids))

        def write() -> bool:
            return _internal_kv_put(LEFT, content, namespace=NAMESPACE)

        await self._in_thread("nodes that left", write)


class RayHandle:
    """An actor of vagus in Ray."""

    def __init__(self, name: str, handle: Any) -> None:
        self._name = name
        self._handle = handle

    async def ask(self, method: str, *args: Any, timeout_s: float) -> Any:
        try:
            reference = getattr(self._handle, method).remote(*args)
        except RayError as error:
            raise mapped(error, self._name) from error
        return await answer(reference, f"{self._name}.{method}", timeout_s)

    def kill(self) -> None:
        with contextlib.suppress(RayError, ValueError):
            ray.kill(self._handle)
