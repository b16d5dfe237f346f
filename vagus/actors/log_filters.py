"""Log filters with the files that a user names for them, and which of them reads which log."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from pathlib import PurePath
from typing import NamedTuple

from vagus.config import CollectSettings, LogSettings, seconds
from vagus.errors import ConfigError, unreadable
from vagus.health import LOG_FILTERS, LogFilter
from vagus.health.ensemble import MAX_ENSEMBLE_BYTES, Ensemble
from vagus.health.filter_tree import MAX_FILTER_BYTES, FilterTree
from vagus.health.log_time import zone_of
from vagus.health.log_window import LogWindow
from vagus.model import Event, Report


def make_log_filter(
    name: str,
    node: str = "",
    *,
    filter_file: str = "",
    ensemble: str = "",
    timezone: str = "",
    observer: str = "",
    resolve: Callable[[str], Iterable[str]] = lambda host: (),
) -> LogFilter:
    """The registered filter `name` for a node's logs. Raises ConfigError, naming the file that is wrong.

    resolve: gives the addresses of the host names in the ensemble file; by default they are known as names only.
    """
    made = LOG_FILTERS.get(name)
    options: dict[str, object] = {"zone": zone_of(timezone), "observer": observer}
    if filter_file:
        options["tree"] = FilterTree.parse(_read(filter_file, MAX_FILTER_BYTES), made.fields, filter_file)
    if ensemble:
        options["ensemble"] = Ensemble.parse(_read(ensemble, MAX_ENSEMBLE_BYTES), ensemble, resolve)
    return LOG_FILTERS.make(name, node, **options) if any(options.values()) else LOG_FILTERS.make(name, node)


def addresses_of(host: str) -> list[str]:
    """The addresses of a host name as this machine knows them; none for an address, or a name that it does not know."""
    try:
        return [str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def _read(path: str, limit: int) -> bytes:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error


class _Reader(NamedTuple):
    path: str  # a glob pattern; empty: every log
    filter: LogFilter
    window: LogWindow


class LogFilters:
    """The filters of the settings `collect.logs` and `collect.log_filters`. Raises ConfigError."""

    def __init__(self, node: str, settings: CollectSettings) -> None:
        self._readers = [_Reader("", make_log_filter(name, node), LogWindow()) for name in settings.log_filters]
        self._readers += [_reader(node, log) for log in settings.logs if isinstance(log, LogSettings) and log.filter]

    def reports(self, event: Event) -> list[Report]:
        """What the filters say of an event: of each line that is not stale, nor the same again within a moment."""
        if event.event != "log.line" or not self._readers:
            return []
        text = str(event.fields.get("text", ""))
        found = []
        for reader in self._readers:
            if reader.path and not PurePath(event.source).match(reader.path):
                continue
            report = reader.filter.read(text, event.source, event.t_ns)
            if report is not None and reader.window.fresh(report, event.t_ns) and reader.window.news(report):
                found.append(report)
        return found


def _reader(node: str, log: LogSettings) -> _Reader:
    made = make_log_filter(log.filter, node, filter_file=log.filter_file, ensemble=log.ensemble, timezone=log.timezone)
    return _Reader(log.path, made, LogWindow(seconds(log.stale), seconds(log.merge)))
