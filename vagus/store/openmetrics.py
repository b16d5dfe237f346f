"""Samples as OpenMetrics text (https://prometheus.io/docs/specs/om/open_metrics_spec/), with their times.

`promtool tsdb create-blocks-from openmetrics` reads what this writes. A metric family stands together; within a series
times increase; NaN (a missing value) is left out; the text ends with `# EOF`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from vagus.model import escape_label
from vagus.store.batch import Batch
from vagus.store.prometheus import Names, Series, series_of

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"


def to_openmetrics(batches: Iterable[Batch], names: Names = "otel") -> str:
    """All samples of the batches, a line each."""
    families: dict[str, dict[tuple[tuple[str, str], ...], list[Series]]] = {}
    for series in series_of(batches, names):
        families.setdefault(series.family, {}).setdefault(series.labels, []).append(series)
    lines: list[str] = []
    for family, found in families.items():
        first = next(iter(found.values()))[0]
        lines.append(f"# TYPE {family} {'counter' if first.counter else 'gauge'}\n")
        if first.unit:
            lines.append(f"# UNIT {family} {first.unit}\n")
        for labels, parts in found.items():
            text = ",".join(f'{name}="{escape_label(value)}"' for name, value in labels)
            head = f"{first.name}{{{text}}}"
            for t_ns, value in _points(parts):
                lines.append(f"{head} {_number(value)} {t_ns // 10**9}.{t_ns % 10**9 // 10**6:03d}\n")
    lines.append("# EOF\n")
    return "".join(lines)


def _points(parts: list[Series]) -> list[tuple[int, float | int]]:
    """All points of one series in order of time; of equal times the first stays."""
    if len(parts) == 1:
        pairs = list(zip(parts[0].t_ns.tolist(), parts[0].values.tolist(), strict=True))
    else:
        merged: dict[int, float | int] = {}
        for part in parts:
            for t_ns, value in zip(part.t_ns.tolist(), part.values.tolist(), strict=True):
                merged.setdefault(t_ns, value)
        pairs = sorted(merged.items())
    return [(t_ns, value) for t_ns, value in pairs if value == value]


def _number(value: float | int) -> str:
    if isinstance(value, float) and math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)
