"""Who may ask for what: bearer tokens, the access rules, and the Host header as a guard against DNS rebinding."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence

from aiohttp import web

from vagus.access import CLUSTER, NOBODY, Access, Principal, Refusals, Verb
from vagus.clock import Clock
from vagus.config import AccessRule
from vagus.errors import ConfigError, Refused
from vagus.gateway.errors import Problem
from vagus.model import Event

MIN_TOKEN = 16
MAX_TOKENS = 100
WHO = web.RequestKey("who", Principal)  # where a request carries its principal
_MAX_REMEMBERED = 64


class Door:
    """Knows principals by their tokens, and what each may do at which node. `tell` is given the refusals' events.

    token: the cluster's own; tokens: those of other principals, by name. Raises ConfigError for a token that is too
    short, not printable ASCII, or given twice.
    """

    def __init__(
        self,
        node: str,
        clock: Clock,
        token: str,
        tokens: Mapping[str, str] = {},
        rules: Sequence[AccessRule] = (),
        tell: Callable[[Event], None] = lambda event: None,
    ) -> None:
        named = [(CLUSTER, token), *((Principal("token", name), given) for name, given in tokens.items())]
        if len(named) > MAX_TOKENS:
            raise ConfigError(f"{len(named)} tokens; at most {MAX_TOKENS} are allowed")
        if len({given for _, given in named}) < len(named):
            raise ConfigError("two principals have the same token; give each of `tokens` in vagus.yaml its own")
        for who, given in named:
            if len(given) < MIN_TOKEN or not given.isascii() or not given.isprintable() or " " in given:
                which = "the gateway's token" if who is CLUSTER else f"the token of {who.name!r}"
                raise ConfigError(f"{which} needs at least {MIN_TOKEN} printable ASCII characters without spaces")
        self.node = node
        self.refusals = Refusals(node, "gateway")
        self._named = [(who, given.encode()) for who, given in named]
        self._rules = tuple(rules)
        self._open = not self._rules
        self._access: dict[str, Access] = {}
        self._clock = clock
        self._tell = tell

    @property
    def open(self) -> bool:
        """Whether there are no rules: every holder of a token may do everything."""
        return self._open

    def find(self, request: web.BaseRequest) -> Principal | None:
        """Whose token the request carries; compared in constant time."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if not scheme:  # a browser's WebSocket can only offer protocols
            offered = request.headers.get("Sec-WebSocket-Protocol", "").split(",")
            scheme, given = next(
                (("bearer", o.strip()[7:]) for o in offered if o.strip().startswith("bearer.")), ("", "")
            )
        return self.holder(given.strip()) if scheme.lower() == "bearer" else None

    def holder(self, token: str) -> Principal | None:
        """Whose token it is."""
        given, found = token.encode("utf-8", "surrogateescape"), None
        for who, known in self._named:
            if hmac.compare_digest(given, known):
                found = who
        return found

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

    def allows(self, who: Principal, verb: Verb, what: str, node: str = "") -> bool:
        """Whether the rules allow it at `node` ("": this one)."""
        return self._open or self._at(node or self.node).allows(who, verb, what)

    def check(self, who: Principal, verb: Verb, what: str, node: str = "") -> None:
        """Raises Refused, and tells."""
        if not self._open:
            try:
                self._at(node or self.node).check(who, verb, what)
            except Refused:
                self._refuse(str(who), verb, what)
                raise

    def refuse(self, who: Principal, verb: Verb, what: str, node: str = "") -> Refused:
        """Tells of a refusal that the caller has found; the error to raise."""
        self._refuse(str(who), verb, what)
        try:
            self._at(node or self.node).check(who, verb, what)
        except Refused as error:
            return error
        return Refused(f"{who} may not {verb} {what[:100]!r} at {node or self.node}")

    def _at(self, node: str) -> Access:
        found = self._access.get(node)
        if found is None:
            found = self._access[node] = Access(self._rules, node)
        return found

    def _refuse(self, who: str, verb: Verb, what: str) -> None:
        event = self.refusals.note(who, verb, what, self._clock.time_ns())
        if event is not None:
            self._tell(event)


def who_asks(request: web.BaseRequest) -> Principal:
    """The principal of a request that came through the door; NOBODY on a public route without a token."""
    found: Principal = request.get(WHO, NOBODY)
    return found


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

    def origin(self, request: web.BaseRequest) -> None:
        """Raises Problem (403) when a page that is not this machine's asks: browsers let any page open a WebSocket."""
        origin = request.headers.get("Origin")
        if origin is not None and not self._allowed(origin.partition("://")[2]):
            hint = "open the page from this machine, or connect without an Origin header"
            raise Problem(403, "origin", f"a page of {origin[:100]!r} may not connect", "header Origin", hint)

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
