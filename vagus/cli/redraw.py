"""`--watch`: an answer asked for again and again, and drawn over the last one."""

from __future__ import annotations

import contextlib
import io
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from vagus.cli.output import cell, console, emit_ndjson
from vagus.cli.refusals import words
from vagus.errors import VagusError

if TYPE_CHECKING:
    from rich.console import Console

Answer = dict[str, Any]
Turn = Answer | VagusError


def watch(
    fetch: Callable[[], Answer],
    render: Callable[[Answer, Console], None],
    every_s: float,
    form: Callable[[Turn], Any] | None,
) -> NoReturn:
    """Shows what `fetch` answers, every `every_s` seconds, until interrupted; what it raises is shown as well.

    form: a turn as a line of JSON; None: `render` draws it, over the last one on a terminal, else one after the other.
    """
    with contextlib.ExitStack() as stack:
        show = _shown(render, form, console(), stack)
        while True:
            try:
                turn: Turn = fetch()
            except VagusError as error:
                turn = error
            show(turn)
            time.sleep(every_s)


def _shown(
    render: Callable[[Answer, Console], None],
    form: Callable[[Turn], Any] | None,
    to: Console,
    stack: contextlib.ExitStack,
) -> Callable[[Turn], None]:
    if form is not None:
        return lambda turn: emit_ndjson(form(turn))

    def page(turn: Turn, to: Console) -> None:
        if isinstance(turn, VagusError):
            to.print(cell(f"error: {words(turn)}", "red"), soft_wrap=True)
        else:
            render(turn, to)

    if not to.is_terminal:

        def append(turn: Turn) -> None:
            page(turn, to)
            to.print()

        return append
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    live = stack.enter_context(Live(console=to, screen=True, auto_refresh=False))

    def draw(turn: Turn) -> None:
        drawn = Console(file=io.StringIO(), force_terminal=True, width=to.width, highlight=False)
        with drawn.capture() as captured:
            page(turn, drawn)
        live.update(Text.from_ansi(captured.get()), refresh=True)

    return draw
