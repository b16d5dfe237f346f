"""One-step errors of the forecaster bank on real series, and what it costs; against last value and against NWS' choice.

Errors: mean absolute ones after a warm-up of 50 values, relative to last value's, geometric mean over the files.
Peers in the same run, over the same forecasters: the Network Weather Service's choice (the one with the least mean
squared error so far), and the best single forecaster of each file in hindsight.
How the settings were chosen: `--choose` scores a grid, each file by the setting that is best on all the others. The
scores hardly depend on it; of those near the best the one was taken that is least often worse than last value on the
containers' series, which no forecaster was made for.
Cost: CPU seconds of update, predict and mse of 1000 series at once, of the trends, and of one series alone.

Run: python benchmarks/forecast.py [--json] [--choose]
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # run as a file, from anywhere

from benchmarks.bars import at_most, judge
from vagus.cli.forecast import read_column
from vagus.forecast import Bank
from vagus.forecast.bank import Array
from vagus.forecast.score import WARM_UP, score
from vagus.forecast.trend import Trend

DATA = Path(__file__).parents[2] / "shared" / "data"
SETS = {
    "nab": ("nab/*.csv", ""),
    "norway": ("bandwidth/norway*", "2"),
    "fcc": ("bandwidth/fcc*", "2"),
    "requests": ("autothrottle/*.txt", ""),
    "containers": ("onlineboutique/metric/*_metric.csv.gz", ""),  # every changing column of numbers
}
BARS = (at_most("nab", "ratio", 0.60), at_most("norway", "ratio", 1.02), at_most("cost", "core_share", 0.05))
SERIES = 1000
GRID = [
    {"decay": decay, "sharpness": sharpness, "head_start": head_start}
    for decay in (0.95, 0.97, 0.98, 0.99)
    for sharpness in (10.0, 20.0, 30.0)
    for head_start in (1.0, 10.0, 100.0)
]


def read(name: str) -> tuple[list[str], Array]:
    """The names of a set's files and their values side by side, float64[rows, files]; NaN below the shorter ones."""
    pattern, column = SETS[name]
    files = sorted(DATA.glob(pattern))
    names = [file.name for file in files]
    if pattern.endswith(".gz"):
        found = [pair for file in files for pair in columns_of(file)]
        names, series = [label for label, _ in found], [values for _, values in found]
    else:
        series = [np.array(read_column(file, column)[1]) for file in files]
    columns = np.full((max(map(len, series)), len(series)), np.nan)
    for at, values in enumerate(series):
        columns[: len(values), at] = values
    return names, columns


def columns_of(file: Path) -> list[tuple[str, Array]]:
    """The columns of a compressed CSV file that are numbers, and more than one number."""
    with gzip.open(file, "rt", newline="") as opened:
        names, *rows = csv.reader(opened)
    found = []
    for at, name in enumerate(names):
        try:
            values = np.array([float(row[at] or "nan") for row in rows])
        except ValueError:
            continue
        known = np.isfinite(values)
        if "time" not in name.lower() and known.sum() > 2 * WARM_UP and np.ptp(values[known]) > 0:
            found.append((f"{file.name.partition('-')[0]}.{name}", values))
    return found


def geometric(ratios: Array) -> float:
    """The geometric mean; a ratio of next to nothing (a series that is foreseen exactly) counts as 0.001."""
    return float(np.exp(np.log(np.maximum(ratios[np.isfinite(ratios)], 1e-3)).mean()))


def nws_ratio(columns: Array) -> Array:
    """Of choosing the forecaster with the least mean squared error so far, float64[n]."""
    bank = Bank(columns.shape[1])
    squares = np.zeros((len(bank.names), bank.n))
    last_at, n = bank.names.index("last"), np.arange(bank.n)
    own, lasts, shown = np.zeros(bank.n), np.zeros(bank.n), np.zeros(bank.n)
    for seen in columns:
        present = np.isfinite(seen)
        each = np.abs(bank.predictions() - seen)
        counts = present & (shown >= WARM_UP)
        own += np.where(counts, each[squares.argmin(axis=0), n], 0.0)
        lasts += np.where(counts, each[last_at], 0.0)
        squares += np.where(present & (shown > 0), each * each, 0.0)
        shown += present
        bank.update(seen)
    return own / lasts


def errors() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SETS:
        files, columns = read(name)
        result = score(columns)
        worst = int(np.nanargmax(result.ratio))
        each = result.mae_each / result.mae_last
        found[name] = {
            "files": len(files),
            "ratio": geometric(result.ratio),
            "worst": float(result.ratio[worst]),
            "worst_file": files[worst],
            "above_1.02": int((result.ratio > 1.02).sum()),
            "nws_choice": geometric(nws_ratio(columns)),
            "best_in_hindsight": geometric(np.fmin.reduce(each)),
            "each": {of: geometric(each[at]) for at, of in enumerate(result.bank.names)},
            "by_file": dict(zip(files, map(float, result.ratio), strict=True)),
        }
    return found


