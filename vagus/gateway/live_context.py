"""Live numbers of the whole cluster as features of decisions: `decide.context` of vagus.yaml.

A decision is answered in microseconds, so that it never waits for another node: the numbers are asked for in the
background, at most once a second while there are decisions; only the very first decision waits for them.
"""

from __future__ import annotations

import asyncio
import logging
import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping

from vagus.clock import NS, Clock
from vagus.config import ContextSettings, seconds
from vagus.errors import VagusError
from vagus.gateway.backend import Backend
from vagus.gateway.fanout import gather
from vagus.model import Sample, Scalar

log = logging.getLogger("vagus")
REFRESH_NS = NS
FIRST_WAIT_S = 1.0
MAX_FIELDS = 50  # of one selected stream


class LiveContext:
    """`features` is what a decision gets beside what was sent with it. wanted: settings by the feature's name."""

    def __init__(self, backend: Backend, clock: Clock, wanted: Mapping[str, ContextSettings], timeout_s: float) -> None:
        self._backend = backend
        self._clock = clock
        self._wanted = {name: (one, round(seconds(one.max_age) * NS)) for name, one in wanted.items()}
        self._timeout_s = timeout_s
        self._newest: dict[str, Sample] = {}
        self._asked_ns: int | None = None
        self._asking: asyncio.Task[None] | None = None

    async def features(self) -> dict[str, Scalar]:
        """The numbers that are live now: NAME, or NAME.FIELD where a selector takes several fields."""
        first = self._asked_ns is None
        self._renew()
        if first and self._asking is not None:
            await asyncio.wait((self._asking,), timeout=min(FIRST_WAIT_S, self._timeout_s))
        return self._known()

    def ready(self) -> dict[str, Scalar] | None:
        """The same without waiting; None before the first time that they were asked for."""
        if self._asked_ns is None:
            return None
        self._renew()
        return self._known()

    def _renew(self) -> None:
        now_ns = self._clock.time_ns()
        if self._asking is None and (self._asked_ns is None or not 0 <= now_ns - self._asked_ns < REFRESH_NS):
            self._asked_ns = now_ns
            self._asking = asyncio.ensure_future(self._ask())

    def _known(self) -> dict[str, Scalar]:
        now_ns = self._clock.time_ns()
        found: dict[str, Scalar] = {}
        for name, (settings, max_age_ns) in self._wanted.items():
            sample = self._newest.get(name)
            if sample is not None and now_ns - sample.t_ns <= max_age_ns:
                found.update(features_of(name, sample, settings.bins))
        return found

    def close(self) -> None:
        """Ends what is being asked."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        try:
            found = await asyncio.gather(*(self._newest_of(one.series) for one, _ in self._wanted.values()))
            self._newest = {
                name: sample for name, sample in zip(self._wanted, found, strict=True) if sample is not None
            }
        finally:
            self._asking = None

    async def _newest_of(self, series: str) -> Sample | None:
        try:
            gathered = await gather(self._backend, "latest", ((series,),), "", self._timeout_s)
        except Exception as error:  # the decision is made without it
            if not isinstance(error, VagusError):
                log.error("asking for a feature failed", exc_info=error, extra={"series": series})
            return None
        return newest(sample for part in gathered.parts.values() for sample in part)


def newest(samples: Iterable[Sample]) -> Sample | None:
    """The newest of samples that have a finite number; at equal times the first by its stream's key."""
    known = [sample for sample in samples if any(map(math.isfinite, sample.values))]
    return min(known, key=lambda s: (-s.t_ns, s.stream.key), default=None)


def features_of(name: str, sample: Sample, bins: tuple[float, ...]) -> dict[str, Scalar]:
    """The finite numbers of a sample as features, or the names of the intervals that they are in."""
    fields = sample.stream.fields
    found: dict[str, Scalar] = {}
    for field, value in zip(fields[:MAX_FIELDS], sample.values, strict=False):
        if math.isfinite(value):
            found[name if len(fields) == 1 else f"{name}.{field.name}"] = interval(value, bins) if bins else value
    return found


def interval(value: float, bins: tuple[float, ...]) -> str:
    """The name of the interval that a value is in: `<0.5`, `0.5..2` (2 itself is in the next), `>=2`."""
    at = bisect_right(bins, value)
    if at == 0:
        return f"<{bins[0]:g}"
    if at == len(bins):
        return f">={bins[-1]:g}"
    return f"{bins[at - 1]:g}..{bins[at]:g}"
