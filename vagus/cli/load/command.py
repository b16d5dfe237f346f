"""`vagus load`."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from vagus.cli.output import cell, console, counted, emit_json, json_option, quantity, table
from vagus.cli.session import Span, check_file, endpoint_of, write_file
from vagus.config import seconds
from vagus.errors import ConfigError, PeerUnreachable, VagusError

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.cli.load.plan import Plan
    from vagus.cli.load.tally import Tally
    from vagus.client.connection import Connection
    from vagus.client.endpoint import Endpoint

LEAD_S = 0.6  # for starting a worker, and for each further one
MORE_LEAD_S = 0.3
RAY_LEAD_S = 4.0
TELL_EVERY_S = 5.0  # where there is no terminal


@click.command()
@click.option("--rate", type=float, default=1000.0, show_default=True, metavar="R", help="Decisions per second.")
@click.option("--for", "duration", type=Span(), default="10s", show_default=True, metavar="DURATION", help="How long.")
@click.option("--count", type=click.IntRange(1), metavar="N", help="So many decisions, instead of --for.")
@click.option("--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes on each machine.")
@click.option("--nodes", default="", metavar="all|A,B", help="Workers at these nodes, each asks its own gateway.")
@click.option("--connections", type=int, default=16, show_default=True, help="Kept alive, of each worker.")
@click.option("--updates", type=float, default=1.0, show_default=True, help="Share of decisions with an outcome.")
@click.option("--delay", type=Span(), default="0.5s", show_default=True, help="From a decision to its outcome.")
@click.option("-f", "--feature", "features", multiple=True, metavar="NAME=SPEC", help="1..50, 0.0..1.0 or a|b|c.")
@click.option("--arms", "arms_text", default="10", show_default=True, metavar="N|A,B", help="How many, or which.")
@click.option("--poisson", is_flag=True, help="Random gaps instead of even ones.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed is the same load.")
@click.option("--timeout", type=Span(), default="5s", show_default=True, help="Of a request.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE.png",
    help="Draw the three figures.",
)
@json_option
@click.pass_context
def load(
    ctx: click.Context,
    rate: float,
    duration: str,
    count: int | None,
    workers: int,
    nodes: str,
    connections: int,
    updates: float,
    delay: str,
    features: tuple[str, ...],
    arms_text: str,
    poisson: bool,
    seed: int,
    timeout: str,
    output: Path | None,
    as_json: bool,
) -> None:
    """Ask the decision service at a fixed rate, and say how long it takes to answer.

    Open loop: when each request is due is fixed beforehand, and its latency counts from then, also while it waits for
    a free connection. A server that stalls for a second shows as a second in the latencies of all that was due in it.
    Quantiles are over all requests: those without an answer count as slower than any other.

    \b
    Only this machine's addresses and the cluster's own gateways are asked. The decisions are real: they are logged and
    learned from, in groups of the features sent; use a feature of its own to keep them apart.
    With --nodes, tasks on the cluster's nodes ask the gateways there, and this command adds up.

    \b
    Examples:
      vagus load
      vagus load --rate 5000 --for 30s --workers 2 -o load.png
      vagus load --rate 20000 --nodes all --feature 'city=1..50' --feature 'isp=a|b|c' --arms 10
      vagus load --count 1000 --updates 0 --json | jq .kinds.decide.latency_ms
    """
    from vagus.cli.load.plan import FEATURES, Plan, arms_of, check, requests_of
    from vagus.cli.load.tally import summary, trouble

    if output is not None and output.suffix.lower() != ".png":
        raise click.UsageError(f"{output}: only PNG is drawn; name it FILE.png.")
    if output is not None:
        check_file(output)
    requests = requests_of(rate, seconds(duration), count)
    endpoint = endpoint_of(ctx)
    plan = check(
        Plan(
            url=endpoint.url,
            token=endpoint.token,
            rate=rate,
            requests=requests,
            connections=connections,
            timeout_s=seconds(timeout),
            updates=updates,
            delay_s=seconds(delay),
            features=features or FEATURES,
            arms=arms_of(arms_text),
            poisson=poisson,
            seed=seed,
        )
    )
    lost: list[str] = []
    tallies, crew = _crew(ctx, endpoint, plan, nodes, workers, lost.append)
    tally = _followed(tallies, plan, console(sys.stderr))
    for why in lost:
        click.secho(f"warning: {click.unstyle(why)}", fg="yellow", err=True)
    told = summary(tally, crew)
    if not told["requests"]:
        raise PeerUnreachable("no worker sent anything" + (f": {lost[0]}" if lost else ""))
    due_rate = rate * (1 + updates)
    if output is not None:
        from vagus.cli.load.figure import draw

        title = f"{quantity(rate)} decisions/s for {quantity(plan.duration_s)} s, {counted(crew, 'worker')}"
        write_file(output, draw(tally, due_rate, title))
        click.echo(f"{output}: response time, requests per second, CDF", err=True)
    note = trouble(told)
    if as_json:
        emit_json({"rate": rate, "duration_s": plan.duration_s, "url": plan.url, **told, "trouble": note, "lost": lost})
    else:
        _show(told, plan, console())
        if note:
            click.secho(f"warning: {note}", fg="yellow", err=True)
    if not told["answered"]:
        raise PeerUnreachable(f"{plan.url} answered none of {told['requests']} requests: {_reasons(told)}")


# --- whom to ask -----------------------------------------------------------------------------------------------------


def _crew(
    ctx: click.Context, endpoint: Endpoint, plan: Plan, nodes: str, workers: int, lost: Callable[[str], None]
) -> tuple[Iterator[Tally], int]:
    """The tallies of all workers, and how many workers there are."""
    import msgspec

    from vagus.cli.load.crew import here, on_nodes
    from vagus.client.connection import Connection

    lead_s = (RAY_LEAD_S if nodes else LEAD_S) + MORE_LEAD_S * (workers - 1)
    start_ns = time.time_ns() + round(lead_s * 1e9)
    if not nodes:
        check_address(endpoint.url, lambda: _gateways(ctx))
        plans = [msgspec.structs.replace(plan, workers=workers, number=n, start_ns=start_ns) for n in range(workers)]
        return here(plans, lost), workers
    with Connection(endpoint.url, endpoint.token) as connection:
        urls = _by_node(connection)
    wanted = list(urls) if nodes == "all" else [name.strip() for name in nodes.split(",")]
    unknown = [name for name in wanted if not urls.get(name)]
    if unknown:
        raise ConfigError(f"no gateway at {', '.join(unknown)}; there are gateways at {', '.join(sorted(urls))}")
    every = len(wanted) * workers
    by_node = {
        node: [
            msgspec.structs.replace(plan, url=urls[node], workers=every, number=place * workers + n, start_ns=start_ns)
            for n in range(workers)
        ]
        for place, node in enumerate(wanted)
    }
    from vagus import config

    home = config.home(config.Config(home=ctx.find_root().obj.home))
    return on_nodes(home, by_node, lost), every


def _by_node(connection: Connection) -> dict[str, str]:
    return {status.node: status.gateway for status in connection.status() if status.gateway}


def _gateways(ctx: click.Context) -> set[str]:
    """The addresses of the gateways of the cluster that this machine's own node is in."""
    from vagus.client import endpoint
    from vagus.client.connection import Connection

    try:
        found = endpoint.find(home=ctx.find_root().obj.home or None, here=True)
        with Connection(found.url, found.token) as connection:
            return set(_by_node(connection).values())
    except VagusError:
        return set()


