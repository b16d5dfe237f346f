"""A path as a terminal shows it: a line for each hop, and below it the streams that tell about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import GAP, age, cell, quantity, table, unit_text
from vagus.model import labels_text

if TYPE_CHECKING:
    from rich.console import Console

MOST_VALUES = 4
FIRST = (
    *("up", "rx_bytes", "tx_bytes", "speed_bps", "rtt_min_s", "rtt_median_s", "lost_ratio", "bytes_s", "rtt_mean_s"),
    *("response_s", "forwarded", "load1", "RetransSegs", "retransmits", "rx_errors", "tx_errors"),
)
"""Of a stream with many fields, those that say most about a path."""


def render_path(answer: dict[str, Any], to: Console) -> None:
    """Hops in order, then former routes, then whether the target was reached.

    A table where it fits; else a line for each hop, and one for each stream below it.
    """
    _hops(answer["hops"], to)
    for earlier in answer["earlier"]:
        ago = age(earlier["t_ns"])
        click.echo(f"\n{ago} ago it went:", file=to.file)
        _hops(earlier["hops"], to)
    if not answer["reached"]:
        click.secho(f"{answer['target']} was not reached: {answer['note']}", fg="yellow", err=True)


def _hops(hops: Sequence[dict[str, Any]], to: Console) -> None:
    from rich.text import Text

    columns = ("hop", "what", "name", "address", "rtt", "stream", "values")
    rows = [[cell(value) for value in row] for hop in hops for row in _rows(hop)]
    needed = sum(max(len(name), *(row[i].cell_len for row in rows), 0) for i, name in enumerate(columns)) if rows else 0
    if not to.is_terminal or needed + GAP * (len(columns) - 1) <= to.width:
        table(to, columns, rows, right=("hop", "rtt"))
        return
    for *head, stream, values in rows:
        if head[0].plain:
            to.print(Text("  ").join(part for part in head if part.plain), soft_wrap=True)
        if stream.plain:
            to.print(Text("     ") + stream + Text("  ") + values, soft_wrap=True)


def _rows(hop: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    """The hop with its first stream, then a row for each further one."""
    address = " ".join([hop["address"] or "*", *hop["others"]])
    rtt = hop["rtt_s"]
    first = (
        str(hop["distance"]),
        cell(hop["kind"], "dim" if hop["kind"] == "unknown" else ""),
        cell(hop["name"] or "–", "bold"),
        address + (f" {hop['interface']}" if hop["interface"] else ""),
        "" if rtt is None or not hop["distance"] else f"{rtt * 1000:.3g} ms",
    )
    streams = [_stream(s) for s in hop["streams"]] or [("", "")]
    yield (*first, *streams[0])
    for stream in streams[1:]:
        yield ("", "", "", "", "", *stream)


def _stream(found: dict[str, Any]) -> tuple[Any, Any]:
    sensor = found["sensor"]
    stream = sensor["stream"]
    name = f"{found['part']} {stream['kind']}" + (labels_text(stream["labels"]) if stream["labels"] else "")
    if not sensor["live"]:
        return cell(name, "dim"), cell(f"ended {age(sensor['last_ns'])} ago", "dim")
    return name, _values(stream, found["values"])


def _values(stream: dict[str, Any], values: dict[str, Any]) -> str:
    fields = {f["name"]: f for f in stream["fields"] if values.get(f["name"]) is not None}
    names = [n for n in FIRST if n in fields] or list(fields)
    shown = []
    for name in names[:MOST_VALUES]:
        field = fields[name]
        unit = unit_text(field["unit"], field["counter"])
        suffix = "/s" if field["counter"] and unit != "bytes/s" else ""
        shown.append(f"{name}={quantity(values[name], unit)}{suffix}")
    return "  ".join(shown)
