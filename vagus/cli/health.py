"""`vagus health`: a group of commands, which without one is the table of verdicts, or the interactive client."""

from __future__ import annotations

import contextlib
import math
import os
import shlex
import sys
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

import click

from vagus.cli.lazy import Entry, LazyGroup
from vagus.cli.output import STATUS_STYLE, console, emit_json, json_option, near
from vagus.cli.session import ask, connected, node_option, post, server_option
from vagus.errors import ConfigError, NoData, VagusError
from vagus.model import Status, check_name

if TYPE_CHECKING:
    from vagus.client.connection import Connection

C = TypeVar("C", bound=Callable[..., Any])

ENTRIES = (
    Entry("show", "vagus.cli.health:show", "The table of verdicts, or one with its evidence.", "Ask"),
    Entry("get", "vagus.cli.health_reads:get", "A report, view, inference or panorama of a subject.", "Ask"),
    Entry("list", "vagus.cli.health_reads:list_", "Every subject with the time of its newest report.", "Ask"),
    Entry("dump", "vagus.cli.health_reads:dump", "All inferences, or all panoramas.", "Ask"),
    Entry("matrix", "vagus.cli.health_matrix:matrix", "Observers × subjects as a coloured table.", "Ask"),
    Entry("page", "vagus.cli.health_page:page", "The address of the same as a page, live.", "Ask"),
    Entry("tail", "vagus.cli.health_tail:tail", "Changes of verdicts as they come.", "Ask"),
    Entry("report", "vagus.cli.health:report", "Report what you observed of a subject.", "Say"),
    Entry("me", "vagus.cli.health_client:me", "In whose name you report.", "Say"),
    Entry("register", "vagus.cli.health_client:register", "Register an observer; prints its handle.", "Say"),
    Entry("unregister", "vagus.cli.health_client:unregister", "Give a handle back.", "Say"),
    Entry("watch", "vagus.cli.health_client:watch", "Take what other nodes report on a subject.", "Say"),
    Entry("unwatch", "vagus.cli.health_client:unwatch", "Forget a subject.", "Say"),
    Entry("logtail", "vagus.cli.logtail:logtail", "Reports out of a log file.", "Say"),
    Entry("ping", "vagus.cli.health_client:ping", "Whether the observer answers, and how fast.", "Observers"),
    Entry("peers", "vagus.cli.health_client:peers", "The other observers, and whether they live.", "Observers"),
    Entry("memory", "vagus.cli.health_client:memory", "How much memory the observer uses, and for what.", "Observers"),
    Entry("serve", "vagus.cli.health_serve:serve", "Serve health alone, without the rest of vagus.", "Observers"),
    Entry("client", "vagus.cli.health_shell:client", "The interactive client.", "Observers"),
    Entry("help", "vagus.cli.health_shell:help_", "This list, or the help of one command.", "Observers"),
    Entry("exit", "vagus.cli.health_shell:exit_", "Leave the interactive client.", "Observers"),
)
VALUED = ("--server", "-server", "--node", "--status")


