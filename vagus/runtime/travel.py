"""A user's class on its way to the nodes: packed where it is at hand, unpacked by the actor that runs it alone.

Where its file is on no other node, the class itself travels, not its name. Nobody without Ray's token can send one; the
supervisor hands it on as it came.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import msgspec

from vagus.errors import ConfigError

MAX_PACKED_BYTES = 16 << 20


class Packed(msgspec.Struct, frozen=True):
    """A class or an instance. name: what errors call it."""

    name: str
    content: bytes


def pack(given: Any, modules: Iterable[ModuleType] = ()) -> Packed:
    """modules: those that the nodes cannot import; what comes from them travels too. Raises ConfigError."""
    pickles, name = _pickles(), getattr(given, "__name__", None) or type(given).__name__
    before = set(pickles.list_registry_pickle_by_value())
    known = [module for module in modules if module.__name__ not in before]
    for module in known:
        pickles.register_pickle_by_value(module)
    try:
        content: bytes = pickles.dumps(given)
    except Exception as error:  # of what a user's class holds, in any way
        raise ConfigError(
            f"{name} cannot be sent to the nodes: {type(error).__name__}: {error}; what is open or runs (a file, a "
            "lock, a thread, a connection) is to be made in __init__, on the node"
        ) from error
    finally:
        for module in known:
            pickles.unregister_pickle_by_value(module)
    if len(content) > MAX_PACKED_BYTES:
        size, most = len(content) >> 20, MAX_PACKED_BYTES >> 20
        raise ConfigError(f"{name} has {size} MiB with what it refers to, at most {most} are sent; have it read files")
    return Packed(name, content)


def unpack(given: Any) -> Any:
    """What was packed; anything else as it is. Raises ConfigError: the node lacks what it needs."""
    if not isinstance(given, Packed):
        return given
    try:
        return _pickles().loads(given.content)
    except Exception as error:  # of a user's modules, in any way
        raise ConfigError(
            f"{given.name} does not load on this node: {type(error).__name__}: {error}; what it imports must be installed "
            "on every node; of what lies beside its file, Python files travel that are imported at its top, folders do not"
        ) from error


def _pickles() -> Any:
    import ray.cloudpickle

    return ray.cloudpickle
