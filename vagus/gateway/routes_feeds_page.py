"""The page GET /feeds and its files; what it shares with the page of health, it loads from there."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from vagus.gateway.params import Params
from vagus.gateway.route import Route
from vagus.gateway.static import file_route
from vagus.model import MAX_NAME

FILES = ("feeds.css", "feeds.js", "table.js", "item.js")


class FeedsPageParams(Params, frozen=True):
    """Of GET /feeds: the feed that the page opens with."""

    feed: Annotated[str, Meta(max_length=MAX_NAME)] = ""


ROUTES: tuple[Route, ...] = (
    file_route(
        "/feeds",
        "feeds.html",
        "The page of feeds",
        "Each feed with the newest item of each location as a table, live. The token goes behind a #: "
        "`/feeds?feed=NAME#token=...`.",
        query=FeedsPageParams,
    ),
    *(file_route(f"/feeds/{name}", name, f"{name} of the page") for name in FILES),
)
