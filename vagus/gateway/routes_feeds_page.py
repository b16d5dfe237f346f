"""The page GET /feeds and its files; what it shares with the page of health, it loads from there."""

from __future__ import annotations

from vagus.gateway.route import Route
from vagus.gateway.static import file_route

FILES = ("feeds.css", "feeds.js", "table.js", "item.js")

ROUTES: tuple[Route, ...] = (
    file_route(
        "/feeds",
        "feeds.html",
        "The page of feeds",
        "Each feed with the newest item of each location as a table, live. The token goes behind a #: "
        "`/feeds#token=...`.",
    ),
    *(file_route(f"/feeds/{name}", name, f"{name} of the page") for name in FILES),
)
