"""Tools: what can be made of any feed's items, one file each, and how a feed's settings become its tools."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar, cast

import msgspec

from vagus.config import FeedSettings, seconds
from vagus.config.feeds import named
from vagus.errors import ConfigError
from vagus.feeds.contracts import TOOLS, Tool, ToolContext
from vagus.feeds.feed import Feed
from vagus.feeds.shapes import shape_of

S = TypeVar("S", bound=msgspec.Struct)


def tools_of(
    settings: Sequence[FeedSettings], feeds: Mapping[str, Feed[Any]], folder: Path, node: str = ""
) -> dict[str, list[Tool]]:
    """The tools of all feeds that have some, by the feed's name; their files are in `folder`/NAME. Raises ConfigError."""
    return {
        one.name: make_tools(
            one,
            ToolContext(
                feed=one.name,
                folder=folder / one.name,
                shape=shape_of(feeds[one.name]),
                node=node,
                period_s=seconds(one.every) if one.source is not None and not one.once else 0.0,
            ),
        )
        for one in settings
        if one.tools
    }


def make_tools(settings: FeedSettings, context: ToolContext) -> list[Tool]:
    """The tools of a feed, in the order of its settings. Raises ConfigError, which names the feed and the tool."""
    made = []
    for position, step in enumerate(settings.tools):
        name, options = named(step)
        try:
            made.append(make_tool(name, options, context))
        except ConfigError as error:
            which = f" ({position + 1}.)" if [named(other)[0] for other in settings.tools].count(name) > 1 else ""
            raise ConfigError(f"feed {settings.name or context.feed!r}: tool {name}{which}: {error}") from error
    return made


def make_tool(name: str, options: Mapping[str, Any] | None, context: ToolContext) -> Tool:
    """One tool: a registered name, or `module:Class`. Raises ConfigError, for wrong options too."""
    factory: Any = _class(name) if ":" in name else TOOLS.get(name)
    given = {str(key): value for key, value in (options or {}).items()}
    try:
        return cast("Tool", factory(context, **given))
    except TypeError as error:
        raise ConfigError(f"it does not take these options ({', '.join(given) or 'none'}): {error}") from error


def _class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(f"{name!r} does not load: {error}; install it, or put its folder on PYTHONPATH") from error
    except Exception as error:  # a module from outside may raise anything
        raise ConfigError(f"{name!r} does not load: {type(error).__name__}: {error}") from error


def checked(kind: type[S], options: Mapping[str, Any], needs: Mapping[str, str] = MappingProxyType({})) -> S:
    """Options as a typed struct; needs: option → the one without which it does nothing.

    Raises ConfigError, which names the option.
    """
    for option, other in needs.items():
        if option in options and not options.get(other):
            raise ConfigError(f"{option} does nothing without {other}: give both, or neither")
    try:
        plain = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in options.items()}
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        known = ", ".join(field.encode_name for field in msgspec.structs.fields(kind))
        raise ConfigError(f"{str(error).replace('$.', '')}; its options are {known}") from error
