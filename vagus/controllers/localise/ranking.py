"""Ranks components by what they add to requests above a healthy period. Pure: no label, no names, nothing to tune.

Each kind of call that takes longer than it did is a piece of evidence against those who may have caused it: a span's own
time against its component, the gap of a call against the callee and, less, the caller. A few rounds of expectation and
maximisation then share each piece out by what else speaks against them, so that one cause which explains everything
is preferred to many that explain a little (a caller without processor makes every call's gap longer).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from vagus.controllers.localise import Suspect
from vagus.controllers.localise.features import Component, Floats, Ints, Site, Window, components
from vagus.controllers.localise.reference import Reference
from vagus.controllers.localise.signals import resource_of

DOUBT = 1.0  # standard errors that an increase must exceed
PRIOR = 4.0  # requests' worth of belief that a kind of call varies as it did
CALLEE = 1.5  # to the caller's 1: whose a gap is, where nothing else speaks against either
NEIGHBOUR = 0.5  # to the span's own 1: the same for time beside a call, where clients tell nothing
ROUNDS = 10
FAINT_MS = 1e-3  # added to a request: nothing
FLOOR_NS = 1e4  # differences in what takes less than 10 µs are no surprise


class Evidence(NamedTuple):
    """Of each site in a window, as float64 arrays: calls on the path; mean ns; what a healthy call takes, NaN where
    that is not known; by how much the mean is surely above it."""

    calls: Floats
    mean_ns: Floats
    normal_ns: Floats
    excess_ns: Floats


class Blame(NamedTuple):
    """What a component is charged with. weight: of the evidence; per request that it takes part in: excess_ms, of
    that gap_ms between caller and callee; normal_ms: what those calls take in the healthy period."""

    weight: float
    excess_ms: float
    gap_ms: float
    normal_ms: float


def evidence(window: Window, sites: Sequence[Site], reference: Reference) -> Evidence:
    """How much longer each kind of call on the critical path takes than in the healthy period, less the doubt.

    Calls of one request are not independent, so that the error is that of as many values as there are requests.
    """
    count = len(sites)
    rows = np.flatnonzero(window.on)
    site, took = window.site[rows], window.took_ns[rows]
    calls = np.bincount(site, minlength=count).astype(np.float64)
    mean = np.bincount(site, took, count) / np.maximum(calls, 1)
    variance = np.bincount(site, (took - mean[site]) ** 2, count) / np.maximum(calls, 1)
    pairs = np.unique(site * max(1, len(window.latency_ns)) + window.request[rows])
    requests = np.bincount(pairs // max(1, len(window.latency_ns)), minlength=count)
    normal, spread, weight = np.full(count, np.nan), np.zeros(count), np.ones(count)
    for i in np.flatnonzero(calls).tolist():
        held = reference.expected(sites[i])
        if held is not None:
            normal[i], spread[i], weight[i] = held.mean_ns, held.variance, max(held.calls, 1.0)
    ratio = mean / np.maximum(np.nan_to_num(normal), FLOOR_NS)
    varies = (requests * variance + PRIOR * spread * ratio**2) / (requests + PRIOR)
    error = np.sqrt(varies / np.maximum(requests, 1) + spread / weight)
    return Evidence(calls, mean, normal, np.maximum(0.0, np.nan_to_num(mean - normal - DOUBT * error)))


def blame(window: Window, sites: Sequence[Site], found: Evidence) -> dict[str, Blame]:
    """Each component on the critical path, and what it is charged with; weights are all 0 where nothing is slower.

    A kind of call weighs by its excess per request, times the logarithm of how many times longer it takes than it did
    (twice of little is common, tenfold is not), times the root of the share of requests with that component: what
    hits few of them is seen beside the small drifts of what all of them use.
    """
    seen: list[int] = np.flatnonzero(found.calls).tolist()
    index: dict[str, int] = {}
    home = np.zeros(len(sites), np.int64)
    for i in seen:
        home[i] = index.setdefault(sites[i].component, len(index))
    for i in seen:
        for name, _ in sites[i].beside:
            if name:
                index.setdefault(name, len(index))
    touched = _touched(window, home, len(index))
    slow: list[int] = np.flatnonzero(found.excess_ns > 0).tolist()
    whom = np.zeros((len(slow), 3), np.int64)
    belief = np.zeros((len(slow), 3))
    for row, i in enumerate(slow):
        site = sites[i]
        whom[row, 0] = home[i]
        belief[row, 0] = CALLEE if site.kind in ("gap", "call") else 1.0
        for place, (name, _) in enumerate(site.beside, 1):
            if name:
                whom[row, place] = index[name]
                belief[row, place] = NEIGHBOUR if site.kind == "between" else 1.0
    total_ms = found.excess_ns[slow] * found.calls[slow] / 1e6
    users = np.maximum(touched[home[slow]], 1.0)
    surprise = np.log1p(found.excess_ns[slow] / (np.nan_to_num(found.normal_ns[slow]) + FLOOR_NS))
    mass = total_ms / np.sqrt(users * max(1, len(window.latency_ns))) * surprise
    weight: Floats = np.ones(len(index))
    share: Floats = belief
    for _ in range(ROUNDS):
        share = belief * np.maximum(weight[whom], 1e-12)
        share = share / share.sum(1, keepdims=True)
        weight = _summed(whom, share * mass[:, None], len(index))
    gap = np.array([sites[i].kind != "own" for i in slow], np.bool_)
    excess = _summed(whom, share * total_ms[:, None], len(index))
    gaps = _summed(whom[gap], share[gap] * total_ms[gap, None], len(index))
    normal = _summed(home[seen], np.nan_to_num(found.normal_ns[seen]) * found.calls[seen] / 1e6, len(index))
    if not slow:
        weight = np.zeros(len(index))
    faint = excess < FAINT_MS * np.maximum(touched, 1.0)
    excess[faint] = gaps[faint] = weight[faint] = 0.0
    per = np.maximum(touched, 1.0)
    return {
        name: Blame(*(float(v) for v in (weight[i], excess[i] / per[i], gaps[i] / per[i], normal[i] / per[i])))
        for name, i in index.items()
    }


def _summed(whom: Ints, values: Floats, count: int) -> Floats:
    total: Floats = np.zeros(count)
    np.add.at(total, whom.ravel(), values.ravel())
    return total


def _touched(window: Window, home: Ints, count: int) -> Floats:
    """Of each component, the requests that have it on their critical path."""
    requests = max(1, len(window.latency_ns))
    pairs = np.unique(home[window.site[window.on]] * requests + window.request[window.on])
    return np.bincount(pairs // requests, minlength=count).astype(np.float64)


def rank(
    window: Window,
    sites: Sequence[Site],
    reference: Reference,
    signals: Mapping[str, Mapping[str, float]] | None = None,
) -> tuple[Suspect, ...]:
    """Components, the most to blame first; score: the share of the evidence.

    signals: of components (or their services) the ratio of each resource's signal to its usual value; they name the
    resource, and order those that are charged alike. Without any healthy period the score is RI times the logarithm of
    CI, as good as the paper's.
    """
    told = components(window, sites)
    services = {site.component: site.service for site in sites}
    if reference.requests:
        charged = blame(window, sites, evidence(window, sites, reference))
    else:
        charged = {
            name: Blame(max(0.0, c.ri) * float(np.log(max(c.ci, 1.0))), 0.0, 0.0, 0.0) for name, c in told.items()
        }
    total = sum(b.weight for b in charged.values()) or 1.0
    suspects = []
    for name, of in charged.items():
        component = told.get(name) or Component(0.0, 1.0, 0, 0.0, 0.0)
        own = (signals or {}).get(name) or (signals or {}).get(services.get(name, ""), {})
        resource, ratio = resource_of(own, of.gap_ms / of.excess_ms) if of.excess_ms else ("", 1.0)
        features = {
            "ri": component.ri,
            "ci": component.ci,
            "path_ms": component.path_ms,
            "p99_ms": component.p99_ms,
            "requests": float(component.requests),
            "excess_ms": of.excess_ms,
            "gap_ms": of.gap_ms,
            "ratio": (of.normal_ms + of.excess_ms) / of.normal_ms if of.normal_ms else 1.0,
            **{f"signal_{r}_ratio": v for r, v in sorted(own.items())},
        }
        suspects.append((of.weight / total, ratio, Suspect(name, of.weight / total, features, resource)))
    suspects.sort(key=lambda s: (-round(s[0], 2), -s[1] if s[0] >= 0.01 else 0.0, -s[0], s[2].component))
    return tuple(
        msgspec.structs.replace(suspect, says=_sentence(suspect, len(window.latency_ns), reference.requests > 0))
        for _, _, suspect in suspects
    )


def _sentence(suspect: Suspect, requests: int, compared: bool) -> str:
    of = suspect.features
    if of["excess_ms"] <= 0:
        return "as fast as in the healthy period" if compared else "no healthy period to compare with"
    gap = of["gap_ms"] / of["excess_ms"]
    where = (
        "mostly before and after it runs"
        if gap > 0.7
        else "mostly while it runs"
        if gap < 0.3
        else "while it runs and around it"
    )
    said = f"adds {of['excess_ms']:.3g} ms to each of {of['requests']:.0f} of {requests} requests, {where}"
    return said + (
        f"; its {suspect.resource.replace('_', ' ')} is unusual" if f"signal_{suspect.resource}_ratio" in of else ""
    )
