"""Where traces come from: the gateway, or a file of spans."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import msgspec

from vagus.cli.output import counted, near
from vagus.cli.session import ask, connected
from vagus.clock import NS
from vagus.errors import ConfigError, NoData, unreadable

if TYPE_CHECKING:
    from vagus.gateway.traces import TraceView
    from vagus.model import Span

MAX_FILE_BYTES = 1 << 30  # inflated
WHOLE_S = 5  # after its first span began a trace has probably come whole
_GZIP = b"\x1f\x8b"

file_option = click.option(
    "--file",
    "files",
    multiple=True,
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Spans of FILE instead of those that are stored: CSV or JSON, also gzipped; may be repeated.",
)


class Shown(NamedTuple):
    """A trace, and what the answer says beside it."""

    view: TraceView
    envelope: dict[str, Any]


def read_files(paths: tuple[Path, ...]) -> list[Span]:
    """The spans of all files; what was wrong with some of them goes to standard error. Raises ConfigError."""
    spans: list[Span] = []
    for path in paths:
        found, rejected, why = _read(path)
        spans += found
        if rejected:
            click.echo(f"{path}: {counted(rejected, 'span')} cannot be read: {why}", err=True)
    return spans


def _read(path: Path) -> tuple[list[Span], int, str]:
    from vagus.inputs.inflate import inflate
    from vagus.inputs.jaeger import read_jaeger
    from vagus.inputs.otlp import Rejects, decode
    from vagus.inputs.otlp_traces import read_traces
    from vagus.inputs.span_csv import read_csv

    if not _is_json(path):
        spans, rejects = read_csv(path)
        return spans, rejects.count, rejects.message
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{path} is larger than {MAX_FILE_BYTES} bytes: give a part of it")
        body = path.read_bytes()
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    rejects = Rejects()
    try:
        body = inflate(body, MAX_FILE_BYTES) if body.startswith(_GZIP) else body
        if b'"resourceSpans"' in body[:4096]:
            spans = read_traces(decode(body, False, "traces"), "", rejects)
        else:
            spans = read_jaeger(body, "", rejects)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
    return spans, rejects.count, rejects.message


def _is_json(path: Path) -> bool:
    import gzip
    import zlib

    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP
        with gzip.open(path) if packed else path.open("rb") as content:
            return content.read(4096).lstrip()[:1] in (b"{", b"[")
    except (OSError, EOFError, zlib.error) as error:
        raise ConfigError(unreadable(path, error)) from error


def one_trace(ctx: click.Context, trace_id: str, files: tuple[Path, ...], node: str) -> Shown:
    """The trace of this id (of files: also its beginning); where none is given the newest that has probably come whole.

    Raises NoData, ConfigError.
    """
    if files:
        return Shown(_of_spans(read_files(files), trace_id), {})
    from vagus.gateway.traces import TraceView

    with connected(ctx) as connection:
        if not trace_id:
            listed = ask(connection, "/v1/traces", limit=1, node=node, end=time.time_ns() - WHOLE_S * NS)["traces"]
            listed = listed or ask(connection, "/v1/traces", limit=1, node=node)["traces"]
            if not listed:
                raise NoData("no trace of the last hour is stored; `vagus traces list --since 24h` looks further back")
            trace_id = listed[0]["trace_id"]
        from urllib.parse import quote

        path = f"/v1/traces/{quote(trace_id, safe='')}"
        body, _ = connection.request("GET", path, query={"node": node}, accept="application/msgpack")
    answer = msgspec.msgpack.decode(body)
    return Shown(msgspec.convert(answer.pop("trace"), TraceView), answer)


def _of_spans(spans: list[Span], trace_id: str) -> TraceView:
    from vagus.gateway.traces import view_of
    from vagus.traces.graph import build

    first: dict[str, int] = {}
    for span in spans:
        if span.trace_id.startswith(trace_id):
            first[span.trace_id] = min(span.start_ns, first.get(span.trace_id, span.start_ns))
    if trace_id in first:
        first = {trace_id: 0}
    if not first:
        hint = near(trace_id, {span.trace_id for span in spans})
        raise NoData(f"no trace {trace_id[:80]!r} among {counted(len(spans), 'span')}{hint}")
    if trace_id and len(first) > 1:
        raise ConfigError(f"{counted(len(first), 'trace')} begin with {trace_id!r}: give more of the id")
    wanted = max(first, key=lambda name: (first[name], name))
    return view_of(build(span for span in spans if span.trace_id == wanted)[0])
