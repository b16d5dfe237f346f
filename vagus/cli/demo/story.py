"""`vagus demo`: the whole loop in two minutes, on real processes: sense, judge, decide, act, recover."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec
import psutil
from rich.console import Console

from vagus import api
from vagus.api import Vagus
from vagus.cli.demo.figure import check_writable, figure
from vagus.cli.demo.load import Load
from vagus.cli.demo.receipts import Told
from vagus.cli.demo.slo import Judge, learn, quantile
from vagus.cli.demo.stage import Stage
from vagus.cli.demo.summary import PHASES, Second, finite, summarise, table
from vagus.cli.demo.unbroken import unbroken, unwind_on_end
from vagus.cli.up import progress
from vagus.config import Config
from vagus.controllers.protect import Protect
from vagus.errors import PeerUnreachable, VagusError

NAME = "demo"
CLIENT = "demo:client"
SUBJECTS = ("demo:web", "demo:db")
WORK_MS = 6.0
RATE = 12.0
FLOOR_MS = 6 * WORK_MS
WINDOW_S = 3  # latencies of so many seconds make one quantile
FORGET_S = 5.0  # how long to wait until vagus lists the removed controller no more


@click.command()
@click.option(
    "--seconds",
    "total_s",
    default=120.0,
    show_default=True,
    type=click.FloatRange(30, 3600),
    help="Length of the story.",
)
@click.option(
    "-o",
    "--output",
    default="vagus-demo.png",
    show_default=True,
    type=click.Path(path_type=Path, readable=False),
    help="Figure.",
)
@click.option("--dry", is_flag=True, help="Limit nothing, even where it is permitted.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary and every second as JSON.")
@click.pass_context
def demo(context: click.Context, total_s: float, output: Path, dry: bool, as_json: bool) -> None:
    """Two small services under load; a neighbour starts to hog the CPU; vagus notices, judges, limits, recovers.

    \b
    Real processes, in real cgroups where this user may make them; elsewhere unconfined, and the controller runs
    dry: it says what it would do. Ends its processes and groups, also on Ctrl-C. Starts vagus if it does not run, and
    leaves it running: `vagus down` ends it.

    \b
    Examples:
      vagus demo
      vagus demo --dry -o dry.png
    """
    home = getattr(context.obj, "home", "")
    console = Console(stderr=as_json, highlight=False)
    check_writable(output)
    unwind_on_end()
    try:
        vagus = api.connect(home=home)
        vagus.status()
    except PeerUnreachable:
        console.print("vagus does not run here yet: starting it (`vagus down` ends it)")
        with progress(console) as say:
            vagus = api.up(Config(home=home), say=say)
        unwind_on_end()  # Ray takes SIGTERM for itself
    with vagus:
        seconds, summary = play(vagus, console, total_s, dry)
    if as_json:
        document = {"summary": summary, "seconds": [msgspec.to_builtins(s) for s in seconds], "figure": str(output)}
        sys.stdout.write(json.dumps(finite(document)) + "\n")
    else:
        console.print()
        table(console, summary)
    figure(seconds, summary, output)
    console.print(f"figure: {output}", markup=False, soft_wrap=True)


def play(vagus: Vagus, console: Console, total_s: float, dry: bool) -> tuple[list[Second], dict[str, Any]]:
    """Runs the story; one `Second` for each, and the summary."""
    cores = os.cpu_count() or 1
    seconds: list[Second] = []
    ends = [total_s * sum(share for _, share in PHASES[: i + 1]) for i in range(len(PHASES))]
    spawned, load = False, None
    try:
        with Stage(WORK_MS) as stage:
            load = Load(stage.url, RATE, Random(7))
            armed = stage.mount is not None and not dry
            where = f"in cgroups below {stage.mount}" if stage.mount else "unconfined: this user may not make cgroups"
            console.print(f"two services under load ({RATE:.0f} requests/s, open loop), {where}; the controller "
                          f"{'is armed' if armed else 'runs dry'}", markup=False, soft_wrap=True)  # fmt: skip
            load.start()
            started, phase = time.monotonic(), "healthy"
            judge, told = Judge(), Told(time.time_ns())
            usage = _hog_usage(stage)
            window: deque[list[float]] = deque(maxlen=WINDOW_S)
            try:
                while (tick := _next_tick(started)) <= total_s:
                    window.append([1000 * x for x in load.window()])
                    latencies = sorted(x for part in window for x in part)
                    if phase == "healthy" and tick >= ends[0]:
                        judge.slo_ms = learn([s.p95_ms for s in seconds], FLOOR_MS, warm_up=WINDOW_S)
                        phase, spawned = "hog", True
                        stage.hog(4 * cores)
                        console.print(
                            f"[{tick:3d} s] a neighbour starts {4 * cores} busy processes "
                            f"(SLO of the client: 95 % within {judge.slo_ms:.0f} ms)",
                            style="bold",
                            markup=False,
                            soft_wrap=True,
                        )
                        _spawn(vagus, stage, armed, cores)
                    elif phase == "hog" and tick >= ends[1]:
                        phase = "after"
                        stage.end_hog()
                        console.print(
                            f"[{tick:3d} s] the neighbour is done", style="bold", markup=False, soft_wrap=True
                        )
                        if stage.mount is None:  # its process was the target: nothing is left to steer
                            spawned = not vagus.remove(NAME)
                            unwind_on_end()
                    second = _second(vagus, tick, phase, latencies, judge, told, next(usage))
                    seconds.append(second)
                    _tell(console, second, seconds[-2] if len(seconds) > 1 else None)
            finally:
                if spawned:
                    with unbroken(), contextlib.suppress(VagusError):
                        vagus.remove(NAME)  # the group may go only when its limit is restored
    finally:
        with unbroken():
            if load is not None:
                load.stop()
            take_back(vagus)
    return seconds, summarise(seconds, armed, judge.slo_ms)


def take_back(vagus: Vagus) -> None:
    """Says NA of the demo's subjects in the name of all who reported on them: nobody is to worry about them now."""
    for subject in SUBJECTS:
        with contextlib.suppress(VagusError):
            said: dict[str, set[str]] = {}
            for report in vagus.inference(subject).reports:
                said.setdefault(report.observer, set()).update(report.contexts)
            for observer, contexts in said.items():
                vagus.report(subject, dict.fromkeys(contexts, "NA"), observer=observer)
    until = time.monotonic() + FORGET_S
    with contextlib.suppress(VagusError):
        while time.monotonic() < until and _listed(vagus):
            time.sleep(0.2)


