"""Pages and their files: static, without data, so that a browser can load them before it has a token.

The script takes the token from the address's fragment, which a browser never sends, and asks /v1 with it. A page may
load nothing from elsewhere, run no other script, and insert nothing as HTML (Trusted Types): names come from outside.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path

from aiohttp import web

from vagus.gateway.params import NoParams, Params, params_of
from vagus.gateway.route import Handler, Route, Site
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
MEDIA = {".html": "text/html", ".css": "text/css", ".svg": "image/svg+xml", ".js": "text/javascript"}


@cache
def _read(name: str) -> tuple[bytes, str]:
    body = (FOLDER / name).read_bytes()
    return body, f'"{hashlib.blake2b(body, digest_size=12).hexdigest()}"'


def _file(request: web.BaseRequest, name: str, query: type[Params]) -> web.Response:
    params_of(request, query)
    body, etag = _read(name)
    headers = {**HEADERS, "ETag": etag}
    if same(request, etag):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, headers={**headers, "Content-Type": f"{MEDIA[Path(name).suffix]}; charset=utf-8"})


def file_route(
    path: str, name: str, summary: str, about: str = "A file of the page.", query: type[Params] = NoParams
) -> Route:
    """A route that answers a file of page/; query: parameters that only its script reads."""

    async def answer(site: Site, request: web.BaseRequest, _: str) -> web.StreamResponse:
        return _file(request, name, query)

    answer.__name__, answer.__doc__ = _operation(path), about
    handler: Handler = answer
    media = (MEDIA[Path(name).suffix],)
    return Route("GET", path, handler, summary, query=query, media=media, public=True, tagged=True)


def _operation(path: str) -> str:
    name = (path.strip("/") or "home").replace("/", "_").replace(".", "_")
    return name if "." in path else f"{name}_page"
