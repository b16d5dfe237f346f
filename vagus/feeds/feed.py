"""Feeds, declared: where bytes come from, when, in which format, and what is made of the items. No I/O here.

A feed is an immutable value. The same feed may stand in several others: it is fetched once. Engine: engine.py.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast, overload

from vagus.errors import ConfigError
from vagus.feeds.contracts import Format
from vagus.feeds.when import When
from vagus.model import check_name

if TYPE_CHECKING:
    from vagus.feeds.preprocess import NamedStep

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")
R = TypeVar("R")
T_co = TypeVar("T_co", covariant=True)

Failed = Literal["keep", "drop"]
MAX_BYTES = 4 << 20


@dataclass(frozen=True, eq=False, kw_only=True)
class Feed(Generic[T_co]):
    """A feed of items whose values are of type T; None stands for a value where something failed.

    name: what its items are archived and known as; without one it is called after the feed that it stands in.
    """

    name: str = ""

    def named(self: F, name: str) -> F:
        """The same feed under this name. Raises ConfigError for none."""
        return replace(self, name=check_name("a feed's name", name))

    def map(self, change: Callable[[T_co], U]) -> Feed[U]:
        """Items with other values. Where `change` raises, the value is None, the data code SEMANTIC."""
        return Mapped(source=self, change=change)

    @overload
    def where(self, condition: type[U], *, failed: Failed = "keep") -> Feed[U]: ...

    @overload
    def where(self, condition: Callable[[T_co], object] | str, *, failed: Failed = "keep") -> Feed[T_co]: ...

    def where(self, condition: Any, *, failed: Failed = "keep") -> Any:
        """The items whose value is of a type, fulfils a predicate, or an expression such as "load1 > 2 && drift < 1m".

        failed: what becomes of items without a value. Raises ConfigError for an expression that is none, or asks for
        a field that no value has.
        """
        if isinstance(condition, str):
            from vagus.feeds.expression import expression_of_value
            from vagus.feeds.shapes import shape_of

            condition = expression_of_value("where", condition, shape_of(self)).test
        elif isinstance(condition, type):
            condition = _is_a(condition)
        if failed not in ("keep", "drop"):
            raise ConfigError(f"where: failed is keep or drop, not {failed!r}")
        return Where(source=self, condition=condition, keeps_failed=failed == "keep")

    @overload
    def flatten(self: Feed[Sequence[U]]) -> Feed[U]: ...

    @overload
    def flatten(self, path: str) -> Feed[Any]: ...

    def flatten(self, path: str = "") -> Feed[Any]:
        """An item for each element of the list, or of the list at this path (`hosts`, `a.b`), with its index as part."""
        return Flattened(source=self, path=path)

    def select(self, *fields: str) -> Feed[dict[str, Any]]:
        """Items with only these: fields, or expressions such as "vm_stat[3]", by how they are written."""
        from vagus.feeds.expression import expression_of_value
        from vagus.feeds.shapes import shape_of

        shape = shape_of(self)
        chosen = [(text, expression_of_value("select", text, shape).evaluate) for text in fields]

        def chosen_of(value: Any) -> dict[str, Any]:
            return {text: evaluate(value) for text, evaluate in chosen}

        return self.map(chosen_of)

    def foreach(self, make: Callable[[T_co], Feed[U]]) -> Feed[U]:
        """The items of all feeds that `make` declares of this one's values, until the next list comes."""
        return Foreach(source=self, make=make)


F = TypeVar("F", bound=Feed[Any])


# --- what there is --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False, kw_only=True)
class Base(Feed[T_co]):
    """Bytes of locations, each tick: of all of them, or of the first that answers."""

    locations: tuple[str, ...]
    any: bool
    when: When
    format: Format[T_co]
    steps: tuple[NamedStep, ...] = ()
    max_bytes: int = MAX_BYTES
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class Mapped(Feed[T_co]):
    """Items with other values."""

    source: Feed[Any]
    change: Callable[[Any], T_co]


@dataclass(frozen=True, eq=False, kw_only=True)
class Where(Feed[T_co]):
    """Some of the items."""

    source: Feed[T_co]
    condition: Callable[[Any], object]
    keeps_failed: bool


@dataclass(frozen=True, eq=False, kw_only=True)
class Flattened(Feed[T_co]):
    """An item for each element."""

    source: Feed[Any]
    path: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Foreach(Feed[T_co]):
    """A feed for each item. like: what all of these look like, where that is known; it is never fetched."""

    source: Feed[Any]
    make: Callable[[Any], Feed[T_co]]
    like: Feed[T_co] | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class Joined(Feed[T_co]):
    """Items of all sides that have the same scheduled time as one; `build` makes its value of theirs."""

    sides: tuple[Feed[Any], ...]
    build: Callable[[tuple[Any, ...]], T_co]


