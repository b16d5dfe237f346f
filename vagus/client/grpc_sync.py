"""The interceptor for gRPC's threaded channels. Imports grpcio: loaded by grpc_calls when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc

from vagus.client.grpc_calls import Calls


class Interceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]  # grpcio has no types
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Observes calls of all four shapes."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def intercept_unary_unary(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return self._one(continuation, details, request)

    def intercept_stream_unary(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return self._one(continuation, details, requests)

    def intercept_unary_stream(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        return _Stream(self._calls, continuation(details, request), details)

    def intercept_stream_stream(self, continuation: Callable[..., Any], details: Any, requests: Any) -> Any:
        return _Stream(self._calls, continuation(details, requests), details)

    def _one(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        calls = self._calls
        call = calls.begin(details)
        try:
            answer = continuation(details, request)  # a blocking call waits here, a future returns at once
        except BaseException as error:
            calls.fail(call, error)
            raise

        def done(answered: Any) -> None:
            try:
                calls.end(call, answered.code())
            except Exception as error:  # the host program must not notice
                calls.reporter.fail(error)

        answer.add_done_callback(done)
        return answer


class _Stream:
    """A call whose messages are observed as they are waited for; all else is the call's own."""

    def __init__(self, calls: Calls, answer: Any, details: Any) -> None:
        self._calls = calls
        self._answer = answer
        self._details = details

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        step = self._calls.begin_step(self._details)
        try:
            message = next(self._answer)
        except StopIteration:
            self._calls.end(step, grpc.StatusCode.OK)
            raise
        except grpc.RpcError as error:
            self._calls.end(step, error.code() if hasattr(error, "code") else grpc.StatusCode.UNKNOWN)
            raise
        except BaseException as error:
            self._calls.fail(step, error)
            raise
        self._calls.end(step, grpc.StatusCode.OK)
        return message

    next = __next__

    def __getattr__(self, name: str) -> Any:
        return getattr(self._answer, name)
