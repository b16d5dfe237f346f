"""From a YAML file to settings, with errors that name the key; and the published JSON schemas."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from vagus.config.base import Settings, seconds
from vagus.errors import ConfigError, unreadable

T = TypeVar("T")
MAX_CONFIG_BYTES = 1 << 20


@cache
def _loader() -> Any:
    """YAML's safe loader with the booleans of YAML 1.2: `on` is a key of ours, and not True."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in known if tag != "tag:yaml.org,2002:bool"]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:bool", re.compile(r"(?:true|True|TRUE|false|False|FALSE)\Z"), "tTfF"
    )
    return Loader


def decode(text: bytes, kind: type[T], origin: str) -> T:
    """YAML bytes as settings of type `kind`; `origin` names the file in errors. Raises ConfigError."""
    import yaml

    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigError(f"{origin}: too large; a configuration has at most {MAX_CONFIG_BYTES} bytes: is it one?")
    try:
        raw = yaml.load(text, Loader=_loader())  # noqa: S506  a SafeLoader, but for `on`
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise ConfigError(f"{origin}: not YAML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{origin}: nested too deeply") from error
    try:
        settings = msgspec.convert({} if raw is None else raw, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {error}{_known_keys(str(error), kind)}") from error
    _check_durations(settings, origin)
    return settings


def _known_keys(problem: str, kind: Any) -> str:
    """`; did you mean …` or what there is, when an error is about an unknown or missing key or word; else empty."""
    import difflib
    import typing

    found = re.search(
        r"(?:unknown field `|missing required field `|Invalid enum value ')(.*?)['`](?: - at `\$(.*)`)?$", problem
    )
    if not found:
        return ""
    for step in re.findall(r"\.(\w+)|\[", found[2] or ""):
        if step:
            kind = typing.get_type_hints(kind)[step]
        else:  # the items of a tuple, the values of a dict
            kind = [a for a in typing.get_args(kind) if a is not Ellipsis][-1]
    if problem.startswith("Invalid enum"):
        return f"; it is one of {', '.join(map(str, _words(kind)))}"
    if not hasattr(kind, "__struct_fields__"):  # an object or a text
        kind = next(a for a in typing.get_args(kind) if hasattr(a, "__struct_fields__"))
    known: tuple[str, ...] = kind.__struct_fields__
    close = difflib.get_close_matches(found[1], known, n=1) if found[1] not in known else []
    return f"; did you mean `{close[0]}`?" if close else f"; the keys there are {', '.join(known)}"


def _words(kind: Any) -> list[Any]:
    """The values of the literals in a type, also of those within a union."""
    import typing

    arguments = typing.get_args(kind)
    return list(arguments) if typing.get_origin(kind) is typing.Literal else [w for a in arguments for w in _words(a)]


def _check_durations(settings: object, origin: str, seen: set[int] | None = None) -> None:
    durations = (
        "retain",
        "sync",
        "timeout",
        "ttl",
        "pending",
        "probe",
        "memory",
        "every",
        "tick",
        "max_age",
        "cooldown",
        "period",
        "lease",
        "latency_every",
        "bandwidth_every",
        "bandwidth_time",
        "stale",
        "merge",
        "duration",
        "within",
        "grace",
    )
    if isinstance(settings, Settings):
        for name in settings.__struct_fields__:
            value = getattr(settings, name)
            if name in durations:
                try:
                    seconds(value)
                except ConfigError as error:
                    raise ConfigError(f"{origin}: {name}: {error}") from error
            _check_durations(value, origin, seen)
    elif isinstance(settings, (tuple, dict)):
        seen = set() if seen is None else seen
        if id(settings) in seen:  # YAML's aliases: a few lines may stand for billions, or for themselves
            return
        seen.add(id(settings))
        for value in settings.values() if isinstance(settings, dict) else settings:
            _check_durations(value, origin, seen)


def load(path: Path | str, kind: type[T]) -> T:
    """Settings from a YAML file. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    return _placed(decode(text, kind, str(path)), Path(path).parent)


def _placed(settings: T, folder: Path) -> T:
    """A relative file of `decide.rules` lies beside the file that names it, wherever a process runs."""
    decide = getattr(settings, "decide", None)
    if decide is None or not isinstance(decide.rules, str) or not decide.rules:
        return settings
    rules = str((folder / decide.rules).resolve())
    placed: T = msgspec.structs.replace(settings, decide=msgspec.structs.replace(decide, rules=rules))  # type: ignore[type-var]
    return placed


def schema(kind: type) -> dict[str, Any]:
    """The JSON schema of a settings type, as published in schemas/."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(kind)}