def check_address(url: str, gateways: Callable[[], set[str]]) -> None:
    """Raises ConfigError unless the address is this machine's own loopback, or a gateway of its cluster."""
    host = urlsplit(url).hostname or ""
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if url.rstrip("/") in gateways():
        return
    raise ConfigError(
        f"{url} is neither on this machine nor a gateway of this machine's cluster: load is made for one's own only; "
        "run `vagus load` over there, or with --nodes"
    )


# --- what is shown ---------------------------------------------------------------------------------------------------


def _followed(tallies: Iterator[Tally], plan: Plan, to: Console) -> Tally:
    """The sum of all tallies; progress while they come."""
    from vagus.cli.load.tally import Tally, latency

    total, said = Tally(), 0.0
    status: Any = to.status("starting") if to.is_terminal else contextlib.nullcontext()
    with status:
        for tally in tallies:
            total.merge(tally)
            done = sorted(total.seconds)[:-1]
            if not done:
                continue
            last = total.seconds[done[-1]]
            now = latency(last.us)
            line = (
                f"{done[-1] + 1} of {plan.duration_s:.0f} s: {last.done}/s answered, p50 {now['p50']:.3g} ms, "
                f"p99 {now['p99']:.3g} ms, {sum(total.failures.values())} failed"
            )
            if to.is_terminal:
                status.update(line)
            elif time.monotonic() - said >= TELL_EVERY_S:
                said = time.monotonic()
                to.print(cell(line), soft_wrap=True)
    return total


def _show(told: dict[str, Any], plan: Plan, to: Console) -> None:
    names = ("p50", "p90", "p99", "p99.9", "max")
    rows = []
    for kind, part in told["kinds"].items():
        times = [_ms(part["latency_ms"][name]) for name in names]
        rows.append([kind, part["due"], part["answered"], *times])
    table(to, ["requests", "due", "answered", *(f"{n} ms" for n in names)], rows, right=["due", "answered", *(f"{n} ms" for n in names)])  # fmt: skip
    generator = told["generator"]
    to.print(
        cell(
            f"{told['answered_per_s']:.0f}/s answered of {plan.rate * (1 + plan.updates):.0f}/s due; generator: "
            f"{counted(generator['workers'], 'worker')}, {generator['cpu_s']:.1f} s CPU, "
            f"late p99 {_ms(generator['late_ms']['p99'])} ms",
            "dim",
        ),
        soft_wrap=True,
    )
    if told["failed"]:
        to.print(cell(f"failed: {_reasons(told)}", "red"), soft_wrap=True)


def _reasons(told: dict[str, Any]) -> str:
    return ", ".join(f"{count} {why}" for why, count in told["failures"].items())


def _ms(value: float) -> str:
    return "–" if value != value else f"{value:.3g}"
