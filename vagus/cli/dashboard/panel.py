"""What a panel shows, before it has a place: title, queries, unit, and what it says to whom points at it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

NODE = 'cluster=~"$cluster",node=~"$node"'
"""The choice that each query has, in the place of NODE."""
W = "[$__rate_interval]"
"""Over which Grafana takes a rate: what it shows at a pixel, or four scrapes."""


class Panel(NamedTuple):
    """queries: PromQL → legend; NODE in a query stands for the dashboard's choice of cluster and nodes.

    width: of 24; kind: timeseries, stat, table, bargauge; steps: (from, colour); names: of values, such as 1: HEALTHY.
    """

    title: str
    queries: Mapping[str, str]
    unit: str = "short"
    about: str = ""
    width: int = 8
    kind: str = "timeseries"
    steps: tuple[tuple[float, str], ...] = ()
    names: Mapping[int, tuple[str, str]] = {}
    most: float | None = None  # the axis' end
    stacked: bool = False


class Row(NamedTuple):
    """Panels under a heading; closed: shown when it is opened."""

    title: str
    panels: tuple[Panel, ...]
    closed: bool = False


def chosen(query: str) -> str:
    """The query with the dashboard's choice."""
    return query.replace("NODE", NODE)
