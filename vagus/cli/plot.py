"""`vagus plot`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import console
from vagus.cli.session import Moment, Span, check_file, connected, node_option, span_params, write_file
from vagus.cli.view_status import warn_partial
from vagus.errors import NoData

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vagus.cli.figure import Line
    from vagus.client.series import Series


@click.command()
@click.argument("selectors", metavar="SELECTOR...", nargs=-1, required=True)
@click.option("--since", type=Span(), default="", metavar="DURATION", help="How far back.  [default: 5m]")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From then, instead of --since.")
@click.option("--end", type=Moment(), default="", metavar="TIME", help="Until then.  [default: now]")
@click.option("--rate", is_flag=True, help="Counters as their change per second.")
@click.option("--title", default="", help="Instead of the selectors.")
@click.option("-o", "--output", type=click.Path(path_type=Path, readable=False), help="Write a PNG to FILE instead.")
@node_option
@click.pass_context
def plot(
    ctx: click.Context,
    selectors: tuple[str, ...],
    since: str,
    start: str,
    end: str,
    rate: bool,
    title: str,
    output: Path | None,
    node: str,
) -> None:
    """Plot stored samples over local time, in the terminal or as PNG; a panel for each unit.

    Of more than 12 series the 12 most varying are drawn, and the title says so.

    \b
    Examples:
      vagus plot 'host.load.*'
      vagus plot host.cpu.user host.cpu.user.forecast --since 10m
      vagus plot 'net.link.*{dev="eth0"}' --rate --since 1h
      vagus plot 'pressure.cpu.*' --since 24h -o pressure.png --title 'CPU pressure'
    """
    from vagus.cli.figure import choose, draw_png, draw_terminal

    if output is not None and output.suffix.lower() != ".png":
        raise click.UsageError(f"{output}: only PNG is drawn; name it FILE.png.")
    if output is not None:
        check_file(output)
    span: dict[str, Any] = span_params(since, start, end)
    with connected(ctx) as connection:
        answers = [connection.query(selector, rate=rate, node=node, **span) for selector in selectors]
    missing = dict(pair for answer in answers for pair in answer.missing)
    warn_partial({"missing": [{"node": n, "error": e} for n, e in missing.items()]}, console())
    for selector, answer in zip(selectors, answers, strict=True):
        if not lines_of(answer):
            raise NoData(f"nothing stored matches {selector!r} in that time; `vagus sensors` lists what there is")
    found = [series for answer in answers for series in answer]
    lines, name = lines_of(found), ", ".join(selectors)
    choice = choose(lines)
    if not rate and any(f.counter for s in found for f in s.stream.fields):
        click.echo("some of these are counters: --rate shows their change per second", err=True)
    if output is None:
        draw_terminal(choice, title or name, console())
        return
    write_file(output, draw_png(choice, title or name))
    click.echo(f"{output}: {len(choice.lines)} of {choice.total} series", err=True)


def lines_of(found: Sequence[Series]) -> list[Line]:
    """A line for each field of each stream that has any number."""
    from vagus.cli.figure import Line

    lines = []
    for series in found:
        t_s = (series.t_ns / 1e9).tolist()
        for field in series.stream.fields:
            values = series.column(field.name).astype(float)
            if (values == values).any():  # not all NaN
                lines.append(Line(series.stream.series(field.name), field.unit, t_s, values.tolist()))
    return lines
