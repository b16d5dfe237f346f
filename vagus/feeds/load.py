"""What a feed's settings name: locations, options of sources, the format; each mistake is a ConfigError."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, cast

from vagus.config import FeedSettings
from vagus.errors import ConfigError
from vagus.feeds import FORMATS, SOURCES, Format
from vagus.feeds.location import scheme, shown

MAX_LOCATIONS = 100_000


@contextmanager
def named_feed(name: str) -> Iterator[None]:
    """What is wrong within says which feed it is of."""
    try:
        yield
    except ConfigError as error:
        start = f"feed {name!r}: "
        raise ConfigError(str(error) if str(error).startswith(start) else start + str(error)) from error


@contextmanager
def _of(settings: FeedSettings, what: str) -> Iterator[None]:
    try:
        yield
    except (ImportError, AttributeError, TypeError, ValueError) as error:  # ConfigError is a ValueError
        why = str(error) if isinstance(error, ConfigError) else f"{what} does not load: {error}"
        raise ConfigError(f"feed {settings.name!r}: {why}") from error


def check_locations(locations: tuple[str, ...]) -> tuple[str, ...]:
    """Locations as they are; ConfigError when one has no known scheme, is named twice, or they are too many or none."""
    if not 1 <= len(locations) <= MAX_LOCATIONS:
        raise ConfigError(f"{len(locations)} locations; 1 to {MAX_LOCATIONS} are allowed")
    seen: set[str] = set()
    for location in locations:
        if ":" not in location or scheme(location) not in SOURCES:
            starts = ", ".join(f"{name}:" for name in SOURCES)
            raise ConfigError(f"location {shown(location, 80)!r} must begin with one of {starts}")
        if shown(location) in seen:
            raise ConfigError(f"location {shown(location, 80)!r} is named twice (users of URLs do not count)")
        seen.add(shown(location))
    return locations


def check_source_options(options: Any, schemes: Collection[str]) -> None:
    """ConfigError where options are for a scheme that no location has, or the source does not take them."""
    if not isinstance(options, Mapping):
        raise ConfigError(
            f"options: source: they are by the scheme of a location, as {{http: {{…}}}}, not {options!r}"[:300]
        )
    for name, own in options.items():
        if name not in schemes:
            raise ConfigError(f"options: source: {name!r} is not the scheme of a location; {', '.join(schemes)} are")
        factory: Any = SOURCES.get(name)
        try:
            factory(**own)
        except (ImportError, AttributeError, TypeError, ValueError) as error:  # ConfigError is a ValueError
            raise ConfigError(f"options: source: {name}: {error}") from error


def load_format(settings: FeedSettings) -> Format[Any]:
    """The format of a feed, registered or `module:Class`, built with the feed's options."""
    options = {key: value for key, value in settings.options.items() if key != "source"}
    with _of(settings, f"format {settings.format!r} with options {sorted(options)}"):
        factory: Any
        if ":" in settings.format:
            module, _, attribute = settings.format.partition(":")
            factory = getattr(import_module(module), attribute)
        else:
            factory = FORMATS.get(settings.format)
        return cast("Format[Any]", factory(**options))
