"""What is known, in Panorama's lines: get, list, dump."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vagus.cli.health import ask_subject
from vagus.cli.lazy import one_line
from vagus.cli.output import emit_json, json_option, near
from vagus.cli.session import ask, connected, node_option, server_option
from vagus.cli.view_panorama import heading, inference_line, moment, panorama_lines, report_line
from vagus.errors import NoData
from vagus.model import check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("report", "view", "inference", "panorama")
GET_USAGE = "get [report|view|inference|panorama] [OBSERVER] SUBJECT"
MAX_DUMPED = 1000

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
            answer = ask_subject(connection, subject, node=node)
        _warn_partial(answer)
        if as_json:
            emit_json(answer)
        else:
            click.echo(inference_line(answer["inference"]))
        return
    with connected(ctx) as connection:
        answer = ask_subject(connection, subject, "/panorama", observer=observer, node=node)
    _warn_partial(answer)
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
        wrong = (words[0] not in KINDS and near(words[0], KINDS)) or "; a name with spaces goes in quotes"
        raise click.UsageError(f"too many words: {GET_USAGE}{wrong}")
    if len(rest) == 2 and kind not in ("report", "view"):
        raise click.UsageError(f"{kind} is of all observers: get {kind} SUBJECT, or get view OBSERVER SUBJECT")
    if not all(rest):
        raise click.UsageError("names must not be empty.")
    if len(rest) == 2:
        check_name("observer", rest[0])
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
    _warn_partial(answer)
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
    _warn_partial(answer)
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


def _warn_partial(answer: dict[str, Any]) -> None:
    """A line on standard error when some node's part is missing."""
    if answer.get("partial"):
        missing = "; ".join(f"{entry['node']}: {entry['error']}" for entry in answer.get("missing", ()))
        click.secho(one_line(f"partial answer, without {missing or 'some nodes'}"), fg="yellow", err=True)
