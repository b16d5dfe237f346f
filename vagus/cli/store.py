"""`vagus store`: what the stores of this machine hold, whether they are whole, smaller files, and copies of the data."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import click

from vagus.cli.lazy import WholeGroup
from vagus.cli.output import age, byte_size, cell, console, emit_json, json_option, quantity, table
from vagus.cli.session import Moment, Span, check_file, span_params, write_file
from vagus.cli.stored_export import EVENT_FORMATS, FORMATS, event_bytes, format_of, sample_bytes
from vagus.errors import ConfigError, NoData, VagusError, unreadable

DATA = "data.mdb"
paths_argument = click.argument("paths", nargs=-1, type=click.Path(path_type=Path, readable=False))
Progress = Callable[[int, int], None]


@click.group(cls=WholeGroup)
def store() -> None:
    """Verify, measure, compact and export the stores of this machine, also while vagus runs.

    PATHS are stores, or folders with stores below; without one: all of this machine's nodes (HOME/nodes/*/store/*).

    \b
    Examples:
      vagus store stats
      vagus store verify /backup/collector
      vagus store export 'host.*' --since 24h -o host.parquet
    """


def find_stores(paths: tuple[Path, ...]) -> list[Path]:
    """The stores at or below `paths`, or those of this machine. Raises NoData when there are none."""
    if not paths:
        from vagus.config import home

        paths = (home() / "nodes",)
        patterns: tuple[str, ...] = ("*/store/*",)
    else:
        patterns = (".", "*", "store/*", "*/store/*", "nodes/*/store/*")
    try:
        found = {
            folder.resolve()
            for path in paths
            for pattern in patterns
            for folder in ([path] if pattern == "." else path.glob(pattern))
            if (folder / DATA).is_file() and folder.name != "rewritten"  # what an interrupted rewriting left
        }
    except PermissionError as error:
        raise NoData(unreadable(error.filename, error)) from error
    if not found:
        raise NoData(f"there is no store at {', '.join(map(str, paths))}; name one, or set --home to the state folder")
    return sorted(found)


@contextmanager
def progress_of(what: str) -> Iterator[Progress]:
    """A bar on standard error while that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with click.progressbar(length=0, label=what, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show


def _short(path: Path) -> str:
    return "/".join(path.parts[-3::2]) if path.parent.name == "store" else str(path)


@store.command()
@paths_argument
@json_option
def verify(paths: tuple[Path, ...], as_json: bool) -> None:
    """Read everything and say what is damaged. The exit status is 1 when anything is.

    LMDB's pages are walked as well where no vagus writes the store.

    \b
    Examples:
      vagus store verify
      vagus store verify /backup/collector --json | jq '.stores[].problems'
    """
    from vagus.store import Store

    found: list[dict[str, Any]] = []
    for path in find_stores(paths):
        with progress_of(_short(path)) as progress:
            try:
                with Store.open(path, create=False, readonly=True) as opened:
                    problems = opened.verify(progress)
            except VagusError as error:
                problems = [str(error)]
        found.append({"path": str(path), "ok": not problems, "problems": problems})
    bad = [entry for entry in found if not entry["ok"]]
    if as_json:
        emit_json({"ok": not bad, "stores": found})
    else:
        rows: list[tuple[Any, ...]] = []
        for entry in found:
            rows.append((entry["path"], cell("whole", "green") if entry["ok"] else cell("damaged", "red"), ""))
            rows += [("", "", problem) for problem in entry["problems"]]
        table(console(), ("store", "state", "problem"), rows, wide={"problem": 60, "store": 40})
        if bad:
            click.echo("move a damaged folder away to begin a new store, or put a copy back", err=True)
    if bad:
        raise click.exceptions.Exit(1)


@store.command()
@paths_argument
@json_option
def stats(paths: tuple[Path, ...], as_json: bool) -> None:
    """What each store holds: streams, samples, records, bytes, times, who reads it.

    \b
    Examples:
      vagus store stats
      vagus store stats --json | jq '.stores[] | {path, file_bytes, used_bytes}'
    """
    from vagus.store import Store
    from vagus.store.lock import writer_of

    found = []
    for path in find_stores(paths):
        with Store.open(path, create=False, readonly=True) as opened:
            figures: dict[str, Any] = {"path": str(path), **opened.stats()}
            writer = writer_of(path)
            series = opened.sensors()
            held = [info for info in series if info.samples]
            figures["values"] = sum(info.samples * len(info.stream.fields) for info in series)
            figures["first_ns"] = min((info.first_ns for info in held), default=0)
            figures["last_ns"] = max((info.last_ns for info in held), default=0)
            figures["kinds"] = opened.kinds()
            figures["holders"] = [
                {"pid": holder.pid, "command": holder.command, "commits_behind": holder.behind}
                for holder in opened.holders()
                if holder.pid != writer  # who holds on to what it synced last
            ]
        found.append(figures)
    if as_json:
        emit_json({"stores": found})
        return
    columns = ("store", "streams", "values", "records", "used", "file", "B/value", "since", "until")
    rows = [
        (
            _short(Path(f["path"])),
            f["streams"],
            quantity(f["values"]),
            quantity(f["records"]),
            byte_size(f["used_bytes"]),
            byte_size(f["file_bytes"]),
            f"{f['used_bytes'] / f['values']:.2f}" if f["values"] and not f["records"] else "",
            age(f["first_ns"]),
            age(f["last_ns"]),
        )
        for f in found
    ]
    table(console(), columns, rows, right=columns[1:], wide={"store": 30}, spare=("B/value", "until"))
    for f in found:
        for holder in f["holders"]:
            who = f"process {holder['pid']} ({holder['command'] or 'unknown'})"
            click.echo(f"{_short(Path(f['path']))}: {who} reads, {holder['commits_behind']} commits behind", err=True)


@store.command()
@paths_argument
@json_option
def compact(paths: tuple[Path, ...], as_json: bool) -> None:
    """Rewrite stores without their free pages, so that the files become as small as their content.

    A store that vagus writes is refused. The old file is replaced only when the new one is on disk: whatever happens
    meanwhile leaves one of the two whole. Needs as much free disk as the store has in use.

    \b
    Examples:
      vagus down && vagus store compact && vagus up
      vagus store compact /backup/collector
    """
    from vagus.store import Store

    found: list[dict[str, Any]] = []
    refused: list[dict[str, str]] = []
    for path in find_stores(paths):
        try:
            with progress_of(_short(path)) as progress, Store.open(path, create=False) as opened:
                before, after = opened.compact(progress)
        except VagusError as error:
            refused.append({"path": str(path), "error": str(error)})
            continue
        found.append({"path": str(path), "before_bytes": before, "after_bytes": after})
    if as_json:
        emit_json({"stores": found, "refused": refused})
    else:
        rows = [(_short(Path(f["path"])), byte_size(f["before_bytes"]), byte_size(f["after_bytes"])) for f in found]
        if rows:
            table(console(), ("store", "before", "after"), rows, right=("before", "after"))
        for entry in refused:
            click.echo(f"error: {entry['error']}; `vagus down` ends this machine's writers", err=True)
    if refused:
        raise click.exceptions.Exit(1)


@store.command()
@click.argument("selector")
@paths_argument
@click.option("--since", type=Span(), default="", metavar="DURATION", help="How far back.  [default: all]")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From then, instead of --since.")
@click.option("--end", type=Moment(), default="", metavar="TIME", help="Until then.  [default: now]")
@click.option("--limit", type=click.IntRange(0), default=0, help="Newest ticks of each stream, newest events; 0: all.")
@click.option("--events", is_flag=True, help="Events of the name SELECTOR instead of samples.")
@click.option("--where", multiple=True, metavar="FIELD>N", help="With --events: a predicate; several must all hold.")
@click.option("--rate", is_flag=True, help="Counters as their change per second.")
@click.option("--format", "form", type=click.Choice(FORMATS), default=None, help="[default: by FILE's name, else csv]")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("-o", "--output", type=click.Path(path_type=Path, readable=False), help="Write to FILE.")
def export(
    selector: str,
    paths: tuple[Path, ...],
    since: str,
    start: str,
    end: str,
    limit: int,
    events: bool,
    where: tuple[str, ...],
    rate: bool,
    form: str | None,
    as_json: bool,
    output: Path | None,
) -> None:
    """Samples or events straight from the files, without a gateway, as CSV, JSON, MessagePack, Arrow, Parquet or
    OpenMetrics.

    \b
    Examples:
      vagus store export 'host.*' --since 24h -o host.parquet
      vagus store export '*' /backup/collector --start '2026-01-31 12:00' --format openmetrics > all.txt
      vagus store export 'log.*' --events --where 'VAL>2' -o log.csv
    """
    if as_json and form not in (None, "json"):
        raise click.UsageError(f"--json and --format {form} exclude each other.")
    form = "json" if as_json else form or format_of(output)
    if where and not events:
        raise click.UsageError("--where asks for events: give --events too.")
    if events and (form not in EVENT_FORMATS or rate):
        raise click.UsageError(f"events can be written as {', '.join(EVENT_FORMATS)}, and have no rate.")
    if output is not None:
        check_file(output)
    elif form in ("arrow", "parquet", "msgpack") and sys.stdout.isatty():
        raise click.UsageError(f"{form} is not for a terminal: give -o FILE, or pipe it.")
    start_ns, end_ns = _span(since, start, end)
    from vagus.store import Store

    with ExitStack() as stack:
        stores = [stack.enter_context(Store.open(path, create=False, readonly=True)) for path in find_stores(paths)]
        if events:
            body, count = event_bytes(stores, selector, start_ns, end_ns, where, limit, form)
        else:
            body, count = sample_bytes(stores, selector, start_ns, end_ns, limit, rate, form)
    if not count:
        what = "events" if events else "samples"
        raise NoData(f"no {what} match {selector!r} in that time; `vagus store stats` shows what the stores hold")
    if output is not None:
        write_file(output, body)
        click.echo(f"{output}: {count} {'events' if events else 'rows'}, {byte_size(len(body))}", err=True)
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(body)
    sys.stdout.buffer.flush()


def _span(since: str, start: str, end: str) -> tuple[int, int]:
    import time

    from vagus.config import seconds
    from vagus.model import MAX_T_NS

    if not (since or start):
        return 0, int(end) if end else MAX_T_NS
    given = span_params(since, start, end)
    end_ns = int(given.get("end", 0)) or MAX_T_NS
    if "start" in given:
        return int(given["start"]), end_ns
    try:
        return time.time_ns() - round(seconds(given["since"]) * 1e9), end_ns
    except ConfigError as error:
        raise click.UsageError(str(error)) from error
