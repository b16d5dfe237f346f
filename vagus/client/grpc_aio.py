"""The interceptors for gRPC's asyncio channels. Imports grpcio: loaded by grpc_calls when they are asked for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from grpc import aio

from vagus.client.grpc_calls import Calls


def interceptors(calls: Calls) -> list[Any]:
    """One for each shape: a channel takes each interceptor for one shape only."""
    return [_UnaryUnary(calls), _UnaryStream(calls), _StreamUnary(calls), _StreamStream(calls)]


class _Observing:
    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    async def _one(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        calls = self._calls
        call = calls.begin(details)

        def done(answered: Any) -> None:
            try:
                calls.end(call, _code_of(answered))
            except Exception as error:  # the host program must not notice
                calls.reporter.fail(error)

        try:
            answer = await continuation(details, request)
            answer.add_done_callback(done)
        except BaseException as error:
            calls.fail(call, error)
            raise
        return answer

    async def _many(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return _Messages(self._calls, await continuation(details, request), details)


def _code_of(answered: Any) -> Any:
    """The code of a call that is done: its coroutine returns without waiting."""
    asking = answered.code()
    try:
        asking.send(None)
    except StopIteration as end:
        return end.value
    asking.close()
    return None


class _UnaryUnary(_Observing, aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]  # grpcio has no types
    async def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await self._one(continuation, details, request)


class _StreamUnary(_Observing, aio.StreamUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_unary(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await self._one(continuation, details, requests)


class _UnaryStream(_Observing, aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return await self._many(continuation, details, request)


class _StreamStream(_Observing, aio.StreamStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return await self._many(continuation, details, requests)


class _Messages:
    """A stream's messages, observed as they are waited for; grpc.aio puts the call around it."""

    def __init__(self, calls: Calls, answer: Any, details: Any) -> None:
        self._calls = calls
        self._messages = answer.__aiter__()
        self._details = details

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        step = self._calls.begin_step(self._details)
        try:
            message = await anext(self._messages)
        except StopAsyncIteration:
            self._calls.end(step, grpc.StatusCode.OK)
            raise
        except aio.AioRpcError as error:
            self._calls.end(step, error.code())
            raise
        except BaseException as error:
            self._calls.fail(step, error)
            raise
        self._calls.end(step, grpc.StatusCode.OK)
        return message
