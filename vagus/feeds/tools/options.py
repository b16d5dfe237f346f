"""What several tools' options have in common: durations, paths, functions of the user. Each raises ConfigError."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from vagus.config import seconds
from vagus.errors import ConfigError
from vagus.feeds.contracts import ToolContext


def seconds_of(name: str, duration: str | float, least_s: float = 0.0) -> float:
    """A duration among the options, in seconds."""
    try:
        found = seconds(duration)
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    if found < least_s:
        raise ConfigError(f"{name}: {duration} is too short; at least {least_s:g} s")
    return found


def path_of(context: ToolContext, name: str) -> Path:
    """A path of the options: relative ones are below the context's folder."""
    if not name or "\0" in name or len(name) > 4000:
        raise ConfigError(f"{name[:80]!r} is no path")
    if ".." in Path(name).parts:
        raise ConfigError(f"path {name[:80]!r} leaves its folder by '..'; write an absolute path")
    return context.folder / name


def function_of(name: str | Callable[..., Any]) -> Callable[..., Any]:
    """A user's function, itself or as `module:function`."""
    if callable(name):
        return name
    module, colon, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute) if colon and module and attribute else None
    except Exception as error:  # the user's module runs here
        raise ConfigError(f"function {name!r} does not load: {type(error).__name__}: {error}") from error
    if not callable(found):
        raise ConfigError(f"{name!r} is no function; write it as module:function")
    checked_function: Callable[..., Any] = found
    return checked_function
