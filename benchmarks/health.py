"""All measures of health, each part in a process of its own, and which of the bars they meet.

    python -m benchmarks.health [--only PART ...] [--skip PART ...] [--json]

Each part runs alone too: `python -m benchmarks.health_submit`. Beside them are measured: Panorama's published code
(figures of a machine like this one: 2.2k to 2.8k submits/s, 2.2 to 3.1 ms to a peer of three), a heartbeat and a
phi-accrual detector (health_gray), a bare scan of logs (health_logs), socket round trips.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
PARTS = ("core", "observe", "submit", "spread", "faults", "sim", "false", "gray", "logs")
PART_S = 3600.0

Found = Mapping[str, Any]


class Bar(NamedTuple):
    """A measure of a part, and what it must be."""

    part: str
    figure: str
    text: str
    holds: Callable[[Any, Found], bool]


def at_most(part: str, figure: str, limit: float) -> Bar:
    return Bar(part, figure, f"<= {limit:g}", lambda value, _: value <= limit)


def at_least(part: str, figure: str, limit: float) -> Bar:
    return Bar(part, figure, f">= {limit:g}", lambda value, _: value >= limit)


def same_as(part: str, figure: str, other: str) -> Bar:
    return Bar(part, figure, f"as {other}", lambda value, found: bool(value == found.get(other)))


BARS = (
    at_most("observe", "context_us", 3.0),
    at_most("observe", "call_cost_ratio", 0.05),
    at_most("submit", "submit_p50_us", 150.0),
    at_least("submit", "submits_pipelined_per_s", 10_000.0),
    at_most("submit", "at_10k_p99_ms", 2.0),
    at_most("submit", "rss_ratio", 1.2),
    at_most("submit", "rss_anon_ratio", 1.2),
    same_as("submit", "killed_accepted_and_kept", "killed_accepted"),
    at_most("spread", "spread_3_p50_ms", 0.8),
    at_most("spread", "spread_8_p50_ms", 2.0),
    at_most("faults", "hung_sender_rss_anon_ratio", 1.2),
    at_least("faults", "hung_dropped", 1.0),
    at_most("faults", "hung_converged_s", 5.0),
    at_most("sim", "rounds_all_worst", 10.0),
    at_most("sim", "rounds_watched_worst", 10.0),
    at_most("false", "false_convictions_weighted_per_hour", 0.0),
    at_least("gray", "gray_scenarios", 8.0),
    same_as("gray", "gray_runs_passed", "gray_runs"),
    at_most("gray", "gray_convicted_max_s", 7.0),
)


def run(part: str) -> dict[str, Any]:
    """The figures of a part, or its error."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.health_{part}", "--json"],
            check=False,
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
            timeout=PART_S,
        )
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
        return found
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return {"error": f"{type(error).__name__}: {error}"[:500]}


def judge(found: Mapping[str, Found]) -> list[dict[str, Any]]:
    """Each bar whose part ran: value, bar, met (None: not measured)."""
    rows = []
    for part, figure, text, holds in BARS:
        if part in found:
            value = found[part].get(figure)
            rows.append(
                {"measure": figure, "value": value, "bar": text, "met": value is not None and holds(value, found[part])}
            )
    return rows


def measure(parts: tuple[str, ...] = PARTS) -> dict[str, Any]:
    """Figures by part, the bars, and how busy the machine was."""
    began, load = time.monotonic(), os.getloadavg()[0]
    found: dict[str, Any] = {part: run(part) for part in parts if (ROOT / f"benchmarks/health_{part}.py").exists()}
    return {
        **found,
        "bars": judge(found),
        "load_before": load,
        "cpus": os.cpu_count(),
        "took_s": time.monotonic() - began,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--skip", nargs="+", choices=PARTS, default=())
    options = parser.parse_args()
    found = measure(tuple(part for part in options.only if part not in options.skip))
    if options.json:
        print(json.dumps(found))
        return
    for part in PARTS:
        for name, value in found.get(part, {}).items():
            print(
                f"{part:8} {name:38} {value:12.3f}"
                if isinstance(value, (int, float))
                else f"{part:8} {name:38} {str(value)[:100]}"
            )
    print(f"\n{'measure':40} {'value':>12}  bar")
    for row in found["bars"]:
        value = "-" if row["value"] is None else f"{row['value']:.3f}"
        print(f"{row['measure']:40} {value:>12}  {row['bar']:16} {'met' if row['met'] else 'NOT MET'}")
    print(f"load before: {found['load_before']:.2f} on {found['cpus']} processors")


if __name__ == "__main__":
    main()
