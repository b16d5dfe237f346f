"""Spans of a CSV file, plain or gzipped: TraceID, SpanID, ParentID, PodName, OperationName, StartTimeUnixNano, EndTimeUnixNano.

The columns of Nezha's published traces; others are ignored and their order does not matter. A ParentID that is empty or
`root` marks the first span of a request.
"""

from __future__ import annotations

import csv
import gzip
import re
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from vagus.errors import ConfigError, unreadable
from vagus.inputs.otlp import Rejects
from vagus.model import MAX_NAME, Span

COLUMNS = ("TraceID", "SpanID", "ParentID", "PodName", "OperationName", "StartTimeUnixNano", "EndTimeUnixNano")
MAX_SPANS = 2_000_000
MAX_LINE = 1 << 16  # characters
_ROOTS = frozenset({"", "root", "0" * 16})
_GZIP = b"\x1f\x8b"
_SAFE = "[bcdfghjklmnpqrstvwxz2456789]"  # the letters and digits that Kubernetes makes its random names of
_POD = re.compile(
    rf"(?P<service>.+?)-(?:(?:{_SAFE}{{6,10}}|\d{{6,10}})-{_SAFE}{{5}}|(?={_SAFE}*\d){_SAFE}{{5}}|\d{{1,3}})"
)


def service_of_pod(pod: str) -> str:
    """A pod's name without what Kubernetes put behind it: `frontend-579b9bff58-t2dbm`, `web-0` → `frontend`, `web`."""
    found = _POD.fullmatch(pod)
    return found["service"] if found else pod


def read_csv(path: str | Path, most: int = MAX_SPANS) -> tuple[list[Span], Rejects]:
    """The spans of a file in its order, and what was wrong with lines that hold none (each with its line's number).

    Raises ConfigError: no such file, no CSV with these columns, damaged gzip, more than `most` spans.
    """
    path = Path(path)
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            with gzip.open(raw) if packed else raw as content:
                return _read(path, _lines(path, content), most)
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(unreadable(path, error)) from error
    except csv.Error as error:
        raise ConfigError(f"{path} is no CSV: {error}") from error


def _lines(path: Path, content: IO[bytes] | gzip.GzipFile) -> Iterator[str]:
    """Lines of bounded length: a file without any must not be read whole."""
    number = 0
    while line := content.readline(MAX_LINE + 1):
        number += 1
        if len(line) > MAX_LINE:
            raise ConfigError(f"{path}, line {number}: longer than {MAX_LINE} bytes; is it a CSV of spans?")
        yield line.decode("utf-8-sig" if number == 1 else "utf-8", "replace").replace("\0", "")


def _read(path: Path, lines: Iterable[str], most: int) -> tuple[list[Span], Rejects]:
    rows = csv.reader(lines)
    header = [name.strip() for name in next(rows, [])]
    missing = [name for name in COLUMNS if name not in header]
    if len(missing) == len(COLUMNS):
        raise ConfigError(f"{path} is no CSV of spans: its first line must name the columns {', '.join(COLUMNS)}")
    if missing:
        raise ConfigError(f"{path}, line 1: no column {', '.join(missing)}; spans need {', '.join(COLUMNS)}")
    places = [header.index(name) for name in COLUMNS]
    last = max(places)
    spans: list[Span] = []
    rejects = Rejects()
    pods: dict[str, tuple[str, str]] = {}  # text that comes again and again is kept once
    texts: dict[str, str] = {}
    for row in rows:
        if not row:
            continue
        if len(row) <= last:
            rejects.add(f"line {rows.line_num}: {len(row)} columns; at least {last + 1} are needed")
            continue
        if len(spans) >= most:
            raise ConfigError(f"{path} has more than {most} spans: give files of shorter stretches of time")
        trace_id, span_id, parent_id, pod, operation, start, end = [row[place] for place in places]
        try:
            names = pods.get(pod) or pods.setdefault(pod, _names(pod))
            spans.append(
                Span(
                    texts.setdefault(trace_id, trace_id),
                    span_id,
                    "" if parent_id in _ROOTS else texts.setdefault(parent_id, parent_id),
                    *names,
                    texts.setdefault(operation, operation),
                    int(start),
                    int(end),
                )
            )
        except ConfigError as error:
            rejects.add(f"line {rows.line_num}: {error}")
        except ValueError:
            rejects.add(f"line {rows.line_num}: start {start[:30]!r} or end {end[:30]!r} is no whole number of ns")
    return spans, rejects


def _names(pod: str) -> tuple[str, str]:
    """Service and component."""
    if not pod or len(pod) > MAX_NAME:
        raise ConfigError(f"PodName must have 1 to {MAX_NAME} characters, got {len(pod)}")
    return service_of_pod(pod), pod
