"""Metrics as exporters write them: Prometheus text and OpenMetrics, line by line, so that a broken one loses itself only.

Lines as exporters write them are taken apart by one regular expression (2 to 3 µs each). Every other one, such as
with a quoted name, is asked of prometheus_client's parser, alone: given the whole body, it ends at the first error.
"""

from __future__ import annotations

import math
import re
from typing import Any

import msgspec

from vagus.errors import NoData
from vagus.feeds.formats.faults import Faults
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.formats.structs import shape_of
from vagus.feeds.item import Descriptor
from vagus.model import escape_label

MAX_LINE_BYTES = 64 << 10
MAX_LABELS = 200  # of one sample; the library's time grows with their square
MAX_INT = 1 << 53  # a float has all integers below it

TYPES = ("counter", "gauge", "histogram", "gaugehistogram", "summary", "info", "stateset", "unknown", "untyped")
_SUFFIXES = {
    "counter": ("_total", "_created"),
    "histogram": ("_bucket", "_count", "_sum", "_created"),
    "gaugehistogram": ("_bucket", "_gcount", "_gsum"),
    "summary": ("_count", "_sum", "_created"),
    "info": ("_info",),
}
_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\]|\\.)*"'
_LABELS = rf"(?:{_LABEL}(?:,{_LABEL})*,?)?"
_NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?Inf|NaN"
_SAMPLE = re.compile(
    rf"({_NAME})(?:\{{({_LABELS})\}})?[ \t]+({_NUMBER})(?:[ \t]+({_NUMBER}))?"
    rf"(?: # \{{({_LABELS})\}} ({_NUMBER})(?: ({_NUMBER}))?)?\Z"
)
_ONE_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_META = re.compile(rf"# ?(HELP|TYPE|UNIT)[ \t]+({_NAME})(?:[ \t]+(.*))?\Z", re.DOTALL)
_ESCAPED = re.compile(r'\\[\\n"]')
_PLAIN = {"\\\\": "\\", "\\n": "\n", '\\"': '"'}


class Exemplar(msgspec.Struct, frozen=True):
    """One event behind a sample, such as a trace. value: None where it is not finite."""

    labels: dict[str, str]
    value: float | None
    time_s: float | None = None


class MetricSample(msgspec.Struct, frozen=True):
    """A value of a metric. name: with its suffix, such as `_total`; value: None for NaN and what is infinite."""

    name: str
    labels: dict[str, str]
    value: float | None
    time_s: float | None = None  # seconds since 1970, where the exporter says
    exemplar: Exemplar | None = None


class Metric(msgspec.Struct, frozen=True):
    """A metric family: its samples stand together below its TYPE, HELP and UNIT; unknown where there is none."""

    name: str
    type: str
    help: str
    unit: str
    samples: list[MetricSample]


class OpenMetrics:
    """A body as the list of its metrics. OpenMetrics where it ends with `# EOF`, else Prometheus text.

    They differ in timestamps (seconds; milliseconds); both are `time_s` here.
    """

    name = "openmetrics"
    shape = shape_of(list[Metric])

    def parse(self, body: bytes) -> tuple[list[Metric], Descriptor]:
        """The metrics. A line that is none is told below the index of its metric, `samples` and where it would be."""
        open_metrics = body.rstrip().endswith(b"# EOF")
        return _Reading(1.0 if open_metrics else 1e-3).read(body)

    def print(self, value: list[Metric]) -> bytes:
        """OpenMetrics. Raises NoData for names, values and times that are not read back the same."""
        try:
            lines = [line for metric in value for line in _printed(metric)]
            return inverse(self, value, "".join([*lines, "# EOF\n"]).encode())
        except (AttributeError, TypeError, UnicodeEncodeError) as error:
            raise NoData(f"format openmetrics prints lists of Metric: {error}") from error


