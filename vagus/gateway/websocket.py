"""Subscriptions over one WebSocket: several at once, in JSON (text) or MessagePack (binary), past to present.

A browser cannot send an Authorization header: it offers the protocols `vagus` and `bearer.TOKEN` instead. A token in
the address is not taken, since addresses are logged.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import msgpack
import msgspec
from aiohttp import WSCloseCode, WSMsgType, web
from msgspec import Meta

from vagus.errors import VagusError
from vagus.gateway.errors import ErrorDetail, Problem, problem_of
from vagus.gateway.forms import Chunk
from vagus.gateway.params import NoParams, params_of
from vagus.gateway.reader import Reader
from vagus.gateway.route import Route, Site
from vagus.gateway.routes_subscribe import STALL_S, SubscribeParams, open_reader, release

MAX_MESSAGE_BYTES = 64 << 10
MAX_SUBSCRIPTIONS = 32  # of one socket
MAX_ERRORS = 20  # then the other side is taken to be broken
PING_S = 20.0
PROTOCOL = "vagus"

Id = Annotated[int, Meta(ge=0, le=1 << 53)]


class Subscribe(SubscribeParams, frozen=True, kw_only=True):
    """Begins a subscription under a number of the sender's choice; the rest as GET /v1/tail."""

    op: Literal["subscribe"]
    id: Id


