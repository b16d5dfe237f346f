"""Who reports, what is watched, and the observers themselves: me, register, watch, ping, peers, memory."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.health import observer_of
from vagus.cli.lazy import one_line
from vagus.cli.output import cell, console, emit_json, json_option, quantity, table
from vagus.cli.session import ask, connected, node_option, post, server_option
from vagus.errors import VagusError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vagus.client.connection import Connection

HELD = ("subjects", "reports", "evicted", "gossip_retained", "unwritten", "submit_clients", "peers")

# --- who says it -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("observer", required=False)
@server_option
@json_option
@click.pass_context
def me(ctx: click.Context, observer: str | None, as_json: bool) -> None:
    """In whose name reports are sent; with OBSERVER, in that name from now on.

    In the interactive client the name holds until its end. A command on its own cannot keep it: it prints the line
    that sets it for the shell.

    \b
    Examples:
      vagus health me
      eval "$(vagus health me peer@2)"
    """
    options = ctx.find_root().obj
    if observer is not None:
        from vagus.model import check_name

        check_name("observer", observer)
        if options.interactive:
            options.observer = observer
        elif not as_json:
            click.echo(f"export VAGUS_OBSERVER={shlex.quote(observer)}")
    name = observer or observer_of(ctx)
    if as_json:
        emit_json({"observer": name})
    elif observer is None:
        click.echo(one_line(name))


@click.command()
@click.argument("module")
@click.argument("observer")
@server_option
@node_option
@json_option
@click.pass_context
def register(ctx: click.Context, module: str, observer: str, node: str, as_json: bool) -> None:
    """Register OBSERVER, which is part of MODULE; prints a handle for `report --handle`.

    The same pair gets the same handle, also after a restart; reports with a handle must be its observer's.

    \b
    Examples:
      vagus health register zookeeper peer@1
      vagus health report peer@2 sync:u:20 --observer peer@1 --handle "$(vagus health register zookeeper peer@1)"
    """
    with connected(ctx) as connection:
        answer = post(connection, "/v1/register", {"module": module, "observer": observer}, node=node)
    if as_json:
        emit_json(answer)
    else:
        click.echo(int(answer["handle"]))


@click.command()
@click.argument("handle", type=click.IntRange(1, 2**64 - 1))
@server_option
@node_option
@json_option
@click.pass_context
def unregister(ctx: click.Context, handle: int, node: str, as_json: bool) -> None:
    """Give a handle back: reports with it are refused from now on.

    \b
    Examples:
      vagus health unregister 5231004321
      vagus health unregister 5231004321 --json
    """
    _told(ctx, "/v1/unregister", {"handle": handle}, node, as_json)


@click.command()
@click.argument("subject")
@server_option
@node_option
@json_option
@click.pass_context
def watch(ctx: click.Context, subject: str, node: str, as_json: bool) -> None:
    """Take from now on what other nodes report on SUBJECT, and have them send what they hold of it.

    \b
    Examples:
      vagus health watch db@2
      vagus health watch db@2 --server 127.0.0.1:6688
    """
    _told(ctx, "/v1/watch", {"subject": subject}, node, as_json)


@click.command()
@click.argument("subject")
@server_option
@node_option
@json_option
@click.pass_context
def unwatch(ctx: click.Context, subject: str, node: str, as_json: bool) -> None:
    """Forget all that is known of SUBJECT, until it is watched again, or reported on at this node.

    \b
    Examples:
      vagus health unwatch db@2
      vagus health unwatch db@2 --json
    """
    _told(ctx, "/v1/unwatch", {"subject": subject}, node, as_json)


def _told(ctx: click.Context, path: str, document: Mapping[str, Any], node: str, as_json: bool) -> None:
    """Posts, and prints the result as one word."""
    with connected(ctx) as connection:
        answer = post(connection, path, dict(document), node=node)
    if as_json:
        emit_json(answer)
        return
    word = str(answer.get("result", ""))
    click.secho(one_line(word.capitalize()), fg="green" if word == "ACCEPTED" else "yellow")


# --- the observers themselves ----------------------------------------------------------------------------------------


def about(connection: Connection, node: str = "") -> dict[str, Any]:
    """What the node's observer says of itself. Raises VagusError."""
    found = ask(connection, "/v1/observer", node=node).get("observer")
    if not isinstance(found, dict):
        raise VagusError(f"{connection.url} answered /v1/observer in an unknown form; are both of one version?")
    return found


@click.command()
@click.option("-n", "count", type=click.IntRange(1, 1000), default=1, show_default=True, help="How often.")
@server_option
@node_option
@json_option
@click.pass_context
def ping(ctx: click.Context, count: int, node: str, as_json: bool) -> None:
    """Whether the observer answers, and how fast.

    \b
    Examples:
      vagus health ping
      vagus health ping -n 100 --json | jq .fastest_s
    """
    taken: list[float] = []
    with connected(ctx) as connection:
        for _ in range(count):
            begun = time.perf_counter()
            found = about(connection, node)
            taken.append(time.perf_counter() - begun)
    name = str(found.get("node", ""))
    if as_json:
        emit_json({"node": name, "url": connection.url, "count": count, "fastest_s": min(taken), "last_s": taken[-1]})
        return
    fastest = f", the fastest of {count} in {min(taken) * 1e3:.2f} ms" if count > 1 else ""
    click.echo(f"{one_line(name)} at {connection.url} answers in {taken[-1] * 1e3:.2f} ms{fastest}")


@click.command()
@server_option
@node_option
@json_option
@click.pass_context
def peers(ctx: click.Context, node: str, as_json: bool) -> None:
    """The observers that this one exchanges reports with: where they are, and whether they live.

    \b
    Examples:
      vagus health peers
      vagus health peers --json | jq -r '.peers | to_entries[] | select(.value.state != "alive") | .key'
    """
    with connected(ctx) as connection:
        found = about(connection, node)
    known: dict[str, dict[str, Any]] = found.get("peers") or {}
    if as_json:
        emit_json({"node": found.get("node"), "peers": known})
        return
    rows = [
        (name, _address(entry.get("address")), cell(entry.get("state", ""), _STATES.get(entry.get("state", ""), "")))
        for name, entry in sorted(known.items())
    ]
    if rows:
        table(console(), ("peer", "address", "state"), rows, wide={"peer": 16})
        for name, entry in sorted(known.items()):
            if why := entry.get("foreign"):
                click.secho(f"{one_line(name)} is not understood: {one_line(str(why))}", fg="yellow", err=True)
    else:
        click.echo("no peers: this observer is alone", err=True)


_STATES = {"alive": "green", "suspect": "yellow", "dead": "red"}


def _address(given: Any) -> str:
    return ":".join(map(str, given)) if isinstance(given, list) else str(given or "")


@click.command()
@server_option
@node_option
@json_option
@click.pass_context
def memory(ctx: click.Context, node: str, as_json: bool) -> None:
    """How much memory the observer's process uses, and what it holds.

    \b
    Examples:
      vagus health memory
      vagus health memory --json | jq .memory.memory_bytes
    """
    with connected(ctx) as connection:
        found = about(connection, node)
    counts: dict[str, Any] = found.get("counts") or {}
    held = {"memory_bytes": found.get("memory_bytes"), **{name: counts[name] for name in HELD if name in counts}}
    if as_json:
        emit_json({"node": found.get("node"), "memory": held})
        return
    rows = [
        (name.removesuffix("_bytes"), quantity(value, "bytes" * name.endswith("_bytes")))
        for name, value in held.items()
    ]
    table(console(), ("held", "now"), rows, right=("now",))
