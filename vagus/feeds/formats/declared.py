"""Formats declared in YAML: `format: record`, `entries` or `lines` with options. The same types as in Python.

    format: entries
    options: {sep: ": ", fields: {Date: float, VMStat: "list[int]", RWFS: {type: int?, min: 0}}}

    format: lines
    options:
      of:
        type: union
        of:
          Comment: {layout: "#{text}", fields: {text: str}}
          Node: {layout: "{host} {port}", fields: {host: word, port: u16}}

A type is a word of TYPES, with `?` behind it for what may be absent, `list[…]` of one, or a mapping with `type` and
what narrows it. The values of records are dicts with the names as they are declared; those of a union's branches are
structs, so that their type tells which branch it was.
"""

from __future__ import annotations

import dataclasses
import keyword
import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vagus.errors import ConfigError
from vagus.feeds.formats import annotated
from vagus.feeds.formats.annotated import checked, narrowed, node_of
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.compounds import Optional, Union
from vagus.feeds.formats.keyed import Keyed, Map
from vagus.feeds.formats.layout import Build, Layout, Slot
from vagus.feeds.formats.lists import MAX_RECORDS, Lines, List
from vagus.feeds.formats.record import Spec, positional
from vagus.feeds.formats.timestamps import Time
from vagus.feeds.formats.types import MAX_DEPTH, Binary, Bool, Bytes, Choice, Float, Int, Node, Str, refuse

_SIZED = ("I8", "I16", "I32", "I64", "U8", "U16", "U32", "U64", "F32", "F64")
TYPES: Mapping[str, Node[Any]] = {
    "str": Str(),
    "int": Int(),
    "float": Float(),
    "bool": Bool(),
    "bytes": Bytes(),
    "time": Time(("iso", "epoch")),
    "word": node_of(annotated.Word),
    **{name.lower(): node_of(getattr(annotated, name)) for name in _SIZED},
}
_MADE: Mapping[str, type[Any]] = {
    "str": Str, "int": Int, "float": Float, "bool": Bool, "bytes": Bytes, "time": Time, "binary": Binary,
    "choice": Choice,
}  # fmt: skip
_TUPLES = ("words", "layouts")
_BESIDE = ("none", "min", "max", "sep", "term")  # what narrows any type
_LIST = re.compile(r"list\[(.*)\](\?)?\Z", re.DOTALL)
WAYS = (
    f"write one of {', '.join(TYPES)}, with ? behind it when it may be absent, list[…] of one, or a mapping "
    "{type: …, min: …, max: …}; binary, choice, list, union, map, record and entries are types of mappings"
)


def type_of(what: Any, name: str = "", left: int = MAX_DEPTH) -> Node[Any]:
    """The type that is declared so. name: of a record, when it has none of its own. Raises ConfigError."""
    if not left:
        raise refuse(f"types are nested more than {MAX_DEPTH} deep")
    if isinstance(what, str):
        return _word(what.strip(), left)
    if not isinstance(what, Mapping) or not all(isinstance(key, str) for key in what):
        raise refuse(f"{str(what)[:100]!r} is no type; {WAYS}")
    options = dict(what)
    kind = options.pop("type", "record" if "fields" in options else "")
    if not isinstance(kind, str):
        raise refuse(f"type {str(kind)[:100]!r} is not a word; {WAYS}")
    optional = kind.endswith("?")
    node = _mapping(kind.rstrip("?"), options, name, left)
    return Optional(node) if optional and not isinstance(node, Optional) else node


def _word(text: str, left: int) -> Node[Any]:
    if found := _LIST.match(text):
        node: Node[Any] = List(type_of(found[1], left=left - 1))
        return Optional(node) if found[2] else node
    if text.endswith("?") and text[:-1] in TYPES:
        return Optional(TYPES[text[:-1]])
    if text not in TYPES:
        raise refuse(f"{text[:100]!r} is no type; {WAYS}")
    return TYPES[text]


