"""`vagus demo`: the whole loop in two minutes, on real processes: sense, judge, decide, act, recover."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import sys
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from random import Random

import click
import msgspec
import psutil
from rich.console import Console

from vagus import api
from vagus.api import Vagus
from vagus.cli.demo.load import Load
from vagus.cli.demo.stage import Stage
from vagus.cli.demo.summary import PHASES, Second, figure, finite, summarise, table
from vagus.cli.up import progress
from vagus.config import Config
from vagus.controllers.protect import Protect
from vagus.errors import PeerUnreachable, VagusError
from vagus.model import Receipt

NAME = "demo"
CLIENT = "demo:client"
SUBJECTS = ("demo:web", "demo:db")
WORK_MS = 6.0
RATE = 12.0
WINDOW_S = 3  # latencies of so many seconds make one quantile


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
    "-o", "--output", default="vagus-demo.png", show_default=True, type=click.Path(path_type=Path), help="Figure."
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
    vagus demo
    vagus demo --dry -o /tmp/dry.png
    """
    home = getattr(context.obj, "home", "")
    console = Console(stderr=as_json, highlight=False)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds: groups and processes are removed
    try:
        vagus = api.connect(home=home)
        vagus.status()
    except PeerUnreachable:
        console.print("vagus does not run here yet: starting it (`vagus down` ends it)")
        with progress(console) as say:
            vagus = api.up(Config(home=home), say=say)
    with vagus:
        seconds = _play(vagus, console, total_s, dry)
    summary = summarise(seconds)
    figure(seconds, summary, output)
    if as_json:
        document = {"summary": summary, "seconds": [msgspec.to_builtins(s) for s in seconds], "figure": str(output)}
        sys.stdout.write(json.dumps(finite(document)) + "\n")
        return
    console.print()
    table(console, summary)
    console.print(f"figure: {output}", markup=False, soft_wrap=True)


def _play(vagus: Vagus, console: Console, total_s: float, dry: bool) -> list[Second]:
    """Runs the story; one `Second` for each."""
    cores = os.cpu_count() or 1
    seconds: list[Second] = []
    ends = [total_s * sum(share for _, share in PHASES[: i + 1]) for i in range(len(PHASES))]
    with Stage(WORK_MS) as stage:
        load = Load(stage.url, RATE, Random(7))
        load.start()
        armed = stage.mount is not None and not dry
        where = f"in cgroups below {stage.mount}" if stage.mount else "unconfined: this user may not make cgroups"
        console.print(f"two services under load ({RATE:.0f} requests/s, open loop), {where}; the controller "
                      f"{'is armed' if armed else 'runs dry'}", markup=False, soft_wrap=True)  # fmt: skip
        started, phase, slo_ms, spawned = time.monotonic(), "healthy", float("nan"), False
        usage = _hog_usage(stage)
        window: deque[list[float]] = deque(maxlen=WINDOW_S)
        try:
            while (tick := _next_tick(started)) <= total_s:
                window.append([1000 * x for x in load.window()])
                latencies = sorted(x for part in window for x in part)
                if phase == "healthy" and tick >= ends[0]:
                    slo_ms = max(2.0 * statistics.median(s.p95_ms for s in seconds if s.requests), 6 * WORK_MS)
                    phase = "hog"
                    stage.hog(4 * cores)
                    console.print(
                        f"[{tick:3d} s] a neighbour starts {4 * cores} busy processes "
                        f"(SLO of the client: 95 % within {slo_ms:.0f} ms)",
                        style="bold",
                        markup=False,
                    )
                    _spawn(vagus, stage, armed, cores)
                    spawned = True
                elif phase == "hog" and tick >= ends[1]:
                    phase = "after"
                    stage.end_hog()
                    console.print(f"[{tick:3d} s] the neighbour is done", style="bold", markup=False, soft_wrap=True)
                    if stage.mount is None:  # its process was the target: nothing is left to steer
                        spawned = not vagus.remove(NAME)
                second = _second(vagus, tick, phase, latencies, slo_ms, next(usage))
                seconds.append(second)
                _tell(console, second, seconds[-2] if len(seconds) > 1 else None)
        finally:
            load.stop()
            if spawned:
                with contextlib.suppress(VagusError):
                    vagus.remove(NAME)  # the group may go only when its limit is restored
    return seconds


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


def _second(vagus: Vagus, tick: int, phase: str, latencies: list[float], slo_ms: float, hog_cores: float) -> Second:
    p50, p95 = _quantile(latencies, 0.5), _quantile(latencies, 0.95)
    slow = slo_ms == slo_ms and (not latencies or p95 > slo_ms)
    now_ns = time.time_ns()
    status, accusers, limit, receipt = "?", [], float("nan"), ""
    try:
        verdict = ("UNHEALTHY" if slow else "HEALTHY", 0.0 if p95 != p95 else p95)
        vagus.report("demo:web", {"latency": verdict}, observer=CLIENT)
        inference = vagus.inference("demo:web")
        status = inference.status.name
        accusers = sorted({a for verdict in inference.contexts.values() for a in verdict.accusers})
        receipts = [r for r in vagus.records("receipt", since="30s", limit=20) if r.controller == NAME]
        if receipts:
            newest = receipts[0]
            limit = float("nan") if newest.after is None else newest.after
            if now_ns - newest.t_ns < 1.5e9:
                receipt = _receipt(newest)
    except VagusError as error:
        receipt = f"(vagus: {error})"
    return Second(tick, phase, p50, p95, len(latencies), hog_cores, limit, status, accusers, receipt)


def _receipt(receipt: Receipt) -> str:
    before, after = ("no limit" if v is None else f"{v:.2f}" for v in (receipt.before, receipt.after))
    if receipt.error:
        return f"{receipt.target}: {receipt.error}"
    dry = " (dry: not written)" if receipt.dry else ""
    return f"{receipt.resource} of {receipt.target}: {before} → {after}{dry}, because {receipt.reason}"


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


def _quantile(ordered: list[float], q: float) -> float:
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")


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
