"""The panels as Grafana's JSON, and the files that provision them in a folder of vagus' own (Ray empties its own)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vagus.cli.dashboard.panels import PANELS, Panel

WIDTH = 24  # columns of Grafana's grid
SIZES = {"stat": (6, 4), "timeseries": (12, 8)}  # columns, lines
SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def dashboard(panels: Sequence[Panel] = PANELS) -> dict[str, Any]:
    """The dashboard, with variables for the data source and the nodes."""
    return {
        "uid": "vagus",
        "title": "vagus",
        "tags": ["vagus"],
        "schemaVersion": 39,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_source_variable(), _node_variable()]},
        "panels": _laid_out(panels),
    }


def _source_variable() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}


def _node_variable() -> dict[str, Any]:
    query = "label_values(vagus_gateway_uptime_s, node)"
    shown = {"includeAll": True, "multi": True, "allValue": ".*", "current": {"text": "All", "value": "$__all"}}
    return {
        "name": "node",
        "label": "Node",
        "type": "query",
        "datasource": SOURCE,
        "query": query,
        "refresh": 2,
        **shown,
    }


def _laid_out(panels: Sequence[Panel]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    row, x, y, tallest = "", 0, 0, 0
    for panel in panels:
        wide, high = SIZES[panel.kind]
        if panel.row != row:
            row, y = panel.row, y + tallest
            at = {"x": 0, "y": y, "w": WIDTH, "h": 1}
            made.append(
                {"id": len(made) + 1, "type": "row", "title": row, "gridPos": at, "collapsed": False, "panels": []}
            )
            x, y, tallest = 0, y + 1, 0
        elif x + wide > WIDTH:
            x, y, tallest = 0, y + tallest, 0
        made.append(_one(panel, len(made) + 1, {"x": x, "y": y, "w": wide, "h": high}))
        x, tallest = x + wide, max(tallest, high)
    return made


def _one(panel: Panel, number: int, at: dict[str, int]) -> dict[str, Any]:
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": at,
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "targets": [{"refId": "A", "expr": panel.query, "legendFormat": panel.legend, "datasource": SOURCE}],
    }


def provider(folder: str) -> dict[str, Any]:
    """Grafana's provider of dashboards: reads those in `folder`, an absolute path."""
    one = {"name": "vagus", "folder": "vagus", "type": "file", "options": {"path": folder}}
    return {"apiVersion": 1, "providers": [one]}
