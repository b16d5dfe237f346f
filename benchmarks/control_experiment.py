"""Policies on the real application: late requests and requested CPU, beside the baselines, and DDPG's own share.

Run: python -m benchmarks.control_experiment [--json] [--quick] [--minutes M] [--seeds N] [--from FOLDER] [-o FOLDER]
Takes two hours: six policies, three seeds, five minutes each (and its warm-up); --quick: one seed, a minute each.
--from reads what an earlier run left, and runs nothing. The traces are Autothrottle's where they are beside the project
(../shared/data), the product of the diurnal and the noisy one; else those of the example. Needs root.
The first half of the hour is for this, the last quarter for tuning (examples/social_network/tuning.yaml).
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vagus.cli.experiment.slo_results import Results, load
from vagus.cli.experiment.slo_table import summary

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "social_network"
DATA = ROOT.parent / "shared" / "data" / "autothrottle"
POLICIES = ("none", "hpa", "aimd", "throttle", "ddpg", "ddpg-unguarded")
BASELINES = ("hpa", "aimd")
OWN_RATIO = 0.5
SAME_RATIO = 0.01  # CPU that differs by less is the same
RATE_HZ = 45.0  # half a core of work on two


def traces() -> list[Path]:
    """The real ones where they are, else the example's."""
    real = [DATA / "diurnal.txt", DATA / "noisy.txt"]
    return real if all(path.exists() for path in real) else [EXAMPLE / "traces" / "diurnal-noisy.txt"]


def run(folder: Path, policies: Sequence[str], seeds: int, minutes: float, more: Sequence[str] = ()) -> Results:
    """Runs what is not in the folder yet, with `vagus experiment slo`; its progress goes to standard error."""
    command = [sys.executable, "-m", "vagus", "experiment", "slo", "--policies", ",".join(policies)]
    command += ["--app", str(EXAMPLE / "app.yaml"), "--seeds", str(seeds), "--minutes", f"{minutes:g}"]
    command += ["--rate", f"{RATE_HZ:g}", "--warm", "60s"]
    for path in traces():
        command += ["--trace", str(path)]
    command += [*more, "--resume", "-o", str(folder)]
    # not subprocess.run: it kills who is interrupted, in the middle of undoing
    with subprocess.Popen(command, cwd=ROOT, stdout=sys.stderr) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            status = process.wait()
        except KeyboardInterrupt:
            process.wait()  # it got Ctrl-C, too
            raise
    if status:
        sys.exit(f"the experiment ended with status {status}; what it did is in {folder}")
    return load(folder)


def row(what: str, value: float | None, unit: str, bar: str | None = None, met: bool | None = None) -> dict[str, Any]:
    """A row as benchmarks print them."""
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": None}


def figures(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What each policy did."""
    found = []
    for one in table:
        name = one["variant"]
        found.append(row(f"{name}: late requests", _times(one["violation_ratio"], 100), "%"))
        found.append(row(f"{name}: P99", _times(one["p99_s"], 1000), "ms"))
        found.append(row(f"{name}: requested", one["requested_cores"], "cores"))
        found.append(row(f"{name}: used", one["used_cores"], "cores"))
        found.append(row(f"{name}: hogs mitigated after, median", one["hogs"]["mitigation_s"], "s"))
        if one["own_ratio"] is not None:
            found.append(row(f"{name}: own wishes in force", _times(one["own_ratio"], 100), "%"))
    return found


def bars(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Fewer late requests than each baseline at no more requested CPU; DDPG's own share. None: not measured."""
    by_name = {one["variant"]: one for one in table}
    found = []
    for name in ("throttle", "ddpg"):
        for other in BASELINES:
            ours, theirs = by_name.get(name), by_name.get(other)
            late = _ratio(ours, theirs, "violation_ratio")
            cores = _ratio(ours, theirs, "requested_cores")
            met = None if late is None or cores is None else late < 1
            found.append(row(f"{name}: late requests ÷ {other}'s", late, "", "< 1", met))
            met = None if cores is None else cores <= 1 + SAME_RATIO
            found.append(row(f"{name}: requested CPU ÷ {other}'s", cores, "", "≤ 1", met))
    own = by_name.get("ddpg", {}).get("own_ratio")
    found.append(
        row("ddpg: own wishes in force", _times(own, 100), "%", "≥ 50 %", None if own is None else own >= OWN_RATIO)
    )
    return found


def _ratio(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None, figure: str) -> float | None:
    if ours is None or theirs is None or ours[figure] is None or theirs[figure] is None:
        return None
    if not theirs[figure]:
        return 1.0 if not ours[figure] else float("inf")
    return float(ours[figure] / theirs[figure])


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def options(about: str | None) -> argparse.ArgumentParser:
    """What both benchmarks on the application are told."""
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--from", dest="from_", type=Path, help="a folder with results; runs nothing")
    parser.add_argument("-o", "--output", type=Path, help="keeps the results there, and goes on with what is there")
    return parser


def shown(rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Prints the rows."""
    if as_json:
        print(json.dumps(rows))
        return
    for one in rows:
        value = "–" if one["value"] is None else f"{one['value']:.3f}"
        met = "" if one["met"] is None else "met" if one["met"] else "NOT MET"
        print(f"{one['what']:44} {value:>10} {one['unit']:6} {one['bar'] or '':8} {met}")


def main() -> None:
    given = options(__doc__).parse_args()
    inject = ["--inject", str(EXAMPLE / "inject.yaml")]
    if given.from_:
        results = load(given.from_)
    else:
        seeds, minutes = (1, 1.0) if given.quick else (given.seeds, given.minutes)
        with tempfile.TemporaryDirectory(prefix="vagus-experiment-") as folder:
            results = run(given.output or Path(folder), POLICIES, seeds, minutes, inject)
    table = summary(results)
    shown([*figures(table), *bars(table)], given.json)


if __name__ == "__main__":
    main()
