"""The simulated application: what a controller of the real one sees, from discrete events. Pure and seeded.

Services are processes in control groups with CFS quotas (`quota`), on a machine whose cores they share (`machine`);
requests come open loop along a trace (`arrivals`), visit services as trees of calls (`calls`), and are judged as the load
generator judges them (`ingress`). Without limits of replicas this is `cgroup:NAME/SERVICE` with `cpu_cores`; with
`replica_cores` the replicas have a size of their own, and `replicas:SERVICE` says how many there are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vagus.environments import Seen
from vagus.environments.applications import SimulatedApplication
from vagus.environments.arrivals import Arrivals, generator
from vagus.environments.calls import trees
from vagus.environments.further import RESOURCES
from vagus.environments.ingress import Ingress
from vagus.environments.machine import Machine
from vagus.environments.quota import PERIOD_S, TICK_S
from vagus.environments.services import Service
from vagus.errors import ConfigError
from vagus.policies import Field

CORES, REPLICAS = "cpu_cores", "replicas"
BOUNDS: Mapping[str, tuple[float, float]] = {CORES: (0.05, 2.0)}
_NOISE, _PHASES = 100, 101


class Injection(NamedTuple):
    """From t_s on, for duration_s, something in a service's group wants so much: cores, or as much of another resource."""

    t_s: float
    duration_s: float
    service: str
    cores: float
    resource: str = CORES


