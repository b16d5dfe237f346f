"""Gray failures of real servers: what the observers' default strategy concludes, beside a heartbeat and phi-accrual.

    python -m benchmarks.health_gray [--json] [--only NAME] [--strategy paper|weighted] [--seeds 3] [--watch SECONDS]

Each scenario runs for each seed, and once with nothing broken. Bar: convicted within 7 s at a node without a client of
its own, the culprit and nobody else. Needs root, and the programs of Debian's that `benchmarks/gray/servers.py` names;
what is missing is said and the scenario skipped.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.gray.run import folder, run
from benchmarks.gray.scenarios import SCENARIOS, needs
from benchmarks.gray.servers import SERVERS, missing

BAR_S = 7.0
SEEDS = 3
SETTLE_S = 6.0
WATCH_S = 12.0


def skipped(name: str) -> str:
    """Why this machine cannot run a scenario; empty if it can."""
    scenario = SCENARIOS[name]
    if os.geteuid() != 0:
        return "needs root"
    lacks = missing(needs(scenario)) + [module for module in scenario.modules if find_spec(module) is None]
    return f"needs {', '.join(lacks)}" if lacks else ""


def rows(
    names: Iterable[str],
    strategy: str = "paper",
    seeds: int = SEEDS,
    watch_s: float = WATCH_S,
    control: bool = True,
    settle_s: float = SETTLE_S,
) -> Iterable[dict[str, Any]]:
    """What each run found; of a scenario that cannot run {"scenario", "skipped": why}."""
    with folder() as made:
        for name in names:
            why = skipped(name)
            if why:
                yield {"scenario": name, "skipped": why}
                continue
            kind = SCENARIOS[name].server
            template, prepare = Path(made, kind), SERVERS[kind].prepare
            if prepare is not None and not template.exists():
                prepare(template)
            options = {"scenario": name, "strategy": strategy, "template": str(template)}
            options |= {"settle_s": settle_s, "watch_s": watch_s}
            for seed in range(seeds):
                yield {"scenario": name, "seed": seed, **run({**options, "seed": seed, "quiet": False})}
            if control:
                yield {"scenario": name, "seed": 0, "quiet": True, **run({**options, "seed": 0, "quiet": True})}


def passed(row: dict[str, Any]) -> bool:
    """Whether a run meets the bar."""
    if "error" in row or "skipped" in row or row["healthy_touched"]:
        return False
    if row["quiet"]:
        return row["first_anywhere_s"] is None
    return row["convicted_s"] is not None and row["convicted_s"] <= BAR_S


def measure(strategy: str = "paper", seeds: int = SEEDS, watch_s: float = WATCH_S) -> dict[str, Any]:
    """The table, and the bar over all of it."""
    return summary(list(rows(SCENARIOS, strategy, seeds, watch_s)), strategy)


def summary(table: list[dict[str, Any]], strategy: str) -> dict[str, Any]:
    """How many runs met the bar, and the longest time to a conviction."""
    ran = [row for row in table if "skipped" not in row]
    times = [row["convicted_s"] for row in ran if row.get("convicted_s") is not None]
    return {
        "gray_strategy": strategy,
        "gray_scenarios": len({row["scenario"] for row in ran}),
        "gray_runs": len(ran),
        "gray_runs_passed": sum(passed(row) for row in ran),
        "gray_convicted_p50_s": statistics.median(times) if times else None,
        "gray_convicted_max_s": max(times, default=None),
        "gray_skipped": {row["scenario"]: row["skipped"] for row in table if "skipped" in row},
        "gray_table": table,
    }


def line(row: dict[str, Any]) -> str:
    """A row of the table, for people."""
    head = f"{row['scenario']:18} {'quiet' if row.get('quiet') else row.get('seed', ''):>5} "
    if "skipped" in row:
        return f"{head} skipped: {row['skipped']}"
    if "error" in row:
        return f"{head} FAILED: {row['error']}"
    said = {name: _suspicion(row[name]) for name in ("heartbeat", "phi")}
    time_s = "-" if row["convicted_s"] is None else f"{row['convicted_s']:.2f} s"
    return (
        f"{head} {'ok' if passed(row) else 'NOT':3} {time_s:>7}  {row['culprit']:12} {row['status']:10}"
        f" {','.join(row['contexts']):10} accusers {len(row['accusers'])}, others touched {len(row['healthy_touched'])}"
        f"  | heartbeat {said['heartbeat']} | phi {said['phi']}"
    )


def _suspicion(found: dict[str, Any]) -> str:
    others = f", and {','.join(found['others'])}" if found["others"] else ""
    if found["suspected_s"] is None:
        return f"never{others}"
    mind = f", {found['times']} times" if found["times"] > 1 else ""
    mind += "" if found["at_the_end"] else ", not at the end"
    return f"{found['suspected_s']:.1f} s{mind}{others}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", choices=SCENARIOS, action="append")
    parser.add_argument("--strategy", default="paper")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--watch", type=float, default=WATCH_S, metavar="SECONDS")
    parser.add_argument("--no-control", action="store_true")
    given = parser.parse_args()
    table = []
    for row in rows(given.only or SCENARIOS, given.strategy, given.seeds, given.watch, not given.no_control):
        table.append(row)
        if not given.json:
            print(line(row), flush=True)
    found = summary(table, given.strategy)
    if given.json:
        print(json.dumps(found))
        return
    print(
        f"{found['gray_runs_passed']} of {found['gray_runs']} runs met the bar of {BAR_S:.0f} s, longest {found['gray_convicted_max_s']} s"
    )


if __name__ == "__main__":
    main()
