"""`vagus traces graph`."""

from __future__ import annotations

from pathlib import Path

import click

from vagus.cli.output import console
from vagus.cli.session import check_file, node_option, write_file
from vagus.cli.trace_source import file_option, one_trace
from vagus.cli.view_status import warn_partial

FORMS = (".png", ".svg")


@click.command("graph")
@click.argument("trace_id", metavar="[TRACE]", default="")
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, readable=False), help="Write a PNG or SVG to FILE instead."
)
@click.option("--title", default="", help="Of the picture, instead of the request in a line.")
@file_option
@node_option
@click.pass_context
def graph(
    ctx: click.Context, trace_id: str, output: Path | None, title: str, files: tuple[Path, ...], node: str
) -> None:
    """One trace as a waterfall: a bar for each span over the time of the request, the critical path dark.

    Without TRACE the newest one that is five seconds old. Of more than 150 spans those on the critical path and the longest are drawn.

    \b
    Examples:
      vagus traces graph
      vagus traces graph 0af7651916cd43dd8448eb211c80319c -o trace.svg
      vagus traces graph 01db --file spans.csv.gz -o trace.png --title 'A slow checkout'
    """
    if output is not None and output.suffix.lower() not in FORMS:
        raise click.UsageError(f"{output}: PNG and SVG are drawn; name it FILE.png or FILE.svg.")
    if title and output is None:
        raise click.UsageError("--title is of a picture: it goes with -o.")
    if output is not None:
        check_file(output)
    shown = one_trace(ctx, trace_id, files, node)
    to = console()
    warn_partial(shown.envelope, to)
    if output is None:
        from vagus.cli.figure_trace import print_waterfall

        print_waterfall(shown.view, to)
        return
    from vagus.cli.figure_trace import draw_waterfall

    write_file(output, draw_waterfall(shown.view, output.suffix.lower()[1:], title))
    click.echo(f"{output}: {len(shown.view.spans)} spans", err=True)
