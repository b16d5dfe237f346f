"""Who may ask for what: bearer tokens, the access rules, and the Host header as a guard against DNS rebinding."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from vagus.access import NOBODY, Principal
from vagus.gateway.door import HostNames, Keys
from vagus.gateway.errors import Problem

WHO = web.RequestKey("who", Principal)  # where a request carries its principal
_MAX_REMEMBERED = 64


class Door(Keys):
    """Lets requests in by their tokens; takes what Keys takes."""

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **more)
        self._known: dict[str, Principal] = {}  # by the header

    def find(self, request: web.BaseRequest) -> Principal | None:
        """Whose token the request carries."""
        header = request.headers.get("Authorization", "")
        known = self._known.get(header)
        if known is not None:
            return known
        scheme, _, given = header.partition(" ")
        if not scheme:  # a browser's WebSocket can only offer protocols
            offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
            scheme, given = next(
                (("bearer", o.strip()[7:]) for o in offered if o.strip().startswith("bearer.")), ("", "")
            )
        who = self.holder(given.strip()) if scheme.lower() == "bearer" else None
        if who is not None and header and len(self._known) < _MAX_REMEMBERED:
            self._known[header] = who
        return who

    def enter(self, request: web.BaseRequest) -> Principal:
        """The principal, also kept in the request. Raises Problem: 401 without a token, 403 with a wrong one."""
        who = self.find(request)
        if who is not None:
            request[WHO] = who
            return who
        if request.headers.get("Authorization", "")[:7].lower() == "bearer ":
            self._refuse(str(NOBODY), "read", "a wrong token")
            hint = "the token is in the file that HOME/nodes/NODE/gateway.json names"
            raise Problem(403, "forbidden", "the token is not one of this cluster's", "header Authorization", hint)
        hint = "send 'Authorization: Bearer TOKEN'; the file that HOME/nodes/NODE/gateway.json names holds it"
        problem = Problem(401, "unauthorized", "a token is needed", "header Authorization", hint)
        problem.headers["WWW-Authenticate"] = 'Bearer realm="vagus"'
        raise problem


def who_asks(request: web.BaseRequest) -> Principal:
    """The principal of a request that came through the door; NOBODY on a public route without a token."""
    found: Principal = request.get(WHO, NOBODY)
    return found


class HostCheck(HostNames):
    """Accepts loopback names and addresses, and what the server is bound to. A page elsewhere that re-points its
    own name at this machine (DNS rebinding) sends its own name, and is refused."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(names)
        self._accepted: set[str] = set()

    def __call__(self, request: web.BaseRequest) -> None:
        """Raises Problem (421; 400 without a Host header)."""
        host = request.headers.get("Host")
        if host in self._accepted:
            return
        if not host:
            raise Problem(400, "host", "the request has no Host header", "header Host")
        if not self.allowed(host):
            hint = "use a loopback name or the address that the gateway is bound to"
            raise Problem(421, "host", f"{host[:100]!r} is not a name of this gateway", "header Host", hint)
        if len(self._accepted) < _MAX_REMEMBERED:
            self._accepted.add(host)

    def origin(self, request: web.BaseRequest) -> None:
        """Raises Problem (403) when a page that is not this machine's asks: browsers let any page open a WebSocket."""
        origin = request.headers.get("Origin")
        if origin is not None and not self.allowed(origin.partition("://")[2]):
            hint = "open the page from this machine, or connect without an Origin header"
            raise Problem(403, "origin", f"a page of {origin[:100]!r} may not connect", "header Origin", hint)
