"""`vagus.span`: what becomes of nesting, errors, headers, sampling, forks and floods; and both of aiohttp's ends."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend, serving

import vagus
from vagus.client import tracer as tracer_module
from vagus.client.aiohttp_server import trace_middleware
from vagus.client.aiohttp_trace import trace_config
from vagus.client.answers import NotTaken
from vagus.client.endpoint import Endpoint
from vagus.client.span import span
from vagus.client.span_otlp import request_of
from vagus.client.trace_context import TraceContext
from vagus.client.tracer import Tracer, rejected_of
from vagus.client.transport import SpanPost
from vagus.clock import SystemClock
from vagus.errors import ConfigError, PeerUnreachable
from vagus.inputs import otlp
from vagus.inputs.otlp import Rejects
from vagus.inputs.otlp_traces import read_traces
from vagus.model import Kind, Span


class Kept:
    """A tracer whose spans stay here."""

    def __init__(self, **settings: Any) -> None:
        self.spans: list[Span] = []
        self.tracer = Tracer(self.spans.extend, **settings)

    def all(self) -> dict[str, Span]:
        assert self.tracer.flush(10)
        return {s.operation: s for s in self.spans}


@pytest.fixture
def kept():
    return Kept()


REMOTE = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True, "vendor=x")


def test_the_public_names():
    assert vagus.span is span
    assert vagus.continue_from({"Traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-00"}).sampled is False
    assert vagus.trace_middleware is trace_middleware


def test_spans_nest_inherit_and_carry_what_came(kept):
    begun_ns = SystemClock().time_ns()
    with span("in", service="web", component="web-1", kind="server", parent=REMOTE, tracer=kept.tracer, n=1):
        assert vagus.trace_headers()["tracestate"] == "vendor=x"
        with span("read", tracer=kept.tracer) as read:
            read.note(rows=3)
            assert vagus.trace_headers()["traceparent"] == f"00-{REMOTE.trace_id}-{read.context.span_id}-01"
        with span("other", service="cart", tracer=kept.tracer, kind="client"):
            pass
    assert vagus.current_trace() is None
    assert vagus.trace_headers() == {}
    spans = kept.all()
    outer, inner = spans["in"], spans["read"]
    assert (outer.trace_id, outer.parent_id, outer.kind) == (REMOTE.trace_id, REMOTE.span_id, Kind.SERVER)
    assert (inner.parent_id, inner.service, inner.component) == (outer.span_id, "web", "web-1")
    assert (spans["other"].service, spans["other"].component) == ("cart", f"cart@{os.uname().nodename}")
    assert (outer.attributes, inner.attributes) == ({"n": 1}, {"rows": 3})
    assert begun_ns <= outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns


def test_errors_but_not_cancellations_and_failures_without_one(kept):
    with pytest.raises(KeyError), span("raises", tracer=kept.tracer):
        raise KeyError("x")
    with pytest.raises(asyncio.CancelledError), span("cancelled", tracer=kept.tracer):
        raise asyncio.CancelledError
    with span("says", tracer=kept.tracer) as says:
        says.fail("too late")
    spans = kept.all()
    assert (spans["raises"].error, spans["raises"].attributes["exception.type"]) == (True, "KeyError")
    assert spans["cancelled"].error is False
    assert (spans["says"].error, spans["says"].attributes) == (True, {"otel.status_description": "too late"})


async def test_decorators_of_both_kinds_and_tasks_at_once(kept):
    @span("inner", tracer=kept.tracer)
    async def inner(n: int) -> int:
        await asyncio.sleep(0)
        assert vagus.current_trace() is not None
        return n

    @span("plain", tracer=kept.tracer)
    def plain() -> None:
        """Said here."""

    with span("outer", tracer=kept.tracer):
        assert await asyncio.gather(*(inner(n) for n in range(3))) == [0, 1, 2]
    plain()
    assert plain.__doc__ == "Said here."
    assert kept.tracer.flush(10)
    outer = kept.all()["outer"]
    assert [s.parent_id for s in kept.spans if s.operation == "inner"] == [outer.span_id] * 3
    assert len({s.span_id for s in kept.spans}) == 5
    assert kept.all()["plain"].trace_id != outer.trace_id


async def test_a_task_that_outlives_its_span_stays_in_the_trace(kept):
    go = asyncio.Event()

    async def later() -> None:
        await go.wait()
        with span("later", tracer=kept.tracer, follows=True):
            pass

    with span("outer", tracer=kept.tracer):
        task = asyncio.create_task(later())
    go.set()
    await task
    spans = kept.all()
    assert (spans["later"].parent_id, spans["later"].follows) == (spans["outer"].span_id, True)


def test_a_generator_that_ends_after_what_it_ran_in_leaves_no_span_behind(kept):
    def rows():
        with span("rows", tracer=kept.tracer):
            yield 1

    with span("request", tracer=kept.tracer):
        made = rows()
        next(made)
    assert vagus.current_trace() is None
    made.close()
    assert vagus.current_trace() is None


async def test_an_asynchronous_generator_that_is_left_leaves_no_span_behind(kept):
    closed = asyncio.Event()

    async def rows():
        try:
            with span("rows", tracer=kept.tracer):
                yield 1
        finally:
            closed.set()

    async with span("request", tracer=kept.tracer) as request:
        async for _row in rows():
            break
        await closed.wait()  # by the loop, in a task of its own
        assert vagus.current_trace() == request.context
    assert vagus.current_trace() is None


def test_a_thread_is_told_its_parent(kept):
    def work(parent: TraceContext | None) -> None:
        with span("there", parent=parent, tracer=kept.tracer):
            pass

    with span("here", tracer=kept.tracer):
        thread = threading.Thread(target=work, args=(vagus.current_trace(),))
        thread.start()
        thread.join()
    assert kept.all()["there"].parent_id == kept.all()["here"].span_id


def test_sampling_is_by_trace_and_the_callers_word_holds(kept):
    kept.tracer.ratio = 0.25
    for _ in range(2000):
        with span("root", tracer=kept.tracer):
            sampled = vagus.current_trace().sampled
            with span("child", tracer=kept.tracer) as child:
                assert child.context.sampled is sampled
    assert kept.tracer.flush(10)
    roots = {s.trace_id for s in kept.spans if s.operation == "root"}
    assert len(kept.spans) == 2 * len(roots)
    assert 380 < len(roots) < 630  # mean 500, deviation 19
    assert all(int(t[16:], 16) < 2**62 for t in roots)
    kept.spans.clear()
    kept.tracer.ratio = 0.0
    with span("recorded", parent=REMOTE, tracer=kept.tracer):
        pass
    with span("not", parent=REMOTE._replace(sampled=False), tracer=kept.tracer):
        assert vagus.trace_headers()["traceparent"].endswith("-00")
    assert list(kept.all()) == ["recorded"]


@pytest.mark.parametrize("ratio", [-0.1, 1.1, "0.5", None])
def test_a_ratio_that_is_none(ratio):
    with pytest.raises(ConfigError, match="from 0 to 1"):
        vagus.trace_ratio(ratio)


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")


def test_nothing_raises_into_the_program(kept):
    with span(Hostile(), service=Hostile(), component=b"\xff", kind="odd", parent="x", tracer=kept.tracer, a=Hostile()):
        pass
    with span("", tracer=kept.tracer, big=1 << 80, text="x" * 9999, none=None) as left:
        pass
    left.end()
    left.__exit__(None, None, None)
    assert kept.tracer.flush(10)
    odd, empty = kept.spans
    assert (odd.operation, odd.service, odd.kind, odd.attributes) == (
        "Hostile",
        "Hostile",
        Kind.INTERNAL,
        {"a": "Hostile"},
    )
    assert (empty.operation, empty.attributes) == ("?", {"big": str(1 << 80), "text": "x" * 500})


def test_what_nobody_takes_is_bounded_and_counted(monkeypatch):
    monkeypatch.setattr(tracer_module, "QUEUE", 10)
    hold, entered = threading.Event(), threading.Event()

    def hangs(spans: Any) -> None:
        entered.set()
        hold.wait(10)
        raise PeerUnreachable("away")

    made = Tracer(hangs)
    with span("first", tracer=made):
        pass
    assert entered.wait(10)
    for _ in range(25):
        with span("more", tracer=made):
            pass
    hold.set()
    assert made.flush(10)
    counts = made.counts()
    assert (counts["sent"], counts["dropped"]) == (0, 16)  # 15 of the queue, then the first as the oldest
    assert "away" in made.last_error
    taken: list[Span] = []
    made._send = taken.extend
    assert made.flush(10)
    assert (len(taken), made.counts()["sent"]) == (10, 10)


def test_what_is_refused_is_not_sent_again(kept):
    def refuses(spans: Any) -> None:
        raise NotTaken(1, "no")

    kept.tracer._send = refuses
    with span("x", tracer=kept.tracer):
        pass
    assert kept.tracer.flush(10)
    assert kept.tracer.counts() == {"sent": 0, "dropped": 1, "failed": 1}
    assert rejected_of(b'{"partialSuccess":{"rejectedSpans":"3","errorMessage":"why"}}') == (3, "why")
    assert rejected_of(b"{}") == rejected_of(b"no") == rejected_of(b"[]") == (0, "")


def test_what_is_written_is_what_the_gateway_reads(kept):
    with span("outer", service="web", kind="server", tracer=kept.tracer):
        with span("fails", tracer=kept.tracer, ok=True, ratio=0.5, nan=float("nan"), n=-3) as fails:
            fails.fail("why")
        with span("later", tracer=kept.tracer, follows=True):
            pass
    with span("consumed", parent=REMOTE, kind="consumer", follows=True, service="web", tracer=kept.tracer):
        pass
    assert kept.tracer.flush(10)
    import msgspec

    rejects = Rejects()
    body = msgspec.json.encode(request_of(kept.spans))
    found = read_traces(otlp.decode(body, False, "traces"), "", rejects)
    wanted = {s.span_id: s for s in kept.spans}
    for read in found:
        sent = wanted[read.span_id]
        assert msgspec.structs.replace(read, attributes={}) == msgspec.structs.replace(sent, attributes={})
        assert {**read.attributes, "nan": 0} == {**sent.attributes, "nan": 0}
    assert (len(found), rejects.count) == (4, 0)


def test_to_a_real_gateway_and_again_after_it_was_away():
    backend = MemoryBackend(())
    backend.now_ns = SystemClock().time_ns()
    with serving(backend, clock=SystemClock()) as served:
        where = [Endpoint("http://127.0.0.1:1", TOKEN)]
        made = Tracer(SpanPost(lambda: where[0]).send)
        with span("early", service="web", tracer=made):
            pass
        assert made.flush(10)
        assert made.counts() == {"sent": 0, "dropped": 0, "failed": 1}
        where[0] = Endpoint(served.url, TOKEN)
        for n in range(1200):
            with span("op", service="web" if n else "vagus web", tracer=made):
                pass
        assert made.flush(10)
        assert made.counts()["sent"] == 1201, made.last_error
        assert [s.operation for s in backend.spans_of["a"]].count("op") == 1200
        backend.now_ns -= 7200 * 10**9  # the gateway finds them to be of the future
        with span("late", service="web", tracer=made):
            pass
        assert made.flush(10)
        assert (made.counts()["dropped"], made.counts()["sent"]) == (1, 1201)
        assert "one hour ahead" in made.last_error


ENDS = """
import os, vagus
import vagus.client.background
vagus.client.background.EXIT_S = 20.0  # a busy machine is not what is tested
with vagus.span("outer", service="prog"):
    if os.fork() == 0:
        with vagus.span("child"):
            pass
        vagus.client.tracer.TRACER.close()
        os._exit(0)
    os.wait()
