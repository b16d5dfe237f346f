"""The page GET / and its files; what it shares with the page of health, it loads from there."""

from __future__ import annotations

from vagus.gateway.route import Route
from vagus.gateway.static import file_route

FILES = (
    "home.css",
    "home.js",
    "stream.js",
    "chart.js",
    "parts.js",
    "signals.js",
    "verdicts.js",
    "feedlist.js",
    "decisions.js",
    "limits.js",
    "forecast.js",
)

ROUTES: tuple[Route, ...] = (
    file_route(
        "/",
        "home.html",
        "The page of the cluster",
        "The cluster at a glance, live: nodes and signals, verdicts, feeds, decisions, limits, forecasts. The token goes "
        "behind a #: `/#token=...`.",
    ),
    *(file_route(f"/home/{name}", name, f"{name} of the page") for name in FILES),
)
