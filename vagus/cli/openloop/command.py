"""`vagus experiment load`: open-loop load on an application, following a trace."""

from __future__ import annotations

import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, console, emit_json, emit_ndjson, json_option, span, table
from vagus.cli.session import Span, check_file
from vagus.config import seconds
from vagus.errors import ConfigError, PeerUnreachable

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.cli.openloop.log import Log
    from vagus.cli.openloop.plan import Plan
    from vagus.cli.openloop.process import Process

TELL_EVERY_S = 10.0
INTERRUPTED = 130


@click.command()
@click.argument("file", metavar="APP.yaml", type=click.Path(path_type=Path, readable=False))
@click.option("--to", "urls", multiple=True, metavar="URL", help="Of a replica of the entry; may be repeated.")
@click.option(
    "--endpoints",
    type=click.Path(path_type=Path, readable=False),
    help="endpoints.json of the deployment, instead of --to.",
)
@click.option(
    "--trace",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Requests per second, a number a line.",
)
@click.option("--rate", type=float, default=50.0, show_default=True, metavar="HZ", help="Mean requests per second.")
@click.option("--for", "for_", type=Span(), default="60s", show_default=True, help="How long.")
@click.option("--offset", type=Span(), default="0s", show_default=True, help="Where it begins in the trace.")
@click.option("--warm", type=Span(), default="0s", show_default=True, help="Before, at the mean rate; not counted.")
@click.option("--seed", type=click.IntRange(0, 2**31), default=0, show_default=True, help="The same: the same load.")
@click.option("--slo", type=Span(), default="0s", help="Count what takes longer.")
@click.option("--sample", is_flag=True, help="Windows also as the series ingress.* of the running vagus.")
@click.option("--windows", is_flag=True, help="Print each window as a line of JSON.")
@click.option("--allow", is_flag=True, help="Also addresses outside this machine and private networks.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE.npz",
    help="The log: every request.",
)
@json_option
@click.pass_context
def load(ctx: click.Context, /, file: Path, output: Path | None, windows: bool, as_json: bool, **given: Any) -> None:
    """Requests of an application, at random times at the rate of a trace, whether earlier ones are answered or not.

    Latency counts from when a request was due: a service that stalls shows in all that was due meanwhile. What is not
    answered after 10 s is given up, and failed. The types of requests, their weights and bodies are APP.yaml's; times
    and contents are the same with the same seed. Without --trace the rate stays.

    \b
    Examples:
      vagus experiment app app.yaml                                   deploys it, and says its addresses
      vagus experiment load app.yaml --to http://127.0.0.1:20001 --rate 30 --for 30s
      vagus experiment load app.yaml --endpoints run/endpoints.json --trace diurnal.txt --rate 50 --for 5m -o log.npz
      vagus experiment load app.yaml --to http://127.0.0.1:20001 --windows | jq .p99_s
    """
    from vagus.cli.openloop.process import Process

    if windows and as_json:
        raise click.UsageError("--windows and --json exclude each other.")
    if bool(given["urls"]) == (given["endpoints"] is not None):
        hint = "; --url is the gateway of vagus" if ctx.find_root().obj.url else ""
        raise click.UsageError(f"give --to URL, or --endpoints FILE{hint}.")
    if output is not None:
        if output.suffix != ".npz":
            raise click.UsageError(f"{output}: a log is written as npz; name it FILE.npz.")
        check_file(output)
    plan = plan_of(file, given)
    _reachable(plan, given["allow"])
    to, slo_s = console(sys.stderr), seconds(given["slo"] or 0)
    with _scratch(output) as log, Process(_with_log(plan, log)) as process, _signals(process):
        told = _followed(process, plan, to, windows)
        from vagus.cli.openloop.log import read_log

        found = read_log(log)
    document = summary(found, slo_s, told["interrupted"])
    document |= {name: told[name] for name in ("failures", "unknown", "interrupted", "late_p99_s", "cpu_s")}
    if as_json:
        emit_json(document)
    else:
        _show(document, slo_s, console(sys.stderr if windows else None))
    if told["problem"]:
        to.print(cell(f"warning: {told['problem']}", "yellow"), soft_wrap=True)
    if output is not None:
        click.echo(f"{output}: {len(found.type)} requests", err=True)
    if told["interrupted"]:
        sys.exit(INTERRUPTED)


def plan_of(file: Path, given: dict[str, Any]) -> Plan:
    """The plan that the options make. Raises ConfigError."""
    from vagus.cli.application import load as read_application
    from vagus.cli.openloop.contents import Contents
    from vagus.cli.openloop.endpoints import place_of
    from vagus.cli.openloop.plan import Plan, check
    from vagus.cli.openloop.trace import read_trace, slice_of

    settings = read_application(file)
    for_s = seconds(given["for_"])
    if given["trace"] is not None:
        rates = read_trace(given["trace"], seconds(given["offset"]), for_s, given["rate"])
    else:
        rates = slice_of([1.0], 0.0, for_s, given["rate"], "load")
    for url in given["urls"]:
        place_of(url)
    Contents(settings.requests, settings.users, given["seed"])
    return check(
        Plan(
            name=settings.name,
            requests=settings.requests,
            users=settings.users,
            rates_hz=rates,
            run_s=for_s,
            warm_s=seconds(given["warm"]),
            urls=tuple(given["urls"]),
            endpoints=str(given["endpoints"].absolute()) if given["endpoints"] else "",
            entry=settings.entry if given["endpoints"] else "",
            seed=given["seed"],
            sample=given["sample"],
        )
    )


