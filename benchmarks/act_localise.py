"""Culprits of known faults: OnlineBoutique's resource faults, and faults in simulated applications; no label is used.

Run: python -m benchmarks.act_localise [--json] [--quick]
Peer: the paper's RI times CI alone, on the same critical paths. The simulated applications (tests/fixtures) differ in
shape, depth, replicas, clients' spans, clocks, loss, drift and mix; their seeds are not those that it was made with.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Any

from tests.fixtures.localised import CODE, DATA, NORMAL, Found, real, real_faults, resource_faults, simulated

SEEDS = range(1000, 1200)
LABELLED = 30  # injections that the SVM learns from


def row(
    what: str, value: float | None, unit: str, bar: str = "", met: bool | None = None, peer: Any = None
) -> dict[str, Any]:
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": peer}


def on_real_data() -> list[dict[str, Any]]:
    faults = resource_faults()
    found = [f for _, f in real(faults)]
    first, three = shares(found)
    paper = sum(f.paper == 0 for f in found)
    rows = [
        row("OnlineBoutique: culprit first", first, f"of {len(found)}", ">= 13 of 14", first >= 13 and len(found) == 14,
            f"RI·CI {paper} of {len(found)}"),
        row("OnlineBoutique: culprit in the first three", three, f"of {len(found)}", "14 of 14", three == 14 == len(found),
            f"RI·CI {sum(f.paper < 3 for f in found)} of {len(found)}"),
    ]  # fmt: skip
    rest = [f for f in real_faults() if f.files and f not in faults]
    for what, some in (
        ("one minute of spans", [f for f in rest if f.kind not in CODE]),
        ("faults of code", [f for f in rest if f.kind in CODE]),
    ):
        others = [f for _, f in real(some)]
        rows.append(row(f"OnlineBoutique, {what}: culprit first", shares(others)[0], f"of {len(others)}"))
    files = sorted((DATA / "trace").glob("*.csv.gz"))
    began = time.perf_counter()
    for path in files:
        subprocess.run(
            [sys.executable, "-m", "vagus", "localize", str(path), "--normal", str(NORMAL), "--json"],
            check=True,
            stdout=subprocess.DEVNULL,
        )
    took = (time.perf_counter() - began) / len(files)
    rows.append(row(f"vagus localize, each of {len(files)} files of a minute, with the healthy one", took, "s"))
    return rows


def shares(found: list[Found]) -> tuple[int, int]:
    return sum(f.place == 0 for f in found), sum(f.place < 3 for f in found)


def on_simulated(quick: bool) -> list[dict[str, Any]]:
    cases = [c for seed in (SEEDS[:30] if quick else SEEDS) if (c := simulated(seed)) is not None]
    rows = []
    for what, some in (
        ("simulated applications", cases),
        ("… with clients' spans", [c for c in cases if c[0].clients]),
        ("… with servers' spans only", [c for c in cases if not c[0].clients]),
        *((f"… {shape}", [c for c in cases if c[0].shape == shape]) for shape in ("star", "chain", "layered", "hub")),
        *(
            (f"… {kind.replace('_', ' ')}", [c for c in cases if c[1].kind == kind])
            for kind in sorted({c[1].kind for c in cases})
        ),
    ):
        found = [f for _, _, f in some]
        if found:
            first, three = shares(found)
            paper = sum(f.paper == 0 for f in found) / len(found)
            rows.append(
                row(f"{what} ({len(found)}): culprit first", first / len(found), "share", peer=f"RI·CI {paper:.2f}")
            )
            rows.append(row(f"{what} ({len(found)}): culprit in the first three", three / len(found), "share"))
    return rows


def learned(quick: bool) -> list[dict[str, Any]]:
    """The SVM: trained on injections into some applications, asked about others."""
    from sklearn.metrics import roc_auc_score

    from vagus.controllers.localise.svm import Svm, row_of

    svm = Svm()
    count = 12 if quick else LABELLED
    truth: list[bool] = []
    chances: list[float] = []
    plain: list[float] = []
    for n, seed in enumerate(range(2000, 2000 + 3 * count)):
        case = simulated(seed)
        if case is None:
            continue
        _, fault, found = case
        rows = [row_of(s, found.ranking.requests) for s in found.ranking.suspects]
        critical = [s.component == fault.pod for s in found.ranking.suspects]
        if n < count:
            svm.learn(rows, critical)
        else:
            truth += critical
            chances += [p or 0.0 for p in svm.probability(rows)]
            plain += [s.features["ri"] * s.features["ci"] for s in found.ranking.suspects]
    auc, peer = float(roc_auc_score(truth, chances)), float(roc_auc_score(truth, plain))
    return [
        row(f"SVM, {count} injections, asked about others: AUC", auc, "", peer=f"RI·CI {peer:.2f}, paper's SVM .98")
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = [
        *(on_real_data() if NORMAL.is_file() else [row("OnlineBoutique's data is not here", None, "", ">= 13 of 14")])
    ]
    rows += [*on_simulated(options.quick), *learned(options.quick)]
    if options.json:
        print(json.dumps(rows))
        return
    for r in rows:
        value = "-" if r["value"] is None else f"{r['value']:.3g}"
        met = "" if r["met"] is None else "met" if r["met"] else "NOT MET"
        print(f"{r['what']:82} {value:>6} {r['unit']:7} {r['bar']:12} {met:8} {r['peer'] or ''}")


if __name__ == "__main__":
    main()
