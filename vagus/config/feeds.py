"""Settings of feeds: where data is, when it is there, what it looks like, what is made of it, and its tools."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec

from vagus.config.base import Duration, Settings
from vagus.errors import ConfigError

FeedName = Annotated[
    str,
    msgspec.Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,63})?$(?!\n)", description="letters, digits, _ . -"),
]


class SourceSettings(Settings, frozen=True):
    """Where a feed's bytes come from: `all` of them each tick, or `any` one, in order.

    http://, https://, file: or proc: (a command, split as a shell would, without a shell). Below a `foreach`, `{}` or
    `{field}` stands for the driving item's value or a field of it.
    """

    all: tuple[str, ...] = ()
    any: tuple[str, ...] = ()


class FeedSettings(Settings, frozen=True):
    """One declared feed. Exactly one of source, of, pair, union, failover, list, dict and refeed says what it is.

    Where a feed stands in another one, a text is the name of a feed of the same file, and a mapping one without a name
    of its own. flatten, where and select apply in this order to what comes; tools see what is left.
    """

    name: FeedName = ""
    source: SourceSettings | None = None
    of: FeedSettings | str | None = None  # another feed, of which this one is made by flatten, where, select
    pair: tuple[FeedSettings | str, ...] = ()  # two, matched on scheduled time
    union: tuple[FeedSettings | str, ...] = ()  # the items of all
    failover: tuple[FeedSettings | str, ...] = ()  # for each scheduled time the first that did not fail
    many: tuple[FeedSettings | str, ...] = msgspec.field(name="list", default=())  # as pair, of any number
    keyed: dict[str, FeedSettings | str] = msgspec.field(name="dict", default={})  # as list, with names
    refeed: str = ""  # items of an archive once more: another feed's name, or the folder of a store
    foreach: FeedSettings | str | None = None  # this feed is made for each item of that one, until its next
    every: Duration = "60s"
    once: bool = False  # a single tick instead of one every …
    start: str = ""  # the first tick: now, or a time such as 2026-01-31T12:00:00Z; empty: the grid of `every`
    duration: Duration = 0  # how long there are ticks; 0: always
    timeout: Duration = "10s"
    catch_up: Literal["latest", "all", "none"] = "latest"  # of the ticks that passed while the feed did not run
    preprocess: tuple[str | dict[str, dict[str, Any]], ...] = ()  # gzip, bz2, xz, zstd, decrypt: {...}; in this order
    format: str = "text"  # a registered format, or module:Class
    max_bytes: Annotated[int, msgspec.Meta(ge=1, le=64 << 20)] = 4 << 20  # the archive takes no larger record
    options: dict[str, Any] = {}  # of the format; below `source`, of each scheme's source
    flatten: bool | str = False  # an item for each element of the list, or of the list in this field
    where: str = ""  # an expression, such as: load1 > 2 && drift < 1m
    select: tuple[str, ...] = ()  # fields that are kept
    tools: tuple[str | dict[str, dict[str, Any]], ...] = ()  # such as: - rss: {file: comon.rss, title: CoMon}

    def __post_init__(self) -> None:
        given = [_KEYS.get(kind, kind) for kind in _KINDS if getattr(self, kind)]
        if len(given) != 1:
            listed = ", ".join(_KEYS.get(kind, kind) for kind in _KINDS)
            found = f"; there are {' and '.join(given)}" if given else ""
            raise ConfigError(f"feed {self.name!r}: it needs exactly one of {listed}{found}")
        if self.pair and len(self.pair) != 2:
            raise ConfigError(
                f"feed {self.name!r}: pair is of two feeds, not {len(self.pair)}; `list` takes any number"
            )
        for what in ("preprocess", "tools"):
            for step in getattr(self, what):
                if not isinstance(step, str) and len(step) != 1:
                    raise ConfigError(f"feed {self.name!r}: {what}: each is a name, or one name: {{options}}")

    @property
    def kind(self) -> str:
        """What it is made by: source, of, pair, union, failover, list, dict or refeed."""
        return next(_KEYS.get(kind, kind) for kind in _KINDS if getattr(self, kind))

    def parts(self) -> Iterator[FeedSettings | str]:
        """The feeds that stand in this one."""
        single = (part for part in (self.of, self.foreach) if part is not None)
        yield from (*single, *self.pair, *self.union, *self.failover, *self.many, *self.keyed.values())


class MailSettings(Settings, frozen=True):
    """Where alerts are mailed: a server that takes mail for `to`, plain, with STARTTLS, or with TLS from the start."""

    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
    sender: Annotated[str, msgspec.Meta(min_length=3, max_length=320)] = msgspec.field(name="from")
    to: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=100)]
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 25
    tls: Literal["none", "starttls", "tls"] = "none"  # certificates are verified
    user: str = ""
    password_file: str = ""  # its first line is the password; only sent over TLS, or to this machine
    timeout: Duration = "20s"

    def __post_init__(self) -> None:
        if bool(self.user) != bool(self.password_file):
            raise ConfigError("mail: user and password_file go together")
        if self.user and self.tls == "none" and self.host not in ("localhost", "127.0.0.1", "::1"):
            raise ConfigError(f"mail: a password is sent to {self.host} only over TLS: set tls to starttls or tls")
        for address in (self.sender, *self.to):
            if not _ADDRESS.fullmatch(address):
                raise ConfigError(f"mail: {address[:80]!r} is no address such as ops@example.org")


_ADDRESS = re.compile(r"[^\s@<>,;:\"()\\]+@[^\s@<>,;:\"()\\]+")
_KINDS = ("source", "of", "pair", "union", "failover", "many", "keyed", "refeed")
_KEYS = {"many": "list", "keyed": "dict"}


def named(step: str | dict[str, dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """A preprocessing step or tool as its name and options."""
    return (step, {}) if isinstance(step, str) else next(iter(step.items()))
