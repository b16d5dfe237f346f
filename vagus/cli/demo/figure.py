"""The demo's run as one picture."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vagus.cli.demo.summary import Second, recovery
from vagus.errors import VagusError

SUFFIXES = (".png", ".pdf", ".svg")


def check_writable(path: Path) -> None:
    """Before the story begins: whether its figure can be written at its end. Raises VagusError."""
    folder = path.parent
    if path.suffix.lower() not in SUFFIXES:
        raise VagusError(f"cannot write the figure {path}: its name must end with {', '.join(SUFFIXES)}")
    if not folder.is_dir():
        raise VagusError(f"cannot write the figure {path}: there is no folder {folder}; make it, or choose another -o")
    if path.is_dir() or not os.access(path if path.exists() else folder, os.W_OK):
        raise VagusError(f"cannot write the figure {path}: not permitted, or a folder; choose another -o")


def spans(seconds: Sequence[Second], test: Callable[[Second], bool]) -> list[tuple[float, float]]:
    """When `test` held, as intervals: what was seen at one second holds until the next one that was seen."""
    found: list[tuple[float, float]] = []
    for i, second in enumerate(seconds):
        if not test(second):
            continue
        end = seconds[i + 1].t_s if i + 1 < len(seconds) else second.t_s
        if found and found[-1][1] == second.t_s:
            found[-1] = (found[-1][0], end)
        else:
            found.append((second.t_s, end))
    return found


def limit_line(seconds: Sequence[Second]) -> tuple[list[float], list[float]]:
    """The limit as steps (seconds, cores); NaN outside of where there was a neighbour with a limit."""
    t: list[float] = []
    cores: list[float] = []
    for second in seconds:
        limit = second.limit_cores if second.phase == "hog" else float("nan")
        if limit != limit and cores and cores[-1] == cores[-1]:  # it held up to here, where it ended
            t.append(second.t_s)
            cores.append(cores[-1])
        t.append(second.t_s)
        cores.append(limit)
    return t, cores


def figure(seconds: Sequence[Second], summary: dict[str, Any], path: Path) -> None:
    """Draws latency, the neighbour and its limit, the verdict. Raises VagusError."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    t = [s.t_s for s in seconds]
    plot, (top, bottom) = pyplot.subplots(2, 1, figsize=(11, 6.5), sharex=True, height_ratios=(3, 2))
    top.plot(t, [s.p95_ms for s in seconds], color="tab:blue", label="p95 latency of the client")
    top.plot(t, [s.p50_ms for s in seconds], color="tab:blue", alpha=0.4, label="p50")
    top.set_yscale("log")
    top.set_ylabel("latency (ms)")
    slo_ms = summary["slo_ms"]
    if slo_ms == slo_ms:
        top.axhline(slo_ms, color="tab:green", linestyle=":", label=f"the client's SLO: p95 within {slo_ms:.0f} ms")
    bottom.plot(t, [s.hog_cores for s in seconds], color="tab:red", label="neighbour uses")
    its_limit = "its limit" if summary["armed"] else "limit it would get (dry)"
    bottom.step(*limit_line(seconds), color="black", linestyle="--", where="post", label=its_limit)
    bottom.set_ylabel("cores")
    bottom.set_xlabel("seconds")
    shades: list[tuple[Any, Callable[[Second], bool], str, str]] = [
        (top, lambda s: s.status == "UNHEALTHY", "tab:red", "verdict on demo:web: UNHEALTHY"),
        (bottom, lambda s: s.phase == "hog", "tab:gray", "neighbour present"),
    ]
    for axis, test, colour, label in shades:
        for i, (begin, end) in enumerate(spans(seconds, test)):
            axis.axvspan(begin, end, color=colour, alpha=0.12, linewidth=0, label=label if i == 0 else None)
        axis.grid(alpha=0.3)
        axis.legend(loc="best", fontsize=9)
    verdict = summary["verdict_after_s"]
    told = "no verdict" if verdict is None else f"verdict after {verdict:.0f} s, healthy again: {recovery(summary)}"
    top.set_title(f"vagus demo: a noisy neighbour; {told}", fontsize=11)
    plot.tight_layout()
    try:
        plot.savefig(path, dpi=110)
    except (OSError, ValueError) as error:
        raise VagusError(f"cannot write the figure {path}: {error}") from error
    finally:
        pyplot.close(plot)
