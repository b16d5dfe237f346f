"""What calls take in a healthy period: count, mean and variance by site, latencies by class of request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from vagus.controllers.localise.features import MAX_SITES, Site, Window

FEW = 10.0  # calls of a pod with which its service's are believed instead
BINS_PER_OCTAVE = 8  # of latencies: 9 % wide
MAX_BIN = 64 * BINS_PER_OCTAVE  # no latency has more bits
MAX_ROOTS = 2_000


class Moments(NamedTuple):
    """Of some kind of call: how many (faded), mean ns, variance ns²."""

    calls: float
    mean_ns: float
    variance: float


class Reference:
    """The healthy period. `learn` adds a window to it, which fades those before."""

    def __init__(self) -> None:
        self._known: dict[Site, Moments] = {}
        self._coarse: dict[tuple[str, ...], Moments] = {}
        self._latencies: dict[str, dict[int, float]] = {}
        self.requests = 0.0

    def learn(self, window: Window, sites: Sequence[Site], keep: float = 1.0) -> None:
        """Add a window's requests; keep: the weight, 0 to 1, of what was known before."""
        if keep < 1:
            self._fade(keep)
        count = len(sites)
        n = np.bincount(window.site, minlength=count)
        total = np.bincount(window.site, window.took_ns, count)
        mean = total / np.maximum(n, 1)
        spread = np.bincount(window.site, (window.took_ns - mean[window.site]) ** 2, count)
        for i in np.flatnonzero(n).tolist():
            new = Moments(float(n[i]), float(mean[i]), float(spread[i] / n[i]))
            old = self._known.get(sites[i])
            if old is not None:
                self._known[sites[i]] = together([old, new])
            elif len(self._known) < MAX_SITES:
                self._known[sites[i]] = new
        for root, latency in zip(window.roots, window.latency_ns, strict=True):
            if root in self._latencies or len(self._latencies) < MAX_ROOTS:
                bins = self._latencies.setdefault(root, {})
                at = round(float(np.log2(max(latency, 1.0))) * BINS_PER_OCTAVE)
                bins[at] = bins.get(at, 0.0) + 1.0
        self.requests += len(window.latency_ns)
        self._coarse.clear()

    def _fade(self, keep: float) -> None:
        self._known = {s: m._replace(calls=m.calls * keep) for s, m in self._known.items() if m.calls * keep > 0.05}
        for root, bins in list(self._latencies.items()):
            self._latencies[root] = {at: c * keep for at, c in bins.items() if c * keep > 0.01}
            if not self._latencies[root]:
                del self._latencies[root]
        self.requests *= keep

    def expected(self, site: Site) -> Moments | None:
        """What such a call takes: of this pod; of its service (pods come and go); where nothing is known of this one,
        the slowest operation of that service, or else of all: only what is beyond those is surely slow."""
        exact = self._known.get(site)
        if exact is not None and exact.calls >= FEW:
            return exact
        if not self._coarse:
            self._gather()
        served = self._coarse.get(("service", *_of_service(site)))
        if served is not None:
            return served
        return (
            exact
            or self._coarse.get(("operation", site.kind, site.service, site.operation))
            or self._coarse.get(("kind", site.kind, site.service))
            or self._coarse.get(("all", site.kind))
        )

    def _gather(self) -> None:
        groups: dict[tuple[str, ...], list[Moments]] = {}
        for site, moments in self._known.items():
            groups.setdefault(("service", *_of_service(site)), []).append(moments)
            groups.setdefault(("operation", site.kind, site.service, site.operation), []).append(moments)
        self._coarse = {name: together(group) for name, group in groups.items()}
        for name, moments in list(self._coarse.items()):
            if name[0] != "operation":
                continue
            for key in (("kind", *name[1:3]), ("all", name[1])):
                if key not in self._coarse or self._coarse[key].mean_ns < moments.mean_ns:
                    self._coarse[key] = moments

    def latency_ns(self, quantile: float, mix: Mapping[str, float] | None = None) -> float:
        """A quantile of healthy latencies, of the classes of requests in the proportions of `mix`; NaN: none known."""
        bins: dict[int, float] = {}
        for root, held in self._latencies.items():
            weight = sum(held.values())
            share = weight if mix is None else mix.get(root, 0.0)
            for at, c in held.items():
                bins[at] = bins.get(at, 0.0) + share * c / weight
        if not bins or not (total := sum(bins.values())):
            return float("nan")
        order = sorted(bins)
        reached = np.cumsum([bins[at] for at in order]) / total
        return float(2 ** (order[int(np.searchsorted(reached, quantile - 1e-9))] / BINS_PER_OCTAVE))

    def requests_of(self, root: str) -> float:
        """How many requests of a class are known (faded)."""
        return sum(self._latencies.get(root, {}).values())

    def state(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return {
            "requests": self.requests,
            "sites": [[list(site), *(float(v) for v in m)] for site, m in self._known.items()],
            "latencies": {root: sorted(bins.items()) for root, bins in self._latencies.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take up a `state`; raises KeyError, TypeError or ValueError where it is none."""
        known = {_site(site): Moments(float(n), float(m), float(v)) for site, n, m, v in state["sites"][:MAX_SITES]}
        latencies = {
            str(root): {int(at): float(c) for at, c in bins}
            for root, bins in list(state["latencies"].items())[:MAX_ROOTS]
        }
        requests = float(state["requests"])
        if not all(math.isfinite(v) and v >= 0 for m in [*known.values(), (requests,)] for v in m):
            raise ValueError("a count, mean or variance is negative or no number")
        if not all(0 <= at <= MAX_BIN and 0 < c < math.inf for bins in latencies.values() for at, c in bins.items()):
            raise ValueError("a count of latencies is not positive, or of an impossible latency")
        self._known, self._latencies, self.requests = known, latencies, requests
        self._coarse.clear()


def _site(saved: Any) -> Site:
    kind, component, service, operation, under, beside = saved
    if kind not in ("own", "gap", "call", "between"):
        raise ValueError(f"{str(kind)[:30]!r} is no kind of call")
    others = tuple((str(name), str(of)) for name, of in beside)
    return Site(kind, str(component), str(service), str(operation), str(under), others)


def _of_service(site: Site) -> tuple[str, ...]:
    return (site.kind, site.service, site.operation, site.under, *(service for _, service in site.beside))


def together(parts: Sequence[Moments]) -> Moments:
    """Moments of all parts' calls in one."""
    if len(parts) == 1:
        return parts[0]
    count = sum(p.calls for p in parts)
    mean = sum(p.calls * p.mean_ns for p in parts) / count
    variance = sum(p.calls * (p.variance + (p.mean_ns - mean) ** 2) for p in parts) / count
    return Moments(count, mean, variance)
