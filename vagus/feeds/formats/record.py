"""Records as annotated classes: immutable structs that are formats too.

    class CoMon(Record, style="entries", sep=": "):
        date: float = entry("Date")
        vm_stat: list[int] = entries("VMStat")
        rwfs: int | None = entry("RWFS", check=lambda v: v >= 0)

    class Reply(Record, layout="{size} bytes from {host}: icmp_seq={seq} ttl={ttl} time={ms} ms"):
        size: U16
        host: str
        seq: int
        ttl: U8
        ms: float

`CoMon.parse(body)` gives the record and its descriptor, `CoMon.print(record)` the bytes. A broken field is None,
whatever its annotation says: the descriptor tells, and `float | None` makes mypy remind you.
"""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from vagus.errors import ConfigError
from vagus.feeds.contracts import Shape
from vagus.feeds.formats.annotated import checked, narrowed, node_of
from vagus.feeds.formats.compiled import Compiled
from vagus.feeds.formats.compounds import Optional
from vagus.feeds.formats.keyed import Keyed
from vagus.feeds.formats.layout import Build, Layout, Slot
from vagus.feeds.formats.lists import List
from vagus.feeds.formats.template import template
from vagus.feeds.formats.types import Node, refuse
from vagus.feeds.item import Descriptor

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_):
        return lambda cls: cls


R = TypeVar("R")
S = TypeVar("S")


@dataclass(frozen=True)
class Spec:
    """What is said of a field beside its annotation."""

    key: str | None = None
    many: bool = False
    before: str = ""
    after: str = ""
    node: Any = None
    none: str | None = None
    check: Callable[[Any], Any] | None = None
    min: float | None = None
    max: float | None = None
    sep: str | None = None
    term: str | None = None
    unit: str = ""


def field(
    *,
    before: str = "",
    after: str = "",
    type: Any = None,
    none: str | None = None,
    check: Callable[[Any], Any] | None = None,
    min: float | None = None,
    max: float | None = None,
    sep: str | None = None,
    term: str | None = None,
    unit: str = "",
) -> Any:
    """A field of a positional record.

    before, after: text around it. type: a type such as `Int(bits=16)`, where the annotation does not say it. none:
    what stands for an absent value (`-`). min, max: of a number, or of each number of a list. sep, term: of a list.
    check: a test that the value must pass. unit: of the number, for tools.
    """
    return Spec(None, False, before, after, type, none, check, min, max, sep, term, unit)


def entry(
    key: str,
    *,
    type: Any = None,
    none: str | None = None,
    check: Callable[[Any], Any] | None = None,
    min: float | None = None,
    max: float | None = None,
    sep: str | None = None,
    unit: str = "",
) -> Any:
    """A field of a record of entries: the value behind `key`. The rest as for `field`."""
    return Spec(key, False, "", "", type, none, check, min, max, sep, None, unit)


def entries(
    key: str,
    *,
    type: Any = None,
    none: str | None = None,
    check: Callable[[Any], Any] | None = None,
    min: float | None = None,
    max: float | None = None,
    sep: str | None = None,
    unit: str = "",
) -> Any:
    """As `entry`, for a list of values behind `key`; sep: between them (None: blanks)."""
    return Spec(key, True, "", "", type, none, check, min, max, sep, None, unit)


STYLES = ("fields", "entries")


class RecordMeta(msgspec.StructMeta):
    """Makes the struct, its type and its parser of a class that derives from `Record`."""

    __vagus_node__: Node[Any]
    __vagus_format__: Compiled[Any]

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        style: str = "fields",
        layout: str | None = None,
        sep: str | None = None,
        blanks: bool = False,
        check: Callable[[Any], Any] | None = None,
        note: str = "",
        **kwargs: Any,
    ) -> Any:
        specs = {key: namespace.pop(key) for key, value in list(namespace.items()) if isinstance(value, Spec)}
        cls: Any = super().__new__(mcls, name, bases, namespace, **{**kwargs, "frozen": True})
        if not bases or bases == (msgspec.Struct,):
            return cls
        try:
            hints = _hints(cls, sys._getframe(1).f_locals)
            for field_name in specs.keys() - hints.keys():
                raise refuse(f"field {field_name!r} has no annotation")
            if any(base is not Record and isinstance(base, RecordMeta) for base in bases):
                raise refuse("a Record does not inherit from another; use it as a field")
            if cls.__struct_defaults__:
                raise refuse("fields have no defaults: say `X | None` for what may be absent, or field(…), entry(…)")
            names = tuple(cls.__struct_fields__)
            build = Build(name, names, cls, check, note)
            declared = [(one, hints[one], specs.get(one, Spec())) for one in names]
            node = declare(build, declared, style, layout, sep, blanks)
        except ConfigError as error:
            raise ConfigError(f"record {name}: {str(error).removeprefix('format: ')}") from None
        cls.__vagus_node__ = node
        cls.__vagus_format__ = Compiled(node, name)
        return cls

    if TYPE_CHECKING:

        def __or__(cls: type[R], other: type[S]) -> Node[R | S]: ...  # type: ignore[override]  # noqa: N805

    # Properties of the metaclass, so that records may have fields of these names.
    @property
    def name(cls) -> str:  # noqa: N805
        return cls.__name__

    @property
    def shape(cls) -> Shape:  # noqa: N805
        return cls.__vagus_format__.shape

    @property
    def parse(cls: type[R]) -> Callable[[bytes], tuple[R | None, Descriptor]]:  # noqa: N805
        """A body as (record, descriptor)."""
        return cls.__vagus_format__.parse  # type: ignore[attr-defined, no-any-return]

    @property
    def print(cls: type[R]) -> Callable[[R], bytes]:  # noqa: N805
        """The inverse of parse. Raises NoData for a record that would not read back the same."""
        return cls.__vagus_format__.print  # type: ignore[attr-defined, no-any-return]


