"""`vagus up` and `vagus down`."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from vagus import api
from vagus import config as configuration
from vagus.cli.status import fetch_status
from vagus.cli.view_status import render_status, summarise
from vagus.config import Config, load
from vagus.controllers.decide.checked import check_decide
from vagus.errors import PeerUnreachable, VagusError
from vagus.health.checked import check_health
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.doctor import doctor, short_form

FIRST_DATA_TIMEOUT_S = 60.0
STEPS_SEEN = 5  # a controller that is silent for so many steps has nothing to say


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str], None]]:
    """A function that shows each step: a spinner on a terminal, a line elsewhere, always with the seconds so far."""
    started = time.monotonic()
    if not console.is_terminal:
        yield lambda text: console.print(
            f"[{time.monotonic() - started:5.1f} s] {text}", markup=False, highlight=False, soft_wrap=True
        )
        return
    with console.status("starting") as status:
        last: list[str] = []

        def done() -> None:
            if last:
                console.print(f"[green]✓[/] {last[0]}  [dim]{time.monotonic() - started:.1f} s[/]", highlight=False)

        def say(text: str) -> None:
            done()
            last[:] = [escape(text)]
            status.update(last[0])

        yield say
        done()


@click.command()
@click.option(
    "-c",
    "--config",
    "path",
    type=click.Path(path_type=Path, readable=False),
    help="vagus.yaml; every key has a default.",
)
@click.option("--address", default="", help="Join this Ray cluster (host:port, or auto) instead of starting one.")
@click.option(
    "--arm/--dry",
    default=None,
    help="Let controllers act, or stop them from acting and restore what they limited. "
    "Without either: as configured, which is dry (computed, not written) unless `armed: true`.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON when ready.")
@click.pass_context
def up(context: click.Context, path: Path | None, address: str, arm: bool | None, as_json: bool) -> None:
    """Start vagus on this machine, or say what runs already.

    \b
    Starts a Ray cluster on this machine (or joins one), spawns an actor of each kind, waits for the first samples
    and the first inference, shows the status, and returns; everything goes on in the background.

    \b
    Examples:
      vagus up                              one node, nothing is limited
      vagus up --arm -c vagus.yaml          controllers may act, within their guard
      vagus up --dry                        they may no longer; their limits are restored
      vagus up --address 10.0.0.1:6379      join a cluster
    """
    settings = load(path, Config) if path else Config()
    check_health(settings, str(path or "the defaults"))  # before Ray is started
    check_decide(settings, str(path or "the defaults"))
    home = getattr(context.obj, "home", "")
    if home and not settings.home:
        settings = msgspec.structs.replace(settings, home=home)
    console = Console(stderr=as_json, highlight=False)
    with progress(console) as say:
        say("looking at this machine")
        checks = doctor(home=configuration.home(settings))
        from vagus.runtime import launch  # loads psutil and the rest: after the first line is on the screen

        try:
            cluster = launch.up(settings, address=address, arm=arm, say=say)
            status = _first_data(settings.home, say)
        except KeyboardInterrupt:
            say("interrupted: what runs by now goes on; `vagus up` continues, `vagus down` ends it")
            raise
    if as_json:
        sys.stdout.write(json.dumps(summarise(status)) + "\n")
        return
    console.print()
    for line in short_form(checks):
        console.print(line, markup=False, soft_wrap=True)
    console.print()
    render_status(status, console)
    console.print()
    console.print("next:", style="bold")
    for command, what in _next(cluster, bool(arm)):
        console.print(f"  {command:<44} {what}", markup=False, soft_wrap=True)


def _next(cluster: ray_cluster.ClusterFile, armed: bool) -> list[tuple[str, str]]:
    steps = [
        ("vagus status", "this view, at any time"),
        ("vagus query host.cpu --since 1m", "what was sensed"),
        ("vagus plot pressure.cpu.some_avg10", "as a picture in the terminal"),
        ("vagus health show", "verdicts and their accusers"),
        ("vagus page --open", "all of it live in a browser; `vagus top` in the terminal"),
        ("vagus demo", "two minutes: a hog is noticed, judged, limited"),
        ("vagus down", "stop everything, restore every limit"),
    ]
    activate = Path(sys.prefix) / "bin/activate"
    if shutil.which("vagus") is None and activate.exists():
        steps.insert(0, (f"source {activate}", "puts `vagus` on this shell's path"))
    if not armed:
        steps.insert(-2, ("vagus up --arm", "let controllers act (they run dry now)"))
    if cluster.dashboard:
        token = f"token in {cluster.auth_token_path}" if cluster.auth_token_path else "Ray's dashboard"
        steps.append((cluster.dashboard, f"the Ray dashboard ({token})"))
    return steps


def _first_data(home: str, say: Callable[[str], None]) -> dict[str, Any]:
    """The status, once samples are stored, an inference exists and the feeds and controllers have run. Raises VagusError."""
    deadline, told = time.monotonic() + FIRST_DATA_TIMEOUT_S, False
    problem = "no answer yet"
    while time.monotonic() < deadline:
        try:
            with api.connect_here(home) as connection:
                status = fetch_status(connection)
            nodes = status["nodes"]
            series, inferences = sum(n["series"] for n in nodes), sum(n["inferences"] for n in nodes)
            if not told:
                say("first samples and inferences")
                told = True
            actors = [a for n in nodes for a in n["actors"]]
            if series and inferences and {a["role"] for a in actors} >= {"collector", "observer"} and _settled(actors):
                return status
            problem = f"{series} series, {inferences} inferences, {len(actors)} actors so far"
        except PeerUnreachable as error:
            problem = str(error)
        time.sleep(0.3)
    raise VagusError(f"actors run, but the first data is not there after {FIRST_DATA_TIMEOUT_S:.0f} s: {problem}")


def _settled(actors: list[dict[str, Any]]) -> bool:
    """Whether each actor is up, and each controller has something to say: what it would do, or why it cannot."""
    return all(a["state"] == "HEALTHY" for a in actors) and all(
        a["notes"] or a["errors"] or a["figures"].get("steps", 0) >= STEPS_SEEN
        for a in actors
        if a["role"] == "controller"
    )


@click.command()
@click.option("--leave", is_flag=True, help="End this node's actors only; its Ray, and the other nodes, go on.")
@click.option("--json", "as_json", is_flag=True, help="Print {stopped, problems} as JSON.")
@click.pass_context
def down(context: click.Context, leave: bool, as_json: bool) -> None:
    """Stop vagus on this machine: end every actor and Ray itself (if `vagus up` started it), restore every limit.

    Stored data stays and is read again by the next `vagus up`. Nothing else is left: no process, no group, no socket.

    \b
    Examples:
      vagus down                            where `vagus up` ran: the cluster ends
      vagus down --leave                    on any node, before its Ray is stopped: limits restored, stores flushed
    """
    from vagus.runtime import launch

    home = configuration.home(Config(home=getattr(context.obj, "home", "")))
    console = Console(stderr=as_json, highlight=False)
    with progress(console) as say:
        problems = launch.down(home, leave=leave, say=say)
    if as_json:
        sys.stdout.write(json.dumps({"stopped": not problems, "problems": problems}) + "\n")
    for problem in problems:
        console.print(f"left: {problem}", style="red", markup=False, soft_wrap=True)
    if problems:
        raise SystemExit(1)
    what = "this node has left" if leave else "vagus is down"
    console.print(f"{what}; its data stays in {home}", markup=False, soft_wrap=True)
