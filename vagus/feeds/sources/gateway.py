"""This node's own gateway: `gateway:/healthz` is a path on it, asked for with the node's token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import msgspec

from vagus.errors import VagusError
from vagus.feeds import Fetched, Net
from vagus.feeds.sources.http_plain import HttpPlainSource

MAX_FILE_BYTES = 64 << 10
WAIT_S = 0.2  # between looks for a gateway that has yet to start


class _Endpoint(msgspec.Struct, frozen=True):
    url: str
    token_file: str = ""


class GatewaySource:
    """HTTP to the gateway at `url` with `token`, or as `find` or its endpoint file (JSON: url, token_file) says.

    These are asked at each fetch, since a gateway that comes back may have another port. find: url and token; raises
    VagusError.
    """

    def __init__(
        self,
        url: str = "",
        token: str = "",
        endpoint_file: str = "",
        find: Callable[[], tuple[str, str]] | None = None,
    ) -> None:
        self._find: Callable[[], tuple[str, str]]
        if url:
            self._find = lambda: (url, token)
        else:
            self._find = find or partial(_read_endpoint, Path(endpoint_file))
        self._endpoint = ("", "")
        self._http = HttpPlainSource()

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        """As HttpSource. Waits for a gateway that is not there yet (both start at once), then REFUSED."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                endpoint = self._find()
                break
            except (OSError, ValueError, VagusError) as error:
                if time.monotonic() + WAIT_S >= deadline:
                    return Fetched(Net.REFUSED, note=f"no gateway on this node yet: {error}"[:300])
            await asyncio.sleep(WAIT_S)
        timeout_s = max(0.001, deadline - time.monotonic())
        if endpoint != self._endpoint:
            url, token = endpoint
            fresh = HttpPlainSource(headers={url: {"Authorization": f"Bearer {token}"}} if token else None)
            before, self._http, self._endpoint = self._http, fresh, endpoint
            await before.close()
        return await self._http.fetch(self._url(location), timeout_s, max_bytes)

    def beside(self) -> GatewaySource:
        """As HttpSource."""
        return GatewaySource(find=self._find)

    def forget(self, location: str) -> None:
        """As HttpSource."""
        self._http.forget(self._url(location))

    def _url(self, location: str) -> str:
        return self._endpoint[0].rstrip("/") + "/" + location.partition(":")[2].lstrip("/")

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.close()


def _read_endpoint(path: Path) -> tuple[str, str]:
    with open(path, "rb") as file:
        endpoint = msgspec.json.decode(file.read(MAX_FILE_BYTES), type=_Endpoint)
    token = ""
    if endpoint.token_file:
        with open(path.parent / endpoint.token_file, "rb") as file:
            token = file.read(MAX_FILE_BYTES).decode("ascii").strip()
    return endpoint.url, token
