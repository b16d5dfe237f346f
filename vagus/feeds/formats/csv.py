"""CSV: rows of named columns, each with a type; a broken cell never loses its row, a broken row never the others."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from vagus.errors import ConfigError, NoData
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.compounds import PRINT_ERRORS, Optional
from vagus.feeds.formats.declared import type_of
from vagus.feeds.formats.faults import Faults, whole
from vagus.feeds.formats.inverse import inverse
from vagus.feeds.formats.types import Node, Reader, Str, broken
from vagus.feeds.item import Data, Descriptor

ENCODINGS = ("utf-8", "latin-1", "cp1252", "ascii")  # in all of them a line end is one byte, and ASCII is itself
MAX_COLUMNS = 2000
MAX_ROW_LINES = 100  # of one row with line ends between quotes; an open quote costs no more than these
BOM = b"\xef\xbb\xbf"

Row = dict[str, Any]


class Cell(NamedTuple):
    """Where a cell is: in the body, or, where quotes had to be taken off, in bytes of its own (UTF-8)."""

    text: bytes
    start: int
    end: int
    own: bool


class Csv:
    """A body as a list of rows: dicts of columns.

    columns: name → type, as in the format `record` (`int`, `float?`, `time`, `{type: int, min: 0}`, …; `?` when a
    cell may be empty), or a list of names (text). Only declared ones are in the value; without any, every column that
    the header names is, as text. header: the first row names the columns; without one, the declared names are those
    of the cells, in order. delimiter, quote, escape (one character each; the latter two may be empty); skip_space:
    blanks around cells are none of them; comment: lines that begin so are left out; encoding: one of ENCODINGS.
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
        self._columns = _columns(columns)
        if not header and not self._columns:
            raise ConfigError("format csv: without a header, columns must be declared")
        if encoding not in ENCODINGS:
            raise ConfigError(f"format csv: encoding {encoding!r} is not one of {', '.join(ENCODINGS)}")
        if "\n" in f"{delimiter}{quote}{escape}{comment}" or "\r" in f"{delimiter}{quote}{escape}":
            raise ConfigError("format csv: a line end cannot be delimiter, quote, escape or comment")
        self._header = header
        self._skip_space = skip_space
        self._encoding = encoding
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
            self._delimiter, self._comment = delimiter.encode(encoding), comment.encode(encoding)
            self._special = tuple(char.encode(encoding) for char in quote + escape)
        except (TypeError, ValueError, AttributeError) as error:
            raise ConfigError(f"format csv: {error}") from error
        parts = tuple((column, node.shape) for column, node in self._columns.items())
        row = Shape("record", "row", parts) if parts else Shape("map", parts=(("", Shape("string")),))
        self.shape = Shape("list", parts=(("", row),))
        self._fill: dict[str, Reader] = {column: node.filler() for column, node in self._columns.items()}
        self._text = Str().filler()

    def parse(self, body: bytes) -> tuple[list[Row] | None, Descriptor]:
        """The rows; a broken or absent cell is None and told below its row's index and its column's name.

        A row with too many cells, or that is not quoted as it should be, is read as far as it goes, and told. None
        when there is no header, or one that names none of the declared columns, or a column twice.
        """
        faults = Faults()
        names = list(self._columns)
        at = self._next(body, len(BOM) if body.startswith(BOM) else 0)
        if self._header:
            if at == len(body):
                return None, whole(body, "there is no header")
            at, cells, why = self._row(body, at, 0)
            names = [cell.text[cell.start : cell.end].decode("utf-8", "replace").strip() for cell in cells]
            if why := why or self._unfit(names):
                return None, whole(body, why)
        fillers = [self._fill.get(name) if self._columns else self._text for name in names]
        absent = [name for name in self._columns if name not in names]
        for name in absent:
            if not isinstance(self._columns[name], Optional):
                faults.wrong(f"there is no column {name!r}")
        columns = list(zip(names, fillers, strict=True))
        rows: list[Row] = []
        while (start := self._next(body, at)) < len(body):
            at, cells, why = self._row(body, start, len(names))
            row, inside = self._values(columns, cells, start)
            row.update(dict.fromkeys(absent))
            if len(cells) > len(names):
                why = why or f"{len(cells)} cells in {len(names)} columns"
            if inside or why:
                end = start + len(body[start:at].rstrip(b"\r\n"))
                faults.part(len(rows), _told(inside, why, start, end, cells[0].own))
            rows.append(row)
        return rows, faults.descriptor(0, len(body))

    def _values(
        self, columns: list[tuple[str, Reader | None]], cells: list[Cell], start: int
    ) -> tuple[Row, list[tuple[str, Descriptor]]]:
        """The row of these cells, and what is wrong with which."""
        row: Row = {}
        inside: list[tuple[str, Descriptor]] = []
        for (name, fill), cell in zip(columns, cells, strict=False):
            if fill is not None:
                row[name], _, wrong = fill(cell.text, cell.start, cell.end)
                if wrong is not None:
                    inside.append((name, wrong))
        for name, fill in columns[len(cells) :]:
            if fill is not None:
                row[name] = None
                if not isinstance(self._columns.get(name), Optional):
                    end = start if cells[-1].own else cells[-1].end
                    inside.append((name, broken(Data.SYNTAX, end, end, "there is no such cell")))
        return row, inside

    def _unfit(self, names: list[str]) -> str:
        """Why the cells of a header will not do as names."""
        if len(names) > MAX_COLUMNS:
            return f"{len(names)} columns; at most {MAX_COLUMNS} are read"
        if len(set(names)) != len(names):
            return f"the header names a column twice: {max(names, key=names.count)[:40]!r}"
        if self._columns and not set(names) & set(self._columns):
            return f"the header names none of the columns, but {', '.join(names)}"
        return ""

    def _next(self, body: bytes, at: int) -> int:
        """Where the next row begins, behind blank lines and comments; at the end of the body where there is none."""
        while at < len(body):
            end = _line_end(body, at)
            line = body[at:end]
            if line.strip() and not (self._comment and line.startswith(self._comment)):
                break
            at = end + 1
        return min(at, len(body))

    def _row(self, body: bytes, at: int, width: int) -> tuple[int, list[Cell], str]:
        """Where the row's last line ends, its cells, what is wrong with how it is written. width: 0 when not known."""
        end = _line_end(body, at)
        line = body[at:end].removesuffix(b"\r")
        if not any(char in line for char in self._special) and (self._encoding == "utf-8" or line.isascii()):
            return end + 1, self._plain(body, at, line), ""
        ends: list[int] = []
        reader = csv.reader(self._lines(body, at, ends), strict=True, **self._dialect)
        try:
            found = next(reader)
            if reader.line_num == 1 or len(found) == width or not width:
                return ends[reader.line_num - 1] + 1, self._own(found), ""
            why = "a quoted cell does not end in its row"
        except csv.Error as error:
            why = str(error)
        text = self._decoded(line)
        try:  # the row is what can be made of its first line, so that it takes no other along
            return end + 1, self._own(next(csv.reader((text,), **self._dialect))), why
        except csv.Error:
            return end + 1, self._plain(body, at, line), why

    def _plain(self, body: bytes, at: int, line: bytes) -> list[Cell]:
        cells = []
        for cell in line.split(self._delimiter):
            start, end = at, at + len(cell)
            at = end + len(self._delimiter)
            if self._skip_space:
                start += len(cell) - len(cell.lstrip())
                end = max(start, end - len(cell) + len(cell.rstrip()))
            cells.append(Cell(body, start, end, False))
        return cells

    def _own(self, found: list[str]) -> list[Cell]:
        texts = [cell.strip() if self._skip_space else cell for cell in found]
        own = [text.encode("utf-8", "surrogateescape") for text in texts]
        return [Cell(text, 0, len(text), True) for text in own]

    def _lines(self, body: bytes, at: int, ends: list[int]) -> Iterator[str]:
        """The lines from here, and where each ends; no more than one row may have."""
        while at < len(body) and len(ends) < MAX_ROW_LINES:
            ends.append(_line_end(body, at))
            yield self._decoded(body[at : ends[-1]]) + "\n"
            at = ends[-1] + 1

    def _decoded(self, line: bytes) -> str:
        """Text that encodes to the same bytes again, those included that the encoding does not know."""
        return line.decode(self._encoding, "surrogateescape")

    def print(self, value: list[Row]) -> bytes:
        """The rows with the declared columns, or those of the first row. Raises NoData for what is not read back."""
        if not isinstance(value, list) or not all(isinstance(row, Mapping) for row in value):
            raise NoData("format csv prints lists of rows, each a dict of columns")
        names = list(self._columns) or list(value[0] if value else ())
        writers = [self._columns.get(name, Str()).printer() for name in names]
        out = io.StringIO()
        try:
            table = csv.writer(out, lineterminator="\n", **self._dialect)
            if self._header and names:
                table.writerow(names)
            for row in value:
                table.writerow([write(row[name]).decode() for name, write in zip(names, writers, strict=True)])
            body = out.getvalue().encode(self._encoding)
        except (csv.Error, *PRINT_ERRORS) as error:
            raise NoData(f"format csv cannot print this value: {type(error).__name__}: {error}") from error
        return inverse(self, value, body)


