"""`vagus experiment app`: an application of several services on this machine, until Ctrl-C."""

from __future__ import annotations

import contextlib
import shlex
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vagus.cli.demo.unbroken import unbroken, unwind_on_end
from vagus.cli.output import cell, console, emit_json, json_option, table
from vagus.cli.session import Span
from vagus.config import ApplicationSettings, seconds
from vagus.errors import ConfigError, VagusError

if TYPE_CHECKING:
    from vagus.cli.application import Deployment

_LOOK_S = 0.3


@click.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False), metavar="FILE")
@click.option(
    "--run", type=click.Path(path_type=Path, readable=False), metavar="FOLDER", help="Keep logs and databases there."
)
@click.option("--replica-cores", type=float, default=0.0, metavar="CORES", help="Limit each replica to so many cores.")
@click.option("--trace-ratio", type=float, metavar="RATIO", help="Of the requests so many are traced, 0 to 1.")
@click.option("--for", "for_", type=Span(), metavar="SPAN", help="End after so long; default: on Ctrl-C.")
@json_option
def app(
    file: Path, run: Path | None, replica_cores: float, trace_ratio: float | None, for_: str | None, as_json: bool
) -> None:
    """Deploys the application that FILE (an app.yaml) describes: each replica a process in a control group.

    Groups are vagus-app-NAME/SERVICE below the cpu controller, so that controllers limit cgroup:vagus-app-NAME/SERVICE,
    and scale replicas:SERVICE. What dies is started anew. Ctrl-C ends all; a watchdog does, should this be killed.
    Without root, or without the cpu controller, the services run without groups, and controllers can only be dry.

    \b
    Examples:
      vagus experiment app examples/social_network/app.yaml
      vagus experiment app app.yaml --run social --trace-ratio 1
      vagus experiment app app.yaml --replica-cores 0.25 --for 5m
      vagus experiment app app.yaml --json | jq -r '.replicas[] | [.service, .url, .pid] | @tsv'
    """
    from vagus.cli.application import Deployment, load
    from vagus.cli.up import progress

    if not 0 <= replica_cores <= 1024 or 0 < replica_cores < 0.01:
        raise ConfigError(f"--replica-cores {replica_cores:g}: 0 (no limit), or 0.01 to 1024 cores")
    if trace_ratio is not None and not 0 <= trace_ratio <= 1:
        raise ConfigError(f"--trace-ratio {trace_ratio:g} is not between 0 and 1")
    settings = load(file)
    environment = {} if trace_ratio is None else {"VAGUS_TRACE_RATIO": f"{trace_ratio:g}"}
    unwind_on_end()
    with _folder(run) as folder:
        made = Deployment(settings, file.parent, folder, environment=environment, replica_cores=replica_cores)
        try:
            with progress(console(sys.stderr)) as say:
                made.say = say
                made.start()
                made.say = lambda text: None
            if as_json:
                emit_json(_document(made))
            else:
                _show(made, file)
            _watch(made, seconds(for_) if for_ else float("inf"))
        except KeyboardInterrupt:
            pass
        finally:
            with unbroken():
                click.echo("ending", err=True)
                made.stop()
                for problem in made.problems:
                    click.secho(f"warning: {problem}", fg="yellow", err=True)


@contextlib.contextmanager
def _folder(run: Path | None) -> Iterator[Path]:
    """The run folder: the one that was named, or one for this time."""
    if run is not None:
        yield run
        return
    made = Path(tempfile.mkdtemp(prefix="vagus-app-"))
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _watch(made: Deployment, for_s: float) -> None:
    """Lets time pass, and says what died. Raises VagusError when the application can no longer be kept."""
    until_s, told = time.monotonic() + for_s, 0
    while (left_s := until_s - time.monotonic()) > 0:
        time.sleep(min(_LOOK_S, left_s))
        for dead in made.dead()[told:]:
            told += 1
            click.secho(f"{dead}; it is started anew", fg="yellow", err=True)
        if made.failure:
            raise VagusError(f"{made.settings.name} cannot be kept: {made.failure}")


def _document(made: Deployment) -> dict[str, object]:
    return {
        "name": made.settings.name,
        "entry": list(made.urls(made.settings.entry)),
        "run": str(made.run),
        "confined": made.confined,
        "unconfined": made.unconfined,
        "replicas": [shown._asdict() for shown in made.shown()],
    }


def _show(made: Deployment, file: Path) -> None:
    to = console()
    rows = [
        (s.service, s.replica, s.url, s.pid, s.group or cell("none", "dim"), f"{s.start_s:.1f} s") for s in made.shown()
    ]
    table(to, ("service", "replica", "address", "pid", "group", "start"), rows, right=("replica", "pid", "start"))
    if not made.confined:
        click.secho(f"\nno groups: {made.unconfined}; controllers of it can only be dry", fg="yellow")
    click.echo("\nTo try:")
    for line in suggestions(made, file):
        click.echo(f"  {line}")
    click.echo("\nCtrl-C ends all of it.")


def suggestions(made: Deployment, file: Path) -> list[str]:
    """Commands to try next, of a deployment that runs."""
    entry = made.urls(made.settings.entry)[0]
    some = next((s.name for s in made.settings.services if s.scales and s.name != made.settings.entry), "")
    some = some or made.settings.entry
    lines = requests(made.settings, entry)
    endpoints = shlex.quote(str(made.run / "endpoints.json"))
    lines.append(f"vagus experiment load {shlex.quote(str(file))} --endpoints {endpoints} --rate 30 --for 30s")
    if made.confined:
        group = made.group(some)
        lines.append(f"vagus inject cpu --intensity '0.3 cores' --target cgroup:{group} --component {some} --for 30s")
        lines.append(f"vagus tail 'cgroup.cpu{{cgroup=\"{group}\"}}'")
    lines.append("vagus traces list")
    return lines


def requests(settings: ApplicationSettings, entry: str) -> list[str]:
    """A request of each type, as a command line of curl."""
    from vagus.cli.openloop.contents import Contents

    contents, lines = Contents(settings.requests, settings.users, 0), []
    for number in range(len(settings.requests)):
        method, path, body = (part.decode() for part in contents.next(number))
        words = ["curl", "-s"]
        if method != "GET" and not body:
            words += ["-X", method]
        if body:
            words += ["-d", body]
        lines.append(shlex.join([*words, entry + path]))
    return lines
