"""`vagus feed run`: the feeds of a file at work in this process, without Ray and without a running vagus."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import click

from vagus.cli.feed_file import archive_folder, feeds_of_file, file_argument, gateway_options
from vagus.cli.lazy import one_line
from vagus.cli.output import console, emit_ndjson, json_option
from vagus.cli.session import Span
from vagus.cli.view_feed import Tally, item_line, line, progress, summary
from vagus.config import FeedSettings, seconds
from vagus.errors import VagusError

if TYPE_CHECKING:
    from vagus.actors.feed_local import LocalFeeds
    from vagus.feeds.contracts import Notice
    from vagus.feeds.directives import Emit

DRAW_S = 0.25
LINE_S = 10.0
INTERRUPTED = 130
MOST_SAID = 1000


@click.command()
@file_argument
@click.argument("names", nargs=-1, metavar="[NAME]…")
@click.option("--for", "for_", type=Span(), default="", metavar="TIME", help="End after 30s, 10m, 2h …")
@click.option("--once", is_flag=True, help="One tick of each feed; exit status 1 when everything failed.")
@click.option(
    "--faster",
    type=click.FloatRange(1e-3, 1e9),
    default=1.0,
    help="Ticks so many times as often: a schedule tried out.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path, readable=False),
    help="For archive and tools' files.  [default: FILE's name + .feeds]",
)
@json_option
def run(
    file: Path, names: Sequence[str], for_: str, once: bool, faster: float, folder: Path | None, as_json: bool
) -> None:
    """Fetches what FILE declares, archives the raw bytes, parses them and runs the tools, until Ctrl-C or --for.

    FILE is a vagus.yaml, or has nothing but `feeds:`. Without NAMEs all its feeds run. Everything is kept below one
    folder: `archive` (read it with `replay` and `select`), and a folder for each feed with its tools' files. A run in
    the same folder goes on where the last one ended.

    \b
    Examples:
      vagus feed run comon.yaml
      vagus feed run comon.yaml comon --for 10m --folder comon
      vagus feed run comon.yaml --once && echo something came
      vagus feed run daily.yaml --faster 86400 --for 10s
      vagus feed run comon.yaml --json | jq -r 'select(.meta.net != "ok") | .meta.location'
    """
    settings, wanted = feeds_of_file(file, names)
    if faster != 1:
        from vagus.actors.feed_local import faster as sped_up

        settings = tuple(sped_up(one, faster) for one in settings)
    where = archive_folder(file, folder)
    seen = Seen(wanted, as_json)
    click.secho(f"{', '.join(wanted)} → {where}/ (archive, tools' files); Ctrl-C ends", dim=True, err=True)
    begun_s = time.monotonic()
    try:
        with contextlib.redirect_stdout(sys.stderr) if as_json else contextlib.nullcontext():  # what tools print
            asyncio.run(_run(settings, wanted, where, seen, seconds(for_ or 0), once))
    finally:
        if seen.began:
            click.secho(summary(seen.tallies, time.monotonic() - begun_s), dim=True, err=True)
    if seen.deaf:
        raise BrokenPipeError
    if once and not any(tally.values for tally in seen.tallies.values()):
        why = [text for tally in seen.tallies.values() for text in tally.failing()]
        raise VagusError(f"nothing came{': ' + why[0] if why else ''}")


async def _run(
    settings: Sequence[FeedSettings], wanted: Sequence[str], folder: Path, seen: Seen, for_s: float, once: bool
) -> None:
    from vagus.actors.feed_local import LocalFeeds, once_each
    from vagus.feeds.declared import feeds_of
    from vagus.feeds.tools import tools_of

    if once:
        settings = [once_each(one) for one in settings]
    feeds = feeds_of(settings)
    tools = tools_of([one for one in settings if one.name in wanted], feeds, folder)
    over = asyncio.Event()
    local = LocalFeeds(
        feeds,
        only=wanted,
        folder=folder,
        resume=not once,
        tools=tools,
        always=gateway_options(),
        emit=seen.take,
        failed=seen.fail,
        notice=seen.notice,
    )
    with _signals(over):
        await local.start()
        seen.begin(over.set)
        try:
            with seen.shown() as show:
                await _until(over, local, show, for_s)
        finally:
            if over.is_set():
                seen.say("ending; what waits for tools is finished, a second Ctrl-C ends at once")
            left = await local.stop()
    for name in left:
        seen.say(f"tool {name} did not end in time; its files may not be whole")


async def _until(over: asyncio.Event, local: LocalFeeds, show: Show, for_s: float) -> None:
    """Shows how it goes until Ctrl-C, the end of the time, or of all feeds."""
    end_s = time.monotonic() + for_s if for_s else float("inf")
    while not over.is_set() and not local.ended and time.monotonic() < end_s:
        show(local.next_due_ns(), False)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(over.wait(), min(DRAW_S, max(0.0, end_s - time.monotonic())))
    show(local.next_due_ns(), True)


@contextlib.contextmanager
def _signals(over: asyncio.Event) -> Iterator[None]:
    """The first Ctrl-C (or SIGTERM) asks for the end, a second one ends at once, also where the loop is held up."""
    loop, asked = asyncio.get_running_loop(), False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            os._exit(INTERRUPTED)  # fetches were abandoned at the first; what is committed is kept
        asked = True
        loop.call_soon_threadsafe(over.set)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Show(Protocol):
    """Shows the state of the feeds; given when each has its next tick, in ns of wall time, and whether it is the end."""

    def __call__(self, next_ns: Mapping[str, int | None], last: bool) -> None: ...


class Seen:
    """What came, and how it is told: lines of JSON, a table that is drawn anew, or a line now and then."""

    def __init__(self, names: Sequence[str], as_json: bool) -> None:
        self.tallies = {name: Tally(name) for name in names}
        self.began = False
        self.deaf = False  # nobody reads any more
        self._as_json = as_json
        self._out = sys.stdout
        self._end: Callable[[], None] = lambda: None
        self._said: dict[str, float] = {}

    def begin(self, end: Callable[[], None]) -> None:
        """Items come from now on; `end` asks for the end."""
        self.began = True
        self._end = end

    def take(self, emit: Emit) -> None:
        """An item."""
        self.tallies[emit.feed].add(emit)
        if self._as_json and not self.deaf:
            try:
                emit_ndjson(item_line(emit.feed, emit.item), self._out)
            except BrokenPipeError:
                self.deaf = True
                self._end()

    def fail(self, where: str, error: BaseException) -> None:
        """Something went wrong that is no item."""
        self.say(f"{where}: {error if isinstance(error, VagusError) else f'{type(error).__name__}: {error}'}")

    def notice(self, notice: Notice) -> None:
        """An alert."""
        self.say(f"alert {notice.feed}: {notice.subject}: {notice.status}: {notice.text}")

    def say(self, text: str) -> None:
        """A line for people; the same one not all the time."""
        now_s = time.monotonic()
        if now_s - self._said.get(text, -LINE_S) >= LINE_S:
            if len(self._said) > MOST_SAID:
                self._said.clear()
            self._said[text] = now_s
            click.secho(one_line(text), fg="yellow", err=True)

    @contextlib.contextmanager
    def shown(self) -> Iterator[Show]:
        """How the state is shown: not at all beside JSON."""
        if self._as_json:
            yield lambda next_ns, last: None
        elif sys.stdout.isatty():
            with self._drawn() as show:
                yield show
        else:
            yield self._lines()

    @contextlib.contextmanager
    def _drawn(self) -> Iterator[Show]:
        from rich.live import Live

        # what tools print goes above the table
        with Live(console=console(), auto_refresh=False) as live:

            def draw(next_ns: Mapping[str, int | None], last: bool) -> None:
                live.update(progress(self.tallies, next_ns, time.time_ns()), refresh=True)

            yield draw

    def _lines(self) -> Show:
        """A line for each feed of which something came, at most every ten seconds, and one at the end."""
        told = dict.fromkeys(self.tallies, (0, 0.0))

        def tell(next_ns: Mapping[str, int | None], last: bool) -> None:
            for name, tally in self.tallies.items():
                items, at_s = told[name]
                if last or (tally.items > items and time.monotonic() - at_s >= LINE_S):
                    told[name] = tally.items, time.monotonic()
                    click.echo(line(tally, next_ns.get(name), time.time_ns()))
            sys.stdout.flush()

        return tell