def _listed(vagus: Vagus) -> bool:
    """Whether vagus still lists the removed controller."""
    return any(actor.name.startswith(f"vagus:controller:{NAME}@") for node in vagus.status() for actor in node.actors)


def _next_tick(started: float) -> int:
    """Waits for the next whole second; seconds that passed meanwhile (a busy machine) are left out, not caught up."""
    tick = int(time.monotonic() - started) + 1
    time.sleep(max(0.0, started + tick - time.monotonic()))
    return tick


def _spawn(vagus: Vagus, stage: Stage, armed: bool, cores: int) -> None:
    vagus.remove(NAME)  # of a demo that was killed
    options = {"subjects": list(SUBJECTS), "target": stage.target, "high": float(cores), "low": 0.1}
    vagus.spawn(
        Protect,
        NAME,
        on="head",
        target=stage.target,
        armed=armed,
        period="1s",
        options=options,
        limits={"cpu_cores": {"min": 0.1, "max": float(cores), "step_ratio": 0.6, "cooldown": "2s"}},
    )
    unwind_on_end()  # Ray took SIGTERM for itself


def _second(
    vagus: Vagus, tick: int, phase: str, latencies: list[float], judge: Judge, told: Told, hog_cores: float
) -> Second:
    p50, p95 = quantile(latencies, 0.5), quantile(latencies, 0.95)
    status, accusers, receipt = "?", [], ""
    try:
        verdict = (judge.verdict(p95), 0.0 if p95 != p95 else p95)
        vagus.report("demo:web", {"latency": verdict}, observer=CLIENT)
        inference = vagus.inference("demo:web")
        status = inference.status.name
        accusers = sorted({a for verdict in inference.contexts.values() for a in verdict.accusers})
        found = vagus.records("receipt", since="10s", limit=50)
        receipt = "; ".join(told.news(r for r in found if r.controller == NAME))
    except VagusError as error:
        receipt = f"(vagus: {error})"
    limit = float("nan") if told.limit is None or phase != "hog" else told.limit
    return Second(tick, phase, p50, p95, len(latencies), hog_cores, limit, status, accusers, receipt)


def _hog_usage(stage: Stage) -> Iterator[float]:
    """Cores that the hog used since the last time asked."""
    before, then = 0.0, time.monotonic()
    while True:
        total = 0.0
        for process in stage.hogs:
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(process.pid).cpu_times()
                total += times.user + times.system
        now = time.monotonic()
        yield max(0.0, total - before) / max(1e-3, now - then)
        before, then = total, now


def _tell(console: Console, second: Second, before: Second | None) -> None:
    """A line when something changed, and every fifth second."""
    verdict = second.status if not second.accusers else f"{second.status}, accused by {', '.join(second.accusers)}"
    changed = before is None or before.status != second.status or second.receipt != before.receipt
    if not changed and second.t_s % 5:
        return
    colour = {"HEALTHY": "green", "UNHEALTHY": "red"}.get(second.status, "yellow")
    line = f"[{second.t_s:3.0f} s] p95 {second.p95_ms:6.0f} ms   neighbour {second.hog_cores:4.1f} cores   demo:web {verdict}"
    console.print(
        line, style=colour if before is None or before.status != second.status else "", markup=False, soft_wrap=True
    )
    if second.receipt and (before is None or second.receipt != before.receipt):
        console.print(f"        receipt: {second.receipt}", style="cyan", markup=False, soft_wrap=True)
