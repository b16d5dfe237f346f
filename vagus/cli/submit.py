"""`vagus submit`: a controller of one's own as a job of the cluster."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import clock_time, emit_ndjson, json_option
from vagus.cli.run_settings import Wanted, choose, run_options
from vagus.cli.session import Span

if TYPE_CHECKING:
    from vagus.runtime.jobs import Job, Jobs

FAILED = 1
INTERRUPTED = 130


@click.command()
@run_options
@click.option("--for", "for_", type=Span(), default="", metavar="DURATION", help="End it after this, such as 10m.")
@click.option("--wait", is_flag=True, help="Follow what it says until it ends; its end is the exit status.")
@json_option
@click.pass_context
def submit(
    ctx: click.Context,
    file: str,
    name: str,
    policy: str,
    target: str,
    on: str,
    options: tuple[str, ...],
    arm: bool | None,
    for_: str,
    wait: bool,
    as_json: bool,
) -> None:
    """Run a controller as a job: the cluster runs `vagus run FILE` on its head, and this terminal is free.

    FILE and options are those of `vagus run`. FILE and the one Python file that it names are sent, nothing else of the
    folder; where more is needed: ray job submit --working-dir . -- vagus run FILE.

    Ends with `vagus job stop ID`; every limit is restored, also when the job is killed.

    Exit status: 0 submitted; with --wait 0 when it succeeded or was stopped, 1 when it failed, 130 after Ctrl-C, which
    leaves the job running.

    \b
    Examples:
      vagus submit gentle.py --target cgroup:batch --arm
      vagus submit controller.yaml --wait --for 10m
      id=$(vagus submit controller.yaml --json | jq -r .job); vagus job stop "$id"
    """
    from vagus import config as configuration
    from vagus.cli.job_folder import command, fill
    from vagus.config import Config

    wanted = Wanted(file, name, policy, target, on, options, arm)
    chosen = choose(wanted)
    home = configuration.home(Config(home=ctx.find_root().obj.home))
    more = ([f"--for={for_}"] if for_ else []) + (["--json"] if as_json else [])
    with tempfile.TemporaryDirectory(prefix="vagus-job-") as folder:
        arguments = fill(Path(folder), wanted, chosen)

        from vagus.runtime.jobs import here, jobs  # loads Ray: once all that can be wrong without it is right

        program = [sys.executable, "-m", "vagus"] if here(home) else ["vagus"]
        with jobs(home) as server:
            job_id = server.submit(command(program, arguments, more), Path(folder), chosen.settings.name)
            _tell(job_id, chosen.settings.name, wait, as_json)
            if wait:
                ctx.exit(follow(server, job_id, as_json))


def follow(server: Jobs, job_id: str, as_json: bool) -> int:
    """A job's log until it ends, and its exit status. With JSON the log goes to standard error."""

    def say(text: str) -> None:
        click.echo(text, nl=False, err=as_json)

    try:
        job = server.follow(job_id, say)
    except KeyboardInterrupt:
        click.echo(f"\n{job_id} goes on; vagus job stop {job_id} ends it", err=True)
        return INTERRUPTED
    tell_end(job, as_json)
    return FAILED if job.status == "FAILED" else 0


def tell_end(job: Job, as_json: bool) -> None:
    """How a job ended."""
    if as_json:
        emit_ndjson(document(job))
        return
    why = job.message.partition("\n")[0].removesuffix(", last available logs (truncated to 20,000 chars):")
    click.echo(f"{job.id}: {job.status.lower()}" + (f": {why}" if job.status == "FAILED" and why else ""))


def document(job: Job) -> dict[str, Any]:
    """A job as JSON has it."""
    return {
        "job": job.id,
        "status": job.status,
        "controller": job.controller,
        "start": clock_time(job.start_ns) if job.start_ns else None,
        "end": clock_time(job.end_ns) if job.end_ns else None,
        "entrypoint": job.entrypoint,
        "message": job.message,
    }


def _tell(job_id: str, name: str, wait: bool, as_json: bool) -> None:
    if as_json:
        emit_ndjson({"job": job_id, "controller": name})
        return
    click.echo(f"{name} was submitted as {job_id}")
    if not wait:
        click.echo(f"  vagus job log {job_id} -f    what it says, as `ray job logs {job_id} -f`")
    click.echo(f"  vagus job stop {job_id}      ends it, every limit restored, as `ray job stop {job_id}`")
