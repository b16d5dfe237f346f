"""Stand-in for Coral's nodes: loopback addresses that serve their access logs; writes the list of them, then runs a command.

    python nodes.py [--count 260] [--lines 200] vagus feed run coral.yaml --once

Each node answers GET /log with a combined log, a new one each time. Of each 20 nodes one refuses connections, one
answers 503, one has broken lines in its log.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from aiohttp import web

PAGES = ("/", "/videos/talk.mpg", "/papers/coral-nsdi04.pdf", "/images/logo.png", "/feed.xml")
AGENTS = ("Mozilla/5.0", "CoralWebPrx/0.1", "Wget/1.10")


def addresses(count: int) -> list[str]:
    """So many addresses of loopback."""
    return [f"127.20.{number // 250}.{number % 250 + 1}" for number in range(count)]


def refuses(number: int) -> bool:
    """Whether a node is down."""
    return number % 20 == 19


def log_of(number: int, time: int, lines: int) -> tuple[int, str]:
    """Status and body of a node's answer for the time-th request."""
    if number % 20 == 18:
        return 503, "busy\n"
    chance = random.Random(number * 1000 + time)
    rows = []
    for at in range(lines):
        status = chance.choices((200, 304, 404, 502), (90, 6, 3, 1 + 20 * (number % 20 == 16)))[0]
        size = str(chance.randrange(200, 60_000)) if status == 200 else "-"
        rows.append(
            f"10.{chance.randrange(256)}.{chance.randrange(256)}.7 - - [22/Nov/2026:{time % 24:02}:{at // 60 % 60:02}:{at % 60:02} +0000] "
            f'"GET {chance.choice(PAGES)} HTTP/1.1" {status} {size} "-" "{chance.choice(AGENTS)}"'
        )
    if number % 20 == 17:
        rows[lines // 2] = rows[lines // 2][:40]
        rows[lines // 3] = rows[lines // 3].replace('" 200', '" two hundred')
    return 200, "\n".join(rows) + "\n"


@contextlib.contextmanager
def serving(count: int = 260, lines: int = 200) -> Iterator[list[str]]:
    """Runs the nodes in a thread; gives host:port of each, those included that are down."""
    loop, over = asyncio.new_event_loop(), asyncio.Event()
    ready, hosts = threading.Event(), addresses(count)
    port = 0
    times: dict[str, int] = {}

    async def log(request: web.Request) -> web.Response:
        host = request.host.partition(":")[0]
        times[host] = times.get(host, -1) + 1
        status, text = log_of(hosts.index(host), times[host], lines)
        return web.Response(status=status, text=text)

    async def main() -> None:
        nonlocal port
        app = web.Application()
        app.router.add_get("/log", log)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        assert runner.server is not None
        first = await loop.create_server(runner.server, hosts[0], 0)
        port = first.sockets[0].getsockname()[1]
        up = [host for number, host in enumerate(hosts) if not refuses(number)]
        rest = await loop.create_server(runner.server, up[1:], port)
        ready.set()
        await over.wait()
        first.close()
        rest.close()
        await runner.cleanup()

    thread = threading.Thread(target=lambda: loop.run_until_complete(main()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield [f"{host}:{port}" for host in hosts]
    finally:
        loop.call_soon_threadsafe(over.set)
        thread.join()
        loop.close()


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=260)
    parser.add_argument("--lines", type=int, default=200, help="of each log")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("which command is to run?")
    with serving(given.count, given.lines) as nodes:
        Path("nodelist").write_text("".join(f"{node}\n" for node in ("# Coral's nodes", *nodes)))
        return subprocess.run(given.command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
