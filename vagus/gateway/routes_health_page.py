"""The page GET /health and its files."""

from __future__ import annotations

from vagus.gateway.route import Route
from vagus.gateway.static import file_route

FILES = ("health.css", "icon.svg", "main.js", "matrix.js", "evidence.js", "source.js", "words.js")

ROUTES: tuple[Route, ...] = (
    file_route(
        "/health",
        "health.html",
        "The page of health",
        "Observers x subjects, live, with the evidence behind each cell. The token goes behind a #: "
        "`/health#token=...`.",
    ),
    *(file_route(f"/health/{name}", name, f"{name} of the page") for name in FILES),
)
