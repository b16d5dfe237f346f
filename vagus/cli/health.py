"""`vagus health` and `vagus report`."""

from __future__ import annotations

import math
import os
import pwd
import socket
from typing import Any
from urllib.parse import quote

import click

from vagus.cli.output import STATUS_STYLE, console, emit_json, json_option
from vagus.cli.session import ask, connected, node_option
from vagus.cli.view_health import render_health, render_subject
from vagus.cli.view_status import warn_partial
from vagus.errors import ConfigError, VagusError
from vagus.model import Status


@click.command()
@click.argument("subject", required=False)
@click.option("--status", "statuses", default="", metavar="STATUS,...", help="Only these: names, or n h p m u d dd.")
@node_option
@json_option
@click.pass_context
def health(ctx: click.Context, subject: str | None, statuses: str, node: str, as_json: bool) -> None:
    """How healthy each subject is, who observes it and who accuses it; of one subject, every report behind it.

    Statuses, in order of severity: NA, HEALTHY, PENDING, MAYBE_UNHEALTHY, UNHEALTHY, DYING, DEAD.

    \b
    Examples:
      vagus health
      vagus health --status u,d,dd
      vagus health db@2
      vagus health --json | jq -r '.inferences[] | select(.status == "UNHEALTHY") | .subject'
    """
    to = console()
    if subject:
        if statuses:
            raise click.UsageError("--status selects among all subjects; leave it out with a SUBJECT.")
        with connected(ctx) as connection:
            answer: dict[str, Any] = ask(connection, f"/v1/health/{quote(subject, safe='')}", node=node)
        if as_json:
            emit_json(answer)
            return
        warn_partial(answer, to)
        render_subject(answer["inference"], to)
        return
    with connected(ctx) as connection:
        answer = ask(connection, "/v1/health", status=statuses, node=node)
    if as_json:
        emit_json(answer)
        return
    warn_partial(answer, to)
    if answer["inferences"]:
        render_health(answer["inferences"], to)
    else:
        click.echo("no subject" + (" has such a status" if statuses else " yet: vagus report adds one"), err=True)


@click.command()
@click.argument("subject")
@click.argument("contexts", nargs=-1, required=True, metavar="CONTEXT:STATUS[:SCORE]...")
@click.option("--observer", default="", help="Who says so.  [default: USER@HOST]")
@json_option
@click.pass_context
def report(ctx: click.Context, subject: str, contexts: tuple[str, ...], observer: str, as_json: bool) -> None:
    """Report what you observed of a subject: for each context a status and a score of your choice.

    Statuses: n NA, h HEALTHY, p PENDING, m MAYBE_UNHEALTHY, u UNHEALTHY, d DYING, dd DEAD; names work too. A context
    may contain colons.

    \b
    Examples:
      vagus report db@2 read:u:30 write:h:100 --observer api@1
      vagus report printer paper:unhealthy
    """
    parsed = dict(map(parse_context, contexts))
    if len(parsed) != len(contexts):
        raise click.UsageError("a context is named twice.")
    with connected(ctx) as connection:
        word = connection.report(subject, parsed, observer=observer or _me())
    if as_json:
        emit_json({"result": word})
    if word == "FAILED":
        raise VagusError(f"the observer refused the report on {subject!r}; vagus status shows whether it is well")
    if not as_json:
        click.secho(word, fg="green" if word == "ACCEPTED" else "yellow")


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


def _me() -> str:
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a container's user without a name
        user = f"uid{os.geteuid()}"
    return f"{user}@{socket.gethostname()}"
