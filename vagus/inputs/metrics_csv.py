"""Metrics of pods as CSV files, plain or gzipped → how unusual each resource is in a stretch of time.

A file has the columns Time (or TimeStamp), PodName and any number of figures, as Nezha's published metrics do. A figure
belongs to the resource that its name tells; those of the whole node, latencies and rates of requests say nothing of the
pod's own resources and are left out.
"""

from __future__ import annotations

import csv
import gzip
import math
import statistics
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

from vagus.errors import ConfigError, unreadable

WORDS = (  # the first that is part of a figure's name, in lower case
    ("node", ""),
    ("latency", ""),
    ("rate", ""),  # of a limit: the figure itself is there too
    ("workload", ""),
    ("bandwidth", "memory_bandwidth"),
    ("llc", "llc"),
    ("cache", "llc"),
    ("cpu", "cpu"),
    ("mem", "memory"),
    ("net", "network"),
    ("disk", "disk"),
    ("syscall", "disk"),
    ("io", "disk"),
)
MAX_FILES = 2_000
MAX_ROWS = 1_000_000
LEAST = 3  # readings before the stretch, without which nothing is usual
SETTLE_NS = 60 * 10**9  # a reading tells of the minute before it


def resource_of_figure(name: str) -> str:
    """The resource that a column's name tells, empty: none."""
    lower = name.lower()
    return next((resource for word, resource in WORDS if word in lower), "")


def unusual(folder: str | Path, begin_ns: int, end_ns: int) -> dict[str, dict[str, float]]:
    """Pod → resource → its figures from begin to end as a multiple of their median before; of several the largest.

    The spread of what is usual is added to both, so that what always varies is not unusual. Raises ConfigError: no such
    folder, damaged files, none with the columns, too many rows.
    """
    found: dict[str, dict[str, float]] = {}
    files = sorted(p for p in Path(folder).glob("*") if p.name.endswith((".csv", ".csv.gz")))
    if not files:
        raise ConfigError(f"{folder}: no folder with .csv or .csv.gz files of metrics")
    if len(files) > MAX_FILES:
        raise ConfigError(f"{folder} has {len(files)} files; at most {MAX_FILES} are read")
    readings: dict[tuple[str, str], list[tuple[int, float]]] = {}
    rows = 0
    for path in files:
        for pod, name, t_ns, value in _figures(path):
            readings.setdefault((pod, name), []).append((t_ns, value))
            rows += 1
            if rows > MAX_ROWS:
                raise ConfigError(f"{folder} has more than {MAX_ROWS} figures: give a shorter stretch of time")
    if not readings:
        raise ConfigError(
            f"{folder}: no file has the columns Time and PodName and figures of cpu, memory, network or disk"
        )
    for (pod, name), series in readings.items():
        usual = [value for t_ns, value in series if t_ns < begin_ns]
        now = [value for t_ns, value in series if begin_ns <= t_ns <= end_ns + SETTLE_NS]
        if len(usual) < LEAST or not now:
            continue
        middle = statistics.median(usual)
        spread = statistics.median(abs(v - middle) for v in usual) + 0.05 * abs(middle)
        if middle + spread <= 0:
            continue
        ratio = max(0.0, (statistics.fmean(now) + spread) / (middle + spread))
        resource = resource_of_figure(name)
        of = found.setdefault(pod, {})
        of[resource] = max(of.get(resource, 0.0), ratio)
    return found


def _figures(path: Path) -> Iterator[tuple[str, str, int, float]]:
    """Pod, figure, time, value of each cell that belongs to a resource."""
    try:
        with (
            gzip.open(path, "rt", errors="replace") if path.suffix == ".gz" else path.open(errors="replace")
        ) as content:
            for row in csv.DictReader(content):
                pod, t_ns = row.get("PodName"), _time(row.get("Time"), row.get("TimeStamp"))
                if not pod or t_ns is None:
                    continue
                for name, text in row.items():
                    if name and isinstance(text, str) and resource_of_figure(name):
                        try:
                            value = float(text)
                        except ValueError:
                            continue
                        if math.isfinite(value):
                            yield pod, name, t_ns, value
    except (OSError, EOFError, zlib.error, csv.Error) as error:
        raise ConfigError(unreadable(path, error)) from error


def _time(text: str | None, stamp: str | None) -> int | None:
    """Nanoseconds. The text first: of Nezha's two it is the one that is right in every file."""
    try:
        moment = datetime.fromisoformat((text or "")[:19])
        return int(moment.replace(tzinfo=timezone.utc).timestamp()) * 10**9
    except ValueError:
        pass
    try:
        return int(float(stamp or "")) * 10**9
    except (ValueError, OverflowError):
        return None
