"""Players choose a content network for each session by what earlier sessions saw.

python examples/decide/players.py                 beside a running vagus: `vagus up -c examples/decide/vagus.yaml`
python examples/decide/players.py --in-process    nothing else runs: vagus.Decider, ten minutes in a few seconds
"""

from __future__ import annotations

import argparse
import time
from collections import deque
from collections.abc import Iterator
from random import Random

import world

import vagus
from vagus.model import Decision, Scalar

WATCHED_S = 2.0  # until a session knows how good it was


class Simulated:
    """A clock that is set by hand."""

    t_s = 0.0

    def time_ns(self) -> int:
        return int(self.t_s * 1e9)

    def monotonic_ns(self) -> int:
        return self.time_ns()


class InProcess:
    """The decision service within this program."""

    def __init__(self, clock: Simulated, seed: int) -> None:
        self._decider = vagus.Decider(group_by=("city", "isp"), seed=seed, clock=clock)

    def decide(self, features: dict[str, Scalar], arms: tuple[str, ...]) -> Decision:
        return self._decider.decide(features, arms)

    def update(self, made: Decision, reward: float) -> None:
        self._decider.update(made.decision_id, reward)


class Served:
    """The decision service of this machine's vagus; where none answers, cdn-a."""

    def __init__(self) -> None:
        self._decisions = vagus.decisions(default="cdn-a")

    def decide(self, features: dict[str, Scalar], arms: tuple[str, ...]) -> Decision:
        return self._decisions.decide(features, arms)

    def update(self, made: Decision, reward: float) -> None:
        self._decisions.update(made, reward, wait=False)

    def close(self) -> None:
        counts = self._decisions.counts()
        print(f"{counts['answered']} answered by a gateway, {counts['defaulted']} by the default", end="")
        print(f": {self._decisions.last_error}" if counts["defaulted"] else "")
        self._decisions.close()


def moments(seconds: float, rate: float, clock: Simulated | None) -> Iterator[float]:
    """When sessions begin, seconds after the start: in real time without a clock."""
    start_s = time.monotonic()
    for number in range(int(seconds * rate)):
        t_s = number / rate
        if clock is None:
            time.sleep(max(0.0, start_s + t_s - time.monotonic()))
        else:
            clock.t_s = t_s
        yield t_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--in-process", action="store_true")
    parser.add_argument("--for", dest="seconds", type=float, default=None, help="default: 120; in process 600")
    parser.add_argument("--rate", type=float, default=60.0, help="sessions per second")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = Random(given.seed)
    clock = Simulated() if given.in_process else None
    service: InProcess | Served = InProcess(clock, given.seed) if clock is not None else Served()
    waiting: deque[tuple[float, Decision, float]] = deque()
    seen: list[tuple[float, float, float]] = []  # of each session: its quality, that of a random arm, the best one's

    print("seconds  quality  random  best")
    for t_s in moments(given.seconds or (600.0 if clock else 120.0), given.rate, clock):
        while waiting and waiting[0][0] <= t_s:
            _, made, reward = waiting.popleft()
            service.update(made, reward)
        where = world.session(rng)
        made = service.decide({**where}, world.ARMS)
        worths = {arm: world.worth(where["city"], where["isp"], arm, t_s) for arm in world.ARMS}
        waiting.append((t_s + WATCHED_S, made, worths[made.arm] + rng.gauss(0.0, world.NOISE)))
        seen.append((worths[made.arm], sum(worths.values()) / len(worths), max(worths.values())))
        if len(seen) % int(10 * given.rate) == 0:
            print(f"{t_s:7.0f}  {'  '.join(f'{value:6.2f}' for value in means(seen[-int(10 * given.rate) :]))}")
    quality, random, best = means(seen)
    print(f"score {(quality - random) / (best - random):.2f}: 0 as arms at random, 1 as who knows the best at any time")
    if isinstance(service, Served):
        service.close()


def means(rows: list[tuple[float, float, float]]) -> tuple[float, ...]:
    return tuple(sum(column) / len(rows) for column in zip(*rows, strict=True))


if __name__ == "__main__":
    main()
