"""Rooms register what they hold by name: one file and one registry line adds a thing.

A registry maps a name to `module:attribute`, loaded when first asked for, so that a missing optional library costs
only the thing that needs it. Outsiders add theirs with an entry point in the group of the same name, for instance

    [project.entry-points."vagus.collectors"]
    gpu = "my_package.gpu:GpuCollector"
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar, cast

from vagus.errors import ConfigError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to lazily imported factories of `T`; built-in names win over entry points of the same name."""

    def __init__(self, group: str, builtin: Mapping[str, str]) -> None:
        self.group = group
        self._paths = dict(builtin)
        self._scanned = False

    def _all(self) -> dict[str, str]:
        if not self._scanned:
            for point in entry_points(group=self.group):
                self._paths.setdefault(point.name, point.value)
            self._scanned = True
        return self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._all()))

    def __contains__(self, name: object) -> bool:
        return name in self._all()

    def get(self, name: str) -> type[T]:
        """The class registered as `name`, or a factory called like one. Raises ConfigError."""
        path = self._all().get(name)
        if path is None:
            raise ConfigError(f"{self.group} has no {name!r}; there are: {', '.join(self)}")
        module, _, attribute = path.partition(":")
        try:
            found: Any = getattr(import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            raise ConfigError(f"{self.group}: {name!r} is registered as {path} but does not load: {error}") from error
        return cast("type[T]", found)

    def make(self, name: str, *args: object, **kwargs: object) -> T:
        """An instance of the class registered as `name`. Raises ConfigError, also for options that it does not take."""
        factory: Any = self.get(name)
        try:
            return cast("T", factory(*args, **kwargs))
        except TypeError as error:
            raise ConfigError(f"{self.group}: {name!r} does not take these options: {_told(factory, error)}") from error


def _told(factory: Any, error: TypeError) -> str:
    """The unknown option, with what was meant or what there is; another error as it is."""
    import difflib
    import inspect
    import re

    found = re.search(r"unexpected keyword argument '(.*?)'", str(error))
    if found is None:
        return str(error)
    try:
        known = [
            option.name
            for option in inspect.signature(factory).parameters.values()
            if option.kind in (option.KEYWORD_ONLY, option.POSITIONAL_OR_KEYWORD) and option.default is not option.empty
        ]
    except (TypeError, ValueError):
        return str(error)
    close = difflib.get_close_matches(found[1], known, n=1)
    there = f"there are {', '.join(known)}" if known else "it has none"
    return f"{found[1]!r} is none of its options; " + (f"did you mean {close[0]!r}?" if close else there)
