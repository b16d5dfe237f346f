"""What the demo's run was: a record for each second, a summary, a table, a figure."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from vagus.errors import VagusError

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


def table(console: Console, summary: dict[str, Any]) -> None:
    """Prints the summary."""
    rows = Table("phase", "p95 latency", "its second half", "neighbour", "its second half", "unhealthy", box=None if not console.is_terminal else Table().box)  # fmt: skip
    for name, row in summary["phases"].items():
        rows.add_row(
            name,
            f"{row['p95_ms']:.0f} ms",
            f"{row['p95_ms_second_half']:.0f} ms",
            f"{row['neighbour_cores']:.2f} cores",
            f"{row['neighbour_cores_second_half']:.2f} cores",
            f"{row['unhealthy_s']} s",
        )
    console.print(rows)
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


def finite(value: Any) -> Any:
    """NaN as null: JSON has none."""
    if isinstance(value, dict):
        return {k: finite(v) for k, v in value.items()}
    if isinstance(value, list):
        return [finite(v) for v in value]
    return None if isinstance(value, float) and value != value else value
