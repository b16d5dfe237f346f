"""What a load is: how many requests, when each is due, what it asks. Pure: the same seed is the same load."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from random import Random

import msgspec

from vagus.errors import ConfigError
from vagus.model import Scalar, check_name

MAX_RATE = 1_000_000.0
MAX_SECONDS = 3600.0
MAX_REQUESTS = 100_000_000
MAX_ARMS = 1000
MAX_FEATURES = 100
FEATURES = tuple(f"f{n}=1..10" for n in range(1, 16))
"""Where nothing is said: 15 whole numbers."""
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)\Z")


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One worker's part of a load.

    rate: decisions per second of all workers; requests: decisions of all workers; number: which of the workers this
    is. updates: the share of decisions whose outcome is told, delay_s after they were due. start_ns: wall time.
    """

    url: str
    token: str
    rate: float
    requests: int
    workers: int = 1
    number: int = 0
    connections: int = 16
    timeout_s: float = 5.0
    updates: float = 1.0
    delay_s: float = 0.5
    features: tuple[str, ...] = FEATURES
    arms: tuple[str, ...]
    poisson: bool = False
    seed: int = 0
    start_ns: int = 0

    @property
    def duration_s(self) -> float:
        """From the first request to the last one."""
        return self.requests / self.rate if self.rate > 0 else math.inf

    def random(self, what: str) -> Random:
        """A generator of this worker's own."""
        return Random(f"{self.seed}/{self.number}/{what}")


def due(plan: Plan) -> Iterator[float]:
    """When each decision of this worker is due, in seconds since the start, growing.

    Evenly: request k of all is due at k / rate, and workers take turns. Poisson: exponential gaps of the worker's own.
    """
    mine = len(range(plan.number, plan.requests, plan.workers))
    if not plan.poisson:
        for k in range(mine):
            yield (plan.number + k * plan.workers) / plan.rate
        return
    rng, at, rate = plan.random("due"), 0.0, plan.rate / plan.workers
    for _ in range(mine):
        at += rng.expovariate(rate)
        yield at


def drawing(specs: Sequence[str], rng: Random) -> Callable[[], dict[str, Scalar]]:
    """What draws features. A spec is `NAME=1..50` (whole numbers), `NAME=0.0..1.0`, `NAME=a|b|c`, `NAME=TEXT`.

    Raises ConfigError.
    """
    if len(specs) > MAX_FEATURES:
        raise ConfigError(f"{len(specs)} features; gateways take at most {MAX_FEATURES}")
    draws = dict(_draw(spec, rng) for spec in specs)
    return lambda: {name: draw() for name, draw in draws.items()}


def _draw(spec: str, rng: Random) -> tuple[str, Callable[[], Scalar]]:
    name, equals, text = spec.partition("=")
    if not (name and equals and text):
        raise ConfigError(f"feature {spec[:80]!r} is not NAME=1..50, NAME=0.0..1.0 or NAME=a|b|c")
    check_name("feature", name)
    bounds = _RANGE.match(text)
    if bounds is None:
        words = text.split("|")
        return name, lambda: rng.choice(words)
    low, high = float(bounds[1]), float(bounds[2])
    if not low <= high:
        raise ConfigError(f"feature {spec[:80]!r}: {bounds[1]} is larger than {bounds[2]}")
    if "." in bounds[1] or "." in bounds[2]:
        return name, lambda: rng.uniform(low, high)
    return name, lambda: rng.randint(int(low), int(high))


def arms_of(text: str) -> tuple[str, ...]:
    """`10`: arm-1 to arm-10; `a,b,c`: these. Raises ConfigError."""
    if text.isascii() and text.isdigit() and len(text) <= 9:
        if not 1 <= int(text) <= MAX_ARMS:
            raise ConfigError(f"{text} arms; 1 to {MAX_ARMS} can be asked for")
        return tuple(f"arm-{n}" for n in range(1, int(text) + 1))
    arms = tuple(check_name("arm", arm.strip()) for arm in text.split(","))
    if len(arms) > MAX_ARMS or len(set(arms)) != len(arms):
        raise ConfigError(f"arms {text[:80]!r}: up to {MAX_ARMS}, each once")
    return arms


def requests_of(rate: float, duration_s: float, count: int | None) -> int:
    """How many decisions: `count`, else what the rate makes of the duration. Raises ConfigError."""
    if not 0 < rate <= MAX_RATE:
        raise ConfigError(f"load: rate {rate:g} is not between 0 and {MAX_RATE:g} decisions per second")
    return count or max(1, round(rate * min(duration_s, MAX_SECONDS + 1)))


def check(plan: Plan) -> Plan:
    """The plan, when it is within the limits. Raises ConfigError."""
    for what, value, low, high in (
        ("rate", plan.rate, 1e-3, MAX_RATE),
        ("requests", plan.requests, 1, MAX_REQUESTS),
        ("duration", plan.duration_s, 0, MAX_SECONDS),
        ("workers", plan.workers, 1, 1000),
        ("connections", plan.connections, 1, 10_000),
        ("time-out", plan.timeout_s, 1e-3, 60),
        ("share of updates", plan.updates, 0, 1),
        ("delay of updates", plan.delay_s, 0, 600),
    ):
        if not (low <= value <= high and math.isfinite(value)):
            raise ConfigError(f"load: {what} {value:g} is not between {low:g} and {high:g}")
    drawing(plan.features, Random(0))
    return plan


def reward_of(arm: str, seed: int, rng: Random) -> float:
    """A made-up outcome: each arm has a mean of its own between 0 and 1, with noise of .1."""
    return Random(f"{seed}/{arm}").random() + rng.gauss(0.0, 0.1)
