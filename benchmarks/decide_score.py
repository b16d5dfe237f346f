"""How well policies decide on real bandwidth traces: `auto` beside our hand-set policies and the peers', one harness.

Five traces, consecutive by file name, are the arms of a set: bandwidth in Mbps, held until the next line, scaled to the
set's range, as long as the shortest of them. Ten sessions a second, noise of .1, rewards 2 s late, ticks of 0.5 s.
Score: 0 as random choice, 1 as an oracle that knows what each arm is worth at each moment; the mean over a family's sets
and seeds. Bars: `auto`, with its defaults, at least the best of all other configurations less .02 in each family, and
.80 (FCC), .70 (Norway). Which configuration is best is seen in hindsight, on the same traces. Peers: pip install
'vagus[bench]'; they take most of the time, minutes with all ten seeds. The best of each library is tabled.

Run: python benchmarks/decide_score.py [--json] [--quick] [--all]
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

from benchmarks.decide_peers import INSTALL, absent, peers
from vagus.controllers.decide.replay import Decides, Setup, replay
from vagus.controllers.decide.trace import GroupTrace, Trace

DATA = Path(__file__).parents[2] / "shared" / "data" / "bandwidth"
FAMILIES = {"fcc": 0.80, "norway": 0.70}
SLACK = 0.02
SETUP = Setup(delay_s=2.0, rate=10.0, noise=0.1, tick_s=0.5)
OURS: dict[str, tuple[str, dict[str, Any]]] = {
    "auto": ("auto", {}),
    "ucb": ("ucb", {}),
    "ucb, bonus 0.1": ("ucb", {"bonus": 0.1}),
    "ucb, bonus 0.2": ("ucb", {"bonus": 0.2}),
    "ucb, gamma 0.8, bonus 0.1": ("ucb", {"gamma": 0.8, "bonus": 0.1}),
    "ucb, gamma 0.9, bonus 0.1": ("ucb", {"gamma": 0.9, "bonus": 0.1}),
    "ucb, gamma 0.9, bonus 0.3": ("ucb", {"gamma": 0.9, "bonus": 0.3}),
    "ucb, gamma 0.95, bonus 0.2": ("ucb", {"gamma": 0.95, "bonus": 0.2}),
    "ucb, gamma 0.98, bonus 0.1": ("ucb", {"gamma": 0.98, "bonus": 0.1}),
    "thompson": ("thompson", {}),
    "thompson, gamma 0.9": ("thompson", {"gamma": 0.9}),
    "thompson, gamma 0.98": ("thompson", {"gamma": 0.98}),
    "epsilon 0.1, window 60": ("epsilon", {}),
    "epsilon 0.1, window 12": ("epsilon", {"window": 12}),
    "epsilon 0.05, window 20": ("epsilon", {"epsilon": 0.05, "window": 20}),
    "restarted": ("restarted", {}),
    "restarted, period 60, bonus 0.2": ("restarted", {"period": 60, "bonus": 0.2}),
    "pytheas, as published": ("pytheas", {}),
    "pytheas, bonus 0.1": ("pytheas", {"bonus": 0.1}),
    "pytheas, bonus 1": ("pytheas", {"bonus": 1.0}),
    "prediction": ("prediction", {}),
    "static": ("static", {}),
}


class Scored(NamedTuple):
    """A configuration's scores: of a family, and by set."""

    name: str
    library: str
    score: float
    sets: tuple[float, ...]


def sets(family: str, *, overlapping: bool = False) -> list[Trace]:
    """Traces of five arms each; overlapping: beginning at every file instead of every fifth, around the end."""
    files = sorted(DATA.glob(f"{family}*"))
    starts = range(len(files)) if overlapping else range(0, len(files) - 4, 5)
    return [_set([files[(start + at) % len(files)] for at in range(5)]) for start in starts]


def _set(files: Sequence[Path]) -> Trace:
    lines = [np.loadtxt(file) for file in files]
    t_s = np.unique(np.concatenate([line[:, 0] for line in lines]))
    t_s = t_s[t_s <= min(line[-1, 0] for line in lines)]
    held = [GroupTrace("", line[:, 0], line[:, 1:2]).at(t_s) for line in lines]
    values = np.concatenate(held, axis=1)
    values = (values - values.min()) / (values.max() - values.min())
    name = f"{files[0].name} to {files[-1].name}"
    return Trace(name, tuple(file.name for file in files), (GroupTrace("all", t_s, values),))


def scored(family: str, seeds: Sequence[int]) -> Iterator[Scored]:
    """Every configuration on a family, ours first."""
    traces = sets(family)
    for name, (policy, options) in OURS.items():
        yield _scored(name, "vagus", traces, policy, options, seeds)
    for name, make in peers().items():
        yield _scored(name, name.partition(" ")[0], traces, make, {}, seeds)


def _scored(
    name: str,
    library: str,
    traces: Sequence[Trace],
    policy: str | Callable[[np.random.Generator], Decides],
    options: dict[str, Any],
    seeds: Sequence[int],
) -> Scored:
    found = replay(traces, policy, options=options, setup=SETUP, seeds=seeds)
    return Scored(name, library, found.score, tuple(found.scores().values()))


def rows(quick: bool, every: bool = False) -> list[dict[str, Any]]:
    """`auto` against the best of all others per family, then the best of each library, or all configurations."""
    seeds = range(2 if quick else 10)
    table: list[dict[str, Any]] = []
    if not DATA.is_dir():
        return [_row(f"no traces at {DATA}", None, None, None)]
    for family, least in FAMILIES.items():
        found = sorted(scored(family, seeds), key=lambda one: -one.score)
        auto = next(one for one in found if one.name == "auto")
        others = [one for one in found if one is not auto]
        bar = max(least, others[0].score - SLACK)
        text = f">= {bar:.3f}: {least:.2f}, and {others[0].name} ({others[0].score:.3f}) - {SLACK}"
        table.append({**_row(f"score, {family}: auto", auto.score, text, auto.score >= bar), "peer": others[0].score})
        for at, score in enumerate(auto.sets):
            best = max(others, key=lambda one: one.sets[at])
            what = f"score, {family}, set {at + 1}: auto (best in hindsight: {best.name})"
            table.append({**_row(what, score, None, None), "peer": best.sets[at]})
        libraries = list(dict.fromkeys(one.library for one in others))
        kept = others if every else [next(one for one in others if one.library == library) for library in libraries]
        table += [_row(f"score, {family}: {_named(one)}", one.score, None, None) for one in kept]
    table += [{**_row(f"{name} is not installed", None, None, None), "unit": INSTALL} for name in absent()]
    return table


def _named(one: Scored) -> str:
    return f"vagus {one.name}" if one.library == "vagus" else one.name


def _row(what: str, value: float | None, bar: str | None, met: bool | None) -> dict[str, Any]:
    value = None if value is None else round(value, 4)
    return {"what": what, "value": value, "unit": "0 random, 1 oracle", "bar": bar, "met": met, "peer": None}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true", help="two seeds instead of ten")
    parser.add_argument("--all", action="store_true", help="every configuration, not the best of each library alone")
    options = parser.parse_args()
    table = rows(options.quick, options.all)
    if options.json:
        print(json.dumps(table))
        return
    for row in table:
        value = "-" if row["value"] is None else f"{row['value']:.3f}"
        peer = "" if row["peer"] is None else f"{row['peer']:.3f}"
        met = "" if row["met"] is None else f"{'met' if row['met'] else 'NOT MET'} {row['bar']}"
        print(f"{row['what']:88} {value:>6} {peer:>6} {met}")


if __name__ == "__main__":
    main()
