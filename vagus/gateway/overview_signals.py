"""The few signals of each node that the page `/` shows: what they are made of, and how they were of late. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from vagus.clock import NS
from vagus.model import Field, Sample, Stream
from vagus.store import Batch

POINTS = 60  # columns that are kept and shown
STALE_NS = 60 * NS  # a sample that is older says nothing of now
MAX_COUNTERS = 2000  # of a node, remembered for their rates

Floats = npt.NDArray[np.float64]


class Signal(NamedTuple):
    """A number of each node, by `value` out of fields of one kind; a field of several streams is summed.

    unit: ratio, bytes/s or none; where: labels of the streams; shown: the field whose forecast is looked at.
    """

    name: str
    title: str
    unit: str
    kind: str
    fields: tuple[str, ...]
    value: Callable[..., Any]
    shown: str
    where: str = ""


SIGNALS = (
    Signal("cpu", "CPU", "ratio", "host.cpu", ("idle",), lambda idle: 1.0 - idle, "idle"),
    Signal(
        *("memory", "Memory", "ratio", "host.memory", ("mem_available", "mem_total")),
        lambda available, total: 1.0 - available / total,
        "mem_available",
    ),
    Signal("load", "Load", "", "host.load", ("load1",), lambda load: load, "load1"),
    Signal(
        *("network", "Network", "bytes/s", "net.link", ("rx_bytes", "tx_bytes")),
        lambda received, sent: received + sent,
        "rx_bytes",
        '{dev!="lo"}',
    ),
)
SELECTORS = tuple(f"{signal.kind}.{field}{signal.where}" for signal in SIGNALS for field in signal.fields)
"""What is asked of each node: one selector a field."""

Values = tuple[float | None, ...]
"""A number for each of SIGNALS, None where there is none."""


class Column(NamedTuple):
    """All nodes' values at one time."""

    t_ms: int
    values: dict[str, Values]


class Meter:
    """Makes the values of one node out of its newest samples; counters become rates between two calls."""

    def __init__(self) -> None:
        self._before: dict[tuple[Stream, str], tuple[int, float, float | None]] = {}  # time, count, rate

    def read(self, samples: Iterable[Sample], now_ns: int) -> Values:
        """The values now; a counter has one from its second sample on."""
        found: dict[tuple[str, str], float] = {}
        if len(self._before) > MAX_COUNTERS:
            self._before.clear()
        for sample in samples:
            if now_ns - sample.t_ns > STALE_NS:
                continue
            for field, value in zip(sample.stream.fields, sample.values, strict=False):
                number = self._rate(sample, field, value) if field.counter else value
                if number is not None and math.isfinite(number):
                    place = (sample.stream.kind, field.name)
                    found[place] = found.get(place, 0.0) + number
        return tuple(_value(signal, [found.get((signal.kind, name)) for name in signal.fields]) for signal in SIGNALS)

    def _rate(self, sample: Sample, field: Field, value: float) -> float | None:
        place = (sample.stream, field.name)
        before = self._before.get(place)
        if before is not None and sample.t_ns <= before[0]:
            return before[2]
        rate = None
        if before is not None and value >= before[1]:
            rate = (value - before[1]) / ((sample.t_ns - before[0]) / NS)
        self._before[place] = (sample.t_ns, value, rate)
        return rate


def _value(signal: Signal, parts: Sequence[float | None]) -> float | None:
    if None in parts:
        return None
    try:
        return tidy(signal.value(*parts))
    except ZeroDivisionError:
        return None


def tidy(value: float) -> float | None:
    """Four digits, which is more than a small line shows; None for what is not finite."""
    return float(f"{value:.4g}") if math.isfinite(value) else None


def past(batches: Iterable[Batch], end_ns: int, step_ns: int) -> list[Column]:
    """The last POINTS columns before `end_ns`, one each `step_ns`, out of what is stored."""
    grid = end_ns - step_ns * np.arange(POINTS + 1, dtype=np.int64)[::-1]
    found: dict[tuple[str, str, str], Floats] = {}
    for batch in batches:
        for field, column in zip(batch.stream.fields, batch.columns, strict=True):
            line = _counts(batch, column, grid) if field.counter else _levels(batch, column, grid)
            place = (batch.stream.node, batch.stream.kind, field.name)
            known = found.get(place)
            found[place] = line if known is None else np.where(np.isnan(known), line, known + np.nan_to_num(line))
    nodes = sorted({node for node, _, _ in found})
    missing = np.full(POINTS, np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        lines = {
            node: [s.value(*(found.get((node, s.kind, name), missing) for name in s.fields)) for s in SIGNALS]
            for node in nodes
        }
    return [
        Column(int(t_ns) // 1_000_000, {node: tuple(tidy(line[at]) for line in lines[node]) for node in nodes})
        for at, t_ns in enumerate(grid[1:])
    ]


def _places(batch: Batch, grid: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """The last row at each time of the grid, and whether there is one that is not stale."""
    places = np.searchsorted(batch.t_ns, grid, "right") - 1
    if not len(batch):
        return places, np.zeros(len(grid), np.bool_)
    return places, (places >= 0) & (grid - batch.t_ns[places] <= STALE_NS)


def _levels(batch: Batch, column: npt.NDArray[Any], grid: npt.NDArray[np.int64]) -> Floats:
    places, known = _places(batch, grid)
    if not known.any():
        return np.full(POINTS, np.nan)
    return np.where(known, column[places].astype(np.float64), np.nan)[1:]


def _counts(batch: Batch, column: npt.NDArray[Any], grid: npt.NDArray[np.int64]) -> Floats:
    """Counts per second between two times of the grid; differences are taken before they become floats."""
    places, known = _places(batch, grid)
    if not known.any():
        return np.full(POINTS, np.nan)
    counts, elapsed_s = column[places], np.diff(batch.t_ns[places]) / NS  # of the rows: the last is before its time
    grown = known[1:] & known[:-1] & (counts[1:] >= counts[:-1]) & (elapsed_s > 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rates = (counts[1:] - counts[:-1]).astype(np.float64) / elapsed_s
    return np.where(grown, rates, np.nan)
