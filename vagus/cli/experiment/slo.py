"""`vagus experiment slo`: policies in turn on the same application, load and injections."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vagus.cli.demo.unbroken import unbroken, unwind_on_end
from vagus.cli.output import cell, console, emit_json, json_option
from vagus.cli.session import Span
from vagus.config import seconds
from vagus.errors import VagusError

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.cli.experiment.slo_given import Given
    from vagus.cli.experiment.slo_plan import Turn
    from vagus.cli.experiment.slo_results import Results, Run
    from vagus.cli.experiment.slo_run import Stage
    from vagus.cli.experiment.slo_watch import Watch

EXAMPLE = Path(__file__).parents[3] / "examples" / "social_network" / "app.yaml"
MOST_SEEDS = 100
TUNING_SEED = 1001  # the first of --tune: other arrivals, services and times of injections than any experiment's
AROUND_S = 15.0  # to deploy, and to undo all of it
TWICE = 2  # runs that fail one after the other end the experiment
NODE = "n1"


@click.command("slo")
@click.option(
    "--policies",
    default="",
    metavar="A,B,…",
    help="Variants by name, in order.  [default: none,hpa,aimd,throttle,ddpg]",
)
@click.option(
    "--trace",
    "traces",
    multiple=True,
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Requests per second, a number a line; several are multiplied, each divided by its mean.",
)
@click.option(
    "--inject", type=click.Path(path_type=Path, readable=False), metavar="FILE", help="A campaign, by service."
)
@click.option(
    "--app",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="app.yaml; default: the social network.",
)
@click.option(
    "--variants",
    "variants_file",
    type=click.Path(path_type=Path, readable=False),
    metavar="FILE",
    help="Further contestants, or others in place of the known ones; default: variants.yaml beside app.yaml.",
)
@click.option(
    "--seeds",
    type=click.IntRange(1, MOST_SEEDS),
    default=1,
    show_default=True,
    help="So many, from 1 on; of --tune, from 1001 on.",
)
@click.option("--minutes", type=float, default=5.0, show_default=True, help="Of each run, without its warm-up.")
@click.option("--rate", type=float, default=30.0, show_default=True, metavar="HZ", help="Mean requests per second.")
@click.option("--slo", type=float, default=200.0, show_default=True, metavar="MS", help="What a request may take.")
@click.option(
    "--offset", type=Span(), default="0s", show_default=True, help="Where the first slice of the trace begins."
)
@click.option("--warm", type=Span(), default="60s", show_default=True, help="Before each run, at the mean rate.")
@click.option("--resume", is_flag=True, help="Go on with what is in the folder.")
@click.option("--tune", is_flag=True, help="Run all of --variants, and print the best of each policy.")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, readable=False),
    metavar="FOLDER",
    help="For the results.",
)
@json_option
def command(
    policies: str,
    traces: tuple[Path, ...],
    inject: Path | None,
    app: Path | None,
    variants_file: Path | None,
    seeds: int,
    minutes: float,
    rate: float,
    slo: float,
    offset: str,
    warm: str,
    output: Path,
    resume: bool,
    tune: bool,
    as_json: bool,
) -> None:
    """Which policy keeps requests in time, with how much CPU? One after the other, on the same load and injections.

    Makes a cluster of one node for itself, and deploys the application anew for each run; whatever happens, all of it is
    gone afterwards. Needs root, for control groups. Each seed has a slice of the trace and a timetable of injections of
    its own, the same for all policies; which policy begins changes from seed to seed.

    \b
    In FOLDER: results.json (saved after each run), report.html, logs/ (every request). The known variants:
      none            nothing is limited
      hpa             Kubernetes' autoscaler: replicas of a fixed size
      aimd            limits rise by steps while requests are late, and fall again
      captain         throttle targets, each fixed
      throttle        throttle targets, set by a bandit (Autothrottle)
      ddpg            learned (FIRM), behind the guard and its shield
      ddpg-unguarded  the same, its wishes written as they come
    The baselines are tuned on another part of the trace: --tune --variants tuning.yaml --offset ….

    \b
    Examples:
      vagus experiment slo --policies none,hpa,throttle --trace diurnal-noisy.txt --inject inject.yaml -o first
      vagus experiment slo --policies hpa,aimd,throttle,ddpg --seeds 3 --trace a.txt --inject inject.yaml -o big --resume
      vagus experiment slo --tune --variants tuning.yaml --trace a.txt --offset 45m --minutes 2 -o tuning
    """
    from vagus.cli.experiment.report import show
    from vagus.cli.experiment.slo_given import given_of, results_in, variants_of
    from vagus.cli.experiment.slo_plan import left, turns
    from vagus.cli.experiment.slo_report import write_report
    from vagus.cli.experiment.slo_table import best, summary

    if tune and variants_file is None:
        raise click.UsageError("--tune runs the grid of --variants FILE.")
    to, app = console(sys.stderr), app or EXAMPLE
    given = given_of(
        app,
        traces,
        inject,
        variants_of(app, policies, variants_file, tune),
        minutes=minutes,
        rate=rate,
        slo_ms=slo,
        offset_s=seconds(offset),
        warm_s=seconds(warm),
    )
    first = TUNING_SEED if tune else 1
    results = results_in(output, given, tuple(range(first, first + seeds)), resume)
    plan = results.plan
    names = [variant.name for variant in plan.variants]
    todo = left(turns(names, results.seeds, plan.offset_s, plan.run_s, len(given.trace)), results)
    if todo:
        results = run_all(output, results, todo, given, to)
    to.print(cell(f"{write_report(output)}: to look at in a browser"), soft_wrap=True)
    rows = summary(results)
    found = best(rows) if tune else {}
    if as_json:
        errors = [{"variant": run.variant, "seed": run.seed, "error": run.error} for run in results.runs if run.error]
        tuned = {"best": {policy: row["variant"] for policy, row in found.items()}} if tune else {}
        emit_json({"rows": rows, "folder": str(output), "errors": errors, **tuned})
    else:
        show(results, console())
        for policy, row in found.items():
            click.echo(f"best of {policy or 'none'}: {row['variant']}")
    wrong = [run for run in results.runs if run.error]
    if wrong:
        raise VagusError(
            f"{len(wrong)} of {len(results.runs)} runs went wrong, such as {wrong[0].variant}, seed {wrong[0].seed}: "
            f"{wrong[0].error}; --resume does them again"
        )


# --- all runs --------------------------------------------------------------------------------------------------------


def run_all(output: Path, results: Results, todo: Sequence[Turn], given: Given, to: Console) -> Results:
    """Does what is left, on a cluster made for it; saved after each run."""
    import msgspec

    from vagus.cli.experiment import slo_results
    from vagus.cli.experiment.slo_given import config
    from vagus.cli.experiment.slo_run import Stage
    from vagus.cli.experiment.slo_watch import Watch
    from vagus.cli.up import progress
    from vagus.runtime.trial import Trial

    unwind_on_end()
    trial = Trial((NODE,), config(given.settings.name), lambda text: None)
    failed = 0
    try:
        with progress(to) as say:
            say("making a cluster of one node")
            trial.say = say
            trial.start()
        stage = Stage(results.plan, given, output, trial.home, trial.folder)
        watch = Watch(to, todo, results.plan.run_s + results.plan.warm_s + AROUND_S)
        with _home(trial.home), watch:
            for turn in todo:
                run = _performed(stage, turn, watch)
                failed = failed + 1 if run.error else 0
                runs = [r for r in results.runs if (r.variant, r.seed) != (run.variant, run.seed)]
                results = msgspec.structs.replace(results, runs=(*runs, run))
                slo_results.save(output, results)
                if failed >= min(TWICE, len(todo)):
                    break  # the others would fail, too
    finally:
        with unbroken():
            for problem in trial.stop():
                click.secho(f"warning: {problem}", fg="yellow", err=True)
    return results


def _performed(stage: Stage, turn: Turn, watch: Watch) -> Run:
    from datetime import datetime, timezone

    from vagus.cli.experiment.slo_results import Run
    from vagus.cli.experiment.slo_run import perform

    watch.begin(turn)
    try:
        run = perform(stage, turn, watch.look)
    except VagusError as error:
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        run = Run(variant=turn.variant, seed=turn.seed, begun=now, error=str(error))
    watch.end(run)
    return run


@contextlib.contextmanager
def _home(home: Path) -> Iterator[None]:
    """Tunables of this process, such as replicas, are announced in this state folder meanwhile."""
    before = {name: os.environ.pop(name, None) for name in ("VAGUS_HOME", "VAGUS_URL", "VAGUS_TOKEN")}
    os.environ["VAGUS_HOME"] = str(home)
    try:
        yield
    finally:
        del os.environ["VAGUS_HOME"]
        os.environ.update({name: value for name, value in before.items() if value is not None})
