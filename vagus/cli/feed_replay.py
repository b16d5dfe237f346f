"""`vagus feed replay`: archived bytes parsed again, as items, and through the tools."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.feed_file import archive_folder, feeds_of_file, file_argument
from vagus.cli.lazy import one_line
from vagus.cli.output import counted, emit_ndjson, span
from vagus.cli.session import Moment, Span, span_params
from vagus.cli.view_feed import item_line
from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import NoData, VagusError
from vagus.model import MAX_T_NS

if TYPE_CHECKING:
    from vagus.feeds import Tool
    from vagus.feeds.directives import Emit


@click.command()
@file_argument
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option(
    "--folder",
    type=click.Path(path_type=Path, readable=False),
    help="Of `vagus feed run`.  [default: FILE's name + .feeds]",
)
@click.option(
    "--store", type=click.Path(path_type=Path, readable=False), help="A store or state folder of a node, instead."
)
@click.option("--since", type=Span(), default="", metavar="TIME", help="How far back from now, such as 1h.")
@click.option("--start", type=Moment(), default="", metavar="TIME", help="From this time on, instead of --since.")
@click.option("--until", type=Moment(), default="", metavar="TIME", help="Up to this time.")
@click.option("--into", type=click.Path(path_type=Path, readable=False), help="Run the tools too; their files go here.")
@click.option("--quiet", is_flag=True, help="Print no items.")
def replay(
    file: Path,
    names: Sequence[str],
    folder: Path | None,
    store: Path | None,
    since: str,
    start: str,
    until: str,
    into: Path | None,
    quiet: bool,
) -> None:
    """The items of archived bytes as lines of JSON: parsed anew, as FILE says now; nothing is fetched.

    With --into the tools run over them as if it was then, so that a changed format, condition or tool can be tried on
    what was. Says how much faster than live it was.

    \b
    Examples:
      vagus feed replay comon.yaml comon --since 1h
      vagus feed replay comon.yaml --into again --quiet
      vagus feed replay vagus.yaml comon --store /var/lib/vagus/nodes/web1 --start 2026-01-31T12:00:00Z
    """
    from vagus.actors.feed_read import replayed, stores_in
    from vagus.feeds.declared import feeds_of

    if folder and store:
        raise click.UsageError("--folder and --store exclude each other.")
    settings, wanted = feeds_of_file(file, names)
    feeds = feeds_of(settings)
    where = store or archive_folder(file, folder)
    stores_in(where)
    start_ns, end_ns = _times(since, start, until)
    tools: dict[str, list[Tool]] = {}
    if into is not None:
        from vagus.feeds.tools import tools_of

        tools = tools_of([one for one in settings if one.name in wanted], feeds, into)
    outcome = Outcome(tools, quiet)
    begun_s = time.perf_counter()
    for emit in replayed(feeds, wanted, where, start_ns, end_ns):
        outcome.take(emit)
    outcome.finish()
    took_s = time.perf_counter() - begun_s
    if not outcome.items:
        raise NoData(f"{where}: nothing of {', '.join(wanted)} is archived there, of the time that is asked for")
    click.secho(outcome.summary(took_s), dim=True, err=True)


def _times(since: str, start: str, until: str) -> tuple[int, int]:
    """The span that is meant; without any of these all there is."""
    if not (since or start):
        return 0, int(until) if until else MAX_T_NS
    given = span_params(since, start, until)
    end_ns = int(given["end"]) if "end" in given else MAX_T_NS
    if "start" in given:
        return int(given["start"]), end_ns
    return time.time_ns() - round(seconds(given["since"]) * NS), end_ns


class Outcome:
    """Items that come again: printed, counted, handed to the tools in this thread with the time of then."""

    def __init__(self, tools: dict[str, list[Tool]], quiet: bool, say: Callable[[str], None] | None = None) -> None:
        self.items = 0
        self.failures: dict[str, int] = {}
        self._tools = tools
        self._quiet = quiet
        self._say = say or (lambda text: click.secho(one_line(text), fg="yellow", err=True))
        self._first_ns = self._last_ns = self._ticked_ns = 0

    def take(self, emit: Emit) -> None:
        """One item."""
        t_ns = emit.item.meta.arrived_ns
        self.items += 1
        self._first_ns = self._first_ns or t_ns
        self._last_ns = max(self._last_ns, t_ns)
        if not self._quiet:
            emit_ndjson(item_line(emit.feed, emit.item))
        if self._tools and t_ns - self._ticked_ns >= NS:
            self._ticked_ns = t_ns
            self._each(lambda tool: tool.tick(t_ns))
        for tool in self._tools.get(emit.feed, ()):
            self._call(tool, lambda one: _taken(one, emit))

    def finish(self) -> None:
        """Leaves the tools' files whole."""
        self._each(lambda tool: tool.finish(self._last_ns))

    def _each(self, call: Callable[[Tool], Any]) -> None:
        for own in self._tools.values():
            for tool in own:
                self._call(tool, call)

    def _call(self, tool: Tool, call: Callable[[Tool], Any]) -> None:
        try:
            for notice in call(tool) or ():
                self._say(f"alert {notice.feed}: {notice.subject}: {notice.status}: {notice.text}")
        except Exception as error:  # tools may come from outside
            times = self.failures[tool.name] = self.failures.get(tool.name, 0) + 1
            if times == 1:
                why = error if isinstance(error, VagusError) else f"{type(error).__name__}: {error}"
                self._say(f"tool {tool.name}: {why}")

    def summary(self, took_s: float) -> str:
        """How many, of how long, how fast."""
        live_s = (self._last_ns - self._first_ns) / NS
        faster = f", {live_s / took_s:,.0f} × faster than live" if live_s > took_s else ""
        failed = "".join(f"; tool {name} failed {counted(times, 'time')}" for name, times in self.failures.items())
        return f"{counted(self.items, 'item')} of {span(live_s)} in {took_s:.2f}s{faster}{failed}"


def _taken(tool: Any, emit: Emit) -> Any:
    """As FeedTools hands an item on."""
    if emit.raw is not None and getattr(tool, "wants_raw", False):
        tool.take_raw(emit.raw)
    if getattr(tool, "wants_descriptor", False):
        tool.take_descriptor(emit.descriptor)
    return tool.take(emit.item)
