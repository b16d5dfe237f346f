"""Sources of feeds, made when a location first needs them; those with equal options share one, or its connections."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from vagus.errors import VagusError
from vagus.feeds import SOURCES, Fetched, Net, Source

MAX_OWN = 1000  # base feeds with a source of their own; beyond that (foreach may name many) they share the first's
Options = Mapping[str, Mapping[str, Any]]
"""By scheme."""


class FeedSources(Mapping[tuple[str, str], Source]):
    """By (base feed, scheme), as the runner takes them.

    options_of: a base feed's own options by scheme, of its `options["source"]`. always: options that go over them, such
    as where this node's gateway is. A source that cannot be made is told to `failed` once, and each of its fetches fails
    with the reason.
    """

    def __init__(
        self,
        options_of: Callable[[str], Options] = lambda _base: {},
        *,
        always: Options | None = None,
        failed: Callable[[str, BaseException], None] | None = None,
    ) -> None:
        self._options_of = options_of
        self._always = always or {}
        self._failed = failed or (lambda _where, _error: None)
        self._by_base: dict[tuple[str, str], Source] = {}
        self._by_options: dict[str, Source] = {}

    def __getitem__(self, key: tuple[str, str]) -> Source:
        source = self._by_base.get(key)
        if source is None:
            base, scheme = key
            if scheme not in SOURCES:
                raise KeyError(key)
            options = {**self._options_of(base).get(scheme, {}), **self._always.get(scheme, {})}
            same = f"{scheme} {sorted(options.items())!r}"
            source = self._by_options.get(same)
            if source is None:
                source = self._by_options[same] = self._made(base, scheme, options)
            elif len(self._by_base) >= MAX_OWN:
                return source
            elif hasattr(source, "beside"):
                source = source.beside()
            self._by_base[key] = source
        return source

    def _made(self, base: str, scheme: str, options: Mapping[str, Any]) -> Source:
        try:
            factory: Any = SOURCES.get(scheme)
            made: Source = factory(**options)
            return made
        except (ImportError, TypeError, ValueError, VagusError) as error:
            self._failed(f"feed {base}: source {scheme}", error)
            return _Unmade(f"source {scheme} does not load: {error}"[:300])

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._by_base)

    def __len__(self) -> int:
        return len(self._by_base)


class _Unmade:
    """Stands for a source that could not be made."""

    def __init__(self, why: str) -> None:
        self._why = why

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        return Fetched(Net.FAILED, note=self._why)

    async def close(self) -> None:
        """Nothing is open."""
