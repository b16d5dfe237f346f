"""Who may ask: the bearer token, and the Host header as a guard against DNS rebinding."""

from __future__ import annotations

import hmac
import ipaddress

from aiohttp import web

from vagus.gateway.errors import Problem
from vagus.gateway.route import Site

_MAX_REMEMBERED = 64


def has_token(site: Site, request: web.BaseRequest) -> bool:
    """Whether the request carries the right token; compared in constant time."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        token.strip().encode("utf-8", "surrogateescape"), site.token
    )


def check_token(site: Site, request: web.BaseRequest) -> None:
    """Raises Problem: 401 without a token, 403 with a wrong one."""
    if has_token(site, request):
        return
    given = request.headers.get("Authorization", "")
    if given[:7].lower() == "bearer ":
        hint = "the token is in the file that HOME/nodes/NODE/gateway.json names"
        raise Problem(403, "forbidden", "the token is not the one of this cluster", "header Authorization", hint)
    hint = "send 'Authorization: Bearer TOKEN'; the file that HOME/nodes/NODE/gateway.json names holds it"
    problem = Problem(401, "unauthorized", "a token is needed", "header Authorization", hint)
    problem.headers["WWW-Authenticate"] = 'Bearer realm="vagus"'
    raise problem


class HostCheck:
    """Accepts loopback names and addresses, and what the server is bound to. A page elsewhere that re-points its
    own name at this machine (DNS rebinding) sends its own name, and is refused."""

    def __init__(self, names: set[str]) -> None:
        self._names = {"localhost", *(name.lower().strip("[]") for name in names)}
        self._accepted: set[str] = set()

    def __call__(self, request: web.BaseRequest) -> None:
        """Raises Problem (421; 400 without a Host header)."""
        host = request.headers.get("Host")
        if host in self._accepted:
            return
        if not host:
            raise Problem(400, "host", "the request has no Host header", "header Host")
        if not self._allowed(host):
            hint = "use a loopback name or the address that the gateway is bound to"
            raise Problem(421, "host", f"{host[:100]!r} is not a name of this gateway", "header Host", hint)
        if len(self._accepted) < _MAX_REMEMBERED:
            self._accepted.add(host)

    def _allowed(self, host: str) -> bool:
        if host.startswith("["):
            name = host[1:].partition("]")[0]
        else:
            name = host.rpartition(":")[0] if host.count(":") == 1 else host
        name = name.lower().rstrip(".")
        if name in self._names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False
