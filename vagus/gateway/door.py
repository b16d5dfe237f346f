"""Whose token it is and what its holder may do, and the names of this gateway; of text alone, without a request."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable, Mapping, Sequence

from vagus.access import CLUSTER, Access, Principal, Refusals, Verb
from vagus.clock import Clock
from vagus.config import AccessRule
from vagus.errors import ConfigError, Refused
from vagus.model import Event

MIN_TOKEN = 16
MAX_TOKENS = 100


class Keys:
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

    def holder(self, token: str) -> Principal | None:
        """Whose token it is; compared in constant time."""
        given, found = token.encode("utf-8", "surrogateescape"), None
        for who, known in self._named:
            if hmac.compare_digest(given, known):
                found = who
        return found

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


class HostNames:
    """Loopback names and addresses, and what the server is bound to."""

    def __init__(self, names: set[str]) -> None:
        self.names = {"localhost", *(name.lower().strip("[]") for name in names)}

    def allowed(self, host: str) -> bool:
        """Whether a Host header, with or without a port, names this gateway."""
        if host.startswith("["):
            name, _, port = host[1:].partition("]")
            if port and not port.startswith(":"):
                return False
            port = port[1:]
        elif host.count(":") == 1:
            name, _, port = host.partition(":")
        else:
            name, port = host, ""
        if port and not (port.isascii() and port.isdigit()):
            return False
        name = name.lower().rstrip(".")
        if name in self.names:
            return True
        try:
            return ipaddress.ip_address(name).is_loopback
        except ValueError:
            return False
