"""Which group a session is in: a rule tree read, checked and compiled for the request path.

The tree is that of Pytheas (NSDI'17): a node looks at one feature, whose value leads to a node below or to a group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from vagus.config import DecideSettings, decode
from vagus.controllers.decide.features import MAX_FEATURES, MAX_GROUP, group_of, named, text_of
from vagus.controllers.decide.records import Grouping, Rule
from vagus.errors import ConfigError
from vagus.model import MAX_LABEL_VALUE, MAX_NAME, Scalar

MAX_DEPTH = 30
MAX_ENTRIES = 200_000  # values in all tables of a tree together
MAX_JSON_BYTES = 32 << 20
MAX_REMEMBERED = 10_000

GroupOf = Callable[[Mapping[str, Scalar]], str]
_Node = tuple[str, dict[str, "_Node | str"], "_Node | str"]  # field, by value, where no value fits: "" the fallback


def compile_grouping(grouping: Grouping) -> GroupOf:
    r"""A function that names the group of features; it never fails on features that `check_features` let pass.

    Rules: a value that no table on its way has, or that is not sent, leads to the nearest `rest` above it; without one
    to the group `FALLBACK=value` (`FALLBACK=\?` if that is not sent), or without `fallback` to the group "". No two
    ways give one name unless the tree says so. Raises ConfigError for what `check_grouping` would refuse.
    """
    check_grouping(grouping)
    if grouping.rules is not None:
        return _by_rules(_node(grouping.rules, ""), grouping.fallback)
    if not grouping.group_by:
        return lambda features: ""
    if len(grouping.group_by) == 1:
        return _by_one(grouping.group_by[0])
    return _by_several(grouping.group_by)


def _by_several(fields: tuple[str, ...]) -> GroupOf:
    """`group_of`, by less where all values are plain texts, as they nearly always are; those are remembered."""
    values, colons = itemgetter(*fields), len(fields) - 1
    known: dict[tuple[Scalar, ...], str] = {}  # of texts alone: nothing else is equal to them

    def group(features: Mapping[str, Scalar]) -> str:
        try:
            chosen = values(features)
            name = known.get(chosen)
            if name is not None:
                return name
            name = ":".join(chosen)
        except (KeyError, TypeError):  # not sent, or no text
            return group_of(features, fields)
        if name.count(":") != colons or "\\" in name or len(name) > MAX_GROUP:
            return group_of(features, fields)
        if len(known) >= MAX_REMEMBERED:
            known.clear()
        known[chosen] = name
        return name

    return group


def _by_one(field: str) -> GroupOf:
    def group(features: Mapping[str, Scalar]) -> str:
        value = features.get(field)
        if type(value) is str and len(value) <= MAX_GROUP and "\\" not in value and ":" not in value:
            return value  # by far the most common case
        return named(text_of(value))

    return group


def _by_rules(root: _Node, fallback: str) -> GroupOf:
    def group(features: Mapping[str, Scalar]) -> str:
        node = root
        while True:
            field, table, rest = node
            value = features.get(field)
            if type(value) is str:
                found = table.get(value, rest)
            else:
                found = rest if value is None else table.get(text_of(value), rest)
            if type(found) is not str:
                node = found  # type: ignore[assignment]  # mypy does not narrow by `type() is not`
            elif found or not fallback:
                return found
            else:
                return named(f"{fallback}={text_of(features.get(fallback))}")

    return group


def _node(rule: Rule, rest: _Node | str) -> _Node:
    if rule.rest is not None:
        rest = _node(rule.rest, rest) if isinstance(rule.rest, Rule) else rule.rest
    below = {key: _node(at, rest) if isinstance(at, Rule) else at for key, at in rule.table.items()}
    return rule.field, below, rest


def check_grouping(grouping: Grouping) -> Grouping:
    """Itself, if its names and sizes are allowed: at most 30 nodes deep, 200,000 values. Raises ConfigError."""
    for field in grouping.group_by:
        _check_field(field, "group_by")
    if len(grouping.group_by) > MAX_FEATURES:
        raise ConfigError(f"group_by names {len(grouping.group_by)} features; at most {MAX_FEATURES}")
    if grouping.fallback:
        _check_field(grouping.fallback, "fallback")
    if grouping.rules is None:
        return grouping
    entries = 0
    waiting: list[tuple[Rule | str, str, int]] = [(grouping.rules, "rules", 1)]
    while waiting:
        at, path, depth = waiting.pop()
        if isinstance(at, str):
            _check_group(at, path, grouping.fallback)
            continue
        _check_field(at.field, path)
        if depth > MAX_DEPTH:
            raise ConfigError(f"{path}: deeper than {MAX_DEPTH} rules; a tree asks for one feature once at most")
        if not at.table:
            raise ConfigError(f"{path}: the rule for {at.field[:80]!r} has no values; name at least one")
        entries += len(at.table)
        if entries > MAX_ENTRIES:
            raise ConfigError(f"{path}: a rule tree has at most {MAX_ENTRIES} values in all")
        for key, below in at.table.items():
            where = f"{path} > {at.field[:80]}={key[:80]}"
            if len(key) > MAX_LABEL_VALUE:
                raise ConfigError(f"{where}: a value of {len(key)} characters; features have at most {MAX_LABEL_VALUE}")
            waiting.append((below, where, depth + 1))
        if at.rest is not None:
            waiting.append((at.rest, f"{path} > {at.field[:80]} rest", depth + 1))
    return grouping


def _check_field(field: str, path: str) -> None:
    if not 0 < len(field) <= MAX_NAME:
        raise ConfigError(f"{path}: feature name {field[:50]!r} must be text of 1 to {MAX_NAME} characters")


def _check_group(name: str, path: str, fallback: str) -> None:
    if not 0 < len(name) <= MAX_GROUP or not name.isprintable():
        raise ConfigError(f"{path}: group {name[:50]!r} must be 1 to {MAX_GROUP} printable characters, not {len(name)}")
    if fallback and name.startswith(f"{fallback}="):
        raise ConfigError(
            f"{path}: group {name[:80]!r} is called like those that the fallback {fallback!r} makes; call it otherwise"
        )


def leaves(rule: Rule) -> Iterator[str]:
    """The names of the groups at the leaves, each as often as it stands there."""
    waiting: list[Rule | str] = [rule]
    while waiting:
        at = waiting.pop()
        if isinstance(at, str):
            yield at
        else:
            waiting.extend(at.table.values())
            if at.rest is not None:
                waiting.append(at.rest)


def fields_of(grouping: Grouping) -> set[str]:
    """The features that a grouping looks at."""
    found = {*grouping.group_by} if grouping.rules is None else {grouping.fallback} - {""}
    waiting: list[Rule | str | None] = [grouping.rules]
    while waiting:
        at = waiting.pop()
        if isinstance(at, Rule):
            found.add(at.field)
            waiting.extend((at.rest, *at.table.values()))
    return found


def rules_of(value: Any, where: str = "rules") -> Rule:
    """A rule tree of parsed JSON or YAML, in the published form or in ours. Raises ConfigError, naming the path.

    Published: {"Field": F, "Table": [{"Key": K, "Rule": {another, or "GroupName": G}}]}; "Field" is a feature's name.
    Ours: {field: F, values: {K: another or the group's name}, rest: another or a name}, `rest` being optional. Keys
    may be numbers or booleans: they are compared by their text.
    """
    rule = _Reader(where).rule(value, where, 1)
    check_grouping(Grouping(rules=rule))
    return rule


class _Reader:
    """Goes through a tree once; what is shared within it (YAML's aliases) counts each time."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.left = MAX_ENTRIES

    def rule(self, value: Any, path: str, depth: int) -> Rule:
        if not isinstance(value, dict):
            raise ConfigError(f"{path}: a rule is an object with field and values, not {_kind(value)}")
        if depth > MAX_DEPTH:
            raise ConfigError(f"{path[:300]}…: deeper than {MAX_DEPTH} rules")
        if "Field" in value or "Table" in value or "GroupName" in value:
            return self.published(value, path, depth)
        _known(value, ("field", "values", "rest"), path)
        field = _text(value.get("field"), f"{path}.field", "a feature's name")
        _check_field(field, f"{path}.field")
        values = value.get("values")
        if not isinstance(values, dict) or not values:
            raise ConfigError(f"{path}.values: must be an object of values and their groups, not {_kind(values)}")
        table: dict[str, Rule | str] = {}
        for raw, below in values.items():
            key = _text(raw, f"{path}.values", "values (quote them)")
            self.enter(table, key, below, f"{path}.values[{key[:80]!r}]", depth)
        rest = self.below(value["rest"], f"{path}.rest", depth + 1) if value.get("rest") is not None else None
        return Rule(field, table, rest)

    def published(self, value: dict[Any, Any], path: str, depth: int) -> Rule:
        if "Field" not in value and "GroupName" in value:
            raise ConfigError(f"{path}: a tree begins with Field and Table; for one group of all leave the rules out")
        _known(value, ("Field", "Table"), path)
        field = _text(value.get("Field"), f"{path}.Field", "a feature's name")
        _check_field(field, f"{path}.Field")
        entries = value.get("Table")
        if not isinstance(entries, list) or not entries:
            raise ConfigError(f"{path}.Table: must be a list of Key and Rule, not {_kind(entries)}")
        table: dict[str, Rule | str] = {}
        for number, entry in enumerate(entries):
            at = f"{path}.Table[{number}]"
            if not isinstance(entry, dict):
                raise ConfigError(f"{at}: must be an object with Key and Rule, not {_kind(entry)}")
            _known(entry, ("Key", "Rule", "GroupName"), at)
            if ("Rule" in entry) == ("GroupName" in entry):
                raise ConfigError(f"{at}: needs either Rule or GroupName")
            below = entry.get("Rule", entry.get("GroupName"))
            if isinstance(below, dict) and "GroupName" in below and "Field" not in below:
                _known(below, ("GroupName",), f"{at}.Rule")
                below = _text(below["GroupName"], f"{at}.Rule.GroupName", "a group's name")
            self.enter(table, _text(entry.get("Key"), f"{at}.Key", "a value"), below, f"{at}.Rule", depth)
        return Rule(field, table)

    def enter(self, table: dict[str, Rule | str], key: str, below: Any, path: str, depth: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise ConfigError(f"{path}: a rule tree has at most {MAX_ENTRIES} values in all")
        if key in table:
            raise ConfigError(f"{path}: the value {key[:80]!r} stands there twice (values are compared by their text)")
        table[key] = self.below(below, path, depth + 1)

    def below(self, value: Any, path: str, depth: int) -> Rule | str:
        if isinstance(value, dict):
            return self.rule(value, path, depth)
        name = _text(value, path, "a group's name or another rule")
        _check_group(name, path, "")
        return name


def _text(value: Any, path: str, what: str) -> str:
    if not isinstance(value, (str, int, float, bool)):
        raise ConfigError(f"{path}: must be {what}, not {_kind(value)}")
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ConfigError(f"{path}: does not fit 64 bits; quote it")
    text = value if isinstance(value, str) else text_of(value)
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise ConfigError(f"{path}: is not valid Unicode: {error.reason}") from error
    return text


def _known(value: dict[Any, Any], keys: tuple[str, ...], path: str) -> None:
    for key in value:
        if key not in keys:
            raise ConfigError(f"{path}: unknown key {str(key)[:80]!r}; there are {', '.join(keys)}")


def _kind(value: Any) -> str:
    return "nothing" if value is None else "an empty one" if value in ({}, []) else type(value).__name__


def grouping_of(settings: DecideSettings, read: Callable[[str], bytes] | None = None) -> Grouping:
    """The configured grouping, version 0; a text in `rules` names a .json or YAML file, which `read` fetches.

    Raises ConfigError, naming the key and the path in the tree.
    """
    if not settings.rules:
        if settings.fallback:
            raise ConfigError("decide.fallback: names the group where no rule matches, but there are no decide.rules")
        return check_grouping(Grouping(0, settings.group_by))
    if settings.group_by:
        raise ConfigError("decide.rules and decide.group_by: groups are named by one of them; remove the other")
    if isinstance(settings.rules, str):
        rules = rules_of(_parsed(settings.rules, (read or read_rules)(settings.rules)), settings.rules)
    else:
        rules = rules_of(settings.rules, "decide.rules")
    return check_grouping(Grouping(0, (), rules, settings.fallback))


def read_rules(path: str) -> bytes:
    """A file of rules, at most 32 MiB. Raises ConfigError."""
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"decide.rules: cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_JSON_BYTES:
        raise ConfigError(f"decide.rules: {path} has more than {MAX_JSON_BYTES} bytes")
    return content


def _parsed(path: str, content: bytes) -> Any:
    if not path.endswith(".json"):
        return decode(content, Any, path)  # anything that YAML holds
    import msgspec

    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not JSON: {error}") from error
