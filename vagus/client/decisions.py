"""Decisions for a program that must have one: from any of several gateways in bounded time, else a local default.

    decisions = vagus.decisions(default="cdn-a")             # this machine's gateways; or ["http://…", …]
    made = decisions.decide({"city": "Bern"}, ["cdn-a", "cdn-b"])
    play(made.arm); decisions.update(made, reward=0.93)

`decide` raises nothing (unless `strict`), takes at most `deadline_s`, and answers one of the arms given. While no
gateway answers it is not waited for: the default comes at once, and a thread looks for the gateways.
"""

from __future__ import annotations

import atexit
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from random import Random, SystemRandom
from time import monotonic
from types import TracebackType
from typing import TypeVar

from vagus.client.calling import Call, Gateways
from vagus.client.courier import Courier, Outcome
from vagus.client.decided import (
    DECIDE,
    MAX_BATCH,
    UPDATE,
    Request,
    decisions_of,
    requests_body,
    results_of,
    updates_body,
)
from vagus.client.endpoint import Endpoint, find, find_all
from vagus.client.local_arm import Default, LocalArm, is_local
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import Decision, Scalar

T = TypeVar("T")
D = TypeVar("D", bound="Decisions")
TIMEOUT_S = 0.25
MAX_QUEUED = 10_000
QUEUED, LOCAL = "QUEUED", "LOCAL"
_LOOK = b"/healthz?scope=node"  # whether that gateway works, whatever is missing elsewhere


