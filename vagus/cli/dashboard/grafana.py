"""Rows of panels as Grafana's dashboard JSON (schema 39: Grafana 10 and later), and where each panel stands. Pure.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vagus.cli.dashboard.panel import Panel, Row, chosen

SCHEMA = 39
WIDTH = 24
HEIGHTS = {"stat": 4, "table": 9, "timeseries": 8, "bargauge": 8}
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ALL = ".*"


def dashboard(uid: str, title: str, about: str, rows: Sequence[Row], links: Iterable[tuple[str, str]] = ()) -> Any:
    """The dashboard as JSON-ready builtins. links: (title, uid) of others."""
    return {
        "id": None,
        "uid": uid,
        "title": title,
        "description": about,
        "tags": ["vagus"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "links": [
            {
                "title": name,
                "type": "link",
                "url": f"/d/{other}",
                "keepTime": True,
                "includeVars": True,
                "icon": "dashboard",
            }
            for name, other in links
        ],
        "annotations": {"list": []},
        "templating": {"list": _variables()},
        "panels": _placed(rows),
    }


def _variables() -> list[dict[str, Any]]:
    source = {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"}
    return [
        {**source, "current": {}, "hide": 0, "includeAll": False, "multi": False, "refresh": 1, "regex": ""},
        _choice("cluster", "Cluster", "label_values(vagus_node_series, cluster)"),
        _choice("node", "Node", 'label_values(vagus_node_series{cluster=~"$cluster"}, node)'),
    ]


def _choice(name: str, label: str, query: str) -> dict[str, Any]:
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": name},
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
        "includeAll": True,
        "allValue": ALL,  # also what has no such label
        "multi": True,
        "hide": 0,
        "refresh": 2,
        "regex": "",
        "sort": 1,
    }


def _placed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Panels from left to right, a row's heading above them; those of a closed row inside it, as Grafana wants it."""
    made: list[dict[str, Any]] = []
    y = number = 0
    for row in rows:
        number += 1
        heading = {
            "id": number,
            "type": "row",
            "title": row.title,
            "collapsed": row.closed,
            "gridPos": {"h": 1, "w": WIDTH, "x": 0, "y": y},
            "panels": [],
        }
        y += 1
        x = tallest = 0
        inside = []
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y, tallest = 0, y + tallest, 0
            number += 1
            height = HEIGHTS[panel.kind]
            inside.append(_panel(panel, number, {"h": height, "w": panel.width, "x": x, "y": y}))
            x, tallest = x + panel.width, max(tallest, height)
        y += 0 if row.closed else tallest
        if row.closed:
            y = int(heading["gridPos"]["y"]) + 1  # type: ignore[index]
            made.append({**heading, "panels": inside})
        else:
            made += [heading, *inside]
    return made


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    table = panel.kind == "table"
    now = panel.kind != "timeseries"
    targets = [
        {
            "refId": _letters(at),
            "datasource": SOURCE,
            "editorMode": "code",
            "expr": chosen(query),
            "legendFormat": legend or "__auto",
            "instant": now,
            "range": not now,
            "format": "table" if table else "time_series",
        }
        for at, (query, legend) in enumerate(panel.queries.items())
    ]
    made = {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": SOURCE,
        "gridPos": place,
        "targets": targets,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _columns(panel) if table else []},
        "options": _options(panel),
    }
    return {**made, "transformations": _joined(panel)} if table else made


def _letters(at: int) -> str:
    return chr(ord("A") + at)


def _defaults(panel: Panel) -> dict[str, Any]:
    steps = [{"color": colour, "value": None if at == 0 else value} for at, (value, colour) in enumerate(panel.steps)]
    found: dict[str, Any] = {
        "unit": panel.unit,
        "color": {"mode": "thresholds" if steps else "palette-classic"},
        "thresholds": {"mode": "absolute", "steps": steps or [{"color": "text", "value": None}]},
        "mappings": [] if panel.kind == "table" else _named(panel),
    }
    if panel.most is not None:
        found |= {"min": 0, "max": panel.most}
    if panel.kind == "timeseries":
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        found["custom"] = {"lineWidth": 1, "fillOpacity": 20 if panel.stacked else 0, "stacking": stacking}
    return found


def _named(panel: Panel) -> list[dict[str, Any]]:
    if not panel.names:
        return []
    options = {str(value): {"text": text, "color": colour} for value, (text, colour) in panel.names.items()}
    return [{"type": "value", "options": options}]


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "timeseries":
        return {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}}
    if panel.kind == "table":
        return {"showHeader": True, "cellHeight": "sm"}
    reduced = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if panel.kind == "stat":
        return {"reduceOptions": reduced, "colorMode": "value", "graphMode": "none", "textMode": "auto"}
    return {"reduceOptions": reduced, "orientation": "horizontal", "displayMode": "basic"}


def _joined(panel: Panel) -> list[dict[str, Any]]:
    """A line for what has the same labels, a column for each query."""
    renamed = {f"Value #{_letters(at)}": legend for at, legend in enumerate(panel.queries.values())}
    away = {"Time": True}
    if len(panel.queries) == 1:  # a list of what there is: its value says nothing
        return [{"id": "organize", "options": {"excludeByName": {**away, "Value": True}, "renameByName": {}}}]
    return [
        {"id": "merge", "options": {}},
        {"id": "organize", "options": {"excludeByName": away, "renameByName": renamed}},
    ]


def _columns(panel: Panel) -> list[dict[str, Any]]:
    """How the columns look whose names say what they are."""
    units = {"cpu": "percentunit", "memory": "bytes"}
    found: list[dict[str, Any]] = [
        {"matcher": {"id": "byName", "options": name}, "properties": [{"id": "unit", "value": unit}]}
        for name, unit in units.items()
        if name in panel.queries.values()
    ]
    if panel.names:
        look: list[dict[str, Any]] = [
            {"id": "mappings", "value": _named(panel)},
            {"id": "custom.cellOptions", "value": {"type": "color-background"}},
        ]
        found.append({"matcher": {"id": "byName", "options": next(iter(panel.queries.values()))}, "properties": look})
    return found
