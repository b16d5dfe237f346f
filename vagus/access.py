"""Who may send to, read from and act through a node: principals, and the rules of `vagus.yaml` (`access`)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from vagus.clock import NS
from vagus.config import AccessRule
from vagus.errors import Refused
from vagus.model import Event, Level, Scalar

Verb = Literal["send", "read", "act"]
MAX_KINDS = 1000
MAX_SHOWN = 200
REPEAT_NS = 60 * NS


class Principal(NamedTuple):
    """Who asks: `token:NAME`, `uid:NUMBER` of a unix peer, `listener:ulm` for a port that knows no names."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


NOBODY = Principal("token", "")
"""Who showed no token, or a wrong one."""
CLUSTER = Principal("token", "cluster")
"""The holder of the cluster's own token."""


class Access:
    """The rules, at one node. Without any, everything is allowed; with one, what no rule allows is refused."""

    def __init__(self, rules: Sequence[AccessRule], node: str) -> None:
        self._rules = [rule for rule in rules if _any(rule.nodes, node)]
        self._open = not rules
        self.node = node

    @property
    def open(self) -> bool:
        """Whether there are no rules at all."""
        return self._open

    def allows(self, who: Principal, verb: Verb, what: str) -> bool:
        """Whether `who` may send, read or act on `what`: a stream's kind, a subject, a controller."""
        if self._open:
            return True
        name = str(who)
        return any(_any(rule.who, name) and _any(getattr(rule, verb), what) for rule in self._rules)

    def check(self, who: Principal, verb: Verb, what: str) -> None:
        """Raises Refused."""
        if not self.allows(who, verb, what):
            raise Refused(
                f"{who} may not {verb} {what[:100]!r} at {self.node}; a rule under `access` in vagus.yaml would allow it"
            )


def _any(patterns: Sequence[str], name: str) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


class Refusals:
    """Turns refusals into events: the first of its kind at once, then at most one a minute with their number.

    `node` and `source` are the event's. Memory is bounded by MAX_KINDS: kinds beyond share one event.
    """

    def __init__(self, node: str, source: str) -> None:
        self.count = 0
        self._node = node
        self._source = source
        self._told: dict[tuple[str, str, str], tuple[int, int]] = {}  # when last told, how many since

    def note(self, who: str, verb: str, what: str, t_ns: int) -> Event | None:
        """An event to store, or None while that kind was told within the minute."""
        self.count += 1
        key = (who[:MAX_SHOWN], verb, what[:MAX_SHOWN])
        if key not in self._told and len(self._told) >= MAX_KINDS:
            for old in [k for k, (told_ns, _) in self._told.items() if t_ns - told_ns > REPEAT_NS]:
                del self._told[old]
            if len(self._told) >= MAX_KINDS:
                key = ("others", verb, "")
        told_ns, since = self._told.get(key, (-REPEAT_NS - 1, 0))
        if 0 <= t_ns - told_ns <= REPEAT_NS:
            self._told[key] = (told_ns, since + 1)
            return None
        self._told[key] = (t_ns, 0)
        fields: dict[str, Scalar] = {"who": key[0], "verb": verb, "what": key[2], "times": since + 1}
        return Event(t_ns, "access.refused", self._node, Level.WARNING, self._source, fields)