class Decisions:
    """A decision service as a program sees it. Thread-safe; after a fork the child has one of its own.

    urls: gateways, the preferred one first; none: those of this machine's nodes, looked for again while none answers.
    token: of all of them; else what vagus finds (see vagus.client.endpoint). timeout_s: for one try; deadline_s: for
    all of a call (default: twice that); tries: at most (default: 2, or one for each address). default: what is used
    when no gateway answers: an arm, a function of features and arms, None: uniform. strict: raise instead.
    max_queued: outcomes that wait for a gateway; more drop the oldest. Raises ConfigError.
    """

    def __init__(
        self,
        urls: str | Sequence[str] = (),
        token: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        deadline_s: float | None = None,
        tries: int | None = None,
        default: Default = None,
        strict: bool = False,
        max_queued: int = MAX_QUEUED,
        home: Path | str | None = None,
        rng: Random | None = None,
    ) -> None:
        deadline_s = 2 * timeout_s if deadline_s is None else deadline_s
        if not (0 < timeout_s < math.inf and 0 < deadline_s < math.inf):
            raise ConfigError(f"decisions: timeout_s={timeout_s} and deadline_s={deadline_s} must be positive seconds")
        if (tries is not None and tries < 1) or max_queued < 0:
            raise ConfigError(f"decisions: tries={tries} must be at least 1, max_queued={max_queued} at least 0")
        self._rng = rng or SystemRandom()  # the system's: forked children must not draw alike
        self._local = LocalArm(default, self._rng)
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._tries = tries
        self._strict = strict
        self._find: Callable[[], list[Endpoint]] | None = None
        self._count_lock = threading.Lock()
        self._counts = dict.fromkeys(("answered", "defaulted", "retried", "refused", "updated"), 0)
        self._last_error = ""
        given = [urls] if isinstance(urls, str) else list(urls)
        if given:
            endpoints = [find(url, token, home) for url in given]
        else:
            self._find = lambda: find_all(token, home)
            endpoints = self._found()
        self._gateways = Gateways(endpoints, self._rng)
        self._courier = Courier(self._tell, self._look, max_queued)
        atexit.register(self.close)
        _ALL.add(self)
        if not endpoints:
            self._courier.wake()

    # --- what a program calls ----------------------------------------------------------------------------------------

    def decide(self, features: Mapping[str, Scalar], arms: Sequence[str]) -> Decision:
        """One of `arms`, with the exact propensity of the draw; `is_local` tells whether it is the default's.

        Raises ConfigError for arms that are none; when `strict`, PeerUnreachable or what the gateway refused with.
        """
        return self._decided([(features, arms_of(arms))])[0]

    def decide_many(self, requests: Iterable[tuple[Mapping[str, Scalar], Sequence[str]]]) -> list[Decision]:
        """A decision for each of any number of (features, arms), in their order; up to 1000 travel together."""
        wanted = [(features, arms_of(arms)) for features, arms in requests]
        made: list[Decision] = []
        for start in range(0, len(wanted), MAX_BATCH):
            made += self._decided(wanted[start : start + MAX_BATCH])
        return made

    def update(self, decision: Decision | str, reward: float, wait: bool = True) -> str:
        """Tells how a decision (or its id) turned out, larger is better; again changes nothing.

        ACCEPTED, IGNORED (it has another reward), FAILED (no such decision waits, or no finite number), LOCAL (the
        default's: nobody learns from it), QUEUED: a thread tells it as soon as a gateway answers. wait: False queues.
        """
        outcome = self._outcome(decision, reward)
        if isinstance(outcome, str):
            return outcome
        if wait and not self._courier.holds(outcome[0]) and not self._waits():
            try:
                word = self._tell([outcome])[0]
            except PeerUnreachable as error:
                self._note(error)
            except VagusError as error:
                return self._failed(error)
            else:
                self._add("updated")
                return word
        self._courier.put(outcome)
        return QUEUED

    def _outcome(self, decision: Decision | str, reward: float) -> Outcome | str:
        """What to tell, or what became of it already."""
        name = decision.decision_id if isinstance(decision, Decision) else decision
        if not (name and isinstance(name, str)):
            return self._failed(ConfigError(f"{name!r:.80} is no decision and no decision's id"))
        if is_local(name):
            return LOCAL
        given: object = reward
        try:
            value = float(given) if isinstance(given, Real) else math.nan  # numpy's numbers, too
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            return self._failed(ConfigError(f"decision {name!r:.80}: the reward {reward!r:.80} is no finite number"))
        return name, value

    def flush(self, timeout_s: float = 1.0) -> bool:
        """Looks for gateways that failed, and tells what is queued; whether nothing is left."""
        self._courier.flush(timeout_s)
        return not self._courier.queued

    def counts(self) -> dict[str, int]:
        """Decisions answered by a gateway, or by default; tries after the first one; requests that were refused;
        outcomes updated, queued, dropped (too many waited, or they were refused), unknown to the gateway.
        """
        courier = self._courier
        with self._count_lock:
            counts = dict(self._counts)
        counts["updated"] += courier.sent
        return {**counts, "queued": courier.queued, "dropped": courier.dropped, "unknown": courier.unknown}

    @property
    def last_error(self) -> str:
        """Why the last default was given, or the last outcome not taken."""
        return self._last_error or self._local.last_error or self._courier.last_error

    @property
    def urls(self) -> list[str]:
        """The gateways, the preferred one first."""
        return self._gateways.urls

    def close(self) -> None:
        """Tells what is queued, for at most half a second, and closes the connections."""
        self._courier.close()
        atexit.unregister(self.close)
        for channel in self._gateways.channels:
            channel.close()

    def __enter__(self: D) -> D:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self.urls)})"

    # --- requests ----------------------------------------------------------------------------------------------------

    def _decided(self, requests: list[Request]) -> list[Decision]:
        try:
            made = self._ask(DECIDE, self._body(requests), reader(requests))
        except VagusError as error:
            if self._is_one_of(requests, error):
                return [made for request in requests for made in self._decided([request])]
            return self._defaults(requests, error)
        self._add("answered", len(made))
        return made

    def _body(self, requests: Sequence[Request]) -> bytes:
        if self._waits():
            raise PeerUnreachable("no gateway answers; they are looked for in the background")
        return requests_body(requests)

    def _is_one_of(self, requests: Sequence[Request], error: VagusError) -> bool:
        """Whether one of several requests may be what was refused: then the others shall have theirs."""
        return len(requests) > 1 and not isinstance(error, PeerUnreachable)

    def _defaults(self, requests: Sequence[Request], error: VagusError) -> list[Decision]:
        if not isinstance(error, PeerUnreachable):
            self._add("refused", len(requests))
        self._note(error)
        if self._strict:
            raise error
        self._add("defaulted", len(requests))
        return [self._local.decide(features, arms, time.time_ns()) for features, arms in requests]

    def _tell(self, outcomes: list[Outcome]) -> list[str]:
        return self._ask(UPDATE, updates_body(outcomes), lambda answer: results_of(answer, len(outcomes)))

    def _ask(self, path: bytes, body: bytes, read: Callable[[bytes], T]) -> T:
        """The answer of the first gateway that gives one. Raises PeerUnreachable, or the refusal of all that answered."""
        gateways = self._gateways
        call = Call(self, gateways, path)
        while (attempt := call.next()) is not None:
            if attempt.pause_s:
                time.sleep(attempt.pause_s)
            channel = gateways.channels[attempt.which]
            try:
                status, answer = channel.ask(path, body, attempt.timeout_s)
                return call.result(attempt.which, status, answer, read)
            except VagusError as error:
                call.failed(attempt.which, error)
        raise call.error

    # --- what is known of the gateways -------------------------------------------------------------------------------

    def _waits(self) -> bool:
        """Whether a thread looks for gateways, since none answers: nobody else needs to."""
        return self._gateways.known.down and self._courier.working

    def _found(self) -> list[Endpoint]:
        try:
            return self._find() if self._find is not None else []
        except VagusError as error:
            self._note(error)
            return []

    def _look(self, now_s: float, urgent: bool) -> bool:
        """In the courier's thread: looks at addresses that failed; whether any can be asked."""
        gateways = self._gateways
        for index in gateways.known.to_look_at(now_s, urgent):
            try:
                status, _ = gateways.channels[index].ask(_LOOK, None, self._timeout_s)
                if status >= 500:
                    raise PeerUnreachable(f"{gateways.urls[index]} answered {status}")
                gateways.known.back(index)
            except PeerUnreachable:
                gateways.known.failed(index, monotonic())
        if gateways.known.down and self._find is not None:
            found = self._found()
            if [one.url for one in found] != gateways.urls and found:
                self._gateways = Gateways(found, self._rng)
                for channel in gateways.channels:
                    channel.close()
        return not self._gateways.known.down

    def _failed(self, error: VagusError) -> str:
        self._note(error)
        self._add("refused")
        if self._strict:
            raise error
        return "FAILED"

    def _note(self, error: VagusError) -> None:
        self._last_error = str(error)[:500]

    def _add(self, what: str, count: int = 1) -> None:
        with self._count_lock:
            self._counts[what] += count


decisions = Decisions
"""As `vagus.decisions(…)`."""


def reader(requests: Sequence[Request]) -> Callable[[bytes], list[Decision]]:
    """What reads the answer to these requests."""
    return lambda answer: decisions_of(answer, requests, time.time_ns())


def arms_of(arms: Sequence[str]) -> tuple[str, ...]:
    """The arms of a request. Raises ConfigError."""
    try:
        known = () if isinstance(arms, str) else tuple(arms)
    except TypeError:  # nothing to go through
        known = ()
    if not known or not all(isinstance(arm, str) for arm in known):
        raise ConfigError(f"decide: arms must be one or more texts, got {arms!r:.200}")
    return known


def _in_child() -> None:
    for one in list(_ALL):
        one._courier._reset()
        one._count_lock = threading.Lock()
        for channel in one._gateways.channels:
            channel.forget()


_ALL: weakref.WeakSet[Decisions] = weakref.WeakSet()
os.register_at_fork(after_in_child=_in_child)
