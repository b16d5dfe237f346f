"""The open-loop load on real sockets: whatever the server does, each request that was due is in the log."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from click.testing import CliRunner

import vagus
from vagus.cli import cli
from vagus.cli.openloop.__main__ import main
from vagus.cli.openloop.log import read_log
from vagus.cli.openloop.plan import Plan
from vagus.cli.openloop.process import Process
from vagus.cli.openloop.sender import Sender
from vagus.cli.openloop.windows import Window
from vagus.config import RequestSettings
from vagus.errors import VagusError

READ = RequestSettings(name="read", path="/home?user={user}", weight=3.0)
POST = RequestSettings(name="post", path="/post", method="POST", body='{"text": "{text}"}')
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[str]:
    """A real aiohttp server on a port of its own; its URL."""
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(application, shutdown_timeout=0.05)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def raw(answer: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server that says what it likes."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def good(request: web.Request) -> web.Response:
    return web.json_response({"ok": True})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A load of this process begins at once."""
    monkeypatch.setattr("vagus.cli.openloop.sender.LEAD_S", 0.005)


def plan(*urls: str, rates=(400.0,), run_s=0.1, **more: Any) -> Plan:
    return Plan(
        **{
            "name": "app",
            "requests": (READ, POST),
            "rates_hz": rates,
            "run_s": run_s,
            "users": 5,
            "every_s": 0.05,
            **more,
        },
        urls=urls,
    )


async def sent(plan: Plan, tell: Callable[[Window], None] = lambda window: None) -> Sender:
    sender = Sender(plan, tell)
    sender.endpoints.look()
    sender.begin()
    await sender.run()
    return sender


async def test_each_request_is_sent_once_as_planned():
    seen: list[tuple[str, str, str]] = []

    async def note(request: web.Request) -> web.Response:
        seen.append((request.method, str(request.rel_url), await request.text()))
        return web.json_response({"ok": True})

    windows: list[Window] = []
    async with serving(note) as url:
        sender = await sent(plan(url, seed=3), windows.append)
    tally = sender.tally
    assert len(seen) == len(tally.due_s) == len(tally.latency_s[np.isfinite(tally.latency_s)]) > 20
    assert not sender.failures
    reads = [path for method, path, _ in seen if method == "GET"]
    assert len(reads) == np.sum(tally.types == 0)
    assert {path.partition("=")[0] for path in reads} == {"/home?user"}
    assert all(json.loads(body)["text"].endswith(".") for method, _, body in seen if method == "POST")
    assert windows[-1].t_s == pytest.approx(0.1)
    assert windows[-1].rate_hz == pytest.approx(len(tally.due_s) / 0.1)
    assert np.all(tally.late_s >= 0)


