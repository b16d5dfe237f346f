"""Who may send to, read from and act through a node: principals, and the rules of `vagus.yaml` (`access`)."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple

from vagus.config import AccessRule
from vagus.errors import Refused

Verb = Literal["send", "read", "act"]


class Principal(NamedTuple):
    """Who asks: `token:NAME`, `uid:NUMBER` of a unix peer, `listener:ulm` for a port that knows no names."""

    kind: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"


CLUSTER = Principal("token", "cluster")
"""The holder of the cluster's own token."""


class Access:
    """The rules, at one node. Without any, everything is allowed; with one, what no rule allows is refused."""

    def __init__(self, rules: Sequence[AccessRule], node: str) -> None:
        self._rules = [rule for rule in rules if _any(rule.nodes, node)]
        self._open = not rules
        self.node = node

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
