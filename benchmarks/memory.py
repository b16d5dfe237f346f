"""How much memory the collector takes over a day, and whether it grows: its own path, driven by a made clock.

    python -m benchmarks.memory [--json] [--hours N] [--no-forecast]

A process of its own makes 3600 ticks for each hour, with real reads of /proc, a real store with its upkeep each
minute, the live view and the reports; RssAnon after each hour. What Ray adds to a real actor is not in it. The slope
is that of the last half, when what is bounded has filled; the bar is 120 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

BAR_MB = 120.0
FLAT_MB_PER_HOUR = 0.2
HEAVY = ("pyarrow", "pandas", "matplotlib", "duckdb", "ray", "pysnmp", "plotext", "scipy")


def rss_anon_mb() -> float:
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")


async def run(hours: int, forecast: bool, folder: Path) -> None:
    """In the measured process: a line of JSON after each hour."""
    from benchmarks.sensed import Sensed
    from vagus.actors.heap import return_large_blocks

    return_large_blocks()  # as the shell around each actor does

    sensed = Sensed(folder, forecast=forecast)
    print(json.dumps({"hour": 0, "rss_anon_mb": rss_anon_mb()}), flush=True)
    now = time.time_ns() // 10**9
    for hour in range(1, hours + 1):
        spent = 0.0
        for _ in range(3600):
            now += 1
            spent += await sensed.tick(now * 10**9)
            if now % 10 == 0:
                sensed.tell()
            if now % 60 == 0:
                sensed.upkeep()
        told = {"hour": hour, "rss_anon_mb": rss_anon_mb(), "cpu_ms_per_tick": spent / 3600, "series": sensed.series}
        print(json.dumps(told), flush=True)
    loaded = [name for name in HEAVY if name in sys.modules]
    print(json.dumps({"heavy_imports": loaded, "failures": sensed.failures[:5]}), flush=True)
    await sensed.close()


def measure(hours: int, forecast: bool, show: bool) -> dict[str, object]:
    """The figures of a measured process."""
    command = [sys.executable, "-m", "benchmarks.memory", "--measured", "--hours", str(hours)]
    command += [] if forecast else ["--no-forecast"]
    rows: list[dict[str, float]] = []
    result: dict[str, object] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if "hour" in told:
                rows.append(told)
                if show:
                    cost = f"{told['cpu_ms_per_tick']:8.2f}" if "cpu_ms_per_tick" in told else ""
                    print(f"{told['hour']:>6}{told['rss_anon_mb']:>12.1f}{cost}", flush=True)
            else:
                result |= told
    if process.returncode:
        raise SystemExit(f"the measured process failed with {process.returncode}")
    half = rows[len(rows) // 2 :]
    slope = (half[-1]["rss_anon_mb"] - half[0]["rss_anon_mb"]) / max(1, len(half) - 1)
    most = max(row["rss_anon_mb"] for row in rows)
    met = most <= BAR_MB and slope <= FLAT_MB_PER_HOUR and not result["heavy_imports"]
    return {
        "hours": rows,
        "most_mb": most,
        "slope_mb_per_hour": slope,
        "bars": [{"measure": "most_mb", "bar": f"<= {BAR_MB:g}", "met": most <= BAR_MB}],
        "met": met,
        **result,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--hours", type=int, default=24)
    parser.add_argument("--no-forecast", action="store_true")
    parser.add_argument("--measured", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    forecast = not options.no_forecast
    if options.measured:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(run(options.hours, forecast, Path(folder)))
        return
    if not options.json:
        print(f"{'hour':>6}{'RssAnon MB':>12}{'ms/tick':>8}")
    result = measure(options.hours, forecast, not options.json)
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"most {result['most_mb']:.1f} MB (bar {BAR_MB:.0f}), {result['slope_mb_per_hour']:+.3f} MB an hour at the end"
    )
    print(f"heavy imports: {', '.join(result['heavy_imports']) or 'none'}; {'met' if result['met'] else 'missed'}")


if __name__ == "__main__":
    main()
