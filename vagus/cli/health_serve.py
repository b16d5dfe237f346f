"""`vagus health serve`: health alone, in one process, for machines where only observation is wanted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vagus.cli.output import counted, emit_ndjson, json_option
from vagus.errors import ConfigError, unreadable

if TYPE_CHECKING:
    from vagus.actors.health_process import Ready


@click.command()
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option(
    *("-c", "--config", "-config", "path"),
    type=click.Path(path_type=Path, readable=False),
    help="What `vagus config new` makes: Panorama's JSON, or vagus.yaml with health.serve.",
)
@click.option(
    *("--address", "-addr"),
    default="",
    metavar="HOST:PORT",
    help="Where this observer hears the others.  [default: as the configuration says, else only this machine]",
)
@json_option
@click.pass_context
def serve(ctx: click.Context, ids: tuple[str, ...], path: Path | None, address: str, as_json: bool) -> None:
    """Serve the observer ID, or several: take reports, infer, exchange them with the peers. No Ray, no sensors.

    HOST:PORT is where it hears the other observers (UDP, sealed with the key HOME/secret; `vagus up` makes that key
    too). HTTP stays on loopback: port PORT of 127.0.0.1, or of HOST itself when that is a loopback address. Commands
    of this user find it by themselves; from another machine: ssh -L PORT:127.0.0.1:PORT HOST.

    All observers of a cluster need the same key: start one, then copy its HOME/secret (mode 600) into the state
    folders of the others. The history is in HOME/nodes/ID/store and is read again at the next start. SIGTERM and
    Ctrl-C end it cleanly; logs go to standard error, a JSON object a line. As a service: packaging/systemd.

    \b
    Examples:
      vagus health serve
      vagus health serve --config hs.cfg
      vagus health serve --config hs.cfg pano1 pano2
      vagus health serve --address 127.0.0.1:6688 pano0
    """
    import logging
    import sys

    from vagus import config as configuration
    from vagus.health.instances import instance_of

    if address and len(ids) > 1:
        raise click.UsageError(f"--address is of one observer, not of {', '.join(ids)}.")
    data, origin = (_read(path), str(path)) if path else (b"", "the command line")
    names = ids or ("" if path else _host_id(),)
    instances = [instance_of(data, origin, name, address) for name in dict.fromkeys(names)]
    for note in instances[0].notes:
        click.secho(note, fg="yellow", err=True)

    import uvloop

    from vagus.actors import health_process
    from vagus.runtime.logs import JsonLines

    home = configuration.home(instances[0].config)
    fresh = not os.path.exists(home / "secret") and len(instances[0].peers) > len(instances)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("vagus")
    logger.addHandler(handler)
    logger.setLevel(instances[0].config.health.serve.log_level.upper())

    def ready(at: Ready) -> None:
        if as_json:
            emit_ndjson({**at._asdict(), "home": str(home)})
            return
        peers = counted(len(at.peers) + len(at.unresolved), "peer")
        click.echo(
            f"{at.node} is ready: {at.url}, gossip at {at.gossip[0]}:{at.gossip[1]} with {peers}, state in {home}"
        )
        if at.unresolved:
            click.secho(f"names that mean nothing yet: {', '.join(at.unresolved)}", fg="yellow", err=True)
        if fresh:
            click.secho(f"made the key {home / 'secret'}: the other observers need the same one", fg="yellow", err=True)
        sys.stdout.flush()

    try:
        uvloop.run(health_process.serve(home, instances, ready))
    finally:
        logger.removeHandler(handler)


def _read(path: Path) -> bytes:
    from vagus.config import MAX_CONFIG_BYTES

    try:
        with open(path, "rb") as file:
            return file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(unreadable(path, error, "`vagus config new` makes one")) from error


def _host_id() -> str:
    import socket

    return socket.gethostname().partition(".")[0]
