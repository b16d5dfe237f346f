"""Which metrics and labels an expression of PromQL names, as far as the ones here go. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_METRIC = re.compile(r"\b(vagus_[a-zA-Z0-9_]+|up)\b(?:\{([^}]*)\})?")
_MATCHER = re.compile(r"([a-zA-Z_][a-zA-Z0-9_]*)\s*(?:=~|!~|!=|=)")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_LEGEND = re.compile(r"\{\{\s*(?:\$labels\.)?([a-zA-Z_][a-zA-Z0-9_]*)\s*\}\}")
_SHOWN = re.compile(r"\$labels\.([a-zA-Z_][a-zA-Z0-9_]*)")
TARGET = frozenset({"cluster", "instance", "job"})
"""Labels that Prometheus itself puts on what it scrapes, with `vagus dashboard prometheus`."""


class Named(NamedTuple):
    """metrics: each name with the labels that it is chosen by; grouping: labels of by, on and the like."""

    metrics: Mapping[str, frozenset[str]]
    grouping: frozenset[str]


def named(expression: str) -> Named:
    """The metrics and labels that an expression names."""
    bare = _STRING.sub('""', expression)
    metrics: dict[str, frozenset[str]] = {}
    for name, chosen in _METRIC.findall(bare):
        metrics[name] = metrics.get(name, frozenset()) | frozenset(_MATCHER.findall(chosen))
    words = {word.strip() for group in _GROUPING.findall(bare) for word in group.split(",")}
    return Named(metrics, frozenset(words - {""}))


def shown_labels(template: str) -> frozenset[str]:
    """The labels that a legend `{{dev}}` or an annotation `{{ $labels.dev }}` shows."""
    return frozenset(_LEGEND.findall(template)) | frozenset(_SHOWN.findall(template))