"""


def test_a_program_that_ends_and_its_forked_child_leave_nothing_behind():
    backend = MemoryBackend(())
    backend.now_ns = SystemClock().time_ns() + 3600 * 10**9
    with serving(backend, clock=SystemClock()) as served:
        environment = {"VAGUS_URL": served.url, "VAGUS_TOKEN": TOKEN, "PATH": "/usr/bin:/bin"}
        subprocess.run([sys.executable, "-c", ENDS], check=True, env=environment, timeout=30)
        child, outer = sorted(backend.spans_of["a"], key=lambda s: s.operation)
        assert (child.parent_id, child.trace_id, child.service) == (outer.span_id, outer.trace_id, "prog")


# --- aiohttp ---------------------------------------------------------------------------------------------------------


@pytest.fixture
async def server(kept):
    async def answer(request: web.Request) -> web.Response:
        if request.match_info["what"] == "boom":
            raise RuntimeError("boom")
        if request.match_info["what"] == "gone":
            raise web.HTTPNotFound
        if request.match_info["what"] == "to":
            raise web.HTTPFound("/at/end")
        if request.match_info["what"] == "500":
            return web.Response(status=500)
        return web.Response(text=request.headers.get("traceparent", ""))

    app = web.Application(middlewares=[trace_middleware("cart", tracer=kept.tracer)])
    app.router.add_get("/at/{what}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}/at"
    await runner.cleanup()


async def test_both_ends_make_one_trace(kept, server):
    async with aiohttp.ClientSession(trace_configs=[trace_config(tracer=kept.tracer)]) as client:
        async with client.get(f"{server}/alone") as response:
            assert await response.text() == "", "outside of a span nothing is sent along"
        with span("outer", service="web", tracer=kept.tracer):
            async with client.get(f"{server}/x", headers={"Traceparent": "mine"}) as response:
                carried = await response.text()
            for what in ("500", "gone", "boom", "to"):
                async with client.get(f"{server}/{what}"):
                    pass
    assert kept.tracer.flush(10)
    outer = kept.all()["outer"]
    clients = [s for s in kept.spans if s.kind is Kind.CLIENT]
    servers = [s for s in kept.spans if s.kind is Kind.SERVER and s.trace_id == outer.trace_id]
    assert {s.parent_id for s in clients} == {outer.span_id}
    assert [s.error for s in clients] == [False, True, False, True, False]
    assert [s.service for s in clients] == ["web"] * 5
    assert [(s.operation, s.service, s.error) for s in servers] == [
        ("GET /at/{what}", "cart", error) for error in (False, True, False, True, False, False)
    ]
    assert [s.parent_id for s in servers[:4]] == [s.span_id for s in clients[:4]]
    assert {s.parent_id for s in servers[4:]} == {clients[4].span_id}, "a span over all hops of a redirect"
    assert carried.split("-")[2] == clients[0].span_id
    assert servers[2].attributes == {"http.status_code": 404}


async def test_a_server_that_is_not_there_is_a_failed_span(kept):
    async with aiohttp.ClientSession(trace_configs=[trace_config(tracer=kept.tracer)]) as client:
        with span("outer", service="web", tracer=kept.tracer), pytest.raises(aiohttp.ClientError):
            await client.get("http://127.0.0.1:1/")
    (found,) = [s for s in (kept.all(), kept.spans)[1] if s.kind is Kind.CLIENT]
    assert found.error
    assert found.attributes["exception.type"] == "ClientConnectorError"
