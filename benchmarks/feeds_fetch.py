"""Fetch, parse and archive per processor second, beside Prometheus scraping the same bodies from the same server.

200 kept-alive targets on loopback, 1.5 KB bodies. How it is made comparable: the body is Prometheus' text (a name and
a value a line, no labels); each of the two fetches every target once an interval, on its own schedule, into a store on
the same disk; processor seconds are those of the whole process from /proc, all threads, over the same window, and the
server counts what it sent. Prometheus types all values and stores them compressed; vagus keeps the bytes whole (so that
all values can be had later), types five declared fields with errors for each, and makes items. Both are given here:
five fields, and every value typed by the `openmetrics` format.

`flat`: the same runner, tick after tick without waiting, as the figures of pads-d.md were measured.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from benchmarks import shown
from benchmarks.feeds_stage import BODY, SAMPLES, Far, cpu_s, ended, feed, line_of, serving, started

TARGETS = 200
EVERY_S = 0.1
WARM_S = 3.0
RUN_S = 6.0
ROUNDS = 2


def _rate(far: Far, pid: int, warm_s: float, run_s: float) -> float:
    """Bodies per processor second of the process that is fetching them."""
    time.sleep(warm_s)
    bodies, spent = far.bodies(), cpu_s(pid)
    time.sleep(run_s)
    return (far.bodies() - bodies) / (cpu_s(pid) - spent)


def vagus(far: Far, declared: dict[str, Any], folder: str, warm_s: float, run_s: float) -> float:
    """The runner with engine, parser and archive."""
    with started("run", folder, json.dumps([declared])) as process:
        line_of(process)
        rate = _rate(far, process.pid, warm_s, run_s)
        figures = ended(process)["figures"]
    if figures["items_parsed_badly"] or figures["failures"] or figures["archived"] < figures["fetches"]:
        raise RuntimeError(f"not all was fetched, parsed and archived: {figures}")
    return rate


def prometheus(far: Far, locations: list[str], folder: str, warm_s: float, run_s: float) -> float:
    """Debian's prometheus."""
    targets = [location.removeprefix("http://").partition("/")[0] for location in locations]
    every = f"{round(EVERY_S * 1000)}ms"
    config = {
        "global": {"scrape_interval": every, "scrape_timeout": every},
        "scrape_configs": [{"job_name": "bench", "metrics_path": "/ok", "static_configs": [{"targets": targets}]}],
    }
    path = Path(folder) / "prometheus.yml"
    path.write_text(json.dumps(config))  # JSON is YAML
    listen = "127.0.0.1:19190"
    command = [
        "prometheus",
        f"--config.file={path}",
        f"--storage.tsdb.path={folder}/tsdb",
        f"--web.listen-address={listen}",
        "--log.level=error",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            rate = _rate(far, process.pid, warm_s, run_s)
            query = f"http://{listen}/api/v1/query?query=sum(scrape_samples_scraped)"
            with urlopen(query, timeout=10.0) as answer:
                scraped = float(json.load(answer)["data"]["result"][0]["value"][1])
            if scraped < 0.9 * SAMPLES * len(locations):
                raise RuntimeError(f"prometheus read {scraped:.0f} values of {SAMPLES * len(locations)}")
            return rate
        finally:
            process.kill()


def flat(declared: dict[str, Any], folder: str, run_s: float) -> float:
    """The runner without waiting."""
    with started("flat", folder, json.dumps([declared]), str(run_s)) as process:
        return float(json.loads(line_of(process))["rate"])


def measure(rounds: int = ROUNDS, run_s: float = RUN_S) -> dict[str, float]:
    """Bodies per processor second; the better of the rounds of each."""
    has_peer = shutil.which("prometheus") is not None
    found: dict[str, float] = {"body_bytes": len(BODY), "values_in_a_body": SAMPLES, "targets": TARGETS}

    def better(name: str, rate: float) -> None:
        found[name] = max(found.get(name, 0.0), rate)

    with serving() as far:
        locations = [far.url(n) for n in range(TARGETS)]
        five = feed("bench", locations, every=f"{EVERY_S}s", timeout="5s")
        every_value = {**five, "format": "openmetrics", "options": {}}
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as folder, suppress(FileNotFoundError):
                better("vagus_per_cpu_s", vagus(far, five, f"{folder}/five", WARM_S, run_s))
                if has_peer:
                    better("prometheus_per_cpu_s", prometheus(far, locations, folder, WARM_S, run_s))
                better("vagus_every_value_per_cpu_s", vagus(far, every_value, f"{folder}/every", WARM_S, run_s))
                better("flat_per_cpu_s", flat({**five, "every": "60s"}, f"{folder}/flat", run_s / 2))
    if has_peer:
        found["vagus_to_prometheus"] = found["vagus_per_cpu_s"] / found["prometheus_per_cpu_s"]
    return found


if __name__ == "__main__":
    shown.run(__doc__, measure)
