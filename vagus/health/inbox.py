"""Reports from any process, as bytes: MessagePack as vagus writes it, or JSON as people do."""

from __future__ import annotations

import msgspec

from vagus.errors import ConfigError
from vagus.model import Metric, Report, Status

MAX_INBOX_BYTES = 64 << 10
MAX_INBOX_REPORTS = 1000


class _Draft(msgspec.Struct, forbid_unknown_fields=True):
    observer: str
    subject: str
    t_ns: int
    contexts: dict[str, str | int | tuple[str | int, float]]
    ttl_ns: int = 0
    doubt: int = 0


_report = msgspec.msgpack.Decoder(Report)
_reports = msgspec.msgpack.Decoder(list[Report])
_draft = msgspec.json.Decoder(_Draft | list[_Draft])


def read_reports(data: bytes) -> list[Report]:
    """The reports in a datagram. Raises ConfigError, saying what was wrong with it.

    MessagePack: a Report (an array), or an array of them. JSON: an object, or an array of them, such as
    `{"observer": "api@1", "subject": "db@2", "t_ns": 1700000000000000000, "contexts": {"read": ["UNHEALTHY", 30]}}`;
    a status is a name, a letter or a number; the score may be left out, and so may ttl_ns (for how long it counts) and
    doubt (how unwell the observer is, 0 to 8). At most 64 KiB and 1000 reports.
    """
    if not data or len(data) > MAX_INBOX_BYTES:
        raise ConfigError(f"a message of reports has {len(data)} bytes; 1 to {MAX_INBOX_BYTES} are allowed")
    try:
        if data.lstrip()[:1] in (b"{", b"["):
            drafts = _draft.decode(data)
            reports = [_finish(draft) for draft in (drafts if isinstance(drafts, list) else [drafts])]
        else:
            reports = _reports.decode(data) if _holds_arrays(data) else [_report.decode(data)]
    except RecursionError as error:
        raise ConfigError("reports are nested too deeply to be reports") from error
    except ConfigError:
        raise
    except ValueError as error:
        raise ConfigError(f"not a report in MessagePack or JSON: {error}") from error
    if not 1 <= len(reports) <= MAX_INBOX_REPORTS:
        raise ConfigError(f"a message has {len(reports)} reports; 1 to {MAX_INBOX_REPORTS} are allowed")
    return reports


def _holds_arrays(data: bytes) -> bool:
    """True for a MessagePack array whose first item is an array (or an empty one): a list of reports."""
    at = {0xDC: 3, 0xDD: 5}.get(data[0], 1)
    return data[0] == 0x90 or (len(data) > at and (data[at] & 0xF0 == 0x90 or data[at] in (0xDC, 0xDD)))


def _finish(draft: _Draft) -> Report:
    contexts = {}
    for context, given in draft.contexts.items():
        status, score = given if isinstance(given, tuple) else (given, 0.0)
        contexts[context] = Metric(_status(status), score)
    return Report(draft.observer, draft.subject, draft.t_ns, contexts, ttl_ns=draft.ttl_ns, doubt=draft.doubt)


def _status(given: str | int) -> Status:
    if isinstance(given, str):
        return Status.parse(given)
    try:
        return Status(given)
    except ValueError as error:
        raise ConfigError(f"status {given} is not a number from 0 to {max(Status)}") from error
