"""What became of the requests: counts by second and by kind, that add up exactly over workers and over time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from vagus.cli.load import histogram

KINDS = ("decide", "update")
QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}
US = 1000


class Second(msgspec.Struct):
    """One second. due, failed, us: requests that were due in it (latency in microseconds); done: answers that came in
    it.
    """

    due: int = 0
    done: int = 0
    failed: int = 0
    us: dict[int, int] = {}


class Tally(msgspec.Struct):
    """Of some requests. Latencies count from when a request was due, in buckets of microseconds.

    late: how late the generator itself was, when a connection was free; failures: by reason; cpu_s: of the generator.
    """

    seconds: dict[int, Second] = {}
    kinds: dict[str, dict[int, int]] = {}
    due: dict[str, int] = {}
    failures: dict[str, int] = {}
    late: dict[int, int] = {}
    cpu_s: float = 0.0
    workers: int = 0  # that are done

    def was_due(self, kind: str, at_s: float) -> None:
        """A request was due at that second."""
        self.due[kind] = self.due.get(kind, 0) + 1
        self._second(at_s).due += 1

    def answered(self, kind: str, at_s: float, now_s: float) -> None:
        """It was due at, and answered now."""
        bucket = histogram.bucket_of(max(0, int((now_s - at_s) * 1e6)))
        for counts in (self._second(at_s).us, self.kinds.setdefault(kind, {})):
            counts[bucket] = counts.get(bucket, 0) + 1
        self._second(now_s).done += 1

    def failed(self, why: str, at_s: float) -> None:
        """It was due at, and will get no good answer."""
        self.failures[why] = self.failures.get(why, 0) + 1
        self._second(at_s).failed += 1

    def sent_late(self, late_s: float) -> None:
        """The generator sent a request so long after it was due, although a connection was free."""
        bucket = histogram.bucket_of(max(0, int(late_s * 1e6)))
        self.late[bucket] = self.late.get(bucket, 0) + 1

    def merge(self, more: Tally) -> None:
        """Adds another tally."""
        for at, second in more.seconds.items():
            mine = self.seconds.setdefault(at, Second())
            mine.due += second.due
            mine.done += second.done
            mine.failed += second.failed
            histogram.add(mine.us, second.us)
        for kind, counts in more.kinds.items():
            histogram.add(self.kinds.setdefault(kind, {}), counts)
        for into, counted in ((self.due, more.due), (self.failures, more.failures)):
            for name, count in counted.items():
                into[name] = into.get(name, 0) + count
        histogram.add(self.late, more.late)
        self.cpu_s += more.cpu_s
        self.workers += more.workers

    def _second(self, at_s: float) -> Second:
        at = int(at_s)
        found = self.seconds.get(at)
        if found is None:
            found = self.seconds[at] = Second()
        return found


def merged(tallies: Iterable[Tally]) -> Tally:
    """The sum."""
    total = Tally()
    for tally in tallies:
        total.merge(tally)
    return total


def latency(counts: Mapping[int, int], total: int = 0) -> dict[str, float]:
    """Quantiles, the largest and the mean in milliseconds.

    total: of requests in all; the quantiles are over all of them, so that one which falls among those without an
    answer is NaN.
    """
    found = {name: histogram.quantile(counts, share, total) / US for name, share in QUANTILES.items()}
    return {**found, "max": histogram.quantile(counts, 1.0) / US, "mean": histogram.mean(counts) / US}


def summary(tally: Tally, workers: int) -> dict[str, Any]:
    """The figures of a load, JSON-ready."""
    kinds: dict[str, Any] = {}
    for kind in KINDS:
        due = tally.due.get(kind, 0)
        if due:
            counts = tally.kinds.get(kind, {})
            kinds[kind] = {"due": due, "answered": sum(counts.values()), "latency_ms": latency(counts, due)}
    answered = sum(part["answered"] for part in kinds.values())
    whole = [second.done for _, second in sorted(tally.seconds.items())]
    whole = whole[1:-1] or whole  # the first and the last one are not whole
    return {
        "requests": sum(tally.due.values()),
        "answered": answered,
        "failed": sum(tally.failures.values()),
        "failures": dict(sorted(tally.failures.items())),
        "answered_per_s": sum(whole) / len(whole) if whole else 0.0,
        "kinds": kinds,
        "generator": {
            "workers": workers,
            "finished": tally.workers,
            "cpu_s": tally.cpu_s,
            "late_ms": latency(tally.late),
        },
        "seconds": [
            {"t_s": at, "due": s.due, "done": s.done, "failed": s.failed, "latency_ms": latency(s.us, s.due)}
            for at, s in sorted(tally.seconds.items())
        ],
    }


def trouble(summary: Mapping[str, Any]) -> str:
    """What makes the figures doubtful, if anything: a generator that was late itself, or workers that were lost."""
    generator = summary["generator"]
    late = generator["late_ms"]["p99"]
    if generator["finished"] < generator["workers"]:
        lost = generator["workers"] - generator["finished"]
        return f"{lost} of {generator['workers']} workers were lost: what they would have sent is missing"
    if math.isfinite(late) and late > 5:
        return (
            f"the generator itself was late (p99 {late:.1f} ms): it has too little CPU for this rate; "
            "use more --workers, other --nodes, or a lower --rate"
        )
    return ""
