"""gRPC interceptors, sync and asyncio, all four shapes, against a real server on loopback."""

import asyncio
import sys
import threading
import time
from concurrent import futures
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client.grpc_calls import grpc_aio_interceptors, grpc_interceptors
from vagus.client.subjects import Subjects

grpc = pytest.importorskip("grpc", reason="grpcio is not installed")

UNARY, STREAM = "/test.Echo/Unary", "/test.Echo/Stream"
GATHER, BOTH = "/test.Echo/Gather", "/test.Echo/Both"


class Handler(grpc.GenericRpcHandler):
    def service(self, details):
        return {
            UNARY: grpc.unary_unary_rpc_method_handler(self._unary),
            STREAM: grpc.unary_stream_rpc_method_handler(self._stream),
            GATHER: grpc.stream_unary_rpc_method_handler(self._gather),
            BOTH: grpc.stream_stream_rpc_method_handler(self._both),
        }.get(details.method)

    def _fail(self, request, context):
        if request == b"hang":
            over = threading.Event()
            if context.add_callback(over.set):
                over.wait(20)
        if request.startswith(b"!"):
            context.abort(grpc.StatusCode[request[1:].decode()], "told to")

    def _unary(self, request, context):
        self._fail(request, context)
        return request

    def _stream(self, request, context):
        yield b"1"
        self._fail(request, context)
        yield b"2"

    def _gather(self, requests, context):
        return self._unary(b"".join(requests), context)

    def _both(self, requests, context):
        for request in requests:
            self._fail(request, context)
            yield request


@pytest.fixture(scope="module")
def address():
    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(Handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait(5)


@pytest.fixture
def still():
    return Still()


@pytest.fixture
def channel(address, still):
    with grpc.insecure_channel(address) as plain:
        yield grpc.intercept_channel(plain, *grpc_interceptors("echo@1", reporter=still.reporter))


def resolved(still, waiting=0):
    """Waits until so many are: gRPC calls back from a thread of its own."""
    deadline = time.monotonic() + 10
    while len(still.reporter.waiting) != waiting:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_public_names():
    assert (vagus.grpc_interceptors, vagus.grpc_aio_interceptors) == (grpc_interceptors, grpc_aio_interceptors)


def test_a_call(channel, still):
    assert channel.unary_unary(UNARY)(b"x") == b"x"
    assert still.step(10.0) == [("echo@1", UNARY, "HEALTHY")]
    assert still.reporter.waiting == {}


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("NOT_FOUND", "HEALTHY"),
        ("INVALID_ARGUMENT", "HEALTHY"),
        ("UNAVAILABLE", "UNHEALTHY"),
        ("INTERNAL", "UNHEALTHY"),
        ("RESOURCE_EXHAUSTED", "UNHEALTHY"),
    ],
)
def test_codes(channel, still, code, status):
    for call in (channel.unary_unary(UNARY), channel.unary_unary(UNARY).with_call):
        with pytest.raises(grpc.RpcError) as raised:
            call(b"!" + code.encode())
        assert raised.value.code().name == code
        still.reporter.tracks["echo@1", UNARY, None].due = 0.0
        assert still.step(10.0) == [("echo@1", UNARY, status)]


def test_deadline_cancel_and_nobody_there(channel, still, unused_tcp_port):
    with pytest.raises(grpc.RpcError):
        channel.unary_unary(UNARY)(b"hang", timeout=0.1)
    assert still.step() == [("echo@1", UNARY, "UNHEALTHY")]
    call = channel.unary_unary(UNARY).future(b"hang")
    assert still.step(4.0) == [("echo@1", UNARY, "PENDING")]
    call.cancel()
    with pytest.raises(grpc.FutureCancelledError):
        call.result(5)
    resolved(still)
    assert still.step(60.0) == []
    with grpc.insecure_channel(f"127.0.0.1:{unused_tcp_port}") as plain:
        nobody = grpc.intercept_channel(plain, *grpc_interceptors("echo@2", "rpc", "me", reporter=still.reporter))
        with pytest.raises(grpc.RpcError):
            nobody.unary_unary(UNARY)(b"x")
    (report,) = still.reports()
    assert (report.observer, report.subject, list(report.contexts)) == ("me", "echo@2", ["rpc"])


def test_futures_and_requests_in_streams(channel, still):
    assert channel.unary_unary(UNARY).future(b"x").result(5) == b"x"
    assert channel.stream_unary(GATHER)(iter([b"a", b"b"])) == b"ab"
    with pytest.raises(grpc.RpcError):
        channel.stream_unary(GATHER)(iter([b"!INTERNAL"]))
    assert set(still.step()) == {
        ("echo@1", UNARY, "HEALTHY"),
        ("echo@1", GATHER, "HEALTHY"),
        ("echo@1", GATHER, "UNHEALTHY"),
    }