class SimulatedWorld:
    """A `World`. trace: requests per second, a number a second, begun anew behind its end (once: not).

    period_s: of a step; bounds: of the limits that are steered, by resource: cpu_cores, those of `further`, replicas;
    start: limits to begin with (default: 0.5 cores, otherwise the highest), cores infinite: none; replica_cores: of each
    replica, fixed. cores: of the machine; tick_s: of its scheduler. injections: tuples of t_s, duration_s, service, cores (and resource), in the time
    of each episode. noise: of what is told to be used, standard deviation as a ratio; delay_steps: signals are those of so
    many steps before; delay_s: after which a window of the objective is known. Raises ConfigError.
    """

    def __init__(
        self,
        application: SimulatedApplication,
        trace: Sequence[float],
        *,
        period_s: float = 1.0,
        slo_s: float = 0.2,
        bounds: Mapping[str, tuple[float, float]] = BOUNDS,
        start: Mapping[str, float] | float = 0.5,
        replica_cores: float = 0.0,
        cores: float = 2.0,
        tick_s: float = TICK_S,
        injections: Sequence[Injection | tuple[float, float, str, float]] = (),
        noise: float = 0.0,
        delay_steps: int = 0,
        delay_s: float = 0.05,
        once: bool = False,
    ) -> None:
        application.check()
        self.application = application
        self.period_s = period_s
        self.slo_s = slo_s
        self._trace = tuple(trace)
        self._start = {CORES: start} if isinstance(start, (int, float)) else dict(start)
        self._replica_cores, self._cores, self._tick_s = replica_cores, cores, tick_s
        try:
            self._injections = tuple(Injection(*one) for one in injections)
        except TypeError as error:
            raise ConfigError(
                f"a simulated world: an injection is (t_s, duration_s, service, cores): {error}"
            ) from error
        self._noise, self._delay_steps, self._delay_s, self._once = noise, delay_steps, delay_s, once
        self._further = tuple(resource for resource in bounds if resource in RESOURCES)
        self._targets = {f"cgroup:{application.name}/{service.name}": service.name for service in application.services}
        self.field = Field(tuple(self._targets), dict(bounds))
        self._check()

    def _check(self) -> None:
        if not self._trace or not all(0 <= rate < 1e5 for rate in self._trace):
            raise ConfigError("a simulated world needs a trace of requests per second, none of them negative")
        if not (
            self.period_s > 0 and self.slo_s > 0 and self._cores > 0 and self._noise >= 0 and self._delay_steps >= 0
        ):
            raise ConfigError("a simulated world: period_s, slo_s and cores must be above 0, noise and delay not below")
        for resource, (low, high) in self.field.bounds.items():
            if resource not in (CORES, REPLICAS, *RESOURCES) or not 0 < low <= high:
                raise ConfigError(f"a simulated world: no bounds {low:g} to {high:g} of {resource!r}")
        for resource, value in self._start.items():
            if resource not in (CORES, *RESOURCES) or not value > 0:
                raise ConfigError(f"a simulated world: it cannot start with {value:g} of {resource!r}")
        names = set(self._targets.values())
        for one in self._injections:
            if one.service not in names or one.resource not in (CORES, *RESOURCES) or not (one.cores >= 0 <= one.t_s):
                raise ConfigError(
                    f"a simulated world: no such injection: {one}; services are {', '.join(sorted(names))}"
                )

    # --- World -------------------------------------------------------------------------------------------------------

    def reset(self, seed: int) -> Seen:
        """Begins anew, and lets a period pass."""
        machine = self.machine = Machine(self._cores)
        phases = generator(seed, _PHASES)
        self._rng = generator(seed, _NOISE)
        further = bool(self._further) or any(one.resource != CORES for one in self._injections)
        cores = self._start.get(CORES, math.inf)
        self.services = {
            shape.name: Service(shape, machine, phases, cores, self._replica_cores, further, self._tick_s)
            for shape in self.application.services
        }
        for service in self.services.values():
            for resource in self._further:
                assert service.further is not None
                service.further.limits[resource] = self._start.get(resource, self.field.bounds[resource][1])
        arrivals = Arrivals(self.application, self._trace, seed, self._once)
        self.ingress = Ingress(machine, arrivals, len(self.application.requests), self.slo_s)
        self.ingress.begin(trees(self.application, self.services, machine))
        for one in self._injections:
            machine.at(one.t_s, self._strain, (one, 1.0))
            machine.at(one.t_s + one.duration_s, self._strain, (one, -1.0))
        self._hogs = dict.fromkeys(self.services, 0.0)
        self._before = dict.fromkeys(self.services, (0.0, 0.0, 0.0))
        self._counted = (0, 0)
        self._told: deque[Mapping[str, Mapping[str, float]]] = deque(maxlen=self._delay_steps + 1)
        return self.step({})

    def step(self, limits: Mapping[tuple[str, str], float]) -> Seen:
        """Sets limits within their bounds, and lets a period pass. Raises ConfigError for unknown ones."""
        for (target, resource), value in limits.items():
            self._limit(target, resource, value)
        self.machine.advance(self.machine.now_s + self.period_s)
        self._told.append({target: self._signals(name) for target, name in self._targets.items()})
        ingress = self.ingress
        counted = (ingress.violations, ingress.ended)
        violations, requests = (float(now - then) for now, then in zip(counted, self._counted, strict=True))
        self._counted = counted
        return Seen(self._told[0], self._objective(), self.machine.now_s, violations, requests)

    def close(self) -> None:
        pass

    # --- limits ------------------------------------------------------------------------------------------------------

    def _limit(self, target: str, resource: str, value: float) -> None:
        if resource not in self.field.bounds or math.isnan(value):
            raise ConfigError(
                f"{target}: {resource!r} cannot be set to {value}; steered are {', '.join(self.field.bounds)}"
            )
        low, high = self.field.bounds[resource]
        value = min(max(value, low), high)
        name = target.partition(":")[2] if resource == REPLICAS else self._targets.get(target, "")
        service = self.services.get(name) or self.services.get(self._targets.get(target, ""))
        if service is None:
            raise ConfigError(f"there is no target {target!r}; there are {', '.join(self._targets)}")
        if resource == CORES:
            service.limit(value)
        elif resource == REPLICAS:
            service.scale(round(value))
        else:
            assert service.further is not None
            service.further.limits[resource] = value

    def _strain(self, what: tuple[Injection, float]) -> None:
        one, sign = what
        service = self.services[one.service]
        if one.resource == CORES:
            cores = self._hogs[one.service] + sign * one.cores
            self._hogs[one.service] = cores if cores > 1e-9 else 0.0
            service.strain(self._hogs[one.service])
        else:
            assert service.further is not None
            service.further.strained[one.resource] += sign * one.cores

    # --- what is seen ------------------------------------------------------------------------------------------------

    def _signals(self, name: str) -> dict[str, float]:
        service, period_s = self.services[name], self.period_s
        usage_s, (periods, throttled) = service.usage_s(), service.periods()
        before = self._before[name]
        self._before[name] = (usage_s, periods, throttled)
        usage = (usage_s - before[0]) / period_s * self._noisy()
        limit = _told(service.limit_cores)
        passed = max(period_s / PERIOD_S, 1.0) * (max(len(service.groups), 1) if service.replica_cores else 1)
        found = {
            "usage_cores": usage,
            "limit_cores": limit,
            "throttled_ratio": min((throttled - before[2]) / passed, 1.0),
            "elapsed_s": period_s,
            "memory_bytes": service.memory_bytes(),
            "use_cpu_cores": usage,
            "limit_cpu_cores": limit,
        }
        if REPLICAS in self.field.bounds:
            found["limit_replicas"] = float(service.replicas)
        if service.further is not None and self._further:
            uses = service.further.uses(usage, period_s)
            for resource in self._further:
                found[f"use_{resource}"] = uses[resource]
                found[f"limit_{resource}"] = _told(service.further.limits[resource])
        return found

    def _noisy(self) -> float:
        return max(1.0 + self._noise * self._rng.standard_normal(), 0.0) if self._noise else 1.0

    def _objective(self) -> dict[str, float]:
        found = {"latency_s": math.nan, "slo_s": self.slo_s, "rate_hz": math.nan}
        found |= {f"mix_{at}": math.nan for at in range(len(self.application.requests))}
        for window in reversed(self.ingress.windows):
            if window.t_s <= self.machine.now_s - self._delay_s:
                found |= {"latency_s": window.p99_s, "rate_hz": window.rate_hz}
                found |= {f"mix_{at}": hz for at, hz in enumerate(window.types_hz)}
                break
        return found


def _told(limit: float) -> float:
    """As signals say it: NaN where there is no limit."""
    return math.nan if limit == math.inf else limit
