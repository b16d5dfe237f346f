"""Acting on a node: from a state, and from signals, to actions and limits; what a process that acts needs of memory.

Run: python -m benchmarks.control_acting [--json] [--quick]
Times are of the thread's CPU, the best of several rounds. Memory is the resident set of a fresh process that imported
what a controller imports, loaded a checkpoint and acted; the actor's own, with Ray, is in `vagus status`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from vagus.policies import Field
from vagus.policies.control_state import Owed, Past, encode_all, size
from vagus.policies.ddpg import DDPG
from vagus.policies.learned import LearnedLimits

TARGETS, RESOURCES, ROUNDS = (
    8,
    ("cpu_cores", "memory_bytes", "io_bytes_per_s", "net_bytes_per_s", "membw_bytes_per_s"),
    7,
)
ACTS, MEMORY_MIB = 30.0, 150.0

ACTOR = """
import sys
import psutil
import vagus.controllers.joint, vagus.controllers.run, vagus.policies.learned
from benchmarks.control_acting import objective, policy, signals
it = policy(sys.argv[1])
for step in range(200):
    it.step(signals(step), objective(step), float(step))
print(psutil.Process().memory_info().rss)
"""


def signals(step: int) -> dict[str, dict[str, float]]:
    """Of all targets, as a controller sees them."""
    found = {}
    for target in range(TARGETS):
        use = 0.2 + 0.1 * ((step * 7 + target) % 5)
        cpu = {"usage_cores": use, "limit_cores": 1.0, "throttled_ratio": 0.05, "elapsed_s": 1.0, "memory_bytes": 1e8}
        each = {f"use_{name}": use * 1e6 for name in RESOURCES} | {f"limit_{name}": 2e6 for name in RESOURCES}
        found[f"cgroup:s{target}"] = cpu | each
    return found


def objective(step: int) -> dict[str, float]:
    return {
        "latency_s": 0.1 + 0.01 * (step % 20), "slo_s": 0.2, "rate_hz": 50.0 + step % 10,
        "mix_0": 30.0, "mix_1": 15.0, "mix_2": 5.0,
    }  # fmt: skip


def policy(checkpoint: str) -> LearnedLimits:
    field = Field(tuple(signals(0)), dict.fromkeys(RESOURCES, (0.05, 1e9)))
    return LearnedLimits(field, np.random.default_rng(0), checkpoint=checkpoint)


def best_us(call: Callable[[], Any], times: int) -> float:
    found = []
    for _ in range(ROUNDS):
        began_s = time.thread_time()
        for _ in range(times):
            call()
        found.append((time.thread_time() - began_s) / times * 1e6)
    return min(found)


def row(what: str, value: float, unit: str, limit: float | None = None, peer: Any = None) -> dict[str, Any]:
    met = None if limit is None else value <= limit
    bar = "" if limit is None else f"<= {limit:g} {unit}"
    return {"what": what, "value": value, "unit": unit, "bar": bar, "met": met, "peer": peer}


def measured(times: int) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    model = DDPG(size(len(RESOURCES)), len(RESOURCES))
    state, states = (rng.uniform(-1, 1, shape).astype(np.float32) for shape in (model.state_dim, (8, model.state_dim)))
    pasts, owed = [Past(RESOURCES) for _ in range(TARGETS)], Owed()
    for past, seen in zip(pasts, signals(1).values(), strict=True):
        past.note(seen)
    owed.note(objective(1), 1.0)
    one = pasts[:1]
    with tempfile.TemporaryDirectory() as folder:
        file = str(Path(folder) / "ddpg.npz")
        model.save(file)
        whole, now_s, seen, owing = policy(file), [0.0], signals(1), objective(1)

        def step() -> None:
            now_s[0] += 1.0
            whole.step(seen, owing, now_s[0])

        def encoded() -> None:
            model.act(encode_all(one, owed)[0], False)

        done = subprocess.run(
            [sys.executable, "-c", ACTOR, file], check=True, stdout=subprocess.PIPE, text=True, timeout=120
        )
        memory_mib = int(done.stdout) / 2**20
        sizes = f"{model.state_dim} numbers, {len(RESOURCES)} resources"
        return [
            row(f"state → action ({sizes})", best_us(lambda: model.act(state, False), times), "µs", ACTS),
            row("the same, exploring", best_us(lambda: model.act(state), times), "µs", ACTS),
            row("state of one target, encoded → action", best_us(encoded, times // 4), "µs", ACTS),
            row(
                f"states of {TARGETS} targets → actions, at once",
                best_us(lambda: model.act_all(states, False), times),
                "µs",
            ),
            row(
                f"a whole step of the policy, {TARGETS} targets, by target", best_us(step, times // 10) / TARGETS, "µs"
            ),
            row("resident memory of a process that acts", memory_mib, "MiB", MEMORY_MIB),
        ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = measured(500 if options.quick else 5000)
    if options.json:
        print(json.dumps(rows))
        return
    for r in rows:
        met = "" if r["met"] is None else "met" if r["met"] else "NOT MET"
        print(f"{r['what']:60} {r['value']:8.1f} {r['unit']:4} {r['bar']:10} {met}")


if __name__ == "__main__":
    main()