def _mapping(kind: str, options: dict[str, Any], name: str, left: int) -> Node[Any]:
    if kind == "record":
        return record_type(name or "record", left=left, **_known(kind, options, RECORD_OPTIONS))
    if kind == "entries":
        return entries_type(name or "entries", left=left, **_known(kind, options, ENTRIES_OPTIONS))
    if kind == "union":
        branches = _known(kind, options, ("of",)).get("of")
        if not isinstance(branches, Mapping):
            raise refuse(f"a union needs of: a mapping of names to types, got {str(branches)[:100]!r}")
        return Union(tuple(_branch(str(branch), one, left) for branch, one in branches.items()))
    if kind == "map":
        given = _known(kind, options, ("of", "sep"))
        return Map(type_of(given.get("of", "str"), left=left - 1), given.get("sep", ": "))
    if kind == "list":
        given = _known(kind, options, ("of", "sep", "term", "length", "max_length"))
        return List(type_of(given.pop("of", "str"), left=left - 1), **given)
    field = {key: options.pop(key) for key in list(options) if key in _BESIDE}
    if options or kind not in TYPES:
        if kind not in _MADE:
            node = _word(kind, left)
            if options:
                raise refuse(f"type {kind}: {', '.join(options)} is not known here; {WAYS}")
        else:
            for key in _TUPLES:
                if isinstance(options.get(key), list):
                    options[key] = tuple(options[key])
            known = tuple(one.name for one in dataclasses.fields(_MADE[kind]))
            try:
                node = _MADE[kind](**_known(kind, options, known))
            except TypeError as error:  # one that must be given is not
                raise refuse(f"type {kind} needs more options, of {', '.join(known)}: {error}") from None
    else:
        node = TYPES[kind]
    if "none" in field:
        node = Optional(node)
    return narrowed(node, *(field.get(key) for key in _BESIDE))


def _known(kind: str, options: dict[str, Any], known: tuple[str, ...]) -> dict[str, Any]:
    for key in options:
        if key not in known:
            raise refuse(f"type {kind}: {key!r} is not known; there are {', '.join(known)}")
    return options


def _branch(name: str, what: Any, left: int) -> Node[Any]:
    try:
        node = type_of(what, name, left - 1)
    except ConfigError as error:
        raise refuse(f"branch {name!r}: {_plain(error)}") from None
    return named(node, name) if isinstance(node, (Layout, Keyed)) else node


def named(node: Layout | Keyed, name: str) -> Node[Any]:
    """A record whose values are structs of this name. Raises ConfigError where its names are none of Python."""
    for word in (name, *node.build.names):
        if not word.isidentifier() or keyword.iskeyword(word) or word.startswith("__"):
            raise refuse(f"in a union, {word!r} must be letters, digits and _, as it names a type or a field of one")
    fields = [(one, Any) for one in node.build.names]
    struct = msgspec.defstruct(name, fields, frozen=True)
    build = Build(name, node.build.names, struct, node.build.check, node.build.note)
    return (
        Layout(node.slots, build, node.head, node.blanks)
        if isinstance(node, Layout)
        else Keyed(node.slots, build, node.sep)
    )


RECORD_OPTIONS = ("fields", "layout", "sep", "blanks", "check")
ENTRIES_OPTIONS = ("fields", "sep", "check")


def record_type(
    name: str,
    fields: Any = None,
    layout: str | None = None,
    sep: str | None = None,
    blanks: bool = False,
    check: str | None = None,
    left: int = MAX_DEPTH,
) -> Layout:
    """A positional record. Raises ConfigError."""
    slots = _slots(fields, left, entries=False)
    if layout is None and sep is None and len(slots) > 1 and not any(spec.before or spec.after for _, spec in slots):
        raise refuse("a record needs layout: a text with its {fields} in it, or sep: what stands between them")
    names = tuple(slot.name for slot, _ in slots)
    return positional(Build(name, names, None, _check(check), _note(check)), slots, layout, sep, bool(blanks))


def entries_type(
    name: str, fields: Any = None, sep: str = ": ", check: str | None = None, left: int = MAX_DEPTH
) -> Node[Any]:
    """Lines of keys and values: a record of the declared ones; without any, a dict of all, as text. ConfigError."""
    if not fields and isinstance(fields, (Mapping, type(None))):
        return Map(sep=sep)
    slots = [slot for slot, _ in _slots(fields, left, entries=True)]
    names = tuple(slot.name for slot in slots)
    return Keyed(tuple(slots), Build(name, names, None, _check(check), _note(check)), sep)


