"""vagus: the nervous system of a cluster. Sense, store, infer, decide, act, with Ray actors on every node.

Importing this loads neither Ray nor numpy; what needs them loads them when called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vagus.api import Vagus, connect, down, up
    from vagus.client.emit import action, counter, event, heartbeat, sample
    from vagus.client.handler import NetLoggerHandler
    from vagus.client.observe import observe

__version__ = "0.1.0"
__all__ = [
    "NetLoggerHandler",
    "Vagus",
    "__version__",
    "action",
    "connect",
    "counter",
    "down",
    "event",
    "heartbeat",
    "observe",
    "sample",
    "up",
]

_LAZY = {
    "Vagus": "vagus.api",
    "connect": "vagus.api",
    "up": "vagus.api",
    "down": "vagus.api",
    "observe": "vagus.client.observe",
    **dict.fromkeys(("action", "counter", "event", "heartbeat", "sample"), "vagus.client.emit"),
    "NetLoggerHandler": "vagus.client.handler",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vagus' has no attribute {name!r}")
