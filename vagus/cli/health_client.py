"""What Panorama's client can ask and say, one command each: get, list, dump, me, register, watch, ping, peers, memory."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import click

from vagus.cli.health import observer_of
from vagus.cli.lazy import one_line
from vagus.cli.output import cell, console, emit_json, json_option, near, quantity, table
from vagus.cli.session import ask, connected, node_option, post, server_option
from vagus.cli.view_panorama import heading, inference_line, moment, panorama_lines, report_line
from vagus.errors import NoData, VagusError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from vagus.client.connection import Connection

KINDS = ("report", "view", "inference", "panorama")
GET_USAGE = "get [report|view|inference|panorama] [OBSERVER] SUBJECT"
MAX_DUMPED = 1000
HELD = ("subjects", "reports", "evicted", "gossip_retained", "unwritten", "submit_clients", "peers")

Views = dict[str, "list[dict[str, Any]]"]


@click.command()
@click.argument("words", nargs=-1, required=True, metavar="[report|view|inference|panorama] [OBSERVER] SUBJECT")
@server_option
@node_option
@json_option
@click.pass_context
def get(ctx: click.Context, words: tuple[str, ...], node: str, as_json: bool) -> None:
    """What is known of a subject.

    \b
    report      the newest report (of OBSERVER)
    view        the last 10 reports of OBSERVER, oldest first; without one, of each observer
    inference   the verdict; what is asked for when no kind is named
    panorama    every observer's view

    \b
    Examples:
      vagus health get db@2
      vagus health get report api@1 db@2
      vagus health get panorama db@2 --json | jq '.panorama | keys'
    """
    kind, observer, subject = _what(words)
    if kind == "inference":
        with connected(ctx) as connection:
            answer = ask(connection, f"/v1/health/{quote(subject, safe='')}", node=node)
        if as_json:
            emit_json(answer)
        else:
            click.echo(inference_line(answer["inference"]))
        return
    with connected(ctx) as connection:
        path = f"/v1/health/{quote(subject, safe='')}/panorama"
        answer = ask(connection, path, observer=observer, node=node)
    views: Views = answer["panorama"]
    if not any(views.values()):
        said = f"{observer!r} said nothing of" if observer else "nobody reported on"
        raise NoData(
            f"{said} {subject!r}; `get panorama {subject}` shows who did" if observer else f"{said} {subject!r}"
        )
    if kind == "report":
        newest = max((reports[-1] for reports in views.values() if reports), key=lambda report: int(report["t_ns"]))
        if as_json:
            emit_json({"report": newest})
        else:
            click.echo(report_line(newest))
    elif as_json:
        emit_json(answer)
    else:
        for line in panorama_lines(subject, views):
            click.echo(line)


def _what(words: Sequence[str]) -> tuple[str, str, str]:
    """Kind, observer ("": any) and subject. Raises UsageError."""
    kind, rest = (words[0], words[1:]) if words[0] in KINDS else ("inference", words)
    if not rest:
        raise click.UsageError(f"the subject is missing: {GET_USAGE}")
    if len(rest) > 2 or (len(rest) == 2 and words[0] not in KINDS):
        wrong = near(words[0], KINDS) or "; a name with spaces goes in quotes"
        raise click.UsageError(f"too many words: {GET_USAGE}{wrong}")
    if len(rest) == 2 and kind not in ("report", "view"):
        raise click.UsageError(f"{kind} is of all observers: get {kind} SUBJECT, or get view OBSERVER SUBJECT")
    if not all(rest):
        raise click.UsageError("names must not be empty.")
    return kind, rest[0] if len(rest) == 2 else "", rest[-1]


@click.command("list")
@click.argument("what", required=False, type=click.Choice(["subject"]), default="subject", metavar="[subject]")
@server_option
@node_option
@json_option
@click.pass_context
def list_(ctx: click.Context, what: str, node: str, as_json: bool) -> None:
    """Every subject that has been observed, with the time of its newest report.

    \b
    Examples:
      vagus health list
      vagus health list subject --json | jq -r '.subjects[].subject'
    """
    with connected(ctx) as connection:
        answer = ask(connection, "/v1/subjects", node=node)
    if as_json:
        emit_json(answer)
        return
    for entry in answer["subjects"]:
        click.echo(f"{one_line(entry['subject'])} {moment(entry['t_ns'])}")
    if not answer["subjects"]:
        click.echo("no subject yet", err=True)


@click.command()
@click.argument("what", required=False, type=click.Choice(["inference", "panorama"]), default="inference")
@click.option(
    "--limit", type=click.IntRange(1, MAX_DUMPED), default=MAX_DUMPED, show_default=True, help="Most panoramas."
)
@server_option
@node_option
@json_option
@click.pass_context
def dump(ctx: click.Context, what: str, limit: int, node: str, as_json: bool) -> None:
    """Every inference, or every panorama, under the subject's name.

    \b
    Examples:
      vagus health dump
      vagus health dump panorama > panoramas.txt
      vagus health dump panorama --json | jq '.panoramas | length'
    """
    with connected(ctx) as connection:
        if what == "inference":
            answer = ask(connection, "/v1/health", node=node)
        else:
            answer = ask(connection, "/v1/panoramas", limit=limit, node=node)
    if as_json:
        emit_json(answer)
        return
    if what == "inference":
        for inference in answer["inferences"]:
            click.echo(f"{heading(inference['subject'])}\n{inference_line(inference)}")
    else:
        for subject, views in answer["panoramas"].items():
            click.echo(heading(subject))
            for line in panorama_lines(subject, views):
                click.echo(line)
    if not answer["inferences" if what == "inference" else "panoramas"]:
        click.echo("no subject yet", err=True)


# --- who says it -----------------------------------------------------------------------------------------------------


@click.command()
@click.argument("observer", required=False)
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
