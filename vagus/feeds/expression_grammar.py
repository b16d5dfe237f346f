"""The grammar of CoMon's select expressions: text to a checked tree. How it is evaluated: expression.py.

    or      = and { "||" and }
    and     = equal { "&&" equal }
    equal   = order { ("==" | "!=") order | ("=~" | "!~") string }
    order   = sum { ("<" | "<=" | ">" | ">=") sum }
    sum     = product { ("+" | "-") product }
    product = unary { ("*" | "/" | "%") unary }
    unary   = { "!" | "-" } ( "(" or ")" | number | string | "true" | "false" | "null" | path )
    path    = (name | "$" | "meta") { "." name | "[" integer | string "]" }

Operators bind as in C. A name is letters, digits and _ and may begin with a digit (`5minload`); any other one stands
in backquotes. A number takes a unit: ms s m h d w make seconds, K M G T powers of 1024 (what CoMon measures with them
is memory and disk; its public queries only use m and h). So `5m` is a number: a field of that name is `` `5m` ``.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import msgspec

from vagus.errors import ConfigError
from vagus.feeds.location import printable

MAX_CHARACTERS = 2000
MAX_DEPTH = 30  # of parentheses and operators in each other; chains of one && or || count once
MAX_STEPS = 16  # of a path
MAX_REGEX_MEMORY_BYTES = 1 << 20

UNITS = {
    "ms": 0.001,
    "s": 1,
    "m": 60,
    "h": 3600,
    "d": 86400,
    "w": 604800,
    "K": 1 << 10,
    "M": 1 << 20,
    "G": 1 << 30,
    "T": 1 << 40,
}
WORDS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
VALUE, META = "$", "meta"
_LEVELS = (("||",), ("&&",), ("==", "!=", "=~", "!~"), ("<", "<=", ">", ">="), ("+", "-"), ("*", "/", "%"))
_TOKEN = re.compile(
    r"""(?:
        (?P<number>\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?P<unit>ms|[smhdwKMGT])?(?![A-Za-z0-9_.`])) |
        (?P<name>[A-Za-z0-9_]+) |
        `(?P<quoted>[^`]+)` |
        "(?P<double>(?:[^"\\]|\\.)*)" | '(?P<single>(?:[^'\\]|\\.)*)' |
        (?P<operator>\|\||&&|==|!=|=~|!~|<=|>=|[-!<>+*/%()\[\].$]) |
        (?P<end>\Z)
    )""",
    re.VERBOSE | re.DOTALL | re.ASCII,
)


class Literal(msgspec.Struct, frozen=True):
    """A number, a text, true, false or null."""

    value: int | float | str | bool | None


class Path(msgspec.Struct, frozen=True):
    """A part of the value, or of the item's meta: field names, keys of mappings, indexes of lists. No steps: all."""

    root: str
    steps: tuple[str | int, ...]


class Unary(msgspec.Struct, frozen=True):
    """`!` or `-`."""

    operator: str
    operand: Node


class Binary(msgspec.Struct, frozen=True):
    """A comparison or arithmetic."""

    operator: str
    left: Node
    right: Node


class Chain(msgspec.Struct, frozen=True):
    """`&&` or `||` of two or more."""

    operator: str
    parts: tuple[Node, ...]


class Match(msgspec.Struct, frozen=True):
    """`=~` or `!~`: whether all of a text matches a regular expression of RE2."""

    operator: str
    subject: Node
    pattern: str


Node = Literal | Path | Unary | Binary | Chain | Match


class Token(msgspec.Struct, frozen=True):
    """kind: number, name, quoted, text, operator or end; at: where it begins."""

    kind: str
    value: Any
    at: int
    end: int


def parse(text: str) -> Node:
    """The tree of an expression. Raises ConfigError, which shows the place."""
    if not isinstance(text, str):
        raise ConfigError(f"an expression is a text, got {type(text).__name__}")
    if len(text) > MAX_CHARACTERS:
        raise ConfigError(f"an expression has at most {MAX_CHARACTERS} characters, this one {len(text)}")
    return _Parser(text).whole()


def compiled_pattern(pattern: str) -> Any:
    """A regular expression in RE2's syntax: linear time on any text. Raises ConfigError."""
    import re2

    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_REGEX_MEMORY_BYTES
    options.never_capture = True  # hundreds of groups cost seconds for each text, and nobody asks what they hold
    try:
        return re2.compile(pattern, options)
    except (re2.error, UnicodeError) as error:
        reason = error.args[0] if isinstance(error, re2.error) and error.args else error
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ConfigError(f"{pattern[:80]!r} is not a regular expression of RE2: {reason}") from error


class _Parser:
    """Recursive descent; the depth is bounded."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._depth = 0
        self._next = self._read(0)

    def whole(self) -> Node:
        node, _ = self._level(0)
        if self._next.kind != "end":
            self._fail("expected an operator or the end")
        return node

    def _read(self, at: int) -> Token:
        while at < len(self._text) and self._text[at].isspace():
            at += 1
        found = _TOKEN.match(self._text, at)
        if found is None:
            self._unreadable(at)
        kind = found.lastgroup or "end"
        value: Any = found[kind]
        if found["number"] is not None:
            kind, value = "number", self._number(found["number"], found["unit"], at)
        elif kind in ("double", "single"):
            kind, value = "text", re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        return Token(kind, value, at, found.end())

    def _unreadable(self, at: int) -> NoReturn:
        one, two = self._text[at], self._text[at : at + 2]
        hints = {"=": "write == to compare", "&": "write && for and", "|": "write || for or"}
        if one in "\"'`":
            self._fail("this quote is not closed", at)
        why = "a regular expression goes after =~ or !~" if two == "~" else hints.get(one, "")
        self._fail(f"{printable(one)!r} has no meaning here{'; ' + why if why else ''}", at)

    def _number(self, text: str, unit: str | None, at: int) -> int | float:
        digits = text[: len(text) - len(unit)] if unit else text
        if len(digits) > 40:
            self._fail("this number has more than 40 digits", at)
        value: int | float = int(digits) if digits.isdigit() else float(digits)
        value = value * UNITS[unit] if unit else value
        if abs(value) > 1e300:
            self._fail("this number is too large", at)
        return value

    def _take(self) -> Token:
        token, self._next = self._next, self._read(self._next.end)
        return token

    def _is(self, *operators: str) -> bool:
        return self._next.kind == "operator" and self._next.value in operators

    def _fail(self, why: str, at: int | None = None) -> NoReturn:
        at = self._next.at if at is None else at
        start = max(0, at - 50)
        line = printable(self._text[start : at + 30])
        raise ConfigError(f"expression: {why}, at character {at + 1}\n  {line}\n  {' ' * (at - start)}^")

    def _deeper(self, depth: int) -> int:
        if depth >= MAX_DEPTH:
            self._fail(f"more than {MAX_DEPTH} operators and parentheses in each other")
        return depth + 1

    def _level(self, level: int) -> tuple[Node, int]:
        """A node of a level of precedence, and its depth."""
        if level == len(_LEVELS):
            return self._unary()
        node, depth = self._level(level + 1)
        if level < 2:
            parts = [node]
            while self._is(*_LEVELS[level]):
                self._take()
                part, found = self._level(level + 1)
                parts.append(part)
                depth = max(depth, found)
            return (Chain(_LEVELS[level][0], tuple(parts)), self._deeper(depth)) if len(parts) > 1 else (node, depth)
        while self._is(*_LEVELS[level]):
            operator = self._take().value
            if operator in ("=~", "!~"):
                node = Match(operator, node, self._pattern())
                found = 0
            else:
                right, found = self._level(level + 1)
                node = Binary(operator, node, right)
            depth = self._deeper(max(depth, found))
        return node, depth

    def _pattern(self) -> str:
        if self._next.kind != "text":
            self._fail("expected a regular expression in quotes")
        at = self._next.at
        pattern = str(self._take().value)
        try:
            compiled_pattern(pattern)
        except ConfigError as error:
            self._fail(str(error), at)
        return pattern

    def _unary(self) -> tuple[Node, int]:
        if self._is("!", "-"):
            operator = self._take().value
            node, depth = self._inside(self._unary)
            if operator == "-" and isinstance(node, Literal) and isinstance(node.value, (int, float)):
                return Literal(-node.value), depth
            return Unary(operator, node), self._deeper(depth)
        if self._is("("):
            self._take()
            node, depth = self._inside(lambda: self._level(0))
            self._expect(")")
            return node, depth
        token = self._next
        if token.kind in ("number", "text"):
            self._take()
            return Literal(token.value), 0
        if token.kind == "name" and token.value in WORDS:
            self._take()
            return Literal(WORDS[token.value]), 0
        if token.kind in ("name", "quoted") or self._is("$"):
            return self._path(), 0
        element = "; the value itself is $, its first element $[0]" if self._is("[") else ""
        self._fail(f"expected a name, a number, a text in quotes, or ({element}")

    def _inside(self, read: Any) -> tuple[Node, int]:
        """What is read one level deeper in recursion."""
        self._depth = self._deeper(self._depth)
        found: tuple[Node, int] = read()
        self._depth -= 1
        return found

    def _expect(self, operator: str) -> None:
        if not self._is(operator):
            self._fail(f"expected {operator}")
        self._take()

    def _path(self) -> Path:
        token = self._take()
        steps: list[str | int] = []
        root = VALUE
        if token.kind == "name" and token.value == META:
            root = META
        elif token.value != VALUE or token.kind == "quoted":
            steps.append(token.value)
        while self._is(".", "["):
            if self._take().value == ".":
                if self._next.kind not in ("name", "quoted"):
                    self._fail("expected a name after the dot")
                steps.append(self._take().value)
            else:
                steps.append(self._index())
                self._expect("]")
            if len(steps) > MAX_STEPS:
                self._fail(f"a path has at most {MAX_STEPS} steps")
        return Path(root, tuple(steps))

    def _index(self) -> str | int:
        if self._next.kind == "text":
            return str(self._take().value)
        sign = 1
        if self._is("-"):
            self._take()
            sign = -1
        written = self._text[self._next.at : self._next.end]
        if self._next.kind != "number" or not written.isdigit() or len(written) > 9:
            self._fail("expected an index such as 0 or -1, or a key in quotes")
        return sign * int(self._take().value)
