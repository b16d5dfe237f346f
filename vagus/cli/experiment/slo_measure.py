"""What the measures of a run are: violations, percentiles, cores, detection and mitigation. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.cli.experiment.slo_results import Cores, Injected, Sampled, Windows

Floats = npt.NDArray[np.float64]
SLICE_S = 0.5
"""Detection and mitigation are told by the requests that were due within half a second: a longer window would still
hold the late ones after the last of them."""
STAYS_S = 2.0
THROTTLED = 0.3
"""An excess of throttling: three times what the calibrated rule stands."""
MOVED_RATIO = 0.005  # a limit that rose by less did not


class Answered(NamedTuple):
    """The requests of the measured part. due_s: when each was due; latency_s: from then, infinite where it failed."""

    due_s: Floats
    latency_s: Floats


def answered(due_s: Floats, latency_s: Floats, run_s: float) -> Answered:
    """The requests that were due in the measured part, in that order."""
    chosen = (due_s >= 0) & (due_s < run_s)
    order = np.argsort(due_s[chosen], kind="stable")
    return Answered(due_s[chosen][order], latency_s[chosen][order])


def violations(latency_s: Floats, slo_s: float) -> int:
    """Requests that took longer than the SLO, or failed."""
    return int(np.count_nonzero(~(latency_s <= slo_s)))


def percentile(latency_s: Floats, ratio: float, given_up_s: float) -> float | None:
    """A percentile in which failed requests took as long as one waits for an answer; None of no requests."""
    if not len(latency_s):
        return None
    found = np.quantile(np.minimum(latency_s, given_up_s), ratio, method="inverted_cdf")
    return float(found)


def late(late_s: Floats) -> float | None:
    """The 99th percentile of how late the load sent; None where it sent nothing."""
    known = late_s[~np.isnan(late_s)]
    return float(np.quantile(known, 0.99)) if len(known) else None


def over_ratio(windows: Windows, slo_s: float, run_s: float) -> float | None:
    """The share of the measured part's windows whose P99 is over the SLO; None where no window had requests."""
    p99 = [p for t, p in zip(windows.t_s, windows.p99_s, strict=True) if 0 < t <= run_s and p is not None]
    return sum(p > slo_s for p in p99) / len(p99) if p99 else None


def requested(sampled: Sampled, run_s: float) -> float | None:
    """The mean over time of the sum of all limits; None when a service had none for a while."""
    total = [_sum(row) for row in zip(*sampled.limit_cores.values(), strict=True)]
    held = _held(sampled.t_s, run_s)
    if not held or any(total[i] is None for i, _ in held):
        return None
    whole_s = math.fsum(lasted_s for _, lasted_s in held)
    return math.fsum((total[i] or 0.0) * lasted_s for i, lasted_s in held) / whole_s


def used(sampled: Sampled, run_s: float) -> float | None:
    """The mean over time of what all services together used. A sample's use is of the time before it."""
    taken = [i for i, t in enumerate(sampled.t_s) if i and 0 < t <= run_s]
    lasted = [sampled.t_s[i] - sampled.t_s[i - 1] for i in taken]
    if not math.fsum(lasted) > 0:
        return None
    by_service = sampled.used_cores.values()
    return math.fsum(row[i] * s for i, s in zip(taken, lasted, strict=True) for row in by_service) / math.fsum(lasted)


def _sum(row: Sequence[Cores]) -> float | None:
    found = [cores for cores in row if cores is not None]
    return math.fsum(found) if len(found) == len(row) else None


def _held(t_s: Sequence[float], run_s: float) -> list[tuple[int, float]]:
    """Each sample of the measured part, and how long its values were in force: until the next one."""
    found = []
    for i, t in enumerate(t_s):
        until = t_s[i + 1] if i + 1 < len(t_s) else run_s
        lasted = min(until, run_s) - max(t, 0.0)
        if lasted > 0 and t < run_s:
            found.append((i, lasted))
    return found