def summary(log: Log, slo_s: float = 0.0, interrupted: bool = False) -> dict[str, Any]:
    """Figures of the measured part, all together and by type; failed requests took as long as one waits for them."""
    import numpy as np

    measured = log.scheduled_s >= 0
    for_s = float(log.scheduled_s.max(initial=0.0)) if interrupted else log.plan.for_s
    groups = {"all": measured, **{name: measured & (log.type == n) for n, name in enumerate(log.names)}}
    found: dict[str, Any] = {"seconds": for_s, "kinds": {}}
    for name, chosen in groups.items():
        took = log.latency_s[chosen]
        part: dict[str, Any] = {"requests": len(took), "rate_hz": len(took) / for_s if for_s else 0.0}
        part["failed"] = int(np.isinf(took).sum())
        if slo_s:
            part["violation_ratio"] = float(np.mean(~(took <= slo_s))) if len(took) else None
        capped = np.minimum(took, log.plan.timeout_s)
        for ratio, word in ((0.5, "p50_s"), (0.9, "p90_s"), (0.99, "p99_s"), (0.999, "p999_s")):
            part[word] = float(np.quantile(capped, ratio, method="inverted_cdf")) if len(took) else None
        found["kinds"][name] = part
    return found


def _with_log(plan: Plan, log: Path) -> Plan:
    import msgspec

    return msgspec.structs.replace(plan, log=str(log.absolute()))


def _reachable(plan: Plan, allow: bool) -> None:
    """Raises unless the entry is one's own, and answers."""
    import socket

    from vagus.cli.openloop.endpoints import Endpoints
    from vagus.injector.load import Load

    endpoints = Endpoints(plan.urls, plan.endpoints, plan.entry)
    endpoints.look()
    if not endpoints.places:
        raise ConfigError(endpoints.problem or f"{plan.endpoints}: {plan.entry} has no replica there")
    urls = [f"http://[{h}]:{p}" if ":" in h else f"http://{h}:{p}" for h, p in endpoints.places]
    Load(allow=allow).prepare("1/s", " ".join(urls), 1.0)  # the rules of whom one may load are the injector's
    for place, url in zip(endpoints.places, urls, strict=True):
        try:
            socket.create_connection(place, 5.0).close()
        except OSError as error:
            raise PeerUnreachable(
                f"{url} cannot be reached: {error.strerror or error}; does the application run?"
            ) from error


@contextlib.contextmanager
def _scratch(output: Path | None) -> Iterator[Path]:
    """Where the log goes: the file that was asked for, or one that is gone afterwards."""
    import tempfile

    if output is not None:
        yield output
        return
    with tempfile.TemporaryDirectory(prefix="vagus-load-") as folder:
        yield Path(folder, "log.npz")


@contextlib.contextmanager
def _signals(process: Process) -> Iterator[None]:
    """Ctrl-C and SIGTERM end the load, which then says what there was."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: process.stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _followed(process: Process, plan: Plan, to: Console, windows: bool) -> dict[str, Any]:
    """What it said at its end; progress while it runs."""
    said, ended = time.monotonic(), {}
    status: Any = to.status("starting") if to.is_terminal and not windows else contextlib.nullcontext()
    with status:
        for line in process.lines():
            if "ended" in line:
                ended = line["ended"]
            elif windows and "t_s" in line:
                emit_ndjson(line)
            elif "t_s" in line:
                p99 = "–" if line["p99_s"] is None else _time(line["p99_s"])
                text = (
                    f"{span(max(0.0, line['t_s']))} of {span(plan.for_s)}: {line['rate_hz']:.0f}/s, p99 {p99}, "
                    f"{100 * line['failed_ratio']:.3g} % failed, {line['waiting']} on their way"
                )
                if to.is_terminal:
                    status.update(text)
                elif time.monotonic() - said >= TELL_EVERY_S:
                    said = time.monotonic()
                    to.print(cell(text), soft_wrap=True)
    return ended


def _show(document: dict[str, Any], slo_s: float, to: Console) -> None:
    columns = ["requests", "sent", "per second", "failed", "p50", "p90", "p99", "p99.9"]
    rows: list[Sequence[Any]] = []
    for name, part in document["kinds"].items():
        row = [name, part["requests"], f"{part['rate_hz']:.1f}", part["failed"]]
        row += [_time(part[word]) for word in ("p50_s", "p90_s", "p99_s", "p999_s")]
        if slo_s:
            late = part["violation_ratio"]
            row.append("–" if late is None else f"{100 * late:.2f} %")
        rows.append(row)
    if slo_s:
        columns.append(f"over {_time(slo_s)}")
    table(to, columns, rows, right=columns[1:])
    to.print(
        cell(f"load: {document['cpu_s']:.1f} s CPU, late p99 {_time(document['late_p99_s'])}", "dim"), soft_wrap=True
    )
    if document["failures"]:
        reasons = ", ".join(f"{count} {why}" for why, count in document["failures"].items())
        to.print(cell(f"failed: {reasons}", "red"), soft_wrap=True)
    if document["unknown"]:
        to.print(cell(f"{document['unknown']} were on their way when it was interrupted", "yellow"), soft_wrap=True)


def _time(value_s: float | None) -> str:
    if value_s is None or not math.isfinite(value_s):
        return "–"
    return f"{value_s:.3g} s" if value_s >= 1 else f"{1000 * value_s:.3g} ms"
