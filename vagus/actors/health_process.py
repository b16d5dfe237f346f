"""The process around HealthServers: names resolved, signals, systemd told, memory logged; ends when told to."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from vagus.actors.datagrams import Address, resolve
from vagus.actors.health_server import LOOPBACK, SPARE_PORTS, HealthServer
from vagus.actors.heap import return_large_blocks, settle
from vagus.config import seconds
from vagus.errors import ConfigError
from vagus.health.instances import Instance

log = logging.getLogger("vagus")
RESOLVE_EVERY_S = 10.0
ENDED_BY = (signal.SIGTERM, signal.SIGINT)


class Ready(NamedTuple):
    """Where a server listens. unresolved: peers whose names mean nothing yet; they are looked up again."""

    node: str
    url: str
    gossip: Address
    peers: tuple[str, ...]
    unresolved: tuple[str, ...]


async def serve(home: Path, instances: Sequence[Instance], ready: Callable[[Ready], None]) -> None:
    """Serves health of one or several observers until SIGTERM or SIGINT; `ready` is told where each listens.

    An instance's own address says where it hears gossip, and on which loopback port it answers HTTP (on that very
    address when it is a loopback one). Without one: its configuration's ports of 127.0.0.1. Raises ConfigError,
    StoreError.
    """
    return_large_blocks()
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in ENDED_BY:
        loop.add_signal_handler(number, ended.set)
    async with AsyncExitStack() as stack:
        for instance in instances:
            ready(await stack.enter_async_context(_served(home, instance)))
        settle()
        tell_systemd("READY=1")
        await ended.wait()
        tell_systemd("STOPPING=1")


@asynccontextmanager
async def _served(home: Path, instance: Instance) -> AsyncIterator[Ready]:
    node, config = instance.node, instance.config
    known, unresolved = await _resolved({name: where for name, where in instance.peers.items() if name != node})
    own = instance.peers.get(node)
    gossip = await resolve(*own) if own else (LOOPBACK, config.health.port)
    http = gossip[0] if ipaddress.ip_address(gossip[0]).is_loopback else LOOPBACK
    server = HealthServer(home, node, config, known, gossip, http_host=http, spare_ports=0 if own else SPARE_PORTS)
    url = await server.start()
    tasks = [asyncio.ensure_future(_resolve_again(server, known, unresolved))] if unresolved else []
    if every_s := seconds(config.health.serve.memory):
        tasks.append(asyncio.ensure_future(_log_memory(server, every_s)))
    try:
        yield Ready(node, url, await server.address(), tuple(sorted(known)), tuple(sorted(unresolved)))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.stop()


async def _resolved(peers: Mapping[str, Address]) -> tuple[dict[str, Address], dict[str, Address]]:
    """Peers by numeric address, and those whose names do not resolve: one machine that is away stops no other."""

    async def one(where: Address) -> Address | None:
        try:
            return await resolve(*where)
        except ConfigError:
            return None

    found = dict(zip(peers, await asyncio.gather(*map(one, peers.values())), strict=True))
    known = {name: where for name, where in found.items() if where is not None}
    return known, {name: where for name, where in peers.items() if name not in known}


async def _resolve_again(server: HealthServer, known: dict[str, Address], unresolved: dict[str, Address]) -> None:
    while unresolved:
        await asyncio.sleep(RESOLVE_EVERY_S)
        found, unresolved = await _resolved(unresolved)
        if found and server.observer is not None:
            known.update(found)
            await server.observer.set_peers(known)
            log.info("peers resolved", extra={"peers": sorted(found)})


async def _log_memory(server: HealthServer, every_s: float) -> None:
    """Panorama's DumpMemUsage: a line of the log, again and again."""
    while server.observer is not None:
        about = await server.observer.about()
        log.info("memory", extra={"node": about["node"], "memory_bytes": about["memory_bytes"], **about["counts"]})
        await asyncio.sleep(every_s)


def tell_systemd(state: str) -> None:
    """sd_notify(3): a datagram to the socket that systemd names, if it started this process."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect("\0" + path[1:] if path.startswith("@") else path)
            sock.send(state.encode())
        except OSError as error:
            log.warning("systemd cannot be told", extra={"state": state, "error": str(error)})
