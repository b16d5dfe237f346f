"""The feeds of a configuration, as far as they load: one that does not keeps only those from running that need it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from vagus.config import FeedSettings, seconds
from vagus.config.feeds import named
from vagus.errors import ConfigError
from vagus.feeds import SOURCES
from vagus.feeds.contracts import ANY_SHAPE, Shape
from vagus.feeds.declared import feeds_of
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Base, Feed, Foreach
from vagus.feeds.location import scheme
from vagus.feeds.naming import names_of, parts_of
from vagus.feeds.naming import tree as tree_of
from vagus.feeds.shapes import shape_of
from vagus.feeds.shares import references, tree
from vagus.model import FeedStatus

MAX_SHAPE = 500
MAX_DEPTH = 3


class Loaded:
    """feeds: those that run, by name; broken: why the others do not; settings, shapes: of those that run.

    bases: the base feeds as declared, by name; those that foreach makes are not among them.
    """

    def __init__(
        self, feeds: dict[str, Feed[Any]], broken: dict[str, str], settings: Sequence[FeedSettings] = ()
    ) -> None:
        self.feeds = feeds
        self.broken = broken
        self.settings = tuple(settings)
        self.shapes: dict[str, Shape] = {name: shape_of(feed) for name, feed in feeds.items()}
        self.slowest_s = max((seconds(part.every) for one in settings for part, _ in tree(one)), default=0.0)
        names = names_of(feeds)
        self.bases = {names[id(one)]: one for feed in feeds.values() for one in tree_of(feed) if isinstance(one, Base)}
        self._parts = {
            name: {names[id(one)] for one in _made_of(feed, feeds) if isinstance(one, (Base, Foreach))}
            for name, feed in feeds.items()
        }

    def is_part(self, base: str, feed: str) -> bool:
        """Whether a base is one that a named feed is made of; foreach makes NAME, NAME.0 … in what is called NAME."""
        known = self._parts.get(feed, set())
        parts = base.split(".")
        return any(".".join(parts[:count]) in known for count in range(len(parts), 0, -1))

    def status(self, settings: FeedSettings, node: str, **more: Any) -> FeedStatus:
        """What the declaration says of a feed, and `more`."""
        return FeedStatus(
            settings.name,
            node,
            settings.kind,
            schedule=_schedule(settings),
            shape=shape_text(self.shapes.get(settings.name, ANY_SHAPE))[:MAX_SHAPE],
            tools=tuple(named(tool)[0] for tool in settings.tools),
            **more,
        )


def load(settings: Sequence[FeedSettings]) -> Loaded:
    """What loads of these, each with all that it is made of."""
    known = {one.name: one for one in settings}
    broken: dict[str, str] = {}
    for one in settings:
        try:
            _check([known[name] for name in _closure(one, known)])
        except ConfigError as error:
            broken[one.name] = str(error)
    kept = [one for one in settings if one.name not in broken]
    try:
        return Loaded(feeds_of(kept), broken, kept)
    except ConfigError:  # each is well, but not beside the others: those that come first run
        good: list[FeedSettings] = []
        for one in kept:
            names = {name for other in (*good, one) for name in _closure(other, known)}
            try:
                feeds_of([other for other in kept if other.name in names])
            except ConfigError as error:
                broken[one.name] = str(error)
            else:
                good.append(one)
        return Loaded(feeds_of(good), broken, good)


def _made_of(feed: Feed[Any], roots: Mapping[str, Feed[Any]]) -> Iterator[Feed[Any]]:
    """A feed and its parts; lists that drive it only where they are no feeds with a name of their own."""
    named = {id(root) for root in roots.values()}
    waiting = [feed]
    while waiting:
        one = waiting.pop()
        yield one
        if not (isinstance(one, Foreach) and id(one.source) in named):
            waiting += parts_of(one)


def _closure(settings: FeedSettings, known: dict[str, FeedSettings]) -> dict[str, None]:
    """A feed and those that it is made of, what drives it included, by name, as far as there are any."""
    found = {settings.name: None}
    waiting = [settings]
    while waiting:
        for other in references(waiting.pop(), drivers_too=True):
            if other in known and other not in found:
                found[other] = None
                waiting.append(known[other])
    return found


def _check(settings: Sequence[FeedSettings]) -> None:
    """Raises ConfigError when the last of these, or what it is made of, does not load."""
    for one in settings:
        for part, _ in tree(one):
            _check_sources(one.name, part)
    feeds = feeds_of(settings)
    if not all(isinstance(feed, Base) for feed in feeds.values()):
        Engine(feeds, now_ns=0)


def _check_sources(feed: str, settings: FeedSettings) -> None:
    """Options that a source does not take are told when the feed loads, not at its first fetch."""
    given = settings.options.get("source", {})
    if not isinstance(given, dict) or settings.source is None:
        return
    for name in sorted({scheme(location) for location in (*settings.source.all, *settings.source.any)}):
        if name in SOURCES and name in given:
            factory: Any = SOURCES.get(name)
            try:
                factory(**given[name])
            except (TypeError, ValueError) as error:
                raise ConfigError(f"feed {feed!r}: source {name!r} does not load: {error}") from error


def _schedule(settings: FeedSettings) -> str:
    """`every 5m`, `once`; of what is made of others that of the first that has one."""
    for part, _ in tree(settings):
        if part.source is not None and (part.foreach is not None or part is settings or settings.foreach is None):
            return "once" if part.once else f"every {part.every}"
    return ""


def shape_text(shape: Shape, depth: int = MAX_DEPTH) -> str:
    """A shape as a line: `{load1: float [ratio], disks: list of int}`."""
    unit = f" [{shape.unit}]" if shape.unit else ""
    if shape.kind in ("list", "optional", "map"):
        inner = shape_text(shape.parts[0][1], depth) if shape.parts else "any"
        return f"{shape.kind} of {inner}{unit}" if shape.kind != "optional" else f"{inner}?{unit}"
    if shape.kind not in ("record", "union") or not depth or not shape.parts:
        return f"{shape.name or shape.kind}{unit}"
    if shape.kind == "union":
        return " | ".join(shape_text(part, depth - 1) for _, part in shape.parts)
    inside = ", ".join(f"{name}: {shape_text(part, depth - 1)}" for name, part in shape.parts)
    return f"{shape.name} {{{inside}}}".strip()
