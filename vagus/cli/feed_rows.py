"""Rows of `vagus feed select`: the newest of each location, lists as their elements. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vagus.cli.output import near
from vagus.errors import ConfigError

if TYPE_CHECKING:
    from vagus.feeds import Meta
    from vagus.feeds.contracts import Shape
    from vagus.feeds.expression import Expression


class Row(NamedTuple):
    """One value, and the meta of the item that it came in; None for a file's."""

    value: Any
    meta: Meta | None


def latest_of(rows: Iterable[Row]) -> list[Row]:
    """Of each location what is of the newest fetch that gave a value: one row, or its parts."""
    newest: dict[str, tuple[int, int, dict[str, Row]]] = {}  # location → arrived, due, part → row
    for row in rows:
        if row.meta is not None and row.value is not None:
            meta = row.meta
            arrived_ns, due_ns, parts = newest.get(meta.location, (0, meta.due_ns, {}))
            if meta.due_ns != due_ns:
                if meta.arrived_ns < arrived_ns:
                    continue
                parts = {}
            parts[meta.part] = row
            newest[meta.location] = max(arrived_ns, meta.arrived_ns), meta.due_ns, parts
    return [row for _, _, parts in newest.values() for row in parts.values()]


def each_of(rows: Iterable[Row]) -> Iterator[Row]:
    """A row for each element of a value that is a list."""
    for row in rows:
        if isinstance(row.value, (list, tuple)):
            yield from (Row(part, row.meta) for part in row.value)
        elif row.value is not None:
            yield row


def flattened(rows: Iterable[Row], path: str) -> Iterator[Row]:
    """A row for each element of the list at the path, with the fields around it where it has fields of its own."""
    from vagus.feeds.expression import compile_expression

    listed = compile_expression(path)
    for row in rows:
        elements = listed.evaluate(row.value, row.meta)
        for part in elements if isinstance(elements, (list, tuple)) else ():
            inner = _fields_of(part)
            value = part if inner is None else {**(_fields_of(row.value) or {}), **inner}
            if inner is not None and path not in inner:
                value.pop(path, None)
            yield Row(value, row.meta)


def _fields_of(value: Any) -> dict[str, Any] | None:
    if isinstance(value, dict):
        return value
    names = getattr(value, "__struct_fields__", None)
    return None if names is None else {name: getattr(value, name) for name in names}


def flat_shape(shape: Shape, path: str) -> Shape:
    """Of the rows that `flattened` makes. Raises ConfigError where there is no such field."""
    from vagus.feeds.contracts import Shape
    from vagus.feeds.expression import compile_expression
    from vagus.feeds.shapes import element_at

    check_names([compile_expression(path)], shape)
    inner = element_at(shape, path)
    if shape.kind != "record" or inner.kind != "record":
        return inner
    around = {name: part for name, part in shape.parts if name != path}
    return Shape("record", inner.name, tuple({**around, **dict(inner.parts)}.items()))


def check_names(expressions: Sequence[Expression], shape: Shape) -> None:
    """Raises ConfigError for a field that no value of this shape has."""
    from vagus.feeds.expression import fields_of

    for expression in expressions:
        for name in expression.unknown(shape):
            known = [str(field) for field in fields_of(shape) or ()]
            hint = near(name, known) or f"; there are: {', '.join(sorted(known))}"
            raise ConfigError(f"{expression.text}: there is no field {name!r}{hint}")