async def test_a_server_that_stalls_shows_in_all_that_was_due_meanwhile():
    """Coordinated omission: a generator that waits for answers would show one slow request, or none."""
    gate = asyncio.Event()
    opened_s: list[float] = []

    async def stall(request: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response({"ok": True})

    before: list[Window] = []

    def look(window: Window) -> None:
        if not gate.is_set():
            before.append(window)
            if window.t_s >= 0.3:
                opened_s.append(sender.now())
                gate.set()

    async with serving(stall) as url:
        sender = Sender(plan(url, run_s=0.5, rates=(200.0,)), look)
        sender.begin()
        await sender.run()
    tally = sender.tally
    stalled = tally.due_s < opened_s[0]
    assert stalled.sum() > 30
    assert np.all(tally.latency_s[stalled] >= opened_s[0] - tally.due_s[stalled] - 1e-6), "from when each was due"
    assert np.median(tally.latency_s[stalled]) > 0.1
    assert before[-1].waiting == stalled[tally.due_s <= before[-1].t_s].sum(), "all of them wait"
    first_due_s = float(tally.due_s[0])
    for window in before[-2:]:
        assert window.p99_s == pytest.approx(window.t_s - first_due_s, abs=0.05), "windows count the age of who waits"


async def test_latency_counts_from_when_a_request_was_due_also_where_the_load_itself_was_late():
    held: list[tuple[float, float]] = []

    def hold(window: Window) -> None:
        if not held:
            begin = sender.now()
            time.sleep(0.15)  # the whole process stands still
            held.append((begin, sender.now()))

    async with serving(good) as url:
        sender = Sender(plan(url, run_s=0.4), hold)
        sender.begin()
        await sender.run()
    (begin, end), tally = held[0], sender.tally
    meanwhile = (tally.due_s > begin) & (tally.due_s < end)
    assert meanwhile.sum() > 10
    assert np.all(tally.late_s[meanwhile] >= end - tally.due_s[meanwhile] - 1e-6)
    assert np.all(tally.latency_s >= tally.late_s)


async def test_who_is_never_answered_is_given_up_and_failed():
    async def hang(request: web.Request) -> web.Response:
        await asyncio.sleep(60)
        return web.Response()

    async with serving(hang) as url:
        sender = await sent(plan(url, timeout_s=0.1))
    assert np.all(np.isinf(sender.tally.latency_s))
    assert sender.failures == {"time-out": len(sender.tally.due_s)}


@pytest.mark.parametrize(
    ("says", "why"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", "status 503"),
        (b"220 mail\r\n\r\n", "no HTTP answer"),
        (b"", "connection lost"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf", "connection lost"),
    ],
    ids=["overloaded", "garbage", "closes", "cut off"],
)
async def test_what_fails_is_counted_by_its_reason(says, why):
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(says)
        writer.close()

    async with raw(answer) as url:
        sender = await sent(plan(url, requests=(READ,)))
    assert sender.failures == {why: len(sender.tally.due_s)}
    assert np.all(np.isinf(sender.tally.latency_s))


async def test_an_answer_that_is_too_long_is_a_failure(monkeypatch):
    monkeypatch.setattr("vagus.cli.openloop.connection.MAX_ANSWER_BYTES", 1000)

    async def much(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 2000)

    async with serving(much) as url:
        sender = await sent(plan(url))
    assert sender.failures == {"the answer is too long": len(sender.tally.due_s)}


async def test_nobody_there_fails_at_once_and_says_so():
    async with serving(good) as url:
        pass
    sender = await sent(plan(url))
    (why,) = sender.failures
    assert why.startswith("cannot connect")
    assert sender.failures[why] == len(sender.tally.due_s)


async def test_what_goes_wrong_in_the_load_itself_ends_it_instead_of_leaving_it_hanging():
    def broken(window: Window) -> None:
        raise RuntimeError("no room")

    async with serving(good) as url:
        with pytest.raises(RuntimeError, match="no room"):
            await asyncio.wait_for(sent(plan(url), broken), 10)


async def test_requests_on_their_way_are_bounded_and_what_is_beyond_fails_at_once():
    gate = asyncio.Event()

    async def hang(request: web.Request) -> web.Response:
        await gate.wait()
        return web.json_response({})

    async with serving(hang) as url:
        sender = Sender(plan(url, max_open=5), lambda w: gate.set() if w.t_s >= 0.1 else None)
        sender.begin()
        await sender.run()
    assert sender.failures == {"too many on their way": len(sender.tally.due_s) - 5}
    assert np.isfinite(sender.tally.latency_s[:5]).all()


async def test_chunked_answers_closed_connections_and_stale_ones_are_no_failures():
    async def chunked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
        await writer.drain()
        try:
            await reader.readuntil(b"\r\n\r\n")  # the connection was kept: it is closed under the next request
        except asyncio.IncompleteReadError:
            pass
        writer.close()

    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    for answer in (chunked, closes):
        async with raw(answer) as url:
            sender = await sent(plan(url, requests=(READ,)))
        assert not sender.failures, answer
        assert np.isfinite(sender.tally.latency_s).all()


async def test_new_replicas_are_found_and_those_that_go_are_left(tmp_path: Path):
    counts = {"a": 0, "b": 0}

    def counting(name: str) -> Handler:
        async def count(request: web.Request) -> web.Response:
            counts[name] += 1
            return web.json_response({})

        return count

    def publish(*urls: str) -> None:
        part = tmp_path / "part"
        part.write_text(json.dumps({"web": urls}))
        part.replace(tmp_path / "endpoints.json")

    async with serving(counting("a")) as a, serving(counting("b")) as b:
        publish(a)
        alone: list[int] = []

        def scale(window: Window) -> None:
            if not alone and counts["a"] > 10:
                alone.append(counts["b"])
                publish(a, b)
            elif counts["b"] > 10:
                publish()
                if sender.failures["no replica"] > 10 and not sender.on_their_way:
                    sender.stop()

        file = str(tmp_path / "endpoints.json")
        sender = Sender(plan(endpoints=file, entry="web", rates=(200.0,) * 60, run_s=0.0), scale)
        sender.endpoints.look()
        sender.begin()
        await sender.run()
    assert alone == [0]
    assert counts["b"] > 10
    assert set(sender.failures) == {"no replica"}
    assert counts["a"] + counts["b"] + sender.failures["no replica"] == sender.sent


# --- the process ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(request: pytest.FixtureRequest) -> Any:
    """A server in a thread of its own."""
    loop, ready, urls = asyncio.new_event_loop(), threading.Event(), []
    stop = asyncio.Event()

    async def serve() -> None:
        async with serving(good) as url:
            urls.append(url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    yield urls[0]
    loop.call_soon_threadsafe(stop.set)
    thread.join(10)
    loop.close()


def test_a_process_tells_windows_and_leaves_its_log(server: str, tmp_path: Path):
    log = tmp_path / "l.npz"
    made = plan(server, run_s=0.2, warm_s=0.1, log=str(log), seed=2)
    with Process(made) as process:
        lines = list(process.lines())
    assert lines[0]["begun"]["begin_ns"] > 0
    windows = [line for line in lines if "t_s" in line]
    assert windows[0]["t_s"] == pytest.approx(-0.05)
    assert windows[-1]["t_s"] == pytest.approx(0.2)
    ended = lines[-1]["ended"]
    found = read_log(log)
    assert ended["requests"] == len(found.type) == lines[0]["begun"]["requests"]
    assert (ended["failed"], ended["unknown"], ended["interrupted"]) == (0, 0, False)
    assert found.plan == made
    assert found.scheduled_s[0] < 0 < found.scheduled_s[-1]


def test_a_process_that_is_ended_leaves_the_log_of_what_there_was(server: str, tmp_path: Path):
    log = tmp_path / "l.npz"
    with Process(plan(server, rates=(200.0,) * 60, run_s=0.0, log=str(log))) as process:
        lines = []
        for line in process.lines():
            lines.append(line)
            if line.get("t_s", 0.0) >= 0.1:
                process.stop()
    assert lines[-1]["ended"]["interrupted"]
    assert 0 < len(read_log(log).type) < lines[0]["begun"]["requests"]


def test_a_process_that_cannot_begin_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    assert main(str(tmp_path / "none.json")) == 1
    assert "cannot read the plan" in capfd.readouterr().err
    bad = RequestSettings(name="a", path="/{nobody}")
    with Process(plan("http://127.0.0.1:1", requests=(bad,))) as process, pytest.raises(VagusError, match="nobody"):
        list(process.lines())


def test_windows_go_to_vagus_when_the_plan_says_so(monkeypatch):
    from vagus.cli.openloop.__main__ import _sampler

    said: list[Any] = []
    monkeypatch.setattr(vagus, "sample", lambda kind, labels, **values: said.append((kind, labels, values)))
    window = Window(
        t_s=1.0,
        p50_s=0.1,
        p99_s=None,
        rate_hz=9.0,
        failed_ratio=0.0,
        waiting=1,
        types_hz={"read-home": 6.0, "post": 3.0},
    )
    _sampler(plan("http://h:1"))(window)
    values = {"p50_s": 0.1, "p99_s": None, "rate_hz": 9.0, "failed_ratio": 0.0, "read_home_hz": 6.0, "post_hz": 3.0}
    assert said == [("ingress", {"app": "app"}, values)]


# --- the command ---------------------------------------------------------------------------------------------------------

APP = """
name: shop
entry: web
users: 5
services: [{name: web, command: ["{python}"]}]
requests:
  - {name: read, path: "/home?user={user}", weight: 3}
  - {name: post, path: /post, method: POST, body: '{"text": "{text}"}'}
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    path = tmp_path / "app.yaml"
    path.write_text(APP)
    return path


def run(*words: object) -> Any:
    return CliRunner().invoke(cli, ["experiment", "load", *map(str, words)])


def test_the_command_sends_and_says_how_it_was(server: str, app: Path, tmp_path: Path):
    log, trace = tmp_path / "l.npz", tmp_path / "t.txt"
    trace.write_text("3\n1\n")
    result = run(
        app, "--to", server, "--trace", trace, "--rate", 300, "--for", "0.2s", "--slo", "9s", "-o", log, "--json"
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["seconds"] == 0.2
    every = said["kinds"]["all"]
    assert (
        every["requests"]
        == said["kinds"]["read"]["requests"] + said["kinds"]["post"]["requests"]
        == len(read_log(log).type)
    )
    assert (every["failed"], every["violation_ratio"], said["interrupted"]) == (0, 0.0, False)
    assert 0 < every["p50_s"] <= every["p99_s"] < math.inf
    again = run(app, "--to", server, "--rate", 300, "--for", "0.1s", "--slo", "1s")
    assert again.exit_code == 0, again.output
    assert "over 1 s" in again.output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "give --to URL"),
        (["--url", "http://127.0.0.1:1"], "--url is the gateway of vagus"),
        (["--to", "http://127.0.0.1:1"], "cannot be reached"),
        (["--to", "http://192.0.2.1:1", "--allow", "--for", "0s"], "a load lasts"),
        (["--to", "http://8.8.8.8"], "neither of this machine nor of a private network"),
        (["--to", "ftp://x"], "is not http://"),
        (["--endpoints", "/nonexistent/endpoints.json"], "endpoints.json"),
        (["--to", "http://127.0.0.1:1", "-o", "log.csv"], "name it FILE.npz"),
        (["--to", "http://127.0.0.1:1", "--trace", "/nonexistent"], "cannot read /nonexistent"),
    ],
)
def test_the_command_refuses_with_a_reason(app: Path, words: list[str], told: str):
    result = run(app, *words)
    assert result.exit_code != 0
    assert told in " ".join(result.output.split())
