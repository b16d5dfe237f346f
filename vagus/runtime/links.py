"""Calls between actors through Ray: handles are cached, so that what already runs goes on when the head is gone."""

from __future__ import annotations

import asyncio
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RayTaskError

from vagus.errors import PeerUnreachable, VagusError
from vagus.runtime.names import NAMESPACE


class RayLinks:
    """`vagus.actors.Links` over Ray's named actors."""

    def __init__(self, nodes: tuple[str, ...]) -> None:
        self.known = nodes
        self._handles: dict[str, Any] = {}

    def nodes(self) -> tuple[str, ...]:
        return self.known

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        """Calls `method` of the named actor. Raises PeerUnreachable, or the VagusError that the method raised."""
        try:
            handle = self._handles.get(actor)
            if handle is None:
                # asks the head, and blocks while that is gone: off the loop, with a time limit
                handle = await asyncio.wait_for(asyncio.to_thread(ray.get_actor, actor, namespace=NAMESPACE), timeout_s)
                self._handles[actor] = handle
            return await asyncio.wait_for(handle.call.remote(method, *args), timeout_s)
        except RayTaskError as error:
            cause = error.cause
            if isinstance(cause, VagusError):
                raise cause from None
            raise PeerUnreachable(f"{actor}.{method} failed: {cause!r}") from error
        except (asyncio.TimeoutError, TimeoutError, GetTimeoutError) as error:
            raise PeerUnreachable(f"{actor} did not answer {method!r} within {timeout_s} s") from error
        except (RayError, ValueError) as error:
            self._handles.pop(actor, None)
            raise PeerUnreachable(f"{actor} is not there: {str(error).splitlines()[0]}") from error
