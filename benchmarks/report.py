"""All benchmarks in turn, gathered into docs/benchmarks.md with a figure.

    python -m benchmarks.report [--only NAME ...] [--quick] [--rounds 3] [--limit 3600] [--again] [--page]

Each runs in a process of its own, ended after --limit seconds; one that fails, or whose peer is missing, is named and the
next begins. What was measured is kept after each, so a round that was interrupted goes on where it was: what this commit
measured alike is not run again without --again. --page only draws what is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from benchmarks import report_rows

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RESULTS = DOCS / "benchmarks" / "results.json"
ROOMS = ("act", "control", "decide", "feeds", "health")  # each gathers parts that are run here by themselves
HELPERS = ("feeds_stage", "health_nodes", "overhead_work", "report")  # processes that a benchmark starts, and this
PACKAGES = ("vagus", "ray", "numpy", "lmdb", "torch", "stable-baselines3", "river", "vowpalwabbit", "mabwiser")
PROGRAMS = ("prometheus", "prometheus-node-exporter", "nginx", "redis-server")
GRACE_S = 30.0


def names() -> list[str]:
    """The benchmarks: modules of this folder that run, without rooms and helpers."""
    folder = Path(__file__).parent
    found = (path.stem for path in sorted(folder.glob("*.py")) if "__main__" in path.read_text())
    return [name for name in found if name not in ROOMS and name not in HELPERS]


def takes_quick(name: str) -> bool:
    """Whether it has a short form."""
    return '"--quick"' in (ROOT / "benchmarks" / f"{name}.py").read_text()


def machine() -> dict[str, str]:
    """What was measured on, and with which versions; a peer that is missing is said to be."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    mounts = [part for part in psutil.disk_partitions(all=True) if str(ROOT).startswith(part.mountpoint)]
    disk = max(mounts, key=lambda part: len(part.mountpoint)).fstype if mounts else "unknown"
    device = os.stat(ROOT).st_dev
    spins = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/rotational")
    kind = ("spinning" if spins.read_text().strip() == "1" else "not spinning") if spins.exists() else "kind not told"
    return {
        "processor": models[0].partition(":")[2].strip() if models else platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.1f} GiB",
        "disk": f"{disk}, {kind}",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        **{name: _package(name) for name in PACKAGES},
        **{name: _program(name) for name in PROGRAMS},
    }


def speed() -> float:
    """Additions that a loop of this Python does in a millisecond of CPU time: absolute figures stand and fall with it."""
    began_s, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number
    return 1000 / (time.process_time() - began_s)


