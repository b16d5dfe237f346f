"""CSV: rows of named columns, each with a type; a broken cell never loses its row, a broken row never the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.faults import MAX_NOTE, Faults, whole
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.formats.scalar import Impossible, Scalar, declared
from vagus.feeds.item import Data, Descriptor, State

ENCODINGS = ("utf-8", "latin-1", "cp1252", "ascii")  # in all of them a line end is one byte
MAX_COLUMNS = 2000
MAX_ROW_LINES = 100  # of one row with line ends between quotes; an open quote costs no more than these

Row = dict[str, Any]


class Csv:
    """A body as a list of rows: dicts of columns.

    columns: name → type (`str`, `int`, `float`, `bool`, `?` when a cell may be empty, or `{type, min, max}`), or a
    list of names (text). Only declared ones are in the value; without any, every column that the header names is, as
    text. header: the first row names the columns; without one, the declared names are those of the cells, in order.
    delimiter, quote, escape (one character each; the latter two may be empty), skip_space: white space around cells is
    none of them; comment: lines that begin so are left out; encoding: one of ENCODINGS.
    """

    name = "csv"

    def __init__(
        self,
        columns: Mapping[str, Any] | Sequence[str] | None = None,
        header: bool = True,
        delimiter: str = ",",
        quote: str = '"',
        escape: str = "",
        skip_space: bool = False,
        comment: str = "",
        encoding: str = "utf-8",
    ) -> None:
        if isinstance(columns, str) or not isinstance(columns or (), (Mapping, Sequence)):
            raise ConfigError(f"format csv: columns must map names to types, or list names, got {columns!r}"[:200])
        specs = columns if isinstance(columns, Mapping) else dict.fromkeys(columns or (), "str")
        if len(specs) > MAX_COLUMNS:
            raise ConfigError(f"format csv: {len(specs)} columns; at most {MAX_COLUMNS} are allowed")
        if not header and not specs:
            raise ConfigError("format csv: without a header, columns must be declared")
        if encoding not in ENCODINGS:
            raise ConfigError(f"format csv: encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
        if "\n" in f"{delimiter}{quote}{escape}{comment}" or "\r" in f"{delimiter}{quote}{escape}":
            raise ConfigError("format csv: a line end cannot be delimiter, quote, escape or comment")
        self._columns = {str(name): declared(f"format csv: column {str(name)!r}", s) for name, s in specs.items()}
        self._header = header
        self._skip_space = skip_space
        self._comment = comment
        self._encoding = encoding
        self._delimiter = delimiter
        self._special = quote + escape
        self._dialect: dict[str, Any] = {
            "delimiter": delimiter,
            "quotechar": quote or None,
            "quoting": csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
            "escapechar": escape or None,
            "doublequote": not escape,
            "skipinitialspace": skip_space,
        }
        try:
            csv.reader((), **self._dialect)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"format csv: {error}") from error
        parts = tuple((column, type_.shape) for column, type_ in self._columns.items())
        row = Shape("record", "row", parts) if parts else Shape("map", parts=(("", Shape("string")),))
        self.shape = Shape("list", parts=(("", row),))

    def parse(self, body: bytes) -> tuple[list[Row] | None, Descriptor]:
        """The rows; a broken or absent cell is None and told below its row's index and its column's name.

        A row with too many cells, or that is not quoted as it should be, is read as far as it goes, and told. None
        when there is a header that lacks all of the declared columns, or names one twice.
        """
        text = body.decode(self._encoding, errors="replace").removeprefix("\ufeff")
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()
        faults = Faults()
        names = list(self._columns)
        at = self._next(lines, 0)
        if self._header:
            if at == len(lines):
                return None, whole(body, "there is no header")
            at, cells, why = self._row(lines, at, 0)
            names = [cell.strip() for cell in cells]
            if why := why or self._unfit(names):
                return None, whole(body, why)
        types = [
            self._columns.get(name, _TEXT) if name in self._columns or not self._columns else None for name in names
        ]
        absent = [name for name in self._columns if name not in names]
        for name in absent:
            if not self._columns[name].optional:
                faults.wrong(f"there is no column {name!r}")
        rows: list[Row] = []
        starts: list[int] = []
        while (first := self._next(lines, at)) < len(lines):
            at, cells, why = self._row(lines, first, len(names))
            row: Row = {}
            wrong: list[tuple[str | int, ValueError]] = []
            for name, type_, cell in zip(names, types, cells, strict=False):
                if type_ is not None:
                    try:
                        row[name] = type_.read(cell)
                    except ValueError as error:
                        row[name] = None
                        wrong.append((name, error))
            if len(cells) != len(names):
                for name, type_ in zip(names[len(cells) :], types[len(cells) :], strict=True):
                    if type_ is not None:
                        row[name] = None
                        if not type_.optional:
                            wrong.append((name, ValueError("there is no such cell")))
                if len(cells) > len(names):
                    why = why or f"{len(cells)} cells in {len(names)} columns"
            for name in absent:
                row[name] = None
            if wrong or why:
                starts = starts or _starts(body)
                span = starts[first], min(starts[at] - 1, len(body))
                faults.part(len(rows), _row_descriptor(wrong, why, *span))
            rows.append(row)
        return rows, faults.descriptor(0, len(body))

    def _unfit(self, names: list[str]) -> str:
        """Why the cells of a header will not do as names."""
        if len(names) > MAX_COLUMNS:
            return f"{len(names)} columns; at most {MAX_COLUMNS} are read"
        if len(set(names)) != len(names):
            return f"the header names a column twice: {max(names, key=names.count)[:40]!r}"
        if self._columns and not set(names) & set(self._columns):
            return f"the header names none of the columns, but {', '.join(names)}"
        return ""

    def _next(self, lines: list[str], at: int) -> int:
        """The next line that begins a row: neither blank nor a comment."""
        while at < len(lines):
            line = lines[at]
            if line.strip() and not (self._comment and line.startswith(self._comment)):
                break
            at += 1
        return at

    def _row(self, lines: list[str], at: int, width: int) -> tuple[int, list[str], str]:
        """The line after a row, its cells, and what is wrong with how it is written. width: 0 when not known yet."""
        line = lines[at].removesuffix("\r")
        why = ""
        if not any(char in line for char in self._special):
            cells = line.split(self._delimiter)
            return at + 1, [cell.strip() for cell in cells] if self._skip_space else cells, ""
        reader = csv.reader((line + "\n" for line in lines[at : at + MAX_ROW_LINES]), strict=True, **self._dialect)
        try:
            cells = next(reader)
            if reader.line_num == 1 or len(cells) == width or not width:
                return at + reader.line_num, cells, ""
            why = "a quoted cell does not end in its row"
        except csv.Error as error:
            why = str(error)
        try:  # the row is what can be made of its first line, so that it takes no other along
            return at + 1, next(csv.reader((line,), **self._dialect)), why
        except csv.Error:
            return at + 1, line.split(self._delimiter), why

    def print(self, value: list[Row]) -> bytes:
        """The rows with the declared columns, or those of the first row. Raises NoData for what is not read back."""
        if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
            raise NoData("format csv prints lists of rows, each a dict of columns")
        names = list(self._columns) or list(value[0] if value else ())
        out = io.StringIO()
        try:
            writer = csv.writer(out, lineterminator="\n", **self._dialect)
            if self._header and names:
                writer.writerow(names)
            for row in value:
                writer.writerow([_cell(row.get(name)) for name in names])
            return inverse(self, value, out.getvalue().encode(self._encoding))
        except (csv.Error, UnicodeEncodeError) as error:
            raise NoData(f"format csv cannot print this value: {error}") from error


_TEXT = Scalar()


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else repr(value) if isinstance(value, float) else str(value)


def _row_descriptor(wrong: list[tuple[str | int, ValueError]], why: str, start: int, end: int) -> Descriptor:
    faults = Faults()
    if why:
        faults.wrong(why)
    for name, error in wrong:
        code = Data.SEMANTIC if isinstance(error, Impossible) else Data.SYNTAX
        faults.part(name, Descriptor(State.PARTIAL, 1, code, start, end, note=str(error)[:MAX_NOTE]))
    return faults.descriptor(start, end)


def _starts(body: bytes) -> list[int]:
    """Where each line begins, and one more behind the last."""
    starts = [0]
    for line in body.split(b"\n"):
        starts.append(starts[-1] + len(line) + 1)
    return starts
