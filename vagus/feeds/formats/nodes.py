"""The types of the format language: what stands at a place of a body, how it is read there and printed back.

After PADS (Fisher and Gruber, PLDI 2005): each reading gives a value and, unless all is well, a parse descriptor; a
part that is broken is None and never loses what is around it. All positions are of bytes. A type reads a *prefix* of
what is before it (`reader`), or must *fill* a known span (`filler`); an *open* type, such as a string without an end
of its own, can only fill, so whoever holds it finds the end. Types are immutable descriptions; what reads is made from
them once. types.py lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from vagus.errors import ConfigError
from vagus.feeds.contracts import Shape
from vagus.feeds.item import Data, Descriptor, State

T = TypeVar("T")

Reading = tuple[Any, int, "Descriptor | None"]
Reader = Callable[[bytes, int, int], Reading]
"""(body, start, end) → value, where it ended, what is wrong (None: nothing). Never raises, never looks past `end`."""

Printer = Callable[[Any], bytes]
"""Raises NoData, TypeError, ValueError, AttributeError or OverflowError for a value that is not of the type."""

MAX_NUMBER_WIDTH = 40
MAX_PATTERN = 2000
MAX_REGEX_MEMORY_BYTES = 8 << 20
MAX_WIDTH = 1 << 20
MAX_DEPTH = 24

LEAST_INT, GREATEST_INT = -(1 << 63), (1 << 64) - 1


def broken(code: Data, start: int, end: int, note: str) -> Descriptor:
    """The descriptor of one broken part."""
    return Descriptor(State.PARTIAL, 1, code, start, end, (), note)


def quoted(body: bytes, start: int, end: int) -> str:
    """The beginning of a piece of a body, for notes."""
    piece = body[start : min(end, start + 30)].decode("utf-8", "replace")
    return repr(piece) + ("…" if end - start > 30 else "")


def refuse(what: str) -> ConfigError:
    return ConfigError(f"format: {what}")


def check_number(what: str, value: object, least: float, most: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise refuse(f"{what} must be a whole number from {least} to {most}, got {value!r}")


def literal(what: str, text: object) -> bytes:
    """A non-empty piece of text, as it stands in a body."""
    if not isinstance(text, str) or not text or len(text) > MAX_PATTERN:
        raise refuse(f"{what} must be text of 1 to {MAX_PATTERN} characters, got {str(text)[:50]!r}")
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise refuse(f"{what} has half of a surrogate pair: {text[:50]!r}") from None


def user_regex(text: object, what: str) -> Any:
    """A user's regular expression, as RE2: linear time on any body. Raises ConfigError."""
    import re2

    if not isinstance(text, str) or not 0 < len(text) <= MAX_PATTERN:
        raise refuse(f"{what} must be a regular expression of 1 to {MAX_PATTERN} characters, got {str(text)[:50]!r}")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_REGEX_MEMORY_BYTES
    try:
        return re2.compile(text, options)
    except (re2.error, UnicodeEncodeError) as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise refuse(f"{what}: {text[:200]!r} is not a regular expression of RE2: {reason}") from error


@dataclass(frozen=True)
class Node(Generic[T]):
    """One type of the language. Raises ConfigError when it is declared wrongly."""

    @property
    def shape(self) -> Shape:
        raise NotImplementedError

    @property
    def open(self) -> bool:
        """Whether only its surroundings tell where it ends."""
        return False

    @property
    def binary(self) -> bool:
        """Whether a newline at the end of a body may be part of it."""
        return False

    @property
    def parts(self) -> tuple[Node[Any], ...]:
        return ()

    def reader(self) -> Reader:
        """Reads a prefix; of an open type, everything."""
        raise NotImplementedError

    def filler(self) -> Reader:
        """Reads exactly the span that is given."""
        return filled(self.reader())

    def printer(self) -> Printer:
        raise NotImplementedError


def filled(read: Reader) -> Reader:
    """A reader of a prefix made to fill its span: with something left over, it is not such a value."""

    def fill(body: bytes, start: int, end: int) -> Reading:
        value, at, wrong = read(body, start, end)
        if wrong is None and at != end:
            return None, end, broken(Data.SYNTAX, start, end, f"{quoted(body, at, end)} is left over")
        return value, end, wrong

    return fill


def kept(read: Reader, also: bytes = b"") -> Reader:
    """As `filled`, for values of parts, which are kept; nothing is said of bytes of `also` that are left over."""

    def fill(body: bytes, start: int, end: int) -> Reading:
        value, at, wrong = read(body, start, end)
        if at == end or (also and not body[at:end].strip(also)):
            return value, end, wrong
        if wrong is not None and value is None:
            return value, end, replace(wrong, end=end)
        inside, errors = (wrong.inside, wrong.errors) if wrong else ((), 0)
        note = (wrong.note if wrong else "") or f"{quoted(body, at, end)} is left over"
        return value, end, Descriptor(State.PANIC, errors + 1, Data.SYNTAX, start, end, inside, note)

    return fill


def depth(node: Node[Any]) -> int:
    return 1 + max((depth(part) for part in node.parts), default=0)


def trimmed(body: bytes, start: int, end: int) -> tuple[int, int]:
    """A span without the blanks around it."""
    text = body[start:end]
    left = start + len(text) - len(text.lstrip())
    return left, left + len(text.strip())


def fixed(fill: Reader, width: int) -> Reader:
    """A filler as a reader of exactly so many bytes."""

    def read(body: bytes, start: int, end: int) -> Reading:
        if end - start < width:
            note = f"{width} bytes are needed, {end - start} are left"
            return None, start, broken(Data.SYNTAX, start, end, note)
        return fill(body, start, start + width)

    return read
