"""Runs injections for `vagus inject`: checks all, tells the gateway, ends in order."""

from __future__ import annotations

import contextlib
import inspect
import secrets
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, console, emit_json
from vagus.cli.session import endpoint_of
from vagus.errors import ConfigError, PeerUnreachable, Unsupported, VagusError
from vagus.injector import INJECTIONS, Injection, Prepared

if TYPE_CHECKING:
    from vagus.actors.injecting import Item
    from vagus.injector.campaign import Due
    from vagus.injector.session import Outcome

INTERRUPTED = 130
GOOD = ("done", "interrupted")
ROOT = Path("/")


def own_options(made: Any) -> Mapping[str, Any]:
    """Name and default of the keyword arguments of a class."""
    found = inspect.signature(made).parameters.values()
    return {p.name: p.default for p in found if p.kind is p.KEYWORD_ONLY and p.default is not p.empty}


def perform(ctx: click.Context, timetable: Sequence[Due], name: str, dry: bool, as_json: bool) -> None:
    """Runs a timetable; name: of its campaign. Raises VagusError when something went wrong."""
    from vagus.actors.injecting import Injecting, check_together
    from vagus.actors.injecting_left import adopt, folder_of
    from vagus.cli.inject_events import Telling
    from vagus.cli.view_inject import Progress, row, show, show_dry
    from vagus.config import Config, home

    run = secrets.token_hex(6)
    items, prepared = items_of(timetable, run, name)
    check_together(items, prepared)
    if dry:
        show_dry(items, prepared, as_json)
        return
    errors = console(sys.stderr)
    try:
        found = endpoint_of(ctx)
        telling, node = Telling(found), found.node or socket.gethostname()
    except (PeerUnreachable, ConfigError) as error:
        telling, node = None, socket.gethostname()
        errors.print(cell(f"no events are stored (--json prints them): {error}", "dim"), soft_wrap=True)
    base = home(Config(home=ctx.find_root().obj.home))
    left, problems = adopt(base)
    for problem in problems:
        errors.print(cell(f"left by an earlier run: {problem}", "yellow"), soft_wrap=True)
    told: list[Any] = []

    def tell(event: Any) -> None:
        told.append(event)
        if telling is not None:
            telling.put(event)

    for event in left:
        tell(event)
    with Progress(errors, timetable[-1].end_s, len(items)) as progress:
        injecting = Injecting(folder_of(base, node, run), node, tell, progress.look)
        with _signals(injecting.stop):
            outcomes = injecting.run(items)
    if telling is not None:
        telling.close()
        if telling.problem:
            errors.print(cell(f"warning: {telling.problem}", "yellow"), soft_wrap=True)
    if as_json:
        emit_json({"injections": [row(i, o) for i, o in outcomes], "events": told, "left": len(items) - len(outcomes)})
    else:
        show(outcomes, console())
    _exit(outcomes, len(items))


def items_of(timetable: Sequence[Due], run: str, name: str) -> tuple[list[Item], dict[int, Prepared]]:
    """The lines of the timetable, each line of the file prepared once to see that it can be. Raises VagusError."""
    from vagus.actors.injecting import Item
    from vagus.injector.events import Injected

    prepares: dict[int, Callable[[], Prepared]] = {}
    intensities: dict[int, str] = {}
    prepared: dict[int, Prepared] = {}
    items = []
    for due in timetable:
        settings = due.settings
        if due.number not in prepares:
            try:
                made: Injection = INJECTIONS.make(settings.type, ROOT, **_checked(settings.type, settings.options))
                intensities[due.number] = settings.intensity or made.default
                prepares[due.number] = _prepare(made, intensities[due.number], settings.target, due.duration_s)
                prepared[due.number] = prepares[due.number]()
            except (ConfigError, Unsupported) as error:
                raise type(error)(f"injections[{due.number}]: {error}" if name else str(error)) from error
        injected = Injected(
            f"{run}-{due.repetition}-{due.number}",
            settings.type,
            intensities[due.number],
            settings.target,
            due.duration_s,
            settings.component,
            name,
        )
        items.append(Item(due.begin_s, due.end_s, injected, prepares[due.number], due.number))
    return items, prepared


def _prepare(made: Injection, intensity: str, target: str, duration_s: float) -> Callable[[], Prepared]:
    return lambda: made.prepare(intensity, target, duration_s)


def _checked(type_: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with the types of their defaults; unknown ones are for the registry to name. Raises ConfigError."""
    own = own_options(INJECTIONS.get(type_))
    found = {}
    for name, value in options.items():
        wanted = type(own.get(name, value))
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if type(value) is not wanted:
            raise ConfigError(f"options: {name} is {value!r}; it must be of the kind of {own[name]!r}")
        found[name] = value
    return found


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal end it in order."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(number, lambda *_: stop()) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _exit(outcomes: Sequence[tuple[Item, Outcome]], planned: int) -> None:
    """Raises when something failed, naming the first; interrupted is a status of its own."""
    bad = [(item, outcome) for item, outcome in outcomes if outcome.why not in GOOD or outcome.failures]
    if bad:
        item, outcome = bad[0]
        what = "; ".join(outcome.failures) or outcome.why
        raise VagusError(f"{item.injected.type}: {what}" + (f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""))
    if len(outcomes) < planned or any(outcome.why != "done" for _, outcome in outcomes):
        click.echo("interrupted: everything is undone", err=True)
        sys.exit(INTERRUPTED)