class HealthGroup(LazyGroup):
    """Options may stand in front of the command; what is no command is a subject; nothing at all is the client."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        on_terminal = sys.stdin.isatty() and sys.stdout.isatty()
        return super().parse_args(ctx, arranged(args, self.entries, "client" if on_terminal else "show"))


def arranged(args: list[str], commands: Collection[str], alone: str) -> list[str]:
    """The command first, and one that is only meant filled in; `alone`: what is meant by nothing but a server."""
    at, options = 0, set()
    while at < len(args) and args[at].startswith("-") and args[at] not in ("-h", "--help", "--"):
        options.add(args[at].partition("=")[0])
        at += 2 if args[at] in VALUED else 1
    front, rest = args[:at], args[at:]
    if rest and rest[0] in ("-h", "--help"):
        return ["--help"]
    if rest and rest[0] in commands:
        return [rest[0], *front, *rest[1:]]
    if not rest and options <= {"--server", "-server"}:
        return [alone, *front]
    return ["show", *args]


@click.group("health", cls=HealthGroup, entries=ENTRIES)
def health() -> None:
    """How healthy everything is: ask, report, watch.

    Without a command: on a terminal the interactive client, elsewhere the table of verdicts. A word that is no
    command is a subject; one that is called like a command is reached with `get inference SUBJECT`.

    \b
    Examples:
      vagus health                           the client, with history and completion
      vagus health db@2                      one subject with its evidence
      vagus health --status u,d,dd           all that are unhealthy
      vagus health report db@2 read:u:30
      vagus health --server 127.0.0.1:6688 list subject
    """


@click.command()
@click.argument("subject", required=False)
@click.option("--status", "statuses", default="", metavar="STATUS,...", help="Only these: names, or n h p m u d dd.")
@server_option
@node_option
@json_option
@click.pass_context
def show(ctx: click.Context, subject: str | None, statuses: str, node: str, as_json: bool) -> None:
    """How healthy each subject is, who observes it and who accuses it; of one subject, every report behind it.

    Statuses, in order of severity: NA, HEALTHY, PENDING, MAYBE_UNHEALTHY, UNHEALTHY, DYING, DEAD. The word `show` may
    be left out where anything follows.

    \b
    Examples:
      vagus health show
      vagus health --status u,d,dd
      vagus health db@2
      vagus health --json | jq -r '.inferences[] | select(.status == "UNHEALTHY") | .subject'
    """
    from vagus.cli.view_health import render_health, render_subject
    from vagus.cli.view_status import warn_partial

    if subject is not None:
        if not subject:
            raise click.UsageError("SUBJECT must not be empty.")
        if statuses:
            raise click.UsageError("--status selects among all subjects; leave it out with a SUBJECT.")
        with connected(ctx) as connection:
            try:
                answer = ask_subject(connection, subject, node=node)
            except NoData as error:
                command = near(subject, [entry.name for entry in ENTRIES]) if subject.isalpha() else ""
                raise NoData(f"{error}{command}") from error
        if as_json:
            emit_json(answer)
            return
        to = console()
        warn_partial(answer, to)
        render_subject(answer["inference"], to)
        return
    with connected(ctx) as connection:
        answer = ask(connection, "/v1/health", status=statuses, node=node)
    if as_json:
        emit_json(answer)
        return
    to = console()
    warn_partial(answer, to)
    if answer["inferences"]:
        render_health(answer["inferences"], to)
    else:
        click.echo("no subject" + (" has such a status" if statuses else " yet: vagus report adds one"), err=True)


def ask_subject(connection: Connection, subject: str, below: str = "", **params: Any) -> dict[str, Any]:
    """What the gateway answers to /v1/health/SUBJECT. Raises VagusError, which says why there may be nothing of it."""
    check_name("subject", subject)
    try:
        return ask(connection, f"/v1/health/{quote(subject, safe='')}{below}", **params)
    except NoData as error:
        from vagus.cli.refusals import words

        found: dict[str, Any] = {}
        with contextlib.suppress(VagusError):
            found = ask(connection, "/v1/observer", node=params.get("node", "")).get("observer") or {}
        raise NoData(f"{words(error)}{_not_taken(subject, found)}") from error


def _not_taken(subject: str, about: dict[str, Any]) -> str:
    """Why an observer may take no reports on a subject: its filter, or that it is not watched; else empty."""
    from vagus.health.interest import Interest

    if Interest(about.get("filter") or ("*",)).keeps_out(subject):
        return f"; health.subjects of {about.get('node')} keeps it out"
    if about.get("interest") != "watched":
        return ""
    return (
        f"; {about.get('node')} takes only what is reported to it or watched there: "
        f"`vagus health watch {shlex.quote(subject)}`"
    )


@click.command()
@click.argument("subject")
@click.argument("contexts", nargs=-1, required=True, metavar="CONTEXT:STATUS[:SCORE]...")
@click.option("--observer", default="", help="Who says so.  [default: as `me` says, $VAGUS_OBSERVER, USER@HOST]")
@click.option("--handle", type=click.IntRange(0, 2**64 - 1), default=0, help="That `register` gave to the observer.")
@server_option
@json_option
@click.pass_context
def report(
    ctx: click.Context, subject: str, contexts: tuple[str, ...], observer: str, handle: int, as_json: bool
) -> None:
    """Report what you observed of a subject: for each context a status and a score of your choice.

    Statuses: n NA, h HEALTHY, p PENDING, m MAYBE_UNHEALTHY, u UNHEALTHY, d DYING, dd DEAD; names work too. A context
    may contain colons. Accepted: it is stored. Ignored: nobody is interested here.

    \b
    Examples:
      vagus report db@2 read:u:30 write:h:100 --observer api@1
      vagus health report printer paper:unhealthy
    """
    import time

    parsed = dict(map(parse_context, contexts))
    if len(parsed) != len(contexts):
        raise click.UsageError("a context is named twice.")
    body: dict[str, Any] = {"observer": observer_of(ctx, observer), "subject": subject, "t_ns": time.time_ns()}
    body["contexts"] = parsed
    if handle:
        body["handle"] = handle
    with connected(ctx) as connection:
        results = post(connection, "/v1/report", body).get("results")
    word = str(results[0]) if isinstance(results, list) and results else "FAILED"
    if as_json:
        emit_json({"result": word})
    if word == "FAILED":
        why = f"does handle {handle} belong to {body['observer']!r}? Else " if handle else ""
        raise VagusError(f"the observer refused the report on {subject!r}; {why}vagus status shows whether it is well")
    if not as_json:
        click.secho(word.capitalize(), fg="green" if word == "ACCEPTED" else "yellow")


def observer_of(ctx: click.Context, given: str = "") -> str:
    """In whose name a command reports: as given, as `me` set it, $VAGUS_OBSERVER, else this user on this machine."""
    return given or ctx.find_root().obj.observer or os.environ.get("VAGUS_OBSERVER", "") or _this_user()


def parse_context(text: str) -> tuple[str, tuple[str, float]]:
    """`CONTEXT:STATUS[:SCORE]` of Panorama's client as (context, (status name, score)). Raises BadParameter."""
    parts = text.split(":")
    for at in (-2, -1):  # with a score, or without
        if len(parts) < 1 - at:
            continue
        try:
            status = Status.parse(parts[at]).name
        except ConfigError:
            continue
        context = ":".join(parts[:at])
        try:
            score = float(parts[-1]) if at == -2 else 0.0
        except ValueError:
            continue
        if context and math.isfinite(score):
            return context, (status, score)
    letters = ", ".join(name for name in STATUS_STYLE if name in Status.__members__)
    hint = f"{text[:80]!r} is not CONTEXT:STATUS[:SCORE], such as read:u:30; statuses: n h p m u d dd, or {letters}"
    raise click.BadParameter(hint, param_hint="CONTEXT:STATUS[:SCORE]")


def _this_user() -> str:
    import pwd
    import socket

    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        user = f"uid{os.geteuid()}"
    return f"{user}@{socket.gethostname()}"
