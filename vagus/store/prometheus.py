"""Batches as Prometheus has series: a name, labels, values; named as ours are (`vagus`) or as OpenTelemetry's (`otel`).

`vagus`: `vagus_KIND_FIELD`, counters with `_total`, as GET /metrics shows them. `otel`: `system.*` metrics under the
names that OpenTelemetry's translation to Prometheus gives them (dots become underscores, the unit a suffix); series
that OpenTelemetry has no name for keep ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from vagus.store.batch import Batch
from vagus.store.otel_rules import RULES, Rule

Names = Literal["vagus", "otel"]
_BAD = re.compile(r"[^a-zA-Z0-9_]")
_SUFFIX = {"By": "_bytes", "s": "_seconds", "1": "_ratio"}
_UNIT = {"By": "bytes", "s": "seconds", "1": "ratio"}


class Series(NamedTuple):
    """One series: family name (without `_total`), unit as OpenMetrics spells it, labels sorted by name, columns."""

    family: str
    counter: bool
    unit: str
    labels: tuple[tuple[str, str], ...]
    t_ns: npt.NDArray[np.int64]
    values: npt.NDArray[Any]

    @property
    def name(self) -> str:
        """The name of its samples."""
        return f"{self.family}_total" if self.counter else self.family


def series_of(batches: Iterable[Batch], names: Names = "vagus") -> Iterator[Series]:
    """The series of the batches, stream by stream; with `otel` names those that have one come under it."""
    for batch in batches:
        covered: set[str] = set()
        if names == "otel":
            fields = {field.name for field in batch.stream.fields}
            for rule in RULES.get(batch.stream.kind, ()):
                if fields.issuperset(rule.factors):
                    covered.update(rule.factors)
                    yield _by_rule(batch, rule)
        for field, column in zip(batch.stream.fields, batch.columns, strict=True):
            if field.name not in covered:
                family = "vagus_" + _BAD.sub("_", f"{batch.stream.kind}_{field.name}")
                if field.counter:
                    family = family.removesuffix("_total")
                labels = _labels({**batch.stream.labels, "node": batch.stream.node})
                yield Series(family, field.counter, "", labels, batch.t_ns, column)


def _by_rule(batch: Batch, rule: Rule) -> Series:
    ((first, factor), *others) = rule.factors.items()
    values = batch.column(first)
    if others or factor != 1:  # integers stay integers where they can, so that large counters stay exact
        values = _times(values, factor)
        for name, factor in others:
            values = values + _times(batch.column(name), factor)
    labels = {"node": batch.stream.node, **rule.attributes}
    for label, value in batch.stream.labels.items():
        attribute = rule.labels.get(label, label)
        if attribute:
            labels[attribute] = value
    family = _BAD.sub("_", rule.name) + _SUFFIX.get(rule.unit, "")
    return Series(family, rule.counter, _UNIT.get(rule.unit, ""), _labels(labels), batch.t_ns, values)


def _times(column: npt.NDArray[Any], factor: float) -> npt.NDArray[Any]:
    if factor in (1, -1) and column.dtype.kind in "iu":
        return column.astype(np.int64) * int(factor)
    return column * factor


def _labels(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """Legal and sorted; names that begin with `__` are Prometheus' own and are moved aside."""
    safe = {}
    for name, value in labels.items():
        name = _BAD.sub("_", name)
        safe["x" + name if name.startswith("__") else name] = value
    return tuple(sorted(safe.items()))
