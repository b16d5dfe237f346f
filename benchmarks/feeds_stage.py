"""What the parts of benchmarks.feeds share: servers good and bad, the runner in a process of its own, processor time.

python -m benchmarks.feeds_stage serve|run|flat    are started by the parts
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import uvloop

from vagus.actors.feed_archive import FeedArchive
from vagus.actors.feed_runner import FeedRunner
from vagus.actors.feed_sources import FeedSources
from vagus.clock import Clock, SystemClock
from vagus.config import FeedSettings, SourceSettings, StoreSettings, seconds
from vagus.feeds.directives import Emit
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Feed, all_, base
from vagus.feeds.load import load_format
from vagus.feeds.schedule import Schedule
from vagus.feeds.when import every

ROOT = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
MAX_FETCHES = 2000

# 1.5 KB that both read: Prometheus' text without labels is also CoMon's form, a name and a value a line.
BODY = "".join(f"node_report_value_{n} {1000 + n * 1.25:.2f}\n" for n in range(100)).encode()
BODY = BODY[:1500].rpartition(b"\n")[0] + b"\n"
SAMPLES = BODY.count(b"\n")
FIELDS = {f"node_report_value_{n}": "float" for n in (3, 11, 24, 37, 48)}
FORMAT = {"format": "entries", "options": {"sep": " ", "fields": FIELDS}}


def cpu_s(pid: int) -> float:
    """Processor seconds of a process, all threads, user and kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


# --- servers ---------------------------------------------------------------------------------------------------------


class _Answer(asyncio.Protocol):
    """/ok: the body; /hang: nothing; /garbage: no HTTP; /endless: a body without end; /count: how many bodies."""

    bodies = 0
    answer = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
    )

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.endless = False

    def data_received(self, data: bytes) -> None:
        if data.startswith(b"GET /ok"):
            count = data.count(b"\r\n\r\n")
            _Answer.bodies += count
            self.transport.write(self.answer * count)
        elif data.startswith(b"GET /garbage"):
            self.transport.write(b"\x16\x03\x01 no HTTP at all\r\n\r\n")
        elif data.startswith(b"GET /endless"):
            self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")
            self.endless = True
            self.more()
        elif data.startswith(b"GET /count"):
            body = b"%d" % _Answer.bodies
            self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    def more(self) -> None:
        if self.endless and not self.transport.is_closing():
            self.transport.write(bytes(16384))
            asyncio.get_running_loop().call_later(0.01, self.more)

    def pause_writing(self) -> None:
        self.endless = False

    def resume_writing(self) -> None:
        self.endless = True
        self.more()


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Answer, "0.0.0.0", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Far:
    """The servers, a process of its own, at every address of 127/8."""

    def __init__(self, port: int) -> None:
        self.port = port

    def url(self, host: int, path: str = "ok") -> str:
        """The path at the host of this number."""
        return f"http://127.1.{host // 250}.{host % 250 + 1}:{self.port}/{path}"

    def bodies(self) -> int:
        """How many it has sent."""
        with urlopen(f"http://127.0.0.1:{self.port}/count", timeout=10.0) as answer:
            return int(answer.read())