def cost() -> dict[str, Any]:
    """CPU milliseconds a tick; the best of five rounds, for the machine is noisy."""
    walks = np.random.default_rng(1).normal(size=(140, SERIES)).cumsum(axis=0)
    bank, single, trend = Bank(SERIES), Bank(1), Trend(SERIES)
    for row in walks[:60]:
        bank.update(row)
        single.update(row[:1])
        trend.update(row)

    def per_tick(work: Any) -> float:
        best = float("inf")
        for _ in range(5):
            begin = time.process_time()
            for row in walks[60:]:
                work(row)
            best = min(best, (time.process_time() - begin) / len(walks[60:]))
        return best * 1e3

    def tick(row: Array) -> None:
        bank.update(row)
        bank.predict()
        bank.mse()

    half = np.where(np.arange(SERIES) % 2, np.nan, 0.0)
    bank_ms = per_tick(tick)
    return {
        "series": SERIES,
        "bank_ms": bank_ms,
        "half_missing_ms": per_tick(lambda row: tick(row + half)),
        "trend_ms": per_tick(trend.update),
        "one_series_ms": per_tick(lambda row: single.update(row[:1])),
        "core_share": bank_ms / 1e3,
        "bytes_per_series": bank.bytes_per_series,
        "saved_bytes_per_series": len(bank.dump()) / SERIES,
    }


def choose() -> dict[str, Any]:
    """Leave one out: each file of nab and norway scored by the setting that is best on all the others."""
    sets = {name: read(name)[1] for name in ("nab", "norway")}
    logs = {name: np.array([_log_ratio(columns, **setting) for setting in GRID]) for name, columns in sets.items()}
    answer: dict[str, Any] = {}
    for name, own in logs.items():
        others = sum(log.mean(axis=1) for of, log in logs.items() if of != name)
        left_out = []
        for at in range(own.shape[1]):
            best = int((np.delete(own, at, axis=1).mean(axis=1) + others).argmin())
            left_out.append(own[best, at])
        best = int(sum(log.mean(axis=1) for log in logs.values()).argmin())
        answer[name] = {
            "left_out": float(np.exp(np.mean(left_out))),
            "best_setting": GRID[best],
            "worst_setting": float(np.exp(own.mean(axis=1).max())),
        }
    return answer


def _log_ratio(columns: Array, **setting: float) -> Array:
    return np.log(score(columns, **setting).ratio)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--choose", action="store_true", help="the leave-one-out table too (minutes)")
    options = parser.parse_args()
    answer: dict[str, Any] = {"cost": cost()}
    if DATA.is_dir():
        answer["errors"] = errors()
        if options.choose:
            answer["choose"] = choose()
    answer["bars"] = judge(BARS, answer | answer.get("errors", {}))
    if options.json:
        print(json.dumps(answer, indent=2))
        return
    for name, of in answer.get("errors", {}).items():
        print(
            f"{name:8} {of['files']:3} files  bank {of['ratio']:.3f}  worst {of['worst']:.3f} ({of['worst_file']}), "
            f"{of['above_1.02']} above 1.02  "
            f"NWS' choice {of['nws_choice']:.3f}  best in hindsight {of['best_in_hindsight']:.3f}"
            + "".join(f"  bar {row['bar']}" for row in answer["bars"] if row["part"] == name)
        )
    if "errors" in answer:
        print("each forecaster: " + " ".join(f"{name:>7}" for name in SETS))
        for of in answer["errors"]["nab"]["each"]:
            print(f"  {of:15}" + " ".join(f"{answer['errors'][name]['each'][of]:7.3f}" for name in SETS))
    else:
        print(f"no series at {DATA}: errors left out")
    for name, of in answer.get("choose", {}).items():
        print(
            f"{name}: {of['left_out']:.3f} left out, best {of['best_setting']}, worst setting {of['worst_setting']:.3f}"
        )
    spent = answer["cost"]
    print(
        f"{spent['series']} series: {spent['bank_ms']:.2f} ms CPU a tick ({spent['core_share']:.2%} of a core at 1 Hz, "
        f"bar 5%), half missing {spent['half_missing_ms']:.2f} ms, "
        f"trends {spent['trend_ms']:.2f} ms ({spent['trend_ms'] / spent['bank_ms']:.0%}); "
        f"one series {spent['one_series_ms']:.2f} ms; {spent['bytes_per_series']} bytes a series"
    )


if __name__ == "__main__":
    main()
