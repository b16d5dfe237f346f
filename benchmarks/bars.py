"""Bars: what the measures of a room's parts must reach. Each part is a module of its own and runs in its own process.

`benchmarks.ROOM` names its parts and bars; the part `submit` of `health` is `python -m benchmarks.health_submit --json`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
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


def run(room: str, part: str) -> dict[str, Any]:
    """The figures of a part, or its error."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{room}_{part}", "--json"],
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


def judge(bars: Sequence[Bar], found: Mapping[str, Found]) -> list[dict[str, Any]]:
    """Each bar whose part ran: value, bar, met (None: not measured)."""
    rows = []
    for part, figure, text, holds in bars:
        if part in found:
            value = found[part].get(figure)
            rows.append(
                {
                    "measure": figure,
                    "part": part,
                    "value": value,
                    "bar": text,
                    "met": value is not None and holds(value, found[part]),
                }
            )
    return rows


def measure(room: str, parts: Sequence[str], bars: Sequence[Bar]) -> dict[str, Any]:
    """Figures by part, the bars, and how busy the machine was."""
    began, load = time.monotonic(), os.getloadavg()[0]
    found: dict[str, Any] = {part: run(room, part) for part in parts}
    return {
        **found,
        "bars": judge(bars, found),
        "load_before": load,
        "cpus": os.cpu_count(),
        "took_s": time.monotonic() - began,
    }


def main(room: str, parts: Sequence[str], bars: Sequence[Bar], about: str | None) -> None:
    """The whole of a room's benchmark."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--skip", nargs="+", choices=parts, default=())
    options = parser.parse_args()
    found = measure(room, [part for part in options.only if part not in options.skip], bars)
    if options.json:
        print(json.dumps(found))
        return
    for part in parts:
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
