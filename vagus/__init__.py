"""vagus: the nervous system of a cluster. Sense, store, infer, decide, act, with Ray actors on every node.

Importing this loads neither Ray nor numpy; what needs them loads them when called.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vagus.api import Vagus, connect, down, stream, up
    from vagus.client.aiohttp_server import trace_middleware
    from vagus.client.aiohttp_trace import trace_config
    from vagus.client.alive import observe_process, observe_thread
    from vagus.client.decisions import decisions
    from vagus.client.decisions_aio import aio_decisions
    from vagus.client.emit import action, counter, event, heartbeat, sample
    from vagus.client.grpc_calls import grpc_aio_interceptors, grpc_interceptors
    from vagus.client.handler import NetLoggerHandler
    from vagus.client.health_handler import HealthHandler
    from vagus.client.indirection import origin, sink
    from vagus.client.inform import inform, inform_acked, inform_self, register, unregister
    from vagus.client.observe import observe
    from vagus.client.pending import pending
    from vagus.client.ray_handle import observed
    from vagus.client.span import continue_from, current_trace, span, trace_headers, trace_ratio
    from vagus.client.subjects import subjects
    from vagus.client.tunables import tunable
    from vagus.controllers.decide.decider import Decider
    from vagus.runtime.pool import ActorPool

__version__ = "0.1.0"
__all__ = [
    "ActorPool",
    "Decider",
    "HealthHandler",
    "NetLoggerHandler",
    "Vagus",
    "__version__",
    "action",
    "aio_decisions",
    "connect",
    "continue_from",
    "counter",
    "current_trace",
    "decisions",
    "down",
    "event",
    "grpc_aio_interceptors",
    "grpc_interceptors",
    "heartbeat",
    "inform",
    "inform_acked",
    "inform_self",
    "observe",
    "observe_process",
    "observe_thread",
    "observed",
    "origin",
    "pending",
    "register",
    "sample",
    "sink",
    "span",
    "stream",
    "subjects",
    "trace_config",
    "trace_headers",
    "trace_middleware",
    "trace_ratio",
    "tunable",
    "unregister",
    "up",
]

_LAZY = {
    "ActorPool": "vagus.runtime.pool",
    **dict.fromkeys(("Vagus", "connect", "down", "stream", "up"), "vagus.api"),
    **dict.fromkeys(("action", "counter", "event", "heartbeat", "sample"), "vagus.client.emit"),
    "aio_decisions": "vagus.client.decisions_aio",
    "decisions": "vagus.client.decisions",
    "Decider": "vagus.controllers.decide.decider",
    "HealthHandler": "vagus.client.health_handler",
    "NetLoggerHandler": "vagus.client.handler",
    **dict.fromkeys(("grpc_aio_interceptors", "grpc_interceptors"), "vagus.client.grpc_calls"),
    **dict.fromkeys(("inform", "inform_acked", "inform_self", "register", "unregister"), "vagus.client.inform"),
    "observe": "vagus.client.observe",
    "observed": "vagus.client.ray_handle",
    **dict.fromkeys(("observe_process", "observe_thread"), "vagus.client.alive"),
    **dict.fromkeys(("origin", "sink"), "vagus.client.indirection"),
    "pending": "vagus.client.pending",
    **dict.fromkeys(("continue_from", "current_trace", "span", "trace_headers", "trace_ratio"), "vagus.client.span"),
    "subjects": "vagus.client.subjects",
    "trace_config": "vagus.client.aiohttp_trace",
    "trace_middleware": "vagus.client.aiohttp_server",
    "tunable": "vagus.client.tunables",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        value = getattr(import_module(_LAZY[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'vagus' has no attribute {name!r}")