def _package(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def _program(name: str) -> str:
    if shutil.which(name) is None:
        return "not installed"
    option = "-v" if name == "nginx" else "--version"
    done = subprocess.run([name, option], check=False, capture_output=True, text=True, timeout=30)
    return ((done.stdout or done.stderr).splitlines() or ["unknown"])[0][:60]


def once(command: Sequence[str], limit_s: float) -> tuple[Any, str]:
    """What a benchmark printed as JSON, and what went wrong (empty: nothing). It is gone on return, with its children."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT, start_new_session=True
        )
        problem = ""
        try:
            process.wait(limit_s)
        except subprocess.TimeoutExpired:
            problem = f"did not end within {limit_s:g} s"
        finally:
            _end(process)
        out.seek(0)
        err.seek(0)
        said, errors = out.read(), err.read().strip().splitlines()
    if problem:
        return None, problem
    for text in (said, (said.strip().splitlines() or [""])[-1]):  # one document, or lines of progress before it
        try:
            return json.loads(text), ""
        except ValueError:
            continue
    last = (errors or ["it said nothing"])[-1].replace(str(ROOT), "")[:200]
    return None, f"no figures, exit {process.returncode}: {last}"


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):  # politely first: it restores what it limited
        if process.poll() is None or number == signal.SIGKILL:
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                pass
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            continue


def run(name: str, quick: bool, rounds: int, limit_s: float, commit: str) -> dict[str, Any]:
    """A benchmark's record: so many rounds, fewer when one fails."""
    options = ["--quick"] if quick and takes_quick(name) else []
    made: list[list[dict[str, Any]]] = []
    problem, speed_ms, began_s = "", speed(), time.monotonic()
    while len(made) < rounds and not problem:
        found, problem = once([sys.executable, "-m", f"benchmarks.{name}", *options, "--json"], limit_s)
        rows = report_rows.plain(found, report_rows.bars_of(name))
        if rows:
            made.append(rows)
        problem = problem or ("" if rows else "no figures: is the data that it reads there?")
    return {
        "command": " ".join(["python -m", f"benchmarks.{name}", *options]),
        "commit": commit,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "took_s": round(time.monotonic() - began_s, 1),
        "quick": quick,
        "problem": problem,
        "rounds": made,
        "additions_ms": round(speed_ms),
    }


def kept(path: Path, here: Mapping[str, str]) -> dict[str, Any]:
    """What is kept of this processor; figures of another are not mixed with ours."""
    found = json.loads(path.read_text()) if path.exists() else {"machine": dict(here), "runs": {}}
    same = all(found["machine"].get(what) == here[what] for what in ("processor", "cores"))
    return {"machine": dict(here), "runs": found["runs"] if same else {}}


def write(results: Mapping[str, Any], docs: Path) -> None:
    """The page, its figure and the results, each whole or as before."""
    folder = docs / "benchmarks"
    folder.mkdir(exist_ok=True)
    figures = {name: report_rows.figure_of(results, name) for name in results["runs"]}
    figures["bars"] = report_rows.figure(results, names())
    for path, text in (
        (folder / "results.json", json.dumps(results, indent=1) + "\n"),
        *((folder / f"{name}.svg", text) for name, text in figures.items() if text),
        (docs / "benchmarks.md", report_rows.page(results, names())),
    ):
        draft = path.with_name(f".{path.name}.part")
        draft.write_text(text)
        draft.replace(path)
    for path in folder.glob("*.svg"):
        if not figures.get(path.stem):
            path.unlink()  # of a round that had more to show


def _enough(run: Mapping[str, Any] | None, commit: str, quick: bool, rounds: int) -> bool:
    if run is None or run["problem"]:
        return False
    return (run["commit"], run["quick"]) == (commit, quick) and len(run["rounds"]) >= rounds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=names(), metavar="NAME", default=names())
    parser.add_argument("--quick", action="store_true", help="the short form of those that have one")
    parser.add_argument("--rounds", type=int, default=3, help="of each: their median and spread are told")
    parser.add_argument("--limit", type=float, default=3600.0, metavar="S", help="a round's seconds, then it is ended")
    parser.add_argument("--again", action="store_true", help="also what this commit has measured")
    parser.add_argument("--page", action="store_true", help="run nothing: draw what is kept")
    given = parser.parse_args()
    if not 1 <= given.rounds <= 100 or not 1 <= given.limit <= 86_400:
        parser.error("--rounds is 1 to 100, --limit 1 to 86400")
    if given.page:
        if not RESULTS.exists():
            parser.error("nothing is kept yet: run it without --page")
        write(json.loads(RESULTS.read_text()), DOCS)
        return 0
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], check=False, capture_output=True, text=True, cwd=ROOT
    ).stdout.strip()
    results = kept(RESULTS, machine())
    for place, name in enumerate(given.only, 1):
        before = results["runs"].get(name)
        if not given.again and _enough(before, commit, given.quick, given.rounds):
            continue
        print(f"[{place} of {len(given.only)}] {name}", file=sys.stderr, flush=True)
        results["runs"][name] = done = run(name, given.quick, given.rounds, given.limit, commit or "unknown")
        print(f"    {done['took_s']:.0f} s  {done['problem'] or 'done'}", file=sys.stderr, flush=True)
        write(results, DOCS)
    return int(any(results["runs"].get(name, {}).get("problem") for name in given.only))


if __name__ == "__main__":
    raise SystemExit(main())
