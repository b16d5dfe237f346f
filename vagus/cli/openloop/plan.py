"""What a load is: a JSON file that its process reads."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import msgspec

from vagus.cli.openloop.trace import MAX_FOR_S, MAX_RATE_HZ
from vagus.config import RequestSettings
from vagus.errors import ConfigError

MAX_BYTES = 16 << 20
MAX_REQUESTS = 10_000_000


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The requests of `run_s` seconds, and before of `warm_s` at the mean rate. Equal plans send equal requests.

    Times are seconds since the measured part began: the warm-up has negative ones. urls: of the entry's replicas, in
    turn; or endpoints: a file `{service: [url, …]}`, looked at again and again, with `entry` the service.
    """

    name: str  # of the application
    requests: Annotated[tuple[RequestSettings, ...], msgspec.Meta(min_length=1, max_length=100)]
    rates_hz: Annotated[tuple[float, ...], msgspec.Meta(min_length=1)]  # of each second of the measured part
    run_s: float = 0.0  # 0: a second for each rate
    warm_s: float = 0.0
    users: Annotated[int, msgspec.Meta(ge=1)] = 1
    urls: Annotated[tuple[str, ...], msgspec.Meta(max_length=1000)] = ()
    endpoints: str = ""
    entry: str = ""
    seed: int = 0
    timeout_s: float = 10.0  # given up so long after it was due: failed
    max_open: int = 2000  # on their way at the same time; what is due beyond that fails at once
    window_s: float = 2.0  # what a window tells of
    every_s: float = 0.5  # between two windows
    begin_ns: int = 0  # wall time at which the measured part begins; 0: as soon as can be
    log: str = ""  # npz that is written at the end
    sample: bool = False  # windows also go to the running vagus, as the stream `ingress` with the label `app`

    @property
    def for_s(self) -> float:
        """How long the measured part is."""
        return self.run_s or float(len(self.rates_hz))


def check(plan: Plan) -> Plan:
    """The plan, when it is within the limits. Raises ConfigError."""
    for what, value, low, high in (
        ("run_s", plan.for_s, 1e-3, MAX_FOR_S),
        ("warm_s", plan.warm_s, 0, 3600),
        ("timeout_s", plan.timeout_s, 1e-3, 600),
        ("max_open", plan.max_open, 1, 20_000),
        ("window_s", plan.window_s, 0.1, 3600),
        ("every_s", plan.every_s, 0.05, 3600),
        ("seed", plan.seed, 0, 2**63),
    ):
        if not low <= value <= high:
            raise ConfigError(f"load: {what} is {value:g}, not between {low:g} and {high:g}")
    if not len(plan.rates_hz) - 1 < plan.for_s <= len(plan.rates_hz):
        raise ConfigError(f"load: run_s is {plan.for_s:g}, and there are rates of {len(plan.rates_hz)} seconds")
    if not all(0 <= rate <= MAX_RATE_HZ for rate in plan.rates_hz):
        raise ConfigError(f"load: rates_hz must be between 0 and {MAX_RATE_HZ:g}")
    if math.fsum(plan.rates_hz) * (1 + plan.warm_s / plan.for_s) > MAX_REQUESTS:
        raise ConfigError(f"load: more than {MAX_REQUESTS} requests; make it shorter, or its rate lower")
    if bool(plan.urls) == bool(plan.endpoints):
        raise ConfigError("load: give urls, or endpoints with entry")
    names = [request.name for request in plan.requests]
    if len(set(names)) != len(names):
        raise ConfigError(f"load: two types of requests have one name; there are {', '.join(names)}")
    return plan


def read_plan(path: Path) -> Plan:
    """A plan from its file. Raises ConfigError."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read the plan {path}: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB; this is no plan of a load")
    try:
        return check(msgspec.json.decode(content, type=Plan))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not the plan of a load: {error}") from error