def test_streams(channel, still):
    call = channel.unary_stream(STREAM)(b"x")
    assert next(call) == b"1"
    assert still.step(60.0) == [("echo@1", STREAM, "HEALTHY")]  # nobody waits for it
    assert list(call) == [b"2"]
    assert call.code() == grpc.StatusCode.OK
    assert list(channel.stream_stream(BOTH)(iter([b"a", b"b"]))) == [b"a", b"b"]
    still.step(60.0)
    with pytest.raises(grpc.RpcError):
        list(channel.unary_stream(STREAM)(b"!UNAVAILABLE"))
    assert ("echo@1", STREAM, "UNHEALTHY") in still.step()
    call = channel.unary_stream(STREAM)(b"hang")
    assert next(call) == b"1"
    call.cancel()
    with pytest.raises(grpc.RpcError):
        next(call)
    assert ("echo@1", STREAM, "UNHEALTHY") not in still.step(60.0)
    assert still.reporter.waiting == {}


def test_a_stream_that_may_not_be_silent(address, still):
    with grpc.insecure_channel(address) as plain:
        made = grpc_interceptors("echo@1", stream_pending_s=3.0, reporter=still.reporter)
        call = grpc.intercept_channel(plain, *made).unary_stream(STREAM)(b"hang")
        assert next(call) == b"1"

        def wait():
            with pytest.raises(grpc.RpcError):
                next(call)

        waiter = threading.Thread(target=wait)
        waiter.start()
        resolved(still, waiting=1)
        assert ("echo@1", STREAM, "PENDING") in still.step(4.0)
        call.cancel()
        waiter.join(5)


def test_the_target_is_an_address(address, still):
    names = Subjects()
    names.add(address, "echo@7")
    with grpc.insecure_channel(address) as plain:
        made = grpc_interceptors(address, names=names, reporter=still.reporter)
        grpc.intercept_channel(plain, *made).unary_unary(UNARY)(b"x")
    assert still.step() == [("echo@7", UNARY, "HEALTHY")]


# --- asyncio ---------------------------------------------------------------------------------------------------------


def aio_channel(address, still):
    return grpc.aio.insecure_channel(address, interceptors=grpc_aio_interceptors("echo@1", reporter=still.reporter))


async def test_aio_calls(address, still):
    async with aio_channel(address, still) as channel:
        assert await channel.unary_unary(UNARY)(b"x") == b"x"
        assert await channel.stream_unary(GATHER)(iter([b"a", b"b"])) == b"ab"
        call = channel.stream_unary(GATHER)()
        await call.write(b"a")
        await call.done_writing()
        assert await call == b"a"
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await channel.unary_unary(UNARY)(b"!UNAVAILABLE")
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(UNARY)(b"!NOT_FOUND")
    assert set(still.step()) == {
        ("echo@1", UNARY, "HEALTHY"),
        ("echo@1", GATHER, "HEALTHY"),
        ("echo@1", UNARY, "UNHEALTHY"),
    }
    assert still.reporter.waiting == {}


async def test_aio_hangs_and_cancels(address, still):
    async with aio_channel(address, still) as channel:
        call = channel.unary_unary(UNARY)(b"hang")
        asked = asyncio.ensure_future(asyncio.wait_for(call, 5))
        while not still.reporter.waiting:
            await asyncio.sleep(0)
        assert still.step(4.0) == [("echo@1", UNARY, "PENDING")]
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        while still.reporter.waiting:
            await asyncio.sleep(0)
        assert still.step(60.0) == []
        with pytest.raises(grpc.aio.AioRpcError):
            await channel.unary_unary(UNARY)(b"hang", timeout=0.1)
        assert still.step() == [("echo@1", UNARY, "UNHEALTHY")]


async def test_aio_streams(address, still):
    async with aio_channel(address, still) as channel:
        assert [message async for message in channel.unary_stream(STREAM)(b"x")] == [b"1", b"2"]
        assert [message async for message in channel.stream_stream(BOTH)(iter([b"a", b"b"]))] == [b"a", b"b"]
        call = channel.unary_stream(STREAM)(b"x")
        assert [await call.read(), await call.read(), await call.read()] == [b"1", b"2", grpc.aio.EOF]
        assert set(still.step(60.0)) == {("echo@1", STREAM, "HEALTHY"), ("echo@1", BOTH, "HEALTHY")}
        with pytest.raises(grpc.aio.AioRpcError):
            async for _ in channel.unary_stream(STREAM)(b"!UNAVAILABLE"):
                pass
        assert ("echo@1", STREAM, "UNHEALTHY") in still.step(60.0)
    assert still.reporter.waiting == {}