def _many_files() -> None:
    """A thousand targets are more than a thousand open files."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(65536, hard), hard))


@contextmanager
def started(what: str, *args: str) -> Iterator[subprocess.Popen[str]]:
    """A mode of this module as a process, ended at the end."""
    command = [sys.executable, "-m", "benchmarks.feeds_stage", what, *args]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def line_of(process: subprocess.Popen[str], timeout_s: float = 60.0) -> str:
    """The next line that a process prints. Raises RuntimeError when it ends or says nothing."""
    assert process.stdout is not None
    if not select.select([process.stdout], [], [], timeout_s)[0]:
        raise RuntimeError(f"{process.args!r} said nothing within {timeout_s} s")
    line = process.stdout.readline()
    if not line:
        raise RuntimeError(f"{process.args!r} has ended")
    return line.strip()


@contextmanager
def serving() -> Iterator[Far]:
    """The servers."""
    with started("serve") as process:
        yield Far(int(line_of(process)))


# --- the runner ------------------------------------------------------------------------------------------------------


def feed(name: str, locations: Sequence[str], **more: Any) -> dict[str, Any]:
    """A base feed as JSON: what `running` makes one of."""
    return {"name": name, "locations": list(locations), **FORMAT, **more}


def declared(settings: Mapping[str, Any]) -> Feed[Any]:
    """The feed of such settings."""
    form = {key: settings[key] for key in ("format", "options")}
    fmt = load_format(FeedSettings(name="f", source=SourceSettings(all=("file:/",)), **form))
    when = every(settings["every"], timeout=settings["timeout"])
    return base(all_(*settings["locations"]), when, fmt, max_bytes=settings.get("max_bytes", 100_000))


def begins_ns(settings: Mapping[str, Any], location: str) -> int:
    """How long after each tick the fetch of a location begins: the hash of the schedule."""
    period_s = seconds(settings["every"])
    return Schedule(period_s=period_s, timeout_s=1.0).spread_ns(f"{settings['name']}\n{location}")


async def running(
    feeds: Sequence[Mapping[str, Any]], folder: str, emit: Callable[[Emit], None], clock: Clock | None = None
) -> tuple[FeedRunner, FeedArchive, Engine]:
    """Engine, runner and archive as the feed actor has them; not started."""
    clock = clock or SystemClock()

    def failed(where: str, error: BaseException) -> None:
        print(f"{where}: {type(error).__name__}: {error}", file=sys.stderr)

    archive = FeedArchive(folder, StoreSettings(), clock=clock, failed=failed)
    await archive.open()
    engine = Engine(
        {one["name"]: declared(one) for one in feeds}, now_ns=clock.time_ns(), last_due_ns=await archive.last_due()
    )
    runner = FeedRunner(
        engine, FeedSources(failed=failed), archive, emit=emit, failed=failed, clock=clock, max_fetches=MAX_FETCHES
    )
    return runner, archive, engine


async def _run(folder: str, text: str) -> None:
    """Until SIGTERM: runs the feeds; then prints, as JSON, figures and for each item [location, due, arrived, net].

    --keep: keeps the items for that. --tell: prints each as it comes, with the checksum of its bytes.
    """
    items: list[tuple[str, int, int, str]] = []
    kept, told = "--keep" in sys.argv, "--tell" in sys.argv
    bad = count = 0

    def emit(emit: Emit) -> None:
        nonlocal bad, count
        meta = emit.item.meta
        count += 1
        bad += meta.errors > 0
        if kept:
            items.append((meta.location, meta.due_ns, meta.arrived_ns, meta.net.value))
        if told and emit.raw is not None:
            print(json.dumps([meta.location, meta.due_ns, meta.net.value, zlib.crc32(emit.raw.body)]), flush=True)

    runner, archive, _ = await running(json.loads(text), folder, emit)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    runner.start()
    print("running", flush=True)
    await ended.wait()
    figures = runner.figures()
    await runner.finish()
    await archive.close()
    found = {**figures, "items_parsed_badly": bad, "items": count, "archived": archive.figures()["archived"]}
    print(json.dumps({"figures": found, "kept": items}), flush=True)


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Ends a runner in order; its figures, and its items where they were kept."""
    process.terminate()
    found: dict[str, Any] = json.loads(line_of(process))
    return found


async def _flat(folder: str, text: str, run_s: float) -> None:
    """Tick after tick on a clock turned by hand: what the processor can do. Prints fetches per processor second."""
    from vagus.clock import ManualClock

    count = 0

    def emit(emit: Emit) -> None:
        nonlocal count
        count += not emit.item.meta.errors and emit.item.value is not None

    clock = ManualClock()
    runner, archive, _ = await running(json.loads(text), folder, emit, clock)

    async def one_round() -> None:
        clock.advance(60.0)
        runner.tick()
        await runner.idle()

    await one_round()  # opens the connections
    count, began, until = 0, time.process_time(), time.monotonic() + run_s
    while time.monotonic() < until:
        await one_round()
    rate = count / (time.process_time() - began)
    fetches = runner.figures()["fetches"]
    await runner.stop()
    await archive.close()
    print(json.dumps({"rate": rate, "fetches": fetches, "archived": archive.figures()["archived"]}), flush=True)


def main() -> None:
    what, *args = sys.argv[1:]
    _many_files()
    if what == "serve":
        uvloop.run(_serve())
    elif what == "run":
        uvloop.run(_run(args[0], args[1]))
    elif what == "flat":
        uvloop.run(_flat(args[0], args[1], float(args[2])))


if __name__ == "__main__":
    main()
