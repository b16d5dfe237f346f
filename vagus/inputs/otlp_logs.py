"""OTLP logs as events: the event's name (or `otlp.log`), the body as `text`, attributes as fields, trace and span."""

from __future__ import annotations

from typing import Any

from vagus.errors import ConfigError
from vagus.inputs.names import flatten, legal_kind, level_of
from vagus.inputs.otlp import Rejects, Who, attributes, plain, resource, time_of
from vagus.model import MAX_NAME, Event, Level, Scalar

_SEVERITIES = (Level.DEBUG, Level.DEBUG, Level.INFO, Level.WARNING, Level.ERROR, Level.FATAL)  # four numbers each


def read_logs(request: Any, node: str, now_ns: int, rejects: Rejects) -> list[Event]:
    """The events of an export request; what cannot be one is added to `rejects`."""
    events = []
    for sender in request.resource_logs:
        who = resource(sender.resource)
        for scope in sender.scope_logs:
            for record in scope.log_records:
                try:
                    events.append(_event(record, who, node, now_ns))
                except ConfigError as error:
                    rejects.add(str(error))
    return events


def _event(record: Any, who: Who, node: str, now_ns: int) -> Event:
    given = attributes(record.attributes)
    name = record.event_name or given.pop("event.name", "")
    body = plain(record.body)
    content = {**(body if isinstance(body, dict) else {"text": body}), **given}
    ids = ((name, _hex(getattr(record, name))) for name in ("trace_id", "span_id"))
    first: list[tuple[str, Scalar]] = [*who.fields, *((name, text) for name, text in ids if text)]
    t_ns = time_of(record.time_unix_nano, record.observed_time_unix_nano, now_ns=now_ns)
    event = legal_kind(name, "otlp.log") if isinstance(name, str) else "otlp.log"
    return Event(t_ns, event, node, _level(record), who.service[:MAX_NAME] or "otlp", flatten(content, first))


def _level(record: Any) -> Level:
    number = record.severity_number
    if 1 <= number <= 24:
        return _SEVERITIES[(number - 1) // 4]
    return level_of(record.severity_text) or Level.INFO


def _hex(identity: bytes | str) -> str:
    """Ids are bytes in protobuf, hexadecimal in JSON."""
    return identity.hex() if isinstance(identity, bytes) else identity.lower()[:64]
