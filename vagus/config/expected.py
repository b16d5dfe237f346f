"""What of a cluster there should be: `expected` in vagus.yaml."""

from __future__ import annotations

import re
from collections import Counter
from typing import Annotated

from msgspec import Meta

from vagus.config.base import Duration, Settings, seconds
from vagus.errors import ConfigError
from vagus.model import check_name

MAX_GRACE_S = 86_400.0
NodeName = Annotated[
    str,
    Meta(pattern=r"^[A-Za-z0-9_.-]{1,100}$(?!\n)", description="as in `vagus status`: the host name, or vagus/node"),
]
_GLOB = re.compile(r"[*?\[\]]")


class ExpectedSettings(Settings, frozen=True):
    """Nodes and services without which `GET /healthz` answers 503 and `vagus status` exits with 3.

    With any, the same holds while an actor of vagus crash-loops. Without any, nothing is missed.
    """

    # how many, whatever they are called, or the names of those that there should be; 0: none is missed
    nodes: Annotated[int, Meta(ge=0, le=100_000)] | Annotated[tuple[NodeName, ...], Meta(max_length=10_000)] = 0
    # subjects, as `vagus health` names them; web is also service:web, a service of collect.heartbeats
    services: Annotated[tuple[str, ...], Meta(max_length=10_000)] = ()
    grace: Duration = "60s"  # after a node's start: what was not seen yet is awaited for so long, not missed

    def __post_init__(self) -> None:
        names = {"nodes": self.nodes if isinstance(self.nodes, tuple) else (), "services": self.services}
        for what, given in names.items():
            twice = next((name for name, count in Counter(given).items() if count > 1), None)
            if twice is not None:
                raise ConfigError(f"expected.{what}: {twice!r} is named twice")
        for service in self.services:
            check_name("expected.services: a subject", service)
            if _GLOB.search(service):
                raise ConfigError(f"expected.services: {service!r} is a pattern; name each subject that is expected")
        try:
            grace_s = seconds(self.grace)
        except ConfigError as error:
            raise ConfigError(f"expected.grace: {error}") from error
        if grace_s > MAX_GRACE_S:
            raise ConfigError(f"expected.grace is {self.grace}; it must be from 0 to 1d")

    @property
    def declared(self) -> bool:
        """Whether anything is expected at all."""
        return bool(self.nodes or self.services)

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects on which its judgement rests, names and globs; none when nothing is expected."""
        if not self.declared:
            return ()
        nodes = tuple(f"node:{name}" for name in self.nodes) if isinstance(self.nodes, tuple) else ("node:*",)
        services = (name for service in self.services for name in named(service))
        return (*(nodes if self.nodes else ()), *services, "vagus:*")


def named(service: str) -> tuple[str, ...]:
    """The subjects that an expected service may be: as it is named, or as collect.heartbeats reports on it."""
    return (service,) if service.startswith("service:") else (service, f"service:{service}")