@dataclass(frozen=True, eq=False, kw_only=True)
class Union(Feed[T_co]):
    """The items of all sides."""

    sides: tuple[Feed[T_co], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Failover(Feed[T_co]):
    """For each scheduled time the items of the first side that has one that did not fail."""

    sides: tuple[Feed[T_co], ...]


@dataclass(frozen=True, eq=False, kw_only=True)
class Refeed(Feed[T_co]):
    """The archived items of a feed once more, when this one begins."""

    source: Feed[T_co]
    folder: str


# --- how it is declared ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """Where a base feed's bytes are."""

    locations: tuple[str, ...]
    any: bool


def all_(*locations: str | Iterable[str]) -> Places:
    """All of these locations, each tick: `file:…`, `http://…`, `https://…`, `proc:COMMAND`, `gateway:/…`."""
    return Places(_listed(locations), False)


def any_(*locations: str | Iterable[str]) -> Places:
    """The first of these locations that answers, in this order, each tick anew."""
    return Places(_listed(locations), True)


def proc(*words: str) -> Places:
    """What a command prints; each word is one argument as it stands, there is no shell."""
    return Places((f"proc:{shlex.join(words)}",), False)


def _listed(locations: tuple[str | Iterable[str], ...]) -> tuple[str, ...]:
    return tuple(location for one in locations for location in ((one,) if isinstance(one, str) else one))


@overload
def base(
    places: Places,
    when: When,
    fmt: type[R],
    *,
    name: str = ...,
    preprocess: Sequence[str | dict[str, dict[str, Any]]] = ...,
    max_bytes: int = ...,
    options: Mapping[str, Mapping[str, Any]] | None = ...,
) -> Feed[R]: ...


@overload
def base(
    places: Places,
    when: When,
    fmt: Format[R],
    *,
    name: str = ...,
    preprocess: Sequence[str | dict[str, dict[str, Any]]] = ...,
    max_bytes: int = ...,
    options: Mapping[str, Mapping[str, Any]] | None = ...,
) -> Feed[R]: ...


@overload
def base(
    places: Places,
    when: When,
    fmt: str = ...,
    *,
    name: str = ...,
    preprocess: Sequence[str | dict[str, dict[str, Any]]] = ...,
    max_bytes: int = ...,
    options: Mapping[str, Mapping[str, Any]] | None = ...,
) -> Feed[Any]: ...


def base(
    places: Places,
    when: When,
    fmt: Any = "text",
    *,
    name: str = "",
    preprocess: Sequence[str | dict[str, dict[str, Any]]] = (),
    max_bytes: int = MAX_BYTES,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Feed[Any]:
    """A feed of what is at these places, at these times, in this format (a Record class, a format, or a name).

    preprocess: steps before parsing, such as ["gzip"], by name or {name: options}. max_bytes: what is larger fails.
    options: of the sources, by scheme, such as {"http": {"headers": …}}. Raises ConfigError.
    """
    from vagus.feeds.formats.compiled import as_format
    from vagus.feeds.load import check_locations
    from vagus.feeds.preprocess import steps_of

    if name:
        check_name("a feed's name", name)
    if not 0 < max_bytes <= 64 << 20:
        raise ConfigError(f"max_bytes must be 1 to {64 << 20}, got {max_bytes}")
    return Base(
        locations=check_locations(places.locations),
        any=places.any,
        when=when,
        format=as_format(fmt),
        steps=steps_of(preprocess),
        max_bytes=max_bytes,
        options=options or {},
        name=name,
    )


def pair(left: Feed[T], right: Feed[U]) -> Feed[tuple[T, U]]:
    """Items of both with the same scheduled time as pairs; a side that failed is None there."""
    return Joined(sides=(left, right), build=cast("Callable[[tuple[Any, ...]], tuple[T, U]]", tuple))


def list_(feeds: Iterable[Feed[T]]) -> Feed[list[T]]:
    """As `pair`, of any number of feeds: a list of their values."""
    return Joined(sides=_sides("list", feeds), build=cast("Callable[[tuple[Any, ...]], list[T]]", list))


def dict_(feeds: Mapping[str, Feed[T]]) -> Feed[dict[str, T]]:
    """As `list_`, with names: a dict of the values."""
    names = tuple(feeds)
    return Joined(sides=_sides("dict", feeds.values()), build=lambda values: dict(zip(names, values, strict=True)))


def union(first: Feed[T], *more: Feed[T]) -> Feed[T]:
    """The items of all of these feeds."""
    return Union(sides=(first, *more))


def failover(first: Feed[T], *more: Feed[T]) -> Feed[T]:
    """For each scheduled time the items of the first feed that did not fail; all of them are fetched all the time."""
    return Failover(sides=(first, *more))


def refeed(feed: Feed[T], folder: str = "") -> Feed[T]:
    """The items of a feed once more, out of its archive, or out of the store in a folder."""
    return Refeed(source=feed, folder=folder)


def _sides(what: str, feeds: Iterable[Feed[T]]) -> tuple[Feed[T], ...]:
    sides = tuple(feeds)
    if not sides:
        raise ConfigError(f"{what}: it needs at least one feed")
    return sides


def _is_a(kind: type[Any]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)
