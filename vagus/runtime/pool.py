"""A pool of Ray actors of one class whose number controllers steer: `replicas:NAME`.

pool = vagus.ActorPool(Worker, low=1, high=8, name="thumbnails")     # registers the tunable `replicas`
reference = pool.submit("shrink", picture)                            # to the one with the least work; ray.get(reference)

The pool lives in the process that made it, and its actors with it. Scaling returns at once: actors start and end in
the background, and one that is to go first finishes what it was given.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

from vagus.client.tunable_server import SERVER, TunableServer
from vagus.client.tunables import Tunable, tunable
from vagus.errors import ConfigError, PeerUnreachable

MAX_REPLICAS = 100_000
_LOOK_S = 0.25  # how often actors are looked at
_SEEN_AT_ONCE = 1000
_MAX_PAUSE_S = 60.0


class _Worker:
    """An actor, and the calls to it that are not finished. `probe` is one of Ray's own: it fails when the actor dies."""

    def __init__(self, handle: Any) -> None:
        self.handle = handle
        self.open: set[Any] = set()
        self.probe: Any = handle.__ray_ready__.remote()
        self.ready = False
        self.dead = False


class ActorPool:
    """Actors of a class, made as `ray.remote(kind).options(**options).remote(*args, **kwargs)`.

    kind: a class, or what ray.remote made of one. start: how many at first, `low` by default. name: the service, as
    controllers name it. A reference is to be kept by whoever submits; the pool keeps its own until it is done. An actor
    that dies is replaced, what it was given fails with Ray's error. Raises ConfigError; PeerUnreachable without Ray.
    """

    def __init__(
        self,
        kind: Any,
        *,
        name: str,
        low: int = 1,
        high: int = 8,
        start: int | None = None,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        server: TunableServer = SERVER,
    ) -> None:
        import ray

        if not ray.is_initialized():
            raise PeerUnreachable("ActorPool: this process is not connected to Ray; call ray.init() first")
        start = low if start is None else start
        if not (isinstance(low, int) and isinstance(high, int) and 1 <= low <= high <= MAX_REPLICAS):
            raise ConfigError(f"ActorPool {name}: low={low!r} and high={high!r} must be whole numbers, 1 ≤ low ≤ high")
        if not low <= start <= high:
            raise ConfigError(f"ActorPool {name}: start={start!r} is outside {low} to {high}")
        remote = kind if hasattr(kind, "remote") else ray.remote(kind)
        self._make = remote.options(**options).remote if options else remote.remote
        self._arguments = (tuple(args), dict(kwargs or {}))
        self._ray = ray
        self.name = name
        self.low = low
        self.high = high
        self._lock = threading.RLock()
        self._serving: deque[_Worker] = deque()
        self._draining: list[_Worker] = []
        self._changed = threading.Condition(self._lock)
        self._closing = False
        self._replaced = 0
        self._failures = 0
        self._not_before = 0.0
        self.scale(start)
        self._thread = threading.Thread(target=self._watch, name=f"vagus-pool-{name}", daemon=True)
        self._thread.start()
        self._tunable: Tunable | None = None
        try:
            self._tunable = tunable(
                "replicas", low=low, high=high, whole=True, get=lambda: len(self), set=self.scale, service=name, server=server
            )  # fmt: skip
        except ConfigError:
            self.close()
            raise

    def __len__(self) -> int:
        """How many serve; those that finish their work before they go are not counted."""
        return len(self._serving)

    def __enter__(self) -> ActorPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def submit(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of the actor with the least open work, in turn where several have; returns Ray's reference.

        Raises ConfigError: the pool is closed.
        """
        with self._changed:
            if self._closing:
                raise ConfigError(f"ActorPool {self.name} is closed")
            worker = min(self._serving, key=lambda one: (one.dead, len(one.open)))
            self._serving.remove(worker)
            self._serving.append(worker)
            reference = getattr(worker.handle, method).remote(*args, **kwargs)
            worker.open.update(self._followed(reference))
            self._changed.notify_all()
            return reference

    def _followed(self, reference: Any) -> list[Any]:
        """What tells that a call is finished: its reference, of several the last, of a generator its end."""
        if isinstance(reference, self._ray.ObjectRef):
            return [reference]
        if isinstance(reference, list):
            return reference[-1:]
        return [reference.completed()] if hasattr(reference, "completed") else []

    def scale(self, replicas: int) -> None:
        """Starts actors, or lets those with the least work go; the tunable's callback. Raises ConfigError."""
        if isinstance(replicas, bool) or not isinstance(replicas, int) or not self.low <= replicas <= self.high:
            raise ConfigError(f"ActorPool {self.name} has {self.low} to {self.high} replicas, not {replicas!r:.40}")
        with self._changed:
            if self._closing:
                raise ConfigError(f"ActorPool {self.name} is closed")
            while len(self._serving) < replicas:
                if self._draining:  # it has not ended yet: it goes on
                    self._serving.append(self._draining.pop())
                else:
                    self._serving.append(self._new())
            while len(self._serving) > replicas:
                idlest = min(self._serving, key=lambda one: len(one.open))
                self._serving.remove(idlest)
                self._draining.append(idlest)
            self._changed.notify_all()

    def figures(self) -> dict[str, float]:
        """Replicas, those that finish before they go, open calls, actors that died and were replaced."""
        with self._lock:
            calls = sum(len(worker.open) for worker in (*self._serving, *self._draining))
            counted = {"replicas": len(self._serving), "draining": len(self._draining), "open": calls}
            return {**{name: float(number) for name, number in counted.items()}, "replaced": float(self._replaced)}

    def wait(self, timeout_s: float) -> bool:
        """Whether all that were to go have gone, within so long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._draining, timeout_s)

    def close(self) -> None:
        """Ends all actors at once; open calls fail. The tunable is gone. Idempotent."""
        if getattr(self, "_tunable", None) is not None:
            self._tunable.end()  # type: ignore[union-attr]
        with self._changed:
            self._closing = True
            workers = [*self._serving, *self._draining]
            self._serving.clear()
            self._draining.clear()
            self._changed.notify_all()
        if self._ray.is_initialized():
            for worker in workers:
                self._ray.kill(worker.handle)

    # --- the thread --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Counts what is finished, ends those that are to go and have nothing to do, replaces the dead."""
        while self._ray.is_initialized():  # a call to Ray after its end would start another
            with self._changed:
                if self._closing:
                    return
                workers = [*self._serving, *self._draining]
                owners = {ref: one for one in workers for ref in one.open}
            try:
                done = self._finished(list(owners), _LOOK_S if owners else 0.0)
                dead = {one for one in workers if self._has_died(one)}
            except Exception:  # Ray has ended, and the actors with it
                return
            with self._changed:
                for ref in done:
                    owners[ref].open.discard(ref)
                gone = [one for one in self._draining if one.dead or not one.open]
                self._draining = [one for one in self._draining if one not in gone]
                self._replace()
                self._changed.notify_all()
                if not owners and not self._closing:
                    self._changed.wait(_LOOK_S)
            for worker in gone:
                if worker not in dead:
                    self._end(worker)

    def _finished(self, references: list[Any], timeout_s: float) -> list[Any]:
        if not references:
            return []
        most = min(len(references), _SEEN_AT_ONCE)
        done, _ = self._ray.wait(references, num_returns=1, timeout=timeout_s, fetch_local=False)
        more, _ = self._ray.wait(references, num_returns=most, timeout=0, fetch_local=False)
        return list({*done, *more})

    def _has_died(self, worker: _Worker) -> bool:
        """Looks at the probe, which comes behind the work that the actor has, and at once when it is dead."""
        if worker.dead or not self._ray.wait([worker.probe], timeout=0)[0]:
            return worker.dead
        try:
            self._ray.get(worker.probe)
            worker.ready = True
            worker.probe = worker.handle.__ray_ready__.remote()
        except self._ray.exceptions.RayActorError:
            worker.dead = True
        return worker.dead

    def _replace(self) -> None:
        """New ones for the dead; after starts that failed, later and later. Until then calls to them fail."""
        dead = [one for one in self._serving if one.dead]
        if not dead or time.monotonic() < self._not_before:
            return
        self._failures = self._failures + 1 if not all(one.ready for one in dead) else 0
        self._not_before = time.monotonic() + min(_MAX_PAUSE_S, 2.0**self._failures - 1)
        for worker in dead:
            self._serving.remove(worker)
            self._serving.append(self._new())
            self._replaced += 1

    def _new(self) -> _Worker:
        args, kwargs = self._arguments
        return _Worker(self._make(*args, **kwargs))

    def _end(self, worker: _Worker) -> None:
        """It ends by itself, once it has nothing to do."""
        try:
            worker.handle.__ray_terminate__.remote()
        except Exception:  # it has ended already, or Ray has
            pass