@dataclass_transform(frozen_default=True, field_specifiers=(field, entry, entries))
class Record(msgspec.Struct, metaclass=RecordMeta, frozen=True):
    """Base of records. Class options:

    style: "fields" (in their order, the default) or "entries" (`Key: value` lines). layout: the text with `{field}` in
    it, `{{` for a brace; without it, sep is what stands between the fields, and `before` and `after` of each around
    it. sep of entries: what ends a key. blanks: a blank in the text stands for any run of blanks. check: a test of the
    whole record, with `note` saying what failed. Raises ConfigError where it is declared.
    """


def declare(
    build: Build, fields: list[tuple[str, Any, Spec]], style: str, layout: str | None, sep: str | None, blanks: bool
) -> Node[Any]:
    """The type of a record of these (name, annotation, spec). Raises ConfigError."""
    if style not in STYLES:
        raise refuse(f"style is one of {', '.join(STYLES)}, not {style!r}")
    if not fields:
        raise refuse("a record needs at least one field")
    slots = []
    for name, hint, spec in fields:
        try:
            node = node_of(hint if spec.node is None else spec.node)
            core = node.node if isinstance(node, Optional) else node
            if spec.many and not isinstance(core, List):
                raise refuse("entries(…) is a list of values: declare it as list[…], or use entry(…)")
            node = checked(narrowed(node, spec.none, spec.min, spec.max, spec.sep, spec.term), spec.check)
        except ConfigError as error:
            raise refuse(f"field {name!r}: {str(error).removeprefix('format: ')}") from None
        if (spec.key is not None) != (style == "entries") and (spec.key is not None or style != "entries"):
            raise refuse(f'field {name!r}: entry(…) and entries(…) are of style="entries", field(…) of all others')
        if style == "entries" and (spec.before or spec.after):
            raise refuse(f"field {name!r}: before and after are of positional records")
        slots.append((Slot(name, node, spec.after, spec.key or name, spec.unit), spec))
    if style == "entries":
        if layout is not None or blanks:
            raise refuse("layout and blanks are of positional records")
        return Keyed(tuple(slot for slot, _ in slots), build, ": " if sep is None else sep)
    return positional(build, slots, layout, sep, blanks)


def positional(
    build: Build, slots: list[tuple[Slot, Spec]], layout: str | None, sep: str | None, blanks: bool
) -> Layout:
    """The type of a positional record. Raises ConfigError."""
    if layout is not None:
        if sep is not None or any(spec.before or spec.after for _, spec in slots):
            raise refuse("with a layout, the text between the fields stands in it: leave out sep, before and after")
        head, after = template(layout, [slot.name for slot, _ in slots])
    else:
        texts = [(slot.after, spec.before) for slot, spec in slots]
        if not all(isinstance(text, str) for text in (sep or "", *(one for pair in texts for one in pair))):
            raise refuse("sep, before and after are text")
        head = texts[0][1]
        after = [own + (sep or "") + before for (own, _), (_, before) in pairwise(texts)]
        after.append(texts[-1][0])
    placed = [
        Slot(slot.name, slot.node, text, slot.key, slot.unit) for (slot, _), text in zip(slots, after, strict=True)
    ]
    return Layout(tuple(placed), build, head, blanks)


def _hints(cls: type, local: dict[str, Any]) -> dict[str, Any]:
    module = sys.modules.get(cls.__module__)
    try:
        return typing.get_type_hints(cls, vars(module) if module else {}, dict(local), include_extras=True)
    except NameError as error:
        raise refuse(f"{error}: what a field is annotated with must be defined before the record") from None
    except Exception as error:  # whatever evaluating an annotation raises
        raise refuse(f"its annotations cannot be read: {type(error).__name__}: {error}") from None