class Unsubscribe(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Ends one."""

    op: Literal["unsubscribe"]
    id: Id


class _Op(msgspec.Struct):
    op: Literal["subscribe", "unsubscribe"]


async def websocket(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Subscriptions over a WebSocket (101): send `{"op": "subscribe", "id": 1, …}` with what GET /v1/tail takes.

    Answers name the id: `{"id", "op": "items", "items": […]}`, `"op": "notice"` with what GET /v1/tail tells between
    items, `"op": "ended"`, `"op": "error"`. Text frames are JSON, binary ones MessagePack, as the subscription was.
    """
    params_of(request, NoParams)
    site.check_origin(request)
    socket = web.WebSocketResponse(
        protocols=(PROTOCOL,), max_msg_size=MAX_MESSAGE_BYTES, heartbeat=PING_S, compress=False, timeout=2.0
    )
    if request.method != "GET" or not socket.can_prepare(request):
        problem = Problem(426, "upgrade", "this is a WebSocket", "header Upgrade", "connect with ws://, version 13")
        problem.headers["Upgrade"] = "websocket"
        raise problem
    await socket.prepare(request)
    await _Session(site, request, socket).run()
    return socket


class _Session:
    """One socket."""

    def __init__(self, site: Site, request: web.BaseRequest, socket: web.WebSocketResponse) -> None:
        self._site = site
        self._request = request
        self._socket = socket
        self._pours: dict[int, tuple[Reader, asyncio.Task[None]]] = {}
        self._errors = 0
        self._abort: Callable[[], object] = request.transport.abort if request.transport is not None else lambda: None

    async def run(self) -> None:
        """Until either side closes."""
        self._site.sockets.add(self.close)
        try:
            async for message in self._socket:
                if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                    break
                packed = message.type is WSMsgType.BINARY
                try:
                    await self._do(_decode(message.data, packed), packed)
                except (Problem, VagusError) as error:
                    await self._refuse(error, packed)
                if self._errors >= MAX_ERRORS:
                    await self._socket.close(code=WSCloseCode.POLICY_VIOLATION, message=b"too many errors")
        except ConnectionError:
            pass  # the other side went away
        finally:
            self._site.sockets.discard(self.close)
            tasks = [task for _, task in self._pours.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """The gateway ends."""
        closing = self._socket.close(code=WSCloseCode.GOING_AWAY, message=b"the gateway ends")
        self._closing = asyncio.ensure_future(closing)

    async def _do(self, asked: Subscribe | Unsubscribe, packed: bool) -> None:
        if isinstance(asked, Unsubscribe):
            known = self._pours.get(asked.id)
            if known is None:
                raise Problem(404, "no_data", f"there is no subscription {asked.id}", "id")
            known[1].cancel()
            await asyncio.gather(known[1], return_exceptions=True)
            await self._send({"id": asked.id, "op": "ended"}, packed)
            return
        if asked.id in self._pours:
            raise Problem(422, "invalid", f"subscription {asked.id} is there already", "id", "choose another number")
        if len(self._pours) >= MAX_SUBSCRIPTIONS:
            raise Problem(429, "busy", f"{MAX_SUBSCRIPTIONS} subscriptions are open on this socket", "id")
        reader = open_reader(self._site, self._request, asked, "msgpack" if packed else "array")
        pour = asyncio.ensure_future(self._pour(asked.id, reader, packed))
        self._pours[asked.id] = (reader, pour)

    async def _pour(self, number: int, reader: Reader, packed: bool) -> None:
        try:
            await self._send({"id": number, "op": "subscribed"}, packed)
            known: set[str] = set()
            beaten = False
            while True:
                start = reader.positions()
                if beaten or start.keys() - known:
                    known |= start.keys()
                    await self._send({"id": number, "op": "notice", "at": start}, packed)
                chunks, lost = reader.take()
                if lost:
                    await self._send({"id": number, "op": "notice", "dropped": lost}, packed)
                for chunk in chunks:
                    if chunk.notice is not None:
                        await self._send({"id": number, "op": "notice", **chunk.notice}, packed)
                    else:
                        await self._write(_items(number, chunk, packed), packed)
                if reader.error is not None:
                    raise reader.error
                if reader.closed:
                    await self._send({"id": number, "op": "ended"}, packed)
                    return
                beaten = not await reader.wait()
        except ConnectionError:
            pass  # the socket's own loop sees it
        except (Problem, VagusError) as error:
            await self._refuse(error, packed, number)
        finally:
            self._pours.pop(number, None)
            release(self._site, reader)

    async def _refuse(self, error: Exception, packed: bool, number: int | None = None) -> None:
        self._errors += 1
        problem = problem_of(error)
        detail = problem.detail if problem is not None else ErrorDetail("failed", str(error)[:500])
        await self._send({"id": number, "op": "error", "error": detail}, packed)

    async def _send(self, about: Mapping[str, object], packed: bool) -> None:
        encode = msgspec.msgpack.encode if packed else msgspec.json.encode
        await self._write(encode(about), packed)

    async def _write(self, content: bytes, packed: bool) -> None:
        stalled = asyncio.get_running_loop().call_later(STALL_S, self._abort)  # one that stands still is let go
        try:
            await self._socket.send_frame(content, WSMsgType.BINARY if packed else WSMsgType.TEXT)
        finally:
            stalled.cancel()


def _items(number: int, chunk: Chunk, packed: bool) -> bytes:
    """The message around what was encoded once for all."""
    if not packed:
        return b'{"id":%d,"op":"items","items":[%b]}' % (number, chunk.data)
    pack = msgspec.msgpack.encode
    head = b"\x83" + pack("id") + pack(number) + pack("op") + pack("items") + pack("items")
    return head + struct.pack(">BI", 0xDD, chunk.items) + chunk.data


def _decode(content: Any, packed: bool) -> Subscribe | Unsubscribe:
    """A message as what it asks for. Raises Problem."""
    try:
        raw = msgpack.unpackb(content, max_ext_len=0) if packed else msgspec.json.decode(content)
        if msgspec.convert(raw, _Op).op == "subscribe":
            return msgspec.convert(raw, Subscribe)
        return msgspec.convert(raw, Unsubscribe)
    except (ValueError, RecursionError, msgspec.DecodeError) as error:
        hint = 'send {"op": "subscribe", "id": 1, "selector": "host.*"} or {"op": "unsubscribe", "id": 1}'
        raise Problem(422, "invalid", str(error)[:300] or type(error).__name__, "message", hint) from error


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/ws", websocket, "Subscriptions over a WebSocket", query=NoParams, errors=(403, 426, 429)),
)
