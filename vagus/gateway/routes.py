"""The one route table: the server dispatches by it, the OpenAPI description is generated from it."""

from __future__ import annotations

from vagus.gateway import (
    routes_comon,
    routes_control,
    routes_decide,
    routes_decide_explain,
    routes_decide_log,
    routes_decide_table,
    routes_directory,
    routes_discovery,
    routes_feeds,
    routes_feeds_page,
    routes_health,
    routes_health_page,
    routes_health_register,
    routes_health_views,
    routes_home_page,
    routes_ingest,
    routes_localise,
    routes_meta,
    routes_overview,
    routes_query,
    routes_subscribe,
    routes_traces,
    websocket,
)
from vagus.gateway.route import Route

_HEALTH = (
    *routes_health.ROUTES,
    *routes_health_views.ROUTES,
    *routes_health_register.ROUTES,
    *routes_health_page.ROUTES,
)
ROUTES: tuple[Route, ...] = (
    *_HEALTH,
    *routes_ingest.ROUTES,
    *routes_traces.ROUTES,
    *routes_localise.ROUTES,
    *routes_control.ROUTES,
    *routes_decide.ROUTES,
    *routes_decide_explain.ROUTES,
    *routes_decide_table.ROUTES,
    *routes_decide_log.ROUTES,
    *routes_query.ROUTES,
    *routes_directory.ROUTES,
    *routes_subscribe.ROUTES,
    *routes_discovery.ROUTES,
    *routes_feeds.ROUTES,
    *routes_feeds_page.ROUTES,
    *routes_home_page.ROUTES,
    *routes_overview.ROUTES,
    *routes_comon.ROUTES,
    *websocket.ROUTES,
    *routes_meta.ROUTES,
)
HEALTH_ROUTES: tuple[Route, ...] = (*_HEALTH, *routes_subscribe.ROUTES, *routes_meta.ROUTES)
"""What is served where only health is: see actors/health_server.py."""
