"""Runs the parts of a benchmark, each in a process of its own, and prints their rows.

A part is a module `benchmarks.NAME_PART` that prints a JSON list of rows (`what`, `value`, `unit`, `bar`, `met`, `peer`).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PART_S = 3600.0


def run(name: str, part: str, quick: bool, part_s: float = PART_S) -> list[dict[str, Any]]:
    """The rows of a part; one that says why, if it is not there or failed."""
    if importlib.util.find_spec(f"benchmarks.{name}_{part}") is None:
        return [_row(part, "this part is not here")]
    command = [sys.executable, "-m", f"benchmarks.{name}_{part}", "--json", *(["--quick"] if quick else [])]
    try:
        done = subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=part_s)
        found: Any = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return [_row(part, f"{type(error).__name__}: {error}"[:500])]
    rows: list[dict[str, Any]] = found if isinstance(found, list) else found.get("rows", [])
    return [{"part": part, **row} for row in rows]


def _row(part: str, why: str) -> dict[str, Any]:
    return {"part": part, "what": why, "value": None, "unit": "", "bar": None, "met": None, "peer": None}


def main(name: str, parts: Sequence[str], about: str | None, part_s: float = PART_S) -> None:
    """The command line of the benchmark `name`. part_s: how long a part may take."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="shorter, less exact")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts)
    parser.add_argument("--skip", nargs="+", choices=parts, default=())
    options = parser.parse_args()
    began, load = time.monotonic(), os.getloadavg()[0]
    rows = [row for part in options.only if part not in options.skip for row in run(name, part, options.quick, part_s)]
    if options.json:
        ran = {"load_before": load, "cpus": os.cpu_count(), "took_s": round(time.monotonic() - began, 1)}
        print(json.dumps({"rows": rows, **ran}))
        return
    for row in rows:
        value = row["value"]
        shown = (
            "-" if value is None else f"{value:,.3f}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
        )
        met = "" if row["met"] is None else "met" if row["met"] else "NOT MET"
        peer = "" if row.get("peer") is None else f"  peer {row['peer']}"
        print(f"{row['part']:7} {row['what'][:72]:72} {shown:>14} {row['unit']:10} {row['bar'] or '':12} {met}{peer}")
    print(f"load before: {load:.2f} on {os.cpu_count()} processors")
