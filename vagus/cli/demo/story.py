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
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import click
import msgspec
import psutil
from rich.console import Console
from rich.table import Table

from vagus import api
from vagus.api import Vagus
from vagus.cli.demo.load import Load
from vagus.cli.demo.stage import Stage
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
PHASES = (("healthy", 0.2), ("hog", 0.5), ("after", 0.3))


class Second(msgspec.Struct):
    """What one second of the story looked like; NaN where nothing was measured."""

    t_s: float
    phase: str
    p50_ms: float
    p95_ms: float
    requests: int
    hog_cores: float
    limit_cores: float
    status: str
    accusers: list[str]
    receipt: str


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
    dry: it says what it would do. Starts vagus if it does not run. Ends all that it started; Ctrl-C is safe.

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
        console.print("vagus does not run here yet: starting it")
        vagus = api.up(Config(home=home))
    with vagus:
        seconds = _play(vagus, console, total_s, dry)
    summary = summarise(seconds)
    figure(seconds, summary, output)
    if as_json:
        document = {"summary": summary, "seconds": [msgspec.to_builtins(s) for s in seconds], "figure": str(output)}
        sys.stdout.write(json.dumps(_finite(document)) + "\n")
        return
    console.print()
    _table(console, summary)
    console.print(f"figure: {output}", markup=False)


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
                      f"{'is armed' if armed else 'runs dry'}", markup=False)  # fmt: skip
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
                    console.print(f"[{tick:3d} s] the neighbour is done", style="bold", markup=False)
                    if stage.mount is None:  # its process was the target: nothing is left to steer
                        spawned = not vagus.remove(NAME)
                second = _second(vagus, tick, phase, latencies, slo_ms, next(usage))
                seconds.append(second)
                _tell(console, second, seconds[-2] if len(seconds) > 1 else None)
        finally:
            load.stop()
            if spawned:
                with contextlib.suppress(VagusError):
                    vagus.remove(NAME)
                    _await_gone(vagus)
    return seconds


def _next_tick(started: float) -> int:
    """Waits for the next whole second; seconds that passed meanwhile (a busy machine) are left out, not caught up."""
    tick = int(time.monotonic() - started) + 1
    time.sleep(max(0.0, started + tick - time.monotonic()))
    return tick


def _spawn(vagus: Vagus, stage: Stage, armed: bool, cores: int) -> None:
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


def _await_gone(vagus: Vagus) -> None:
    """The group may be removed only when the controller has restored its limit."""
    deadline = time.monotonic() + 15.0
    while time.monotonic() < deadline:
        actors = [a.name for n in vagus.status() for a in n.actors]
        if not any(f":{NAME}@" in name for name in actors):
            return
        time.sleep(0.2)


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
    console.print(line, style=colour if before is None or before.status != second.status else "", markup=False)
    if second.receipt and (before is None or second.receipt != before.receipt):
        console.print(f"        receipt: {second.receipt}", style="cyan", markup=False)


def summarise(seconds: list[Second]) -> dict[str, Any]:
    """Per phase: median p95, the neighbour's cores; and how long notice, verdict, action and recovery took."""
    phases = {}
    for name, _ in PHASES:
        rows = [s for s in seconds if s.phase == name]
        tail = rows[len(rows) // 2 :]
        phases[name] = {
            "p95_ms": _median([s.p95_ms for s in rows]),
            "p95_ms_second_half": _median([s.p95_ms for s in tail]),
            "neighbour_cores": _median([s.hog_cores for s in rows]),
            "neighbour_cores_second_half": _median([s.hog_cores for s in tail]),
            "unhealthy_s": sum(s.status == "UNHEALTHY" for s in rows),
        }
    start = next((s.t_s for s in seconds if s.phase == "hog"), float("nan"))
    verdict = next((s.t_s for s in seconds if s.phase == "hog" and s.status == "UNHEALTHY"), None)
    action = next((s.t_s for s in seconds if s.phase == "hog" and s.receipt and not s.receipt.startswith("(")), None)
    bad = [s.t_s for s in seconds if s.status == "UNHEALTHY"]
    return {
        "phases": phases,
        "verdict_after_s": None if verdict is None else verdict - start,
        "action_after_s": None if action is None else action - start,
        "recovered_after_s": None if verdict is None or not bad else max(bad) + 1 - start,
    }


def _median(values: list[float]) -> float:
    finite = [v for v in values if v == v]
    return statistics.median(finite) if finite else float("nan")


def _table(console: Console, summary: dict[str, Any]) -> None:
    table = Table("phase", "p95 latency", "its second half", "neighbour", "its second half", "unhealthy", box=None if not console.is_terminal else Table().box)  # fmt: skip
    for name, row in summary["phases"].items():
        table.add_row(
            name,
            f"{row['p95_ms']:.0f} ms",
            f"{row['p95_ms_second_half']:.0f} ms",
            f"{row['neighbour_cores']:.2f} cores",
            f"{row['neighbour_cores_second_half']:.2f} cores",
            f"{row['unhealthy_s']} s",
        )
    console.print(table)
    for key, text in (
        ("verdict_after_s", "verdict"),
        ("action_after_s", "first receipt"),
        ("recovered_after_s", "healthy again"),
    ):
        value = summary[key]
        console.print(
            f"{text}: " + ("never" if value is None else f"{value:.0f} s after the neighbour began"), markup=False
        )


def figure(seconds: list[Second], summary: dict[str, Any], path: Path) -> None:
    """The run as one picture: latency, the neighbour and its limit, the verdict. Raises VagusError."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    t = [s.t_s for s in seconds]
    plot, (top, bottom) = pyplot.subplots(2, 1, figsize=(11, 6.5), sharex=True, height_ratios=(3, 2))
    top.plot(t, [s.p95_ms for s in seconds], color="tab:blue", label="p95 latency of the client")
    top.plot(t, [s.p50_ms for s in seconds], color="tab:blue", alpha=0.4, label="p50")
    top.set_yscale("log")
    top.set_ylabel("latency (ms)")
    bottom.plot(t, [s.hog_cores for s in seconds], color="tab:red", label="neighbour uses")
    bottom.step(t, [s.limit_cores for s in seconds], color="black", linestyle="--", where="post", label="its limit")
    bottom.set_ylabel("cores")
    bottom.set_xlabel("seconds")
    shades: list[tuple[Any, Callable[[Second], bool], str, str]] = [
        (top, lambda s: s.status == "UNHEALTHY", "tab:red", "verdict on demo:web: UNHEALTHY"),
        (bottom, lambda s: s.phase == "hog", "tab:gray", "neighbour present"),
    ]
    for axis, test, colour, label in shades:
        for i, s in enumerate(x for x in seconds if test(x)):
            axis.axvspan(s.t_s - 1, s.t_s, color=colour, alpha=0.12, linewidth=0, label=label if i == 0 else None)
        axis.grid(alpha=0.3)
        axis.legend(loc="upper right", fontsize=9)
    verdict, recovered = summary["verdict_after_s"], summary["recovered_after_s"]
    told = "no verdict" if verdict is None else f"verdict after {verdict:.0f} s, healthy again after {recovered:.0f} s"
    top.set_title(f"vagus demo: a noisy neighbour; {told}")
    plot.tight_layout()
    try:
        plot.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise VagusError(f"cannot write the figure {path}: {error}") from error
    finally:
        pyplot.close(plot)


def _finite(value: Any) -> Any:
    """NaN as null: JSON has none."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and value != value else value