def slices(what: Answered, slo_s: float, run_s: float) -> npt.NDArray[np.bool_]:
    """Of each half second, whether the P99 of the requests due in it is over the SLO. One without requests is not."""
    count = math.ceil(run_s / SLICE_S)
    place = np.minimum((what.due_s / SLICE_S).astype(np.int64), count - 1)
    late = np.bincount(place, ~(what.latency_s <= slo_s), count)
    return np.asarray(late > 0.01 * np.bincount(place, minlength=count))


def judged(injected: Injected, over: Sequence[bool], sampled: Sampled) -> Injected:
    """An injection with when it was detected and mitigated, and when the limit of what it hit was raised.

    Detected: the end of the first half second over the SLO, or the first sample in which the service was throttled to
    excess, after the begin. Mitigated: the end of the first half second within the SLO from then on that is followed by
    two seconds of such, at once where the SLO was never broken; None when the injection ended before (censored). over:
    see `slices`.
    """
    begin_s, end_s = injected.begin_s, injected.end_s
    first, last = math.ceil(begin_s / SLICE_S - 1e-9), math.floor(end_s / SLICE_S + 1e-9)
    window_s = next(((i + 1) * SLICE_S for i in range(first, min(last, len(over))) if over[i]), math.inf)
    throttled = sampled.throttled_ratio.get(injected.service, ())
    # a sample tells of the half second before it
    throttled_s = next(
        (
            t
            for t, ratio in zip(sampled.t_s, throttled, strict=False)
            if begin_s + SLICE_S <= t <= end_s and ratio > THROTTLED
        ),
        math.inf,
    )
    detected_s = min(window_s, throttled_s)
    raised_s = _raised(injected, sampled)
    if not detected_s <= end_s:
        return msgspec.structs.replace(injected, raised_s=raised_s)
    by = "window" if window_s <= throttled_s else "throttled"
    stays = round(STAYS_S / SLICE_S)
    mitigated_s = None
    present = max(math.ceil(detected_s / SLICE_S - 1e-9) - 1, first)  # the half second of the detection
    for i in range(present, min(last, len(over))):
        if not any(over[i : i + 1 + stays]):
            mitigated_s = detected_s if i == present else (i + 1) * SLICE_S  # at once: it was only throttled
            break
    return msgspec.structs.replace(
        injected, detected_s=detected_s, detected_by=by, mitigated_s=mitigated_s, raised_s=raised_s
    )


def _raised(injected: Injected, sampled: Sampled) -> float | None:
    """When the limit of the service was first seen higher than just before."""
    limits = sampled.limit_cores.get(injected.service, ())
    before: float | None = None
    for t, cores in zip(sampled.t_s, limits, strict=False):
        now = math.inf if cores is None else cores
        if injected.begin_s < t <= injected.end_s and before is not None and now > before * (1 + MOVED_RATIO):
            return t
        before = now
    return None


def broke(injected: Injected) -> bool:
    """Whether requests were late from it. One that was throttled to excess, and no request was late, is no harm done:
    who only counts how soon such are over is praised for limits that are too tight."""
    return injected.detected_s is not None and (
        injected.detected_by == "window" or injected.mitigated_s != injected.detected_s
    )


def mitigation_s(injected: Injected) -> float | None:
    """How long from its detection: until its end at least, where it was not mitigated before; None: it broke no SLO."""
    if injected.detected_s is None or not broke(injected):
        return None
    return (injected.end_s if injected.mitigated_s is None else injected.mitigated_s) - injected.detected_s


def median(values: Sequence[float]) -> float | None:
    """None of nothing."""
    return float(np.median(values)) if len(values) else None


def note_kind(note: str) -> str:
    """A guard's note without its numbers, so that notes can be counted."""
    return re.sub(r"-?\d[\d.e+-]*%?", "N", note)[:100]