class _Reading:
    """The metrics so far, and the family that lines now belong to."""

    def __init__(self, tick_s: float) -> None:
        self._tick_s = tick_s
        self._metrics: list[Metric] = []
        self._faults = Faults()
        self._wrong = Faults()  # of the samples of the last metric
        self._names: frozenset[str] = frozenset()  # that its samples may have
        self._start = 0

    def read(self, body: bytes) -> tuple[list[Metric], Descriptor]:
        start = 0
        for line in body.split(b"\n"):
            end = start + len(line)
            if line.strip():
                try:
                    self._line(line, start)
                except ValueError as error:
                    place = len(self._metrics[-1].samples) if self._metrics else 0
                    self._wrong.broken(place, str(error), start, end)
            start = end + 1
        self._done(start)
        return self._metrics, self._faults.descriptor(0, len(body))

    def _line(self, line: bytes, start: int) -> None:
        if len(line) > MAX_LINE_BYTES:
            raise ValueError(f"a line of {len(line)} bytes; at most {MAX_LINE_BYTES} are read")
        text = line.decode().strip(" \t\r")
        if text.startswith("#"):
            if meta := _META.match(text):
                self._meta(meta[1], meta[2], meta[3] or "", start)
            return  # other comments say nothing
        sample = self._sample(text)
        if sample.name not in self._names:
            self._begin(sample.name, start)
        self._metrics[-1].samples.append(sample)

    def _begin(self, name: str, start: int) -> None:
        self._done(start)
        self._metrics.append(Metric(name, "unknown", "", "", []))
        self._names = frozenset((name,))
        self._start = start

    def _done(self, end: int) -> None:
        """What is wrong so far belongs to the metric that ends here; before the first one, to the body itself."""
        if self._wrong.errors:
            found = self._wrong.descriptor(self._start, max(self._start, end - 1))
            if self._metrics:
                whole = Faults()
                whole.part("samples", found)
                self._faults.part(len(self._metrics) - 1, whole.descriptor(found.start, found.end))
            else:
                self._faults.wrong(found.inside[0][1].note, errors=found.errors)
            self._wrong = Faults()

    def _meta(self, what: str, name: str, rest: str, start: int) -> None:
        if not self._metrics or self._metrics[-1].name != name or self._metrics[-1].samples:
            self._begin(name, start)
        old = self._metrics[-1]
        if what == "HELP":
            new = msgspec.structs.replace(old, help=_plain(rest))
        elif what == "UNIT":
            new = msgspec.structs.replace(old, unit=rest.strip())
        elif rest.strip() in TYPES:
            new = msgspec.structs.replace(old, type=rest.strip())
            self._names = frozenset((name, *(name + suffix for suffix in _SUFFIXES.get(new.type, ()))))
        else:
            raise ValueError(f"{rest[:40]!r} is not one of the types {', '.join(TYPES)}")
        self._metrics[-1] = new

    def _sample(self, text: str) -> MetricSample:
        found = _SAMPLE.match(text)
        if found is None:
            return self._by_library(text)
        name, labels, value, time, exemplar, its_value, its_time = found.groups()
        behind = None
        if exemplar is not None:
            behind = Exemplar(_labels(exemplar), _number(its_value), _number(its_time) if its_time else None)
        time_s = _time(time, self._tick_s) if time else None
        return MetricSample(name, _labels(labels) if labels else {}, _number(value), time_s, behind)

    def _by_library(self, text: str) -> MetricSample:
        """The sample as prometheus_client reads it. Raises ValueError."""
        from prometheus_client.parser import text_string_to_metric_families

        if text.count("=") > MAX_LABELS:
            raise ValueError(f"more than {MAX_LABELS} labels")
        try:
            samples = [sample for metric in text_string_to_metric_families(text) for sample in metric.samples]
        except Exception as error:  # it raises IndexError and others for what it does not expect
            raise ValueError(f"not a sample: {text[:60]!r}: {error}") from error
        if len(samples) != 1:
            raise ValueError(f"not a sample: {text[:60]!r}")
        [sample] = samples
        time_s = None if sample.timestamp is None else _time(repr(float(sample.timestamp) * 1000.0), self._tick_s)
        return MetricSample(sample.name, sample.labels, _number(str(sample.value)), time_s)


def _labels(text: str) -> dict[str, str]:
    found = _ONE_LABEL.findall(text)
    if len(found) > MAX_LABELS:
        raise ValueError(f"more than {MAX_LABELS} labels")
    labels = {name: _plain(value) if "\\" in value else value for name, value in found}
    if len(labels) != len(found):
        raise ValueError(f"a label stands twice: {text[:60]}")
    return labels


def _plain(text: str) -> str:
    return _ESCAPED.sub(lambda found: _PLAIN[found[0]], text)


def _number(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


def _time(text: str, tick_s: float) -> float:
    value = float(text) * tick_s
    if not math.isfinite(value):
        raise ValueError(f"not a time: {text[:40]}")
    return value


def _printed(metric: Metric) -> list[str]:
    lines = [f"# TYPE {metric.name} {metric.type}\n"]
    if metric.unit:
        lines.append(f"# UNIT {metric.name} {metric.unit}\n")
    if metric.help:
        lines.append(f"# HELP {metric.name} {escape_label(metric.help)}\n")
    for sample in metric.samples:
        time = f" {sample.time_s!r}" if sample.time_s is not None else ""
        behind = ""
        if (one := sample.exemplar) is not None:
            its_time = f" {one.time_s!r}" if one.time_s is not None else ""
            behind = f" # {_braced(one.labels)} {_value(one.value)}{its_time}"
        labels = _braced(sample.labels) if sample.labels else ""
        lines.append(f"{sample.name}{labels} {_value(sample.value)}{time}{behind}\n")
    return lines


def _braced(labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{name}="{escape_label(value)}"' for name, value in labels.items()) + "}"


def _value(value: Any) -> str:
    if value is None:
        return "NaN"
    return repr(float(value)) if not float(value).is_integer() or abs(value) >= MAX_INT else str(int(value))
