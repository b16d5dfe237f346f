"""Files of names and numbers, parsed by a plan that is made once and kept while the words in the file stay the same."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from operator import itemgetter, mul
from typing import Any, NamedTuple

from vagus.model import Field, Sample, Stream

Number = float | int
LARGEST_U8 = (1 << 64) - 1


class Column(NamedTuple):
    """Which token holds the number of which field; scale turns it into the field's unit (integers only)."""

    token: int
    field: Field
    scale: int = 1


Layout = Callable[[list[bytes]], list[Column]]
"""Finds the columns among all white-space-separated tokens of a file."""


_DIGITS = b"0123456789 "  # and the blanks that pad them
_NUMBERS = bytes([c if c in b"0123456789.- \n\t" else 32 for c in range(256)])  # blanks in the place of words


class Table:
    """Turns a file's content into the values of one stream.

    Tokens stand between blanks or `=`. The layout is found again only when what stands around the digits changes: a
    word appears, goes or is another. A changed layout with the same fields keeps the same Stream object.
    """

    def __init__(self, node: str, kind: str, layout: Layout) -> None:
        self._node = node
        self._kind = kind
        self._layout = layout
        self._stream: Stream | None = None
        self._data = b""  # of the last sample: on a quiet machine many files stay as they are
        self._values: tuple[Number, ...] = ()
        self._around: bytes | None = None
        self._count = 0
        self._value_tokens = pick(())
        self._scales: tuple[int, ...] | None = None
        self._converters: tuple[Callable[[bytes], Number], ...] | None = None

    def sample(self, data: bytes, t_ns: int) -> Sample | None:
        """The sample in `data`, or None when it holds no column. Raises ValueError for numbers that are none."""
        if data == self._data and self._stream is not None:
            return Sample(self._stream, t_ns, self._values)
        around, numbers = data.translate(None, _DIGITS), data.translate(_NUMBERS).split()
        if around != self._around or len(numbers) != self._count:
            self._around = None
            self._plan(data.replace(b"=", b" ").split())
            self._around, self._count = around, len(numbers)
        if self._stream is None:
            return None
        found = self._value_tokens(numbers)
        values: tuple[Number, ...]
        if self._converters is not None:
            values = tuple([convert(token) for convert, token in zip(self._converters, found, strict=True)])
        elif self._scales is not None:
            values = tuple(map(mul, map(int, found), self._scales))
        else:
            values = tuple(map(int, found))
        check_range(values)
        self._data, self._values = data, values
        return Sample(self._stream, t_ns, values)

    def _plan(self, tokens: list[bytes]) -> None:
        columns = self._layout(tokens)
        # which of the numbers is which token: words may hold digits too
        places = [0, *accumulate(len(token.translate(_NUMBERS).split()) for token in tokens)]
        for c in columns:
            if not _is_number(tokens[c.token]):
                raise ValueError(f"{tokens[c.token][:60]!r} of {c.field.name} is no number")
        self._value_tokens = pick([places[c.token] for c in columns])
        self._scales = tuple(c.scale for c in columns) if any(c.scale != 1 for c in columns) else None
        floats = any(c.field.dtype.startswith("f") for c in columns)
        self._converters = tuple(float if c.field.dtype.startswith("f") else int for c in columns) if floats else None
        fields = tuple(c.field for c in columns)
        if not fields:
            self._stream = None
        elif self._stream is None or self._stream.fields != fields:
            self._stream = Stream(self._node, self._kind, fields)


def pick(indexes: Sequence[int]) -> Callable[[Sequence[Any]], tuple[Any, ...]]:
    """Like itemgetter, but always a tuple, whatever the number of indexes."""
    if not indexes:
        return lambda _: ()
    if len(indexes) == 1:
        only = indexes[0]
        return lambda sequence: (sequence[only],)
    return itemgetter(*indexes)


def check_range(values: Sequence[Number]) -> None:
    """ValueError for a number that no unsigned 64-bit counter holds, so that nothing downstream meets one."""
    if min(values) < 0 or max(values) > LARGEST_U8:
        raise ValueError(f"a number outside 0 to 2^64-1: {min(values)} or {max(values)}")


def _is_number(token: bytes) -> bool:
    return token.replace(b".", b"", 1).lstrip(b"-").isdigit()
