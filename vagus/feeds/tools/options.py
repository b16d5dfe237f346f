"""Options of a tool, checked: from a configuration file and from Python alike."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vagus.config import Settings, seconds
from vagus.errors import ConfigError
from vagus.feeds.contracts import ToolContext

T = TypeVar("T", bound=Settings)


def checked(kind: type[T], tool: str, options: dict[str, Any]) -> T:
    """The options as settings of `kind`. Raises ConfigError that names the tool and the option."""
    plain = {key: os.fspath(value) if isinstance(value, os.PathLike) else value for key, value in options.items()}
    try:
        return msgspec.convert(plain, kind)
    except msgspec.ValidationError as error:
        problem = str(error)
        if "unknown field" in problem or "missing required" in problem:
            problem += f"; its options are: {', '.join(kind.__struct_encode_fields__)}"
        raise ConfigError(f"tool {tool}: {problem}") from error


def seconds_of(tool: str, name: str, duration: str | float, least_s: float = 0.0) -> float:
    """A duration among the options, in seconds. Raises ConfigError."""
    try:
        found = seconds(duration)
    except ConfigError as error:
        raise ConfigError(f"tool {tool}: {name}: {error}") from error
    if found < least_s:
        raise ConfigError(f"tool {tool}: {name}: {duration} is too short; at least {least_s:g} s")
    return found


def path_of(tool: str, context: ToolContext, name: str) -> Path:
    """A path of the options: relative ones are below the context's folder. Raises ConfigError for one that leaves it."""
    if not name or "\0" in name or len(name) > 4000:
        raise ConfigError(f"tool {tool}: {name[:80]!r} is no path")
    if ".." in Path(name).parts:
        raise ConfigError(f"tool {tool}: path {name[:80]!r} leaves its folder by '..'; write an absolute path")
    return context.folder / name


def function_of(tool: str, name: str | Callable[..., Any]) -> Callable[..., Any]:
    """A user's function, itself or as `module:function`. Raises ConfigError."""
    if callable(name):
        return name
    module, colon, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute) if colon and module and attribute else None
    except Exception as error:  # the user's module runs here
        raise ConfigError(f"tool {tool}: function {name!r} does not load: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"tool {tool}: {name!r} is no function; write it as module:function")
    checked_function: Callable[..., Any] = found
    return checked_function
