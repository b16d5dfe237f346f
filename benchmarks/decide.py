"""What a decision costs: the table, the learner, the tick; against a plain epsilon-greedy loop, and river if present.

Run: python benchmarks/decide.py [--json]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from random import Random

from vagus.controllers.decide.table import DecisionTable
from vagus.controllers.learner import DecisionService
from vagus.model import Reward
from vagus.policies import OLD_BANDITS

ARMS = [f"arm{at}" for at in range(10)]
WORTH = {arm: at / 10 for at, arm in enumerate(ARMS)}
FEATURES = {"isp": "comcast", **{f"feature{at}": f"value{at}" for at in range(14)}}
BATCH = 1000


def per_second(work: Callable[[], int], budget_s: float = 0.8) -> float:
    """Items per second of CPU, best of three rounds; `work` returns how many items it did."""
    best = 0.0
    for _ in range(3):
        count, begin = 0, time.process_time()
        while (spent := time.process_time() - begin) < budget_s / 3:
            count += work()
        best = max(best, count / spent)
    return best


def epsilon_greedy() -> Callable[[], int]:
    """The plainest loop that decides and learns: no ids, no log, no propensities."""
    rng = Random(1)
    sums, counts = [0.0] * len(ARMS), [1e-9] * len(ARMS)

    def work() -> int:
        for _ in range(BATCH):
            if rng.random() < 0.1:
                at = int(rng.random() * len(ARMS))
            else:
                means = [total / count for total, count in zip(sums, counts, strict=True)]
                at = means.index(max(means))
            sums[at] += WORTH[ARMS[at]]
            counts[at] += 1.0
        return BATCH

    return work


def decide_only(features: dict[str, str]) -> Callable[[], int]:
    table = DecisionTable(Random(1), ("isp",))
    table.replace(_taught("ucb").snapshot)

    def work() -> int:
        for _ in range(BATCH):
            table.decide(features, ARMS, 0)  # type: ignore[arg-type]
        return BATCH

    return work


def _service(policy: str, **options: float) -> DecisionService:
    return DecisionService(
        lambda rng: OLD_BANDITS.make(policy, rng, **options), Random(1), policy=policy, group_by=("isp",)
    )


def _taught(policy: str, groups: int = 1) -> DecisionService:
    # Without discount: however often the benchmark ticks, there is evidence to weigh.
    service, table = _service(policy, gamma=1.0), DecisionTable(Random(1), ("isp",))
    for group in range(groups):
        name = "comcast" if groups == 1 else f"isp{group}"
        decisions = [table.decide({"isp": name}, ARMS, 0) for _ in range(20)]
        service.decided(decisions, 0)
        service.rewarded([Reward(d.decision_id, 0, WORTH[d.arm]) for d in decisions], 0)
    service.tick(0)
    return service


def decide_and_learn(policy: str) -> Callable[[], int]:
    service, table = _service(policy), DecisionTable(Random(1), ("isp",))

    def work() -> int:
        decisions = [table.decide(FEATURES, ARMS, 0) for _ in range(BATCH)]  # type: ignore[arg-type]
        service.decided(decisions, 0)
        service.rewarded([Reward(d.decision_id, 0, WORTH[d.arm]) for d in decisions], 0)
        table.replace(service.tick(0))
        return BATCH

    return work


def tick(policy: str, groups: int = 100) -> Callable[[], int]:
    service = _taught(policy, groups)

    def work() -> int:
        service._active.update(service._groups)  # all groups have news
        service.tick(0)
        return groups

    return work


def river() -> Callable[[], int] | None:
    try:
        from river.bandit import UCB
    except ImportError:
        return None
    policy = UCB(delta=1, seed=1)
    arms = list(range(len(ARMS)))

    def work() -> int:
        for _ in range(BATCH):
            at = policy.pull(arms)
            policy.update(at, at / 10)
        return BATCH

    return work


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    loops: dict[str, Callable[[], int] | None] = {
        "epsilon-greedy in pure Python, decide + update": epsilon_greedy(),
        "vagus decide, 1 feature": decide_only({"isp": "comcast"}),
        "vagus decide, 15 features": decide_only(FEATURES),
        "vagus decide + update, ucb, batches of 1000": decide_and_learn("ucb"),
        "vagus decide + update, thompson, batches of 1000": decide_and_learn("thompson"),
        "vagus tick, ucb, groups": tick("ucb"),
        "vagus tick, thompson, groups": tick("thompson"),
        "river UCB, decide + update": river(),
    }
    rates = {name: per_second(work) for name, work in loops.items() if work is not None}
    peer = next(iter(rates.values()))
    rows = [
        {
            "what": name,
            "per_s": round(rate),
            "us": round(1e6 / rate, 2),
            "ratio_to_epsilon_greedy": round(rate / peer, 2),
        }
        for name, rate in rates.items()
    ]
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    print(f"{'10 arms, one thread':52} {'per s':>10} {'µs':>9} {'ratio':>6}")
    for row in rows:
        print(f"{row['what']:52} {row['per_s']:>10,} {row['us']:>9} {row['ratio_to_epsilon_greedy']:>6}")
    if loops["river UCB, decide + update"] is None:
        print("river is not installed: pip install 'vagus[bench]'")


if __name__ == "__main__":
    main()