def _slots(fields: Any, left: int, entries: bool) -> list[tuple[Slot, Spec]]:
    if not isinstance(fields, Mapping) or not fields:
        raise refuse(f"fields must map names to types, got {str(fields)[:100]!r}")
    slots = []
    for name, what in fields.items():
        name = str(name)
        try:
            given: dict[str, Any] = {}
            if isinstance(what, Mapping):
                own: tuple[str, ...] = ("unit", "check", "key") if entries else ("unit", "check", "before", "after")
                if str(what.get("type")).startswith("time"):  # whose unit is part of the type
                    own = own[1:]
                given = {key: what[key] for key in own if what.get(key) is not None}
                what = {key: value for key, value in what.items() if key not in own}
            for key, value in given.items():
                if not isinstance(value, str):
                    raise refuse(f"{key} must be text, got {str(value)[:100]!r}")
            node = checked(type_of(what, name, left - 1), _value_check(given.get("check")))
        except ConfigError as error:
            raise refuse(f"field {name!r}: {_plain(error)}") from None
        spec = Spec(before=given.get("before", ""), after=given.get("after", ""))
        slots.append((Slot(name, node, spec.after, given.get("key", name), given.get("unit", "")), spec))
    return slots


def _check(text: Any) -> Callable[[Any], bool] | None:
    """A test of a whole record, as an expression of its fields."""
    if text is None:
        return None
    from vagus.feeds.expression import compile_expression

    if not isinstance(text, str):
        raise refuse(f"check must be an expression of the record's fields, such as `a <= b`, got {str(text)[:100]!r}")
    return compile_expression(text).test


def _value_check(text: Any) -> Callable[[Any], bool] | None:
    """A test of a value, as an expression of `$`."""
    return None if text is None else _check(text)


def _note(text: Any) -> str:
    return f"{text} is not so" if text else ""


def _plain(error: ConfigError) -> str:
    return str(error).removeprefix("format: ")


def _format(name: str, make: Callable[[], Node[Any]]) -> Compiled[Any]:
    try:
        return Compiled(make(), name)
    except ConfigError as error:
        raise ConfigError(f"format {name}: {_plain(error)}") from None


def record(
    fields: Any = None,
    layout: str | None = None,
    sep: str | None = None,
    blanks: bool = False,
    check: str | None = None,
) -> Compiled[dict[str, Any]]:
    """The whole body is one record, as a dict. Raises ConfigError.

    fields: name → type, in their order. layout: the text with its {fields} in it; or sep: what stands between them.
    blanks: a blank in it stands for any run of blanks. check: an expression of the fields that must hold.
    """
    return _format("record", lambda: record_type("record", fields, layout, sep, blanks, check))


def entries(fields: Any = None, sep: str = ": ", check: str | None = None) -> Compiled[dict[str, Any]]:
    """A body of `Key: value` lines as a dict. Raises ConfigError.

    fields: key → type; only these are in the value, as None where absent or broken. Without any, every key is, as
    text. sep: what ends a key. check: an expression of the fields that must hold.
    """
    return _format("entries", lambda: entries_type("entries", fields, sep, check))


def lines(
    of: Any = None,
    fields: Any = None,
    layout: str | None = None,
    sep: str | None = None,
    blanks: bool = False,
    check: str | None = None,
    end: str = "\n",
    keep_empty: bool = False,
    max_length: int = MAX_RECORDS,
) -> Compiled[list[Any]]:
    """A body of lines as a list. Raises ConfigError.

    of: the type of a line; or the options of a record, as for `record`; or neither: text. end: what ends a line.
    keep_empty: empty lines count too. max_length: more lines than so many are skipped.
    """

    def make() -> Node[Any]:
        given = fields is not None or layout is not None or sep is not None or check is not None
        if of is not None and given:
            raise refuse("of says what a line is: fields, layout, sep and check must be within it")
        node = record_type("record", fields, layout, sep, blanks, check) if given else type_of(of or "str", "record")
        return Lines(node, end, keep_empty, max_length)

    return _format("lines", make)