def _columns(columns: Any) -> dict[str, Node[Any]]:
    if isinstance(columns, (str, bytes)) or not isinstance(columns or (), (Mapping, Sequence)):
        raise ConfigError(f"format csv: columns must map names to types, or list names, got {columns!r}"[:200])
    specs = columns if isinstance(columns, Mapping) else dict.fromkeys(columns or (), "str")
    if len(specs) > MAX_COLUMNS:
        raise ConfigError(f"format csv: {len(specs)} columns; at most {MAX_COLUMNS} are allowed")
    declared: dict[str, Node[Any]] = {}
    for name, spec in specs.items():
        try:
            declared[str(name)] = type_of(spec, str(name))
        except ConfigError as error:
            why = str(error).removeprefix("format: ")
            raise ConfigError(f"format csv: column {str(name)!r}: {why}") from error
    return declared


def _line_end(body: bytes, at: int) -> int:
    end = body.find(b"\n", at)
    return len(body) if end < 0 else end


def _told(inside: list[tuple[str, Descriptor]], why: str, start: int, end: int, own: bool) -> Descriptor:
    faults = Faults()
    if why:
        faults.wrong(why)
    for name, wrong in inside:  # where a cell with quotes stands in its row is not known
        faults.part(name, msgspec.structs.replace(wrong, start=start, end=end) if own else wrong)
    return faults.descriptor(start, end)
