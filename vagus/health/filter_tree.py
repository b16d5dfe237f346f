"""Panorama's filter files: which lines of a log say what of whom, as a tree of tests on the fields of a line.

`{"FilterTree": [{"Chain": [{"Field", "Operator", "Pattern", "CaptureResult"}, …],
"Classifier": {"Context", "Subject", "Status", "Score"}}, …]}`. Operators: `==`, `!=`, `~` (a regular expression is
found), `(-` (one of a list), `(~` (one of a list of regular expressions is found); lists are written
`['a', 'b']` or as JSON. A group NAME of a clause with CaptureResult is known as FIELD_NAME from then on, in later
clauses and as <FIELD_NAME> in Context and Subject. Chains that begin with the same clause share a branch, and the
first branch whose clause matches is the only one that is searched.

Regular expressions are RE2's, and are run by RE2: the files were written for Go, whose syntax that is, and no
expression can take more than linear time, whatever line somebody else may write.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from vagus.errors import ConfigError
from vagus.model import Status

MAX_FILTER_BYTES = 1 << 20
MAX_CHAINS = 1000
MAX_CLAUSES = 50
MAX_PATTERN = 4096
MAX_REGEX_MEMORY_BYTES = 1 << 20
REMEMBERED = 1024  # values of a field whose result is kept: there are few tags, and many lines of each

_ITEM = re.compile(r"""\s*(?:'(.*?)'|"(.*?)"|([^'",\s][^,]*?))\s*(?:,\s*(?=['"\w])|\Z)""", re.DOTALL)
_NAME = re.compile(r"<(\w+)>")

Captured = Mapping[str, str]
Test = Callable[[str], Captured | None]
"""What a clause captures in a value, or None when it does not hold."""


class _Clause(msgspec.Struct, frozen=True):
    Field: str
    Operator: str
    Pattern: str | tuple[str, ...]
    CaptureResult: bool = False


class _Classifier(msgspec.Struct, frozen=True):
    Status: str
    Score: str | float = 0.0
    Context: str = ""
    Subject: str = ""


class _Chain(msgspec.Struct, frozen=True):
    Chain: tuple[_Clause, ...]
    Classifier: _Classifier


class _File(msgspec.Struct, frozen=True):
    FilterTree: tuple[_Chain, ...]


class Found(NamedTuple):
    """What a filter says of a line. An empty context or subject: as the line itself says. named: not captured."""

    context: str
    subject: str
    status: Status
    score: float
    named: bool


class _Step(NamedTuple):
    field: str
    test: Test


class _Leaf(NamedTuple):
    steps: tuple[_Step, ...]
    classifier: _Classifier
    status: Status
    score: float


class FilterTree:
    """Made by `parse`. Reading is pure and takes linear time."""

    def __init__(self, branches: list[tuple[_Step, list[_Leaf]]]) -> None:
        self._branches = branches

    @classmethod
    def parse(cls, data: bytes, fields: Iterable[str], origin: str) -> FilterTree:
        """A filter file for lines that have these fields. Raises ConfigError, saying where it is wrong."""
        if len(data) > MAX_FILTER_BYTES:
            raise ConfigError(f"{origin}: a filter file has at most {MAX_FILTER_BYTES} bytes")
        try:
            chains = msgspec.json.decode(data.removeprefix(b"\xef\xbb\xbf"), type=_File).FilterTree
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ConfigError(f"{origin}: not a filter file: {error}") from error
        if not 1 <= len(chains) <= MAX_CHAINS:
            raise ConfigError(f"{origin}: {len(chains)} chains; a filter file has 1 to {MAX_CHAINS}")
        heads: dict[_Clause, tuple[_Step, list[_Leaf]]] = {}
        for i, chain in enumerate(chains):
            where = f"{origin}: FilterTree[{i}]"
            steps, known = _steps(chain.Chain, set(fields), where)
            leaf = _leaf(steps[1:], chain.Classifier, known, where)
            heads.setdefault(chain.Chain[0], (steps[0], []))[1].append(leaf)
        return cls(list(heads.values()))

    def find(self, fields: Mapping[str, str]) -> Found | None:
        """What the first branch that fits says of a line with these fields; None when nothing."""
        for head, leaves in self._branches:
            caught = head.test(fields.get(head.field, ""))
            if caught is None:
                continue
            for leaf in leaves:
                words = _follow(leaf.steps, {**fields, **caught})
                if words is not None:
                    return _say(leaf, words)
            return None
        return None


def _follow(steps: tuple[_Step, ...], words: dict[str, str]) -> dict[str, str] | None:
    for step in steps:
        caught = step.test(words.get(step.field, ""))
        if caught is None:
            return None
        words.update(caught)
    return words


def _say(leaf: _Leaf, words: Mapping[str, str]) -> Found:
    def word(found: re.Match[str]) -> str:
        return words.get(found[1], "")

    subject = leaf.classifier.Subject
    return Found(
        _NAME.sub(word, leaf.classifier.Context),
        _NAME.sub(word, subject),
        leaf.status,
        leaf.score,
        "<" not in subject,
    )


# --- reading a file --------------------------------------------------------------------------------------------------


def _steps(clauses: tuple[_Clause, ...], known: set[str], where: str) -> tuple[tuple[_Step, ...], set[str]]:
    if not 1 <= len(clauses) <= MAX_CLAUSES:
        raise ConfigError(f"{where}: {len(clauses)} clauses; a chain has 1 to {MAX_CLAUSES}")
    steps = []
    for i, clause in enumerate(clauses):
        place = f"{where}.Chain[{i}]"
        if clause.Field not in known:
            raise ConfigError(
                f"{place}: lines have no field {clause.Field[:80]!r}; they have {', '.join(sorted(known))}"
            )
        test, names = _test(clause, place)
        steps.append(_Step(clause.Field, test))
        known |= names
    return tuple(steps), known


def _leaf(steps: tuple[_Step, ...], classifier: _Classifier, known: set[str], where: str) -> _Leaf:
    for name in _NAME.findall(classifier.Context + classifier.Subject):
        if name not in known:
            raise ConfigError(
                f"{where}.Classifier: nothing is called <{name[:80]}>; there are {', '.join(sorted(known))}; "
                f"groups need CaptureResult and a name, as in (?P<host>…)"
            )
    try:
        status = Status.parse(classifier.Status)
        score = float(classifier.Score)
    except ValueError as error:  # ConfigError is one
        raise ConfigError(f"{where}.Classifier: {error}") from error
    if not math.isfinite(score):
        raise ConfigError(f"{where}.Classifier: Score {classifier.Score} is not a finite number")
    return _Leaf(steps, classifier, status, score)


def _test(clause: _Clause, where: str) -> tuple[Test, set[str]]:
    """A clause as a function, and the names of what it captures."""
    if clause.Operator in ("==", "!="):
        if not isinstance(clause.Pattern, str):
            raise ConfigError(f"{where}: operator {clause.Operator} compares with one text, not with a list")
        return _equal(clause.Pattern, clause.Operator == "=="), set()
    if clause.Operator == "(-":
        return _among(frozenset(_items(clause.Pattern, where))), set()
    if clause.Operator not in ("~", "(~"):
        raise ConfigError(f"{where}: operator {clause.Operator[:20]!r} is none of == != ~ (- (~")
    if clause.Operator == "~" and not isinstance(clause.Pattern, str):
        raise ConfigError(f"{where}: operator ~ takes one regular expression; (~ takes a list")
    texts = [str(clause.Pattern)] if clause.Operator == "~" else _items(clause.Pattern, where)
    patterns = [_compiled(text, where) for text in texts]
    names = {f"{clause.Field}_{name}" for p in patterns for name in p.groupindex} if clause.CaptureResult else set()
    test = _search(patterns, clause.Field if names else "")
    return (test if clause.Field == "content" else lru_cache(REMEMBERED)(test)), names


def _equal(text: str, wanted: bool) -> Test:
    return lambda value: {} if (value == text) is wanted else None


def _among(texts: frozenset[str]) -> Test:
    return lambda value: {} if value in texts else None


def _search(patterns: list[Any], prefix: str) -> Test:
    """The first expression that is found in a value; with a prefix, its groups are captured under it."""

    def test(value: str) -> Captured | None:
        data = value.encode("utf-8", "replace")  # RE2 takes bytes three times as fast as text
        for pattern in patterns:
            found = pattern.search(data)
            if found is not None:
                groups = found.groupdict() if prefix else {}
                return {f"{prefix}_{name}": (group or b"").decode("utf-8", "replace") for name, group in groups.items()}
        return None

    return test


def _items(given: str | tuple[str, ...], where: str) -> list[str]:
    """The texts of a list, which is JSON's or stands in a text: ['a', 'b'], ["a"], [a, b]. Raises ConfigError."""
    if not isinstance(given, str):
        return list(given)
    text = given.strip()
    if text.startswith("[") and not text.endswith("]"):
        raise ConfigError(f"{where}: {given[:200]!r} is not a list such as ['one', 'two']")
    inner = text[1:-1] if text.startswith("[") else text
    found, at = [], 0
    while at < len(inner):
        item = _ITEM.match(inner, at)
        if item is None or item.end() == at:
            raise ConfigError(f"{where}: {given[:200]!r} is not a list such as ['one', 'two']")
        found.append(next(group for group in item.groups() if group is not None))
        at = item.end()
    if not found:
        raise ConfigError(f"{where}: the list of patterns is empty")
    return found


def _compiled(text: str, where: str) -> Any:
    if len(text) > MAX_PATTERN:
        raise ConfigError(f"{where}: a regular expression has at most {MAX_PATTERN} characters, this one {len(text)}")
    try:
        import re2
    except ImportError as error:
        raise ConfigError(f"{where}: regular expressions need RE2: pip install google-re2") from error
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MAX_REGEX_MEMORY_BYTES
    try:
        return re2.compile(text, options)
    except re2.error as error:
        reason = error.args[0] if error.args else error
        reason = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        raise ConfigError(f"{where}: {text[:200]!r} is not a regular expression of RE2: {reason}") from error
