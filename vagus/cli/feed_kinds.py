"""`vagus feed tools|formats|sources|steps`: what there is, from signatures and docstrings."""

from __future__ import annotations

import inspect
import json
import re
import sys
import typing
from collections import abc
from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union

import click
import msgspec

from vagus.cli.feed_examples import example
from vagus.cli.output import cell, console, emit_json, json_option, near, table
from vagus.config import Duration
from vagus.errors import ConfigError, NoData

NO_OPTION = {"self", "context"}


@click.command()
@click.argument("name", required=False)
@json_option
def tools(name: str | None, as_json: bool) -> None:
    """What can be made of a feed's items; with NAME its options and an example.

    \b
    Examples:
      vagus feed tools
      vagus feed tools rss
      vagus feed tools --json | jq -r '.tools[].name'
    """
    from vagus.feeds import TOOLS

    _list("tools", TOOLS, name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def formats(name: str | None, as_json: bool) -> None:
    """What bytes can be parsed as; with NAME its options and an example.

    \b
    Examples:
      vagus feed formats
      vagus feed formats entries
    """
    from vagus.feeds import FORMATS

    _list("formats", FORMATS, name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def sources(name: str | None, as_json: bool) -> None:
    """Where data can be: the scheme of a location names the source; with NAME its options.

    \b
    Examples:
      vagus feed sources
      vagus feed sources http
    """
    from vagus.feeds import SOURCES

    _list("sources", SOURCES, name, as_json)


@click.command()
@click.argument("name", required=False)
@json_option
def steps(name: str | None, as_json: bool) -> None:
    """What can be done to bytes before they are parsed; with NAME its options.

    \b
    Examples:
      vagus feed steps
      vagus feed steps decrypt
    """
    from vagus.feeds import STEPS

    _list("steps", STEPS, name, as_json)


def _list(what: str, registry: Any, name: str | None, as_json: bool) -> None:
    if name is not None:
        if name not in registry:
            hint = near(name, registry) or f"; there are: {', '.join(registry)}"
            raise NoData(f"there is no {what[:-1]} {name!r}{hint}")
        found = described(registry, name)
        if as_json:
            emit_json(found)
        else:
            _show(what, found)
        return
    all_ = [described(registry, one) for one in registry]
    if as_json:
        emit_json({what: all_})
        return
    rows = [(one["name"], one["what"], ", ".join(option["name"] for option in one["options"])) for one in all_]
    table(console(), (what[:-1], "what it does", "options"), rows, wide={"what it does": 60, "options": 30})


def described(registry: Any, name: str) -> dict[str, Any]:
    """Name, first line and rest of the docstring, options with type, default and what is said of them."""
    try:
        kind = registry.get(name)
    except ConfigError as error:  # a missing library costs only this one
        return {"name": name, "what": f"does not load: {error}", "text": "", "options": []}
    first, rest = _halves(inspect.getdoc(kind) or "")
    if first.startswith("`"):  # how it is called from Python: the module says what it is
        rest = f"{first}: {rest}"
        first = _halves(inspect.getdoc(sys.modules[kind.__module__]) or "")[0]
        first = re.sub(r"^The tool `\w+`: ", "", first)
    return {"name": name, "what": first[:1].upper() + first[1:], "text": rest, "options": list(_options(kind, rest))}


def _halves(text: str) -> tuple[str, str]:
    """The first sentence, and what follows."""
    first, _, rest = text.partition("\n\n")
    sentence = re.match(r".*?[.;](?=\s|$)", " ".join(first.split()))
    if sentence is None:
        return " ".join(first.split()), rest
    more = " ".join(first.split())[sentence.end() :].strip()
    return sentence[0].rstrip(";"), f"{more}\n\n{rest}".strip()


def _options(kind: Any, text: str) -> Iterator[dict[str, Any]]:
    """Of the signature; where that takes any, of the settings that its module has for it (`Alert`: `AlertOptions`)."""
    if isinstance(kind, type) and kind.__init__ is object.__init__:  # type: ignore[misc]
        return
    hints = _hints(kind)
    for one in inspect.signature(kind).parameters.values():
        if one.name in NO_OPTION or one.kind is one.VAR_POSITIONAL:
            continue
        if one.kind is one.VAR_KEYWORD:
            yield from _settings(getattr(sys.modules[kind.__module__], f"{kind.__name__}Options", None))
            continue
        required = one.default is inspect.Parameter.empty
        type_ = yaml_type(hints.get(one.name, Any))
        if type_:
            yield _option(one.name, type_, required, None if required else one.default, _said_of(one.name, text))


def _hints(kind: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(getattr(kind, "__init__") if isinstance(kind, type) else kind)  # noqa: B009
    except (NameError, TypeError):  # a name that only type checkers import
        return {}


def _settings(kind: Any) -> Iterator[dict[str, Any]]:
    """The fields of a struct of options; what is said of each is the comment behind it."""
    if kind is None:
        return
    source = inspect.getsource(kind)
    for field in msgspec.structs.fields(kind):
        said = re.search(rf"^    {field.name}: [^#\n]*  # (.*)$", source, re.M)
        required = field.default is msgspec.NODEFAULT and field.default_factory is msgspec.NODEFAULT
        default = None if required or field.default is msgspec.NODEFAULT else field.default
        if field.default_factory is not msgspec.NODEFAULT:
            default = field.default_factory()
        yield _option(field.encode_name, yaml_type(field.type), required, default, said[1] if said else "")


def _option(name: str, type_: str, required: bool, default: Any, what: str) -> dict[str, Any]:
    return {"name": name, "type": type_, "required": required, "default": default, "what": what}


_PLAIN = {
    str: "text",
    int: "int",
    float: "number",
    bool: "true or false",
    Any: "any",
    abc.Callable: "function",
}


def yaml_type(kind: Any) -> str:
    """A Python type as one would say it of YAML: `tuple[str, ...] | None` is a list of text. Empty: not for YAML."""
    origin, inside = typing.get_origin(kind), typing.get_args(kind)
    if kind == Duration:
        return "duration"
    if origin is Annotated:
        return yaml_type(inside[0])
    if origin is Literal:
        return " or ".join(str(word) or "''" for word in inside)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(yaml_type(one) for one in inside if one is not type(None)))
    if origin in (list, tuple, abc.Sequence, abc.Iterable):
        return f"list of {yaml_type(inside[0])}"
    if origin in (dict, abc.Mapping) or kind in (dict, abc.Mapping) or hasattr(kind, "__struct_fields__"):
        return "mapping"
    return _PLAIN.get(origin or kind, "")


def _said_of(option: str, text: str) -> str:
    """What a docstring says behind `option:`, up to the next option or the end of its paragraph."""
    found = re.search(rf"(?:^|(?<=\s)){option}: (.*?)(?=\s\w+: |\n\s*\n|\Z)", text, re.S)
    return " ".join(found[1].split()) if found else ""


def _show(what: str, found: dict[str, Any]) -> None:
    to = console()
    to.print(cell(found["name"], "bold"), cell(found["what"]), soft_wrap=True)
    if found["text"]:
        click.echo()
        click.echo(found["text"])
    if found["options"]:
        click.echo()
        rows = [
            (one["name"], one["type"], "required" if one["required"] else _yaml(one["default"]), one["what"])
            for one in found["options"]
        ]
        table(to, ("option", "type", "default", ""), rows, wide={"": 40, "type": 20})
    click.echo()
    click.echo("Example:")
    for line in example(what, found["name"], found["options"]).splitlines():
        click.echo(f"  {line}")


def _yaml(value: Any) -> str:
    """A default, as it would be written."""
    import yaml

    if isinstance(value, str):
        return value if value and value.isprintable() and value == value.strip() else json.dumps(value)
    try:
        return str(yaml.safe_dump(value, default_flow_style=True, width=1000)).removesuffix("...\n").strip()
    except yaml.YAMLError:
        return str(value)
