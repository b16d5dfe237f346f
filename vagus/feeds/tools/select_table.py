"""Items as rows of a table: which, which columns, in which order; each as it comes, or the newest of each location.

Pure. CoMon's views: node-centric is the newest row of each location, slice-centric groups these by a column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from vagus.clock import NS
from vagus.errors import ConfigError, VagusError
from vagus.feeds.contracts import PAIR, Shape, ToolContext
from vagus.feeds.expression import Expression
from vagus.feeds.item import Item
from vagus.feeds.tools.fields import expression_of
from vagus.feeds.tools.values import plain

MAX_COLUMNS = 500
MAX_NAME = 200  # characters of a column that is a key of the value
MAX_ROWS = 100_000  # of the newest of all locations
ALWAYS = {"location": "meta.location"}  # the column before all fields, where none are chosen
TOTALS: dict[str, Callable[[Sequence[Any]], Any]] = {
    "sum": math.fsum,
    "mean": lambda numbers: math.fsum(numbers) / len(numbers),
    "min": min,
    "max": max,
    "count": len,
}

Row = tuple[Any, ...]


class Selection:
    """Makes a row of an item. where: "" takes all; columns: expressions, or name → expression; none: every field.

    Raises ConfigError for expressions that are wrong, or ask for what the feed does not have.
    """

    def __init__(self, context: ToolContext, where: str = "", columns: Sequence[str] | Mapping[str, str] = ()) -> None:
        named = dict(columns) if isinstance(columns, Mapping) else {text.strip(): text for text in columns}
        if len(named) > MAX_COLUMNS:
            raise ConfigError(f"{len(named)} columns; at most {MAX_COLUMNS} are allowed")
        self._context = context
        self._where = expression_of("where", where, context) if where else None
        self._columns: list[tuple[str, Expression]] | None = None
        if not named:
            named = all_columns(context.shape) or {}
        if named:
            self._columns = [(name, expression_of("columns", text, context)) for name, text in named.items()]

    @property
    def header(self) -> tuple[str, ...] | None:
        """The names of the columns; None when the first good item has yet to tell what fields there are."""
        return None if self._columns is None else tuple(name for name, _ in self._columns)

    def row(self, item: Item[Any]) -> Row | None:
        """The item's cells, JSON-ready; None when it is not selected. An item without a value has what its meta says."""
        if self._where is not None and not self._where.test(item.value, item.meta):
            return None
        if self._columns is None:
            if item.value is None:
                return None
            named = {**ALWAYS, **(_fields(item.value) or {"value": "$"})}
            self._columns = [(name, expression_of("columns", text, self._context)) for name, text in named.items()]
        return tuple(plain(expression.evaluate(item.value, item.meta)) for _, expression in self._columns)


def all_columns(shape: Shape) -> dict[str, str] | None:
    """Columns of everything that a shape has, a union's branches together; None where only values tell."""
    if shape.kind == "any":
        return None
    found = dict(ALWAYS)
    if shape.kind in ("union", "optional"):
        for _, part in shape.parts:
            found.update(all_columns(part) or {})
    elif shape.kind == "record" and shape.name != PAIR:
        found.update({name: _quoted(name) for name, _ in shape.parts})
    return found if len(found) > 1 else {**ALWAYS, "value": "$"}


def _fields(value: Any) -> dict[str, str] | None:
    if isinstance(value, msgspec.Struct):
        return {name: _quoted(name) for name in value.__struct_fields__}
    if isinstance(value, dict) and value:
        return {str(key): _quoted(str(key)) for key in list(value)[: MAX_COLUMNS - 1] if len(str(key)) <= MAX_NAME}
    return None


def _quoted(name: str) -> str:
    """An expression that is this field alone."""
    text = name.replace("\\", "\\\\").replace("'", "\\'")
    return f"$['{text}']"


class _Kept(msgspec.Struct, frozen=True):
    row: Row
    order: Any
    group: Any


