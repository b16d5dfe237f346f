"""`vagus job`: the jobs of the cluster, as `ray job` has them, without Ray's environment to be set first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from vagus.cli.lazy import WholeGroup
from vagus.cli.output import age, cell, console, emit_json, emit_ndjson, json_option, span, table
from vagus.cli.submit import document, follow

if TYPE_CHECKING:
    from rich.text import Text

    from vagus.runtime.jobs import Job, Jobs

STYLE = {"RUNNING": "green", "PENDING": "cyan", "FAILED": "red", "STOPPED": "dim", "SUCCEEDED": ""}


@click.group(cls=WholeGroup)
def job() -> None:
    """Jobs that were submitted to the cluster, by `vagus submit` or `ray job submit`.

    \b
    Examples:
      vagus job list
      vagus job log raysubmit_8Xk3 -f
      vagus job stop raysubmit_8Xk3
    """


@job.command("list")
@click.option("--all", "everyone", is_flag=True, help="Also those that `vagus submit` did not submit.")
@json_option
@click.pass_context
def list_(ctx: click.Context, everyone: bool, as_json: bool) -> None:
    """The jobs, the oldest first, with how they stand.

    \b
    Examples:
      vagus job list
      vagus job list --all --json | jq '.jobs[] | select(.status == "RUNNING") | .job'
    """
    with _server(ctx) as server:
        found = [one for one in server.all() if everyone or one.controller]
    if as_json:
        emit_json({"jobs": [document(one) for one in found]})
    elif found:
        rows = [(one.id, _status(one), one.controller, _since(one), one.entrypoint) for one in found]
        table(console(), ("job", "status", "controller", "began", "runs"), rows)
    else:
        click.echo("no jobs" + ("" if everyone else "; --all lists those of others"), err=True)


@job.command()
@click.argument("job_id", metavar="ID")
@click.option("-f", "--follow", "on", is_flag=True, help="Go on until it ends; then its end is the exit status.")
@json_option
@click.pass_context
def log(ctx: click.Context, job_id: str, on: bool, as_json: bool) -> None:
    """What a job wrote. With --follow until it ends: 0 succeeded or stopped, 1 failed, 130 after Ctrl-C.

    --json: how it stands as JSON, and the log on standard error.

    \b
    Examples:
      vagus job log raysubmit_8Xk3
      vagus job log raysubmit_8Xk3 -f
    """
    with _server(ctx) as server:
        if on:
            ctx.exit(follow(server, job_id, as_json))
        click.echo(server.log(job_id), nl=False, err=as_json)
        if as_json:
            emit_ndjson(document(server.info(job_id)))


@job.command()
@click.argument("job_id", metavar="ID")
@json_option
@click.pass_context
def stop(ctx: click.Context, job_id: str, as_json: bool) -> None:
    """End a job, and wait until it has ended: its controller goes, every limit is restored.

    \b
    Examples:
      vagus job stop raysubmit_8Xk3
      vagus job stop raysubmit_8Xk3 --json | jq -r .status
    """
    with _server(ctx) as server:
        asked = server.stop(job_id)
        ended = server.ended(job_id)
    if as_json:
        emit_ndjson({**document(ended), "stopped": asked})
    else:
        click.echo(f"{job_id}: {ended.status.lower()}" + ("" if asked else " before"))


@contextmanager
def _server(ctx: click.Context) -> Iterator[Jobs]:
    from vagus import config as configuration
    from vagus.config import Config
    from vagus.runtime.jobs import jobs

    with jobs(configuration.home(Config(home=ctx.find_root().obj.home))) as server:
        yield server


def _status(one: Job) -> Text:
    return cell(one.status.lower(), STYLE.get(one.status, ""))


def _since(one: Job) -> str:
    if one.start_ns and one.end_ns:
        return f"{age(one.start_ns)} ago, for {span((one.end_ns - one.start_ns) / 1e9)}"
    return f"{age(one.start_ns)} ago" if one.start_ns else "–"
