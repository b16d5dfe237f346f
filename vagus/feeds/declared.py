"""From settings to feeds: `feeds_of` gives what the YAML file declares as the values of feed.py.

Each mistake is a ConfigError that names the feed and says what to write.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from vagus.config import FeedSettings, SourceSettings, seconds
from vagus.errors import ConfigError
from vagus.feeds.feed import Base, Failover, Feed, Foreach, Refeed, Union, dict_, list_, pair
from vagus.feeds.load import check_locations, check_source_options, load_format, named_feed
from vagus.feeds.location import scheme
from vagus.feeds.naming import names_of
from vagus.feeds.preprocess import steps_of
from vagus.feeds.template import Template
from vagus.feeds.when import When, every, once

Maker = Callable[[Any], Feed[Any]]
"""The feed for an item of what drives it; where nothing does, the item is not looked at."""

ANY_ITEM = object()
"""In place of an item: the feed as it is declared, with places for data in its locations."""

_OF_BASES = ("every", "once", "start", "duration", "timeout", "catch_up")
_OF_BYTES = ("preprocess", "format", "max_bytes", "options")
_DEFAULTS = FeedSettings(refeed="x")


def feeds_of(settings: Sequence[FeedSettings]) -> dict[str, Feed[Any]]:
    """The declared feeds by name, in order; a feed that stands in others is the same object there."""
    return _File(settings).feeds()


class _File:
    """All feeds of a file; what was made of each."""

    def __init__(self, settings: Sequence[FeedSettings]) -> None:
        self._settings: dict[str, FeedSettings] = {}
        for one in settings:
            if not one.name:
                raise ConfigError("feeds: a feed has no name; it needs one")
            if one.name in self._settings:
                raise ConfigError(f"feeds: the name {one.name!r} is given twice; each needs one of its own")
            self._settings[one.name] = one
        self._feeds: dict[str, Feed[Any]] = {}
        self._path: list[str] = []

    def feeds(self) -> dict[str, Feed[Any]]:
        """All of them."""
        feeds = {name: self._named(name) for name in self._settings}
        names_of(feeds)
        return feeds

    def _named(self, name: str) -> Feed[Any]:
        if name not in self._feeds:
            if name in self._path:
                raise ConfigError(f"feed {name!r} is made of itself: {' → '.join((*self._path, name))}")
            self._path.append(name)
            self._feeds[name] = self._maker(self._settings[name], name, within=False)(None)
            self._path.pop()
        return self._feeds[name]

    def _part(self, part: FeedSettings | str, name: str, within: bool) -> Maker:
        if isinstance(part, str):
            if part not in self._settings:
                near = difflib.get_close_matches(part, self._settings, 1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(self._settings)}"
                raise ConfigError(f"feed {name!r}: there is no feed {part!r}; {hint}")
            known = self._named(part)
            return lambda value: known
        if part.tools:
            raise ConfigError(f"feed {name!r}: tools are of the feeds of the file; give the one inside a place there")
        if part.name and part.name in self._settings:
            raise ConfigError(f"feed {name!r}: the one inside is called as feed {part.name!r}; name it otherwise")
        maker = self._maker(part, part.name or name, within)
        return (lambda value: maker(value).named(part.name)) if part.name else maker

    def _maker(self, settings: FeedSettings, name: str, within: bool) -> Maker:
        """within: the feed stands in what a foreach makes, so that its locations have places for data."""
        with named_feed(name):
            _check_settings(settings)
        if settings.foreach is not None:
            driving = self._part(settings.foreach, name, within)
            inside = self._plain(settings, name, True)

            def made(value: Any) -> Feed[Any]:
                return Foreach(source=driving(value), make=inside, like=inside(ANY_ITEM))

            return _refined(settings, name, made)
        plain = self._plain(settings, name, within)
        return _refined(settings, name, plain)

    def _plain(self, settings: FeedSettings, name: str, within: bool) -> Maker:
        """What there is before flatten, where and select."""
        if settings.source is not None:
            with named_feed(name):
                return _base(settings, within)
        if settings.of is not None:
            return self._part(settings.of, name, within)
        if settings.refeed:
            return self._refeed(settings, name)
        if settings.keyed:
            keyed = {key: self._part(part, name, within) for key, part in settings.keyed.items()}
            return lambda value: dict_({key: maker(value) for key, maker in keyed.items()})
        sides = [
            self._part(part, name, within)
            for part in settings.pair or settings.union or settings.failover or settings.many
        ]
        if settings.pair:
            left, right = sides
            return lambda value: pair(left(value), right(value))
        if settings.many:
            return lambda value: list_([maker(value) for maker in sides])
        kind = Union[Any] if settings.union else Failover[Any]
        return lambda value: kind(sides=tuple(maker(value) for maker in sides))

    def _refeed(self, settings: FeedSettings, name: str) -> Maker:
        if settings.refeed in self._settings or "/" not in settings.refeed:
            archived = self._part(settings.refeed, name, False)
            return lambda value: Refeed(source=archived(value), folder="")
        with named_feed(name):
            base = Base(
                locations=(),
                any=False,
                when=When(period_s=0.0, timeout_s=1.0),
                format=load_format(settings),
                steps=steps_of(settings.preprocess),
                max_bytes=settings.max_bytes,
            )
        return lambda value: Refeed(source=base, folder=settings.refeed)


def _base(settings: FeedSettings, within: bool) -> Maker:
    source = settings.source or SourceSettings()
    if bool(source.all) == bool(source.any):
        raise ConfigError("source needs locations under one of 'all' and 'any'")
    written = source.all or source.any
    options = settings.options.get("source", {})
    schemes = sorted(set(map(scheme, written)))
    check_source_options(options, schemes)
    base: Base[Any] = Base(
        locations=written if within else check_locations(written),
        any=bool(source.any),
        when=_when(settings),
        format=load_format(settings),
        steps=steps_of(settings.preprocess),
        max_bytes=settings.max_bytes,
        options=options,
    )
    if not within:
        return lambda value: base
    templates = [Template(text) for text in written]

    def filled(value: Any) -> Base[Any]:
        if value is ANY_ITEM:
            return base
        return _at(base, check_locations(tuple(template.fill(value) for template in templates)))

    return filled


def _at(base: Base[Any], locations: tuple[str, ...]) -> Base[Any]:
    return Base(
        locations=locations,
        any=base.any,
        when=base.when,
        format=base.format,
        steps=base.steps,
        max_bytes=base.max_bytes,
        options=base.options,
    )


def _when(settings: FeedSettings) -> When:
    if settings.once:
        if seconds(settings.duration):
            raise ConfigError("once is a single tick: it has no duration")
        return once(settings.timeout, start=settings.start or "now")
    return every(
        settings.every,
        timeout=settings.timeout,
        start=settings.start,
        duration=settings.duration if seconds(settings.duration) else None,
        catch_up=settings.catch_up,
    )


def _refined(settings: FeedSettings, name: str, made: Maker) -> Maker:
    """What comes, through flatten, where and select."""
    steps: list[Callable[[Feed[Any]], Feed[Any]]] = []
    if settings.flatten:
        path = settings.flatten if isinstance(settings.flatten, str) else ""
        steps.append(lambda feed: feed.flatten(path))
    if settings.where:
        steps.append(lambda feed: feed.where(settings.where))
    if settings.select:
        steps.append(lambda feed: feed.select(*settings.select))
    if not steps:
        return made

    def refined(value: Any) -> Feed[Any]:
        feed = made(value)
        with named_feed(name):
            for step in steps:
                feed = step(feed)
        return feed

    return refined


def _check_settings(settings: FeedSettings) -> None:
    """Settings that would do nothing here are mistakes."""
    if settings.source is not None:
        return
    unused = _OF_BASES if settings.refeed else _OF_BASES + _OF_BYTES
    for key in unused:
        if getattr(settings, key) != getattr(_DEFAULTS, key):
            raise ConfigError(f"{key} belongs to a feed with a source; write it there, at what this one is made of")