class Latest:
    """The newest rows of each location, ordered and cut.

    order: an expression over the item (over the columns, where there is a group); descending: the largest first, what
    has none comes last; limit: 0 all. group: an expression, the rows of one value of which become one: `totals` says
    how, column → sum, mean, min, max, count; any other column is that of the first row. max_age_s: rows of locations
    that told nothing for so long are left out; 0: never.
    """

    def __init__(
        self,
        context: ToolContext,
        selection: Selection,
        order: str = "",
        descending: bool = False,
        limit: int = 0,
        group: str = "",
        totals: Mapping[str, str] | None = None,
        max_age_s: float = 0.0,
    ) -> None:
        self._selection = selection
        columns = ToolContext(context.feed, context.folder) if group else context
        self._order = expression_of("order", order, columns) if order else None
        self._group = expression_of("group", group, context) if group else None
        self._descending = descending
        self._limit = limit
        self._max_age_ns = round(max_age_s * NS)
        self._totals = dict(totals or {})
        for column, how in self._totals.items():
            if self._group is None:
                raise ConfigError("totals: they are of groups; say which by group")
            if how not in TOTALS:
                raise ConfigError(f"totals: {column}: {how!r} is not one of {', '.join(TOTALS)}")
            if column not in (selection.header or (column,)):
                raise ConfigError(f"totals: there is no column {column!r}")
        self._rows: dict[str, tuple[int, int, dict[str, _Kept]]] = {}  # location → due, arrived, part → row
        self._size = 0

    def take(self, item: Item[Any]) -> None:
        """Replaces what is older of the item's location. Raises VagusError when there are too many rows."""
        meta = item.meta
        due_ns, _, parts = self._rows.get(meta.location, (meta.due_ns, 0, {}))
        if meta.due_ns < due_ns:
            return
        if meta.due_ns > due_ns or (not meta.part and "" not in parts):
            self._size -= len(parts)
            parts = {}
        self._rows[meta.location] = meta.due_ns, meta.arrived_ns, parts
        if len(self._rows) > 2 * MAX_ROWS:  # a list of ever new locations: those without a row are forgotten
            self._rows = {place: kept for place, kept in self._rows.items() if kept[2]}
            self._rows[meta.location] = meta.due_ns, meta.arrived_ns, parts
        row = self._selection.row(item)
        if row is None:
            self._size -= parts.pop(meta.part, None) is not None
            return
        if self._size >= MAX_ROWS and meta.part not in parts:
            raise VagusError(f"more than {MAX_ROWS} rows; choose fewer by `where`")
        order = self._order.evaluate(item.value, item.meta) if self._order and not self._group else None
        group = plain(self._group.evaluate(item.value, item.meta)) if self._group else None
        self._size += meta.part not in parts
        parts[meta.part] = _Kept(row, order, group)

    def rows(self, now_ns: int) -> list[Row]:
        """The table as it is now."""
        if self._max_age_ns:
            old = [place for place, kept in self._rows.items() if now_ns - kept[1] > self._max_age_ns]
            for place in old:
                self._size -= len(self._rows.pop(place)[2])
        kept = [row for _, (_, _, parts) in sorted(self._rows.items()) for row in parts.values()]
        if self._group is not None:
            kept = self._grouped(kept)
        if self._order is not None:
            kept = _ordered(kept, self._descending)
        return [row.row for row in (kept[: self._limit] if self._limit else kept)]

    def _grouped(self, rows: Iterable[_Kept]) -> list[_Kept]:
        groups: dict[str, list[_Kept]] = {}
        for row in rows:
            groups.setdefault(repr(row.group), []).append(row)
        header = self._selection.header or ()
        found = []
        for _, members in sorted(groups.items()):
            cells = []
            for position, name in enumerate(header):
                column = [row.row[position] for row in members]
                cells.append(_total(self._totals[name], column) if name in self._totals else column[0])
            order = self._order.evaluate(dict(zip(header, cells, strict=True))) if self._order else None
            found.append(_Kept(tuple(cells), order, None))
        return found


def _total(how: str, column: Sequence[Any]) -> Any:
    """Of the cells that are numbers; of `count` those that are anything."""
    if how == "count":
        return sum(cell is not None for cell in column)
    numbers = [cell for cell in column if isinstance(cell, (int, float)) and not isinstance(cell, bool)]
    if how == "sum" and all(isinstance(number, int) for number in numbers):
        return plain(sum(numbers)) if numbers else None
    try:
        return TOTALS[how](numbers) if numbers else None
    except OverflowError:
        return None


def _ordered(rows: Iterable[_Kept], descending: bool) -> list[_Kept]:
    """Numbers before texts, and what can be neither last in both directions."""
    ranked: list[tuple[tuple[int, Any], _Kept]] = []
    last = []
    for row in rows:
        order = row.order
        if isinstance(order, (int, float)) and order == order:
            ranked.append(((0, order), row))
        elif isinstance(order, str):
            ranked.append(((1, order), row))
        else:
            last.append(row)
    return [row for _, row in sorted(ranked, key=lambda pair: pair[0], reverse=descending)] + last
