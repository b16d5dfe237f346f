"""From a CPU hog in a service to requests in time again, under `throttle` and `ddpg`: at least ten hogs each.

Run: python -m benchmarks.control_mitigation [--json] [--quick] [--minutes M] [--seeds N] [--from FOLDER] [-o FOLDER]
A hog of 0.6 cores in the container of a random service, every 25 s or so. Detected: the first half second whose P99 is
over the SLO, or the first in which the service is throttled to excess; mitigated: the end of the first half second
within the SLO that is followed by two seconds of such. The median is of the hogs that broke the SLO: those that no
request was late from are no credit. A hog that ends before it is mitigated counts until its end: censored.
--from reads what an earlier run left, also one of `benchmarks.control_experiment`. Needs root.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.control_experiment import options, row, run, shown
from vagus.cli.experiment.slo_results import load
from vagus.cli.experiment.slo_table import summary

POLICIES = ("throttle", "ddpg")
MITIGATION_S = 2.0
LEAST = 10
CAMPAIGN = """
name: mitigation
seed: 3
repeat: 1000
pause: 9s
injections:
  - {type: cpu, intensity: 0.6 cores, target: "service:any", duration: 12s, jitter: 4s}
"""


def rows_of(table: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The bar for each policy, and what else there is to know."""
    found = []
    for one in table:
        if one["variant"] not in POLICIES:
            continue
        name, hogs = one["variant"], one["hogs"]
        took, enough = hogs["mitigation_s"], hogs["happened"] >= LEAST
        met = took <= MITIGATION_S if took is not None and enough else None  # None also: no hog did any harm
        found += [
            row(f"{name}: hogs", hogs["happened"], "", f"≥ {LEAST}", enough),
            row(f"{name}: of these, detected", hogs["detected"], ""),
            row(f"{name}: of these, broke the SLO", hogs["broke_slo"], ""),
            row(f"{name}: detection → mitigation, median of these", took, "s", f"≤ {MITIGATION_S:g} s", met),
            row(f"{name}: ended before they were mitigated", hogs["censored"], ""),
            row(f"{name}: begin → first raise, median", hogs["raise_s"], "s"),
        ]
    return found


def main() -> None:
    given = options(__doc__).parse_args()
    if given.from_:
        results = load(given.from_)
    else:
        seeds, minutes = (1, 1.0) if given.quick else (given.seeds, given.minutes)
        with tempfile.TemporaryDirectory(prefix="vagus-mitigation-") as scratch:
            campaign = Path(scratch) / "inject.yaml"
            campaign.write_text(CAMPAIGN)
            folder = given.output or Path(scratch) / "results"
            results = run(folder, POLICIES, seeds, minutes, ["--inject", str(campaign)])
    shown(rows_of(summary(results)), given.json)


if __name__ == "__main__":
    main()
