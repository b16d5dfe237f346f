"""How commands print: colours and tables on a terminal, plain aligned lines elsewhere, JSON when asked for."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.lazy import one_line
from vagus.model import to_builtins

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

GAP = 2  # spaces between columns
FOLD_WIDTH = 12  # no folded column is narrower

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for jq and programs.")

STATUS_STYLE = {
    "HEALTHY": "green",
    "PENDING": "cyan",
    "MAYBE_UNHEALTHY": "yellow",
    "UNHEALTHY": "red",
    "DYING": "bold red",
    "DEAD": "bold white on red",
    "STARTING": "cyan",
    "DRAINING": "yellow",
    "DRAINED": "dim",
    "yes": "green",
    "degraded": "yellow",
    "no": "red",
    "error": "red",
    "fatal": "bold red",
    "warning": "yellow",
}


def console(file: Any = None) -> Console:
    """A rich console on standard output; as wide as the lines are where that is not a terminal."""
    from rich.console import Console

    made = Console(file=file, highlight=False, soft_wrap=False)
    if not made.is_terminal:
        made = Console(file=file, highlight=False, width=100_000, color_system=None)
    return made


def emit_json(document: Any) -> None:
    """One JSON document; what is not a finite number becomes null."""
    click.echo(_json(document, indent=2))


def emit_ndjson(document: Any, file: Any = None) -> None:
    """One line of a stream of JSON documents, flushed; file: instead of standard output."""
    click.echo(_json(document), file=file)
    (file or sys.stdout).flush()


def _json(document: Any, indent: int | None = None) -> str:
    text = json.dumps(to_builtins(document), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8", "replace").decode()  # lone surrogates from outside cannot be written


def cell(value: Any, style: str = "") -> Text:
    """One cell: text in its style, without control characters."""
    from rich.text import Text

    return value if isinstance(value, Text) else Text(one_line(str(value)), style=style)


def status_cell(status: str) -> Text:
    """A status word in its colour."""
    return cell(status, STATUS_STYLE.get(status, ""))


def table(
    to: Console,
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    right: Iterable[str] = (),
    wide: Mapping[str, int] | None = None,
    spare: Sequence[str] = (),
) -> None:
    """Rows under column names. right: the columns of numbers.

    Where a terminal is too narrow, columns of free text fold, one after the other: `wide` has them with the width that
    suffices (when not given: the last column). Before they would become narrower still, the columns `spare` go, in
    that order. All others are never cut.
    """
    lines = [[cell(v) for v in row] for row in rows]
    if to.is_terminal:
        _rich_table(to, columns, lines, set(right), _last(columns, right) if wide is None else wide, spare)
        return
    plain = [list(columns), *([text.plain for text in line] for line in lines)]
    widths = [max(len(line[i]) for line in plain) for i in range(len(columns))]
    for line in plain:
        padded = (
            text.rjust(width) if name in right else text.ljust(width)
            for name, text, width in zip(columns, line, widths, strict=True)
        )
        click.echo("  ".join(padded).rstrip(), file=to.file)


def _rich_table(
    to: Console,
    columns: Sequence[str],
    lines: list[list[Text]],
    right: set[str],
    wide: Mapping[str, int],
    spare: Sequence[str],
) -> None:
    from rich.segment import Segments
    from rich.table import Table

    natural = {
        name: max(len(name), *(line[i].cell_len for line in lines), 1) if lines else len(name)
        for i, name in enumerate(columns)
    }
    widths = fit(natural, to.width, wide, spare)
    made = Table(box=None, header_style="dim", pad_edge=False, padding=(0, GAP, 0, 0))
    for name, width in widths.items():
        made.add_column(
            name,
            justify="right" if name in right else "left",
            width=width,
            no_wrap=name not in wide,
            overflow="fold" if name in wide else "ellipsis",
        )
    for line in lines:
        made.add_row(*(line[columns.index(name)] for name in widths))
    total = sum(widths.values()) + GAP * len(widths)
    # `print(width=)` goes no further than the terminal, and would cut every column.
    segments = to.render(made, to.options.update(width=max(total, to.width)))
    to.print(Segments(segments), crop=False, no_wrap=True, overflow="ignore")


def _last(columns: Sequence[str], right: Iterable[str]) -> dict[str, int]:
    return {name: FOLD_WIDTH for name in columns[-1:] if name not in right}


def fit(natural: Mapping[str, int], width: int, wide: Mapping[str, int], spare: Sequence[str]) -> dict[str, int]:
    """The columns that are shown and their widths in characters; see `table`."""
    shown = dict(natural)

    def excess(widths: Mapping[str, int]) -> int:
        return max(0, sum(widths.values()) + GAP * (len(widths) - 1) - width)

    for name in spare:
        if excess({n: min(w, wide.get(n, w)) for n, w in shown.items()}) == 0:
            break
        shown.pop(name, None)
    for sufficient in (wide, dict.fromkeys(wide, FOLD_WIDTH)):  # nothing left to spare: narrower than that
        for name, least in sufficient.items():
            if name in shown:
                shown[name] -= min(excess(shown), max(0, shown[name] - max(least, len(name))))
    return shown


def quantity(value: Any, unit: str = "") -> str:
    """A number for people: bytes in binary steps, others with four significant digits; empty when unknown."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if unit in ("bytes", "bytes/s"):
        return byte_size(value) + unit[len("bytes") :]
    if isinstance(value, int) or (float(value).is_integer() and abs(value) < 1e15):
        return f"{int(value)}"
    return f"{value:.4g}" if 1e-4 <= abs(value) < 1e6 else f"{value:.3e}"


def unit_text(unit: str, counter: bool = False) -> str:
    """A unit for people: that of a counter's change per second; (x)^2 as x²; a dash for none."""
    if counter:
        return f"{unit or '1'}/s"
    inner = unit[1:-3] if unit.startswith("(") and unit.endswith(")^2") else ""
    return (f"{inner}²" if "/" not in inner else f"({inner})²") if inner else unit or "–"


def counted(number: int, what: str) -> str:
    """`1 stream`, `2 streams`, `2 entries`."""
    if number == 1:
        return f"1 {what}"
    return f"{number} {what[:-1]}ies" if what.endswith("y") else f"{number} {what}s"


def near(name: str, known: Iterable[str]) -> str:
    """`; did you mean …?` for a name that resembles one of the known ones, else empty."""
    import difflib

    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def byte_size(count: float) -> str:
    """1536 → 1.5 KiB."""
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(count) < 1024 or unit == "TiB":
            return (
                f"{count:.0f} B" if unit == "B" else f"{count:.4g} {unit}" if count >= 1000 else f"{count:.3g} {unit}"
            )
        count /= 1024
    return ""


def span(seconds: float) -> str:
    """A duration in its two largest units: 95 → 1m35s."""
    if seconds < 0:
        return f"-{span(-seconds)}"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    parts = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "m"), (whole % 60, "s")]
    first = next(i for i, (n, _) in enumerate(parts) if n)
    return "".join(f"{n}{unit}" for n, unit in parts[first : first + 2] if n)


def age(t_ns: int, now_ns: int | None = None) -> str:
    """How long ago; a dash when never."""
    if not t_ns:
        return "–"
    return span(max(0.0, ((time.time_ns() if now_ns is None else now_ns) - t_ns) / 1e9))


def clock_time(t_ns: int) -> str:
    """Local date and time with milliseconds."""
    whole, rest = divmod(t_ns, 10**9)
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(whole)) + f".{rest // 10**6:03d}"
