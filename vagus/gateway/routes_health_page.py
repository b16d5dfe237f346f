"""The page GET /health and its two files: static, without data, so that a browser can load them before it has a token.

The script takes the token from the address's fragment, which a browser never sends, and asks /v1 with it. The page may
load nothing from elsewhere, run no other script, and insert nothing as HTML (Trusted Types): subjects come from outside.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from aiohttp import web

from vagus.gateway.params import NoParams, params_of
from vagus.gateway.route import Route, Site
from vagus.gateway.routes_health_views import same

FOLDER = Path(__file__).parent / "page"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # kept, but asked for each time: a 304 after the first
    "Server": "vagus",
}


@cache
def _read(name: str) -> tuple[bytes, str]:
    body = (FOLDER / name).read_bytes()
    return body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def _file(request: web.BaseRequest, name: str, content_type: str) -> web.Response:
    params_of(request, NoParams)
    body, etag = _read(name)
    headers = {**HEADERS, "ETag": etag}
    if same(request, etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers={**headers, "Content-Type": f"{content_type}; charset=utf-8"})


async def health_page(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
    """Observers x subjects, live, with the evidence behind each cell. The token goes behind a #: `/health#token=...`."""
    return _file(request, "health.html", "text/html")


def _part(name: str, media: str) -> Route:
    async def part(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
        """A file of the page."""
        return _file(request, name, media)

    part.__name__ = f"health_{name.replace('.', '_')}"
    return Route(
        "GET", f"/health/{name}", part, f"{name} of the page", query=NoParams, media=(media,), public=True, tagged=True
    )


ROUTES: tuple[Route, ...] = (
    Route(
        "GET",
        "/health",
        health_page,
        "The page of health",
        query=NoParams,
        media=("text/html",),
        public=True,
        tagged=True,
    ),
    _part("health.css", "text/css"),
    _part("icon.svg", "image/svg+xml"),
    *(_part(f"{name}.js", "text/javascript") for name in ("main", "matrix", "evidence", "source", "words")),
)
