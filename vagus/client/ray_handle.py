"""Observation of a Ray actor's calls, at the handle: `worker = vagus.observed(worker)`, and all else stays as it is.

Knows handles by how they behave, not by their class: this imports no Ray.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Any

from vagus.client.observe import PENDING_S, seconds_of
from vagus.client.reporter import REPORTER, Reporter
from vagus.client.track import name_of
from vagus.model import Status

_REPR = re.compile(r"Actor\((\S{1,150}), ([0-9a-f]{12})[0-9a-f]*\)\Z")


def observed(
    handle: Any,
    subject: str | None = None,
    observer: str | None = None,
    *,
    methods: Collection[str] | None = None,
    pending_s: float | None = PENDING_S,
    reporter: Reporter = REPORTER,
) -> Any:
    """The handle, with every call's outcome observed when its ObjectRef resolves: HEALTHY, UNHEALTHY on an exception,
    DEAD when the actor is, PENDING while a call takes longer than pending_s (None: never). Context: the method.

    subject: default `actor:CLASS:ID`, the first 12 digits of it. Refs are returned as they are. To learn how a call
    went its result is fetched to this process, as `ray.get` does; methods: observe only these, where results are large
    and meant for others. Of streaming generators only that the actor fails is observed.
    `.observed_handle` is the handle itself, for `ray.kill` and the like.
    """
    return ObservedHandle(handle, subject or _subject_of(handle), observer, methods, seconds_of(pending_s), reporter)


class ObservedHandle:
    """A handle whose calls are observed; made by `observed`."""

    def __init__(
        self,
        handle: Any,
        subject: str,
        observer: str | None,
        methods: Collection[str] | None,
        pending_s: float,
        reporter: Reporter,
    ) -> None:
        self.observed_handle = handle
        self._observed_as = (subject, observer, methods, pending_s)
        self._reporter = reporter

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "observed_handle":
            raise AttributeError(name)  # also while it is being unpacked, and has no handle yet
        found = getattr(self.observed_handle, name)
        methods = self._observed_as[2]
        if not callable(getattr(found, "remote", None)) or (methods is not None and name not in methods):
            return found
        return _Method(found, name, self)

    def __reduce__(self) -> Any:
        subject, observer, methods, pending_s = self._observed_as
        return _again, (self.observed_handle, subject, observer, methods, pending_s)

    def __repr__(self) -> str:
        return f"observed({self.observed_handle!r})"

    def __dir__(self) -> list[str]:
        return ["observed_handle", *dir(self.observed_handle)]

    def __eq__(self, other: object) -> bool:
        return bool(self.observed_handle == (other.observed_handle if isinstance(other, ObservedHandle) else other))

    def __hash__(self) -> int:
        return hash(self.observed_handle)


class _Method:
    """A method of an observed handle."""

    def __init__(self, method: Any, name: str, owner: ObservedHandle) -> None:
        self._method = method
        self._name = name
        self._owner = owner

    def remote(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._method, args, kwargs)

    def options(self, *args: Any, **kwargs: Any) -> Any:
        return _Method(self._method.options(*args, **kwargs), self._name, self._owner)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name in ("_method", "_owner", "_name"):
            raise AttributeError(name)
        return getattr(self._method, name)

    def _call(self, method: Any, args: Any, kwargs: Any) -> Any:
        reporter = self._owner._reporter
        subject, observer, _, pending_s = self._owner._observed_as
        track = reporter.track(subject, self._name, observer)
        call = reporter.wait_for(track, pending_s)
        try:
            answer = method.remote(*args, **kwargs)
        except Exception as error:
            reporter.resolve(call, verdict_of(error))
            raise
        except BaseException:
            reporter.resolve(call, None)
            raise
        try:
            is_stream = callable(getattr(answer, "completed", None))
            ref = answer.completed() if is_stream else answer[0] if isinstance(answer, list) and answer else answer
            if is_stream:
                call[1] = float("inf")  # how long a stream takes says nothing

            def done(future: Any) -> None:
                try:
                    if future.cancelled():
                        return reporter.resolve(call, None)
                    error = future.exception()
                    status = Status.HEALTHY if error is None else verdict_of(error)
                    # a stream has ended well also when its last item is an exception
                    return reporter.resolve(call, None if is_stream and error is None else status)
                except Exception as error:  # in one of Ray's threads
                    return reporter.fail(error)

            future = getattr(ref, "future", None)
            if future is None:  # nothing comes back (num_returns=0)
                reporter.resolve(call, None)
            else:
                future().add_done_callback(done)
        except Exception as error:  # the host program must not notice
            reporter.resolve(call, None)
            reporter.fail(error)
        return answer


def verdict_of(error: BaseException) -> Status | None:
    """What an exception of an actor call says of the actor; None: nothing. By Ray's names for them."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if "TaskCancelledError" in names or not isinstance(error, Exception):
        return None
    if "ActorUnavailableError" in names:
        return Status.UNHEALTHY
    if "RayActorError" in names or "ActorHandleNotFoundError" in names:
        return Status.DEAD
    return Status.UNHEALTHY


def _again(
    handle: Any, subject: str, observer: str | None, methods: Collection[str] | None, pending_s: float
) -> ObservedHandle:
    """In another process, with that one's reporter."""
    return ObservedHandle(handle, subject, observer, methods, pending_s, REPORTER)


def _subject_of(handle: Any) -> str:
    text = name_of(repr(handle))
    found = _REPR.match(text)
    return f"actor:{found[1].rpartition('.')[2]}:{found[2]}" if found else text
