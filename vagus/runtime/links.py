"""Calls between actors through Ray: handles are cached, so that what already runs goes on when the head is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import ray
from ray.exceptions import (
    ActorUnavailableError,
    ActorUnschedulableError,
    GetTimeoutError,
    RayActorError,
    RayError,
    RayTaskError,
)

from vagus.errors import PeerUnreachable, VagusError
from vagus.model import Target
from vagus.runtime.names import NAMESPACE

T = TypeVar("T")


class ActorGone(PeerUnreachable):
    """The actor's process has ended, or there is none of that name."""


class RayLinks:
    """`vagus.actors.Links` over Ray's named actors."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.known = nodes
        self._handles: dict[str, Any] = {}
        self._finding: dict[str, asyncio.Future[Any]] = {}
        # asking the head blocks while that is gone: in a thread that nothing else needs
        self._finder = ThreadPoolExecutor(1, "find-actor")

    def nodes(self) -> tuple[str, ...]:
        return self.known

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        """Calls `method` of the named actor. Raises PeerUnreachable, or the VagusError that the method raised."""
        handle = self._handles.get(actor)
        if handle is None:
            handle = self._handles[actor] = await self._find(actor, timeout_s)
        try:
            return await answer(handle.call.remote(method, *args), f"{actor}.{method}", timeout_s)
        except ActorGone:
            if self._handles.get(actor) is handle:  # a successor gets a handle of its own
                del self._handles[actor]
            raise

    async def process_of(self, target: Target) -> Target:
        """The process of a Ray actor on this node, anyone's. Raises ActuateError."""
        from vagus.runtime.processes import find_process

        return await asyncio.get_running_loop().run_in_executor(self._finder, find_process, target)

    async def _find(self, actor: str, timeout_s: float) -> Any:
        """The named actor's handle; one question at a time for each, however many ask."""
        finding = self._finding.get(actor)
        if finding is None:
            finding = asyncio.get_running_loop().run_in_executor(self._finder, find, actor)
            self._finding[actor] = finding
            finding.add_done_callback(
                lambda done: (self._finding.pop(actor, None), done.cancelled() or done.exception())
            )
        return await answer(asyncio.shield(finding), f"looking up {actor}", timeout_s)


def find(actor: str) -> Any:
    """The handle of a named actor of vagus; asks Ray's head and waits for it. Raises ActorGone."""
    try:
        return ray.get_actor(actor, namespace=NAMESPACE)
    except ValueError as error:
        raise ActorGone(f"{actor} is not there") from error


async def answer(reference: Awaitable[T], what: str, timeout_s: float) -> T:
    """Waits for a call's answer. Raises ActorGone, PeerUnreachable, or the VagusError that the method raised."""
    try:
        return await asyncio.wait_for(reference, timeout_s)
    except (asyncio.TimeoutError, TimeoutError) as error:
        raise PeerUnreachable(f"{what} did not answer within {timeout_s:g} s") from error
    except RayError as error:
        raise mapped(error, what) from error


def mapped(error: RayError, what: str) -> VagusError:
    """Ray's error as one of ours: the only place that knows which is which."""
    if isinstance(error, RayTaskError):
        if isinstance(error.cause, VagusError):
            return error.cause
        return PeerUnreachable(f"{what} failed: {type(error.cause).__name__}: {error.cause}"[:500])
    if isinstance(error, (RayActorError, ActorUnschedulableError)) and not isinstance(error, ActorUnavailableError):
        return ActorGone(f"{what}: {first_lines(error)}")
    if isinstance(error, GetTimeoutError):
        return PeerUnreachable(f"{what} did not answer in time")
    return PeerUnreachable(f"{what}: {first_lines(error)}")


def first_lines(error: BaseException) -> str:
    """The telling lines of one of Ray's long errors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if lines and "in its creation task" in lines[0]:  # a traceback follows, and at its end what was raised
        return f"it cannot start: {lines[-1].removeprefix('vagus.errors.')}"[:300]
    return f"{type(error).__name__}: {' '.join(lines[:2])}"[:300]
