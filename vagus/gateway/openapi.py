"""The OpenAPI 3.1 description, generated from the route table and the structs that decode and encode.

`python -m vagus.gateway.openapi` prints it, as published in schemas/openapi.json.
"""

from __future__ import annotations

import enum
import types
from collections.abc import Sequence
from functools import cache, reduce
from operator import or_
from typing import Any, Literal, Union, get_args, get_origin

import msgspec

from vagus import __version__
from vagus.gateway.errors import ErrorAnswer
from vagus.gateway.route import Route
from vagus.model import Target

REF = "#/components/schemas/{name}"
_REASONS = {
    400: "Malformed: it cannot be decoded",
    401: "No token",
    403: "Wrong token",
    404: "Nothing is known of it",
    408: "The body did not arrive in time",
    413: "Too large",
    415: "Content type or encoding not understood",
    421: "The Host header is not a name of this gateway",
    422: "Decoded, but invalid",
    426: "Not a WebSocket request",
    429: "Too many open streams",
    500: "A defect of vagus; counted and logged",
    503: "A node, store or policy does not answer",
    504: "Not in time",
}
_PATHS = {
    "subject": "The subject, percent-encoded; slashes may stand as they are",
    "feed": "The name of a feed",
    "trace_id": "The id of the trace",
}


def describe(routes: Sequence[Route]) -> dict[str, Any]:
    """The description of these routes, as JSON-ready builtins."""
    named = [kind for route in routes for kind in (*route.body, *_shown_answer(route))]
    _, components = msgspec.json.schema_components([*named, _shown(ErrorAnswer)], ref_template=REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vagus gateway",
            "version": __version__,
            "summary": "Report, query and decide over HTTP, at any node for the whole cluster.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": dict(sorted(components.items())),
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


@cache
def described(routes: tuple[Route, ...]) -> bytes:
    """The description as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(describe(routes)), indent=1) + b"\n"


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": route.handle.__name__,
        "summary": route.summary,
        "description": (route.handle.__doc__ or "").strip(),
        "parameters": [*_path_parameters(route), *_query_parameters(route)],
        "responses": {"200": {"description": "Done", "content": _content(route)}, **_errors(route)},
    }
    if route.body:
        operation["requestBody"] = {"required": True, "content": _body(route)}
    if route.tagged:
        operation["responses"]["304"] = {"description": "What If-None-Match names is still current"}
    if route.public:
        operation["security"] = [{}, {"token": []}]
    return operation


def _ref(kind: type[Any]) -> dict[str, str]:
    return {"$ref": REF.format(name=kind.__name__)}


def _body(route: Route) -> dict[str, Any]:
    schema: Any = _ref(route.body[0]) if len(route.body) == 1 else {"oneOf": [_ref(kind) for kind in route.body]}
    binary = {"type": "string", "format": "binary"}
    return {media: {"schema": binary if "protobuf" in media else schema} for media in route.accepts}


def _content(route: Route) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if route.answer is not None:
        answer: Any = _ref(route.answer)
        if route.many is not None:
            answer = {"oneOf": [answer, _ref(route.many)]}
        media = "application/x-ndjson" if "text/event-stream" in route.media else "application/json"
        content[media] = {"schema": answer}
    for media in route.media:
        content[media] = {"schema": {"type": "string"}} if media.startswith("text/") else {}
    return content


def _errors(route: Route) -> dict[str, Any]:
    statuses = {400, 421, 500, *route.errors}
    if not route.public:
        statuses |= {401, 403, 503, 504}
    if route.query is not None or route.body or route.variable:
        statuses.add(422)
    if route.body:
        statuses |= {408, 413, 415, 503}
    kinds = dict.fromkeys(sorted(statuses), ErrorAnswer) | ({503: route.unwell} if route.unwell is not None else {})
    return {
        str(status): {"description": _REASONS[status], "content": {"application/json": {"schema": _ref(kind)}}}
        for status, kind in kinds.items()
    }


def _path_parameters(route: Route) -> list[dict[str, Any]]:
    if not route.variable:
        return []
    schema = {"type": "string", "minLength": 1}
    about = _PATHS[route.variable]
    return [{"name": route.variable, "in": "path", "required": True, "description": about, "schema": schema}]


def _plain(schema: dict[str, Any]) -> dict[str, Any]:
    """A schema as it reads in JSON: msgspec gives the default of a list as a tuple."""
    return {**schema, "default": list(schema["default"])} if isinstance(schema.get("default"), tuple) else schema


def _query_parameters(route: Route) -> list[dict[str, Any]]:
    if route.query is None:
        return []
    _, components = msgspec.json.schema_components([route.query])
    schema = components[route.query.__name__]
    required = schema.get("required", [])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(part)}
        for name, part in schema["properties"].items()
    ]


# --- answers as JSON shows them ------------------------------------------------------------------------------------


def _shown_answer(route: Route) -> tuple[Any, ...]:
    return tuple(_shown(kind) for kind in (route.answer, route.many, route.unwell) if kind is not None)


def _shown(kind: Any, nullable: bool = False) -> Any:
    """The type that `model.to_builtins` makes of a type: records as objects, enums by name, NaN in records as null."""
    if kind is Target:
        return str
    if kind is float and nullable:
        return float | None
    if isinstance(kind, type) and issubclass(kind, enum.IntEnum):
        return Literal[tuple(kind.__members__)]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return _shown_struct(kind)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (tuple, list, dict):
        return origin[tuple(arg if arg is Ellipsis else _shown(arg, nullable) for arg in args)]
    if origin in (Union, types.UnionType):
        return reduce(or_, (_shown(arg, nullable) for arg in args))
    return kind


@cache
def _shown_struct(kind: type[msgspec.Struct]) -> type[msgspec.Struct]:
    settings = kind.__struct_config__
    fields: list[Any] = []
    for field in msgspec.structs.fields(kind):
        shown = _shown(field.type, nullable=settings.array_like)
        optional = settings.omit_defaults and not field.required
        fields.append((field.name, shown, field.default) if optional else (field.name, shown))
    doc = {"__doc__": kind.__doc__}
    return msgspec.defstruct(kind.__name__, fields, kw_only=True, namespace=doc, module=__name__)


if __name__ == "__main__":
    from vagus.gateway.routes import ROUTES

    print(described(ROUTES).decode(), end="")
