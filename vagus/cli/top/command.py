"""`vagus top`."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Generator
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import emit_json, json_option
from vagus.cli.session import connected, endpoint_of, server_option
from vagus.errors import PeerUnreachable

if TYPE_CHECKING:
    from vagus.cli.top.state import State

VIEWS = ("nodes", "health", "feeds", "decisions", "limits", "all")
ONCE_S = 15.0
ESCAPE_S = 0.1  # what follows the Escape of an arrow comes sooner
PLAIN_WIDTH = 400
PAPER = (None, "", "dumb", "unknown")  # terminals that nothing can be drawn on twice


@click.command()
@click.option("--view", type=click.Choice(VIEWS), default="all", show_default=True, help="What to look at first.")
@click.option("--filter", "words", default="", metavar="WORDS", help="Only what contains these, as with the key /.")
@click.option(
    "--once",
    is_flag=True,
    help="Print it once, as plain lines; so it is where output is no terminal, or one that cannot draw.",
)
@server_option
@json_option
@click.pass_context
def top(ctx: click.Context, view: str, words: str, once: bool, as_json: bool) -> int:
    """The cluster at a glance, live in this terminal: nodes, health, feeds, decisions, limits.

    Keys: 1 to 6 or Tab choose a view, / filters, arrows or j and k scroll, ? helps, q quits. It reads what `vagus page`
    reads, so that a terminal costs the cluster no more than a page. A lost gateway is asked again until it is back; one
    that refuses the token ends it.

    \b
    Examples:
      vagus top
      vagus top --view health --filter db
      vagus top --once --view nodes
      vagus top --json | jq '.verdicts.subjects[] | select(.status == "DEAD") | .subject'
      ssh -t node1 vagus top
    """
    from vagus.cli.top.state import MAX_FILTER, State

    endpoint_of(ctx)  # says clearly when nothing is known of any
    state = State(view=view, words=words[:MAX_FILTER])
    if as_json or once or not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") in PAPER:
        _print_once(ctx, state, as_json)
        return 0
    return _follow(ctx, state)


def _stream(ctx: click.Context) -> Generator[tuple[str, bytes], None, None]:
    with connected(ctx) as connection:  # each time where it is now
        yield from connection.overview()


# --- once ------------------------------------------------------------------------------------------------------------


def _print_once(ctx: click.Context, state: State, as_json: bool) -> None:
    from vagus.cli.top.frame import plain
    from vagus.cli.top.source import heard
    from vagus.cli.top.state import SECTIONS, told

    deadline_s, error = time.monotonic() + ONCE_S, None
    with closing(_stream(ctx)) as stream:
        try:
            for name, about in heard(stream):
                state = told(state, name, about)
                if state.whole or time.monotonic() > deadline_s:
                    break
        except PeerUnreachable as came:
            if not state.sections:
                raise
            error = came
    untold = [name for name in SECTIONS if name not in state.sections]
    if as_json:
        emit_json(_document(state, untold))
    else:
        from vagus.cli.output import console

        to = console()
        for line in plain(state, to.width if to.is_terminal else PLAIN_WIDTH):
            to.print(line, soft_wrap=True, end="\n")
    if untold:
        why = str(error) if error is not None else f"not told within {ONCE_S:g} s"
        click.secho(f"incomplete, without {', '.join(untold)}: {why}", fg="yellow", err=True)


def _document(state: State, untold: list[str]) -> dict[str, Any]:
    """Everything as one document; signals: by node the newest value of each."""
    names = [signal.name for signal in state.hello.signals]
    said = state.sections.get("signals")
    return {
        "node": state.hello.node,
        "cluster": state.hello.cluster,
        "t_ms": state.t_ms,
        "signals": {
            "units": {signal.name: signal.unit for signal in state.hello.signals},
            "now": {
                node: {name: line[-1] if line else None for name, line in zip(names, lines, strict=False)}
                for node, lines in state.history.items()
            },
            "missing": said.missing if said else [],
            "error": said.error if said else "",
            "refused": said.refused if said else [],
        },
        **{name: about for name, about in state.sections.items() if name != "signals"},
        "untold": untold,
    }


# --- live ------------------------------------------------------------------------------------------------------------


def _follow(ctx: click.Context, state: State) -> int:
    """Until a key or a signal ends it: the exit status. Raises VagusError where asking again cannot help."""
    from vagus.cli.asked_to_end import asked_to_end
    from vagus.cli.top.frame import draw
    from vagus.cli.top.keys import decode
    from vagus.cli.top.screen import Screen, Wake
    from vagus.cli.top.source import Source
    from vagus.cli.top.state import pressed, told

    news: SimpleQueue[tuple[str, Any]] = SimpleQueue()
    with asked_to_end() as asked, Wake() as wake, Screen(lambda: not asked.empty()) as screen:

        def put(name: str, about: Any) -> None:
            news.put((name, about))
            wake.now()

        source = Source(lambda: _stream(ctx), put)
        source.start()
        try:
            typed, anew = b"", False
            while True:
                size = screen.size()
                frame = draw(state, *size)
                screen.show(frame.lines, size, anew)
                has_keys, came = wake.wait(screen.keys, ESCAPE_S if typed else None)
                anew = signal.SIGCONT in came
                if anew:
                    screen.take()
                if not asked.empty():
                    return 128 + asked.get()
                while not news.empty():
                    name, about = news.get()
                    if name == "refused":
                        raise about
                    state = told(state, name, about)
                read = screen.read() if has_keys else b""
                if has_keys and not read:
                    return 0  # the terminal is gone
                keys, typed = decode(typed + read, final=bool(typed) and not read)
                for key in keys:
                    anew = anew or key == "redraw"
                    after = pressed(state, key, frame.page, frame.deepest)
                    if after is None:
                        return 0
                    state = after
        finally:
            source.stop()
