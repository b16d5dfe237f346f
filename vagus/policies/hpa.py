"""Kubernetes' HorizontalPodAutoscaler over the processor use of each service, as documented and as coded.

Sources: "Horizontal Pod Autoscaling: Algorithm details" of Kubernetes' documentation (autoscaling/v2), and
pkg/controller/podautoscaler: replica_calculator.go (GetResourceReplicas), horizontal.go (reconcileAutoscaler,
stabilizeRecommendationWithBehaviors, convertDesiredReplicasWithBehaviorRate).

Every `sync_s`: desired = ⌈replicas · utilisation / target⌉, unless utilisation / target is within 10 % of 1; the lowest
desire of the last `stabilise_up_s` limits growth (0: none does), the highest of the last `stabilise_down_s` limits
shrinking; in any `rate_s` replicas grow by at most the larger of `up_pods` and `up_ratio`, and shrink by at most
`down_ratio`. Utilisation is the use of the service's group, averaged since the last sync, over the request of all its
replicas. A service whose use is not known keeps its replicas, as there where a metric is missing; replicas that just
start count in full and use little, which is what Kubernetes assumes of pods that are not ready when it scales up. Who was
scaled to 0 is left alone.
In its favour: the use is that of the very last interval, where metrics-server is up to a minute late.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from vagus.errors import ConfigError, PolicyError
from vagus.policies import Field, Wish
from vagus.policies.options import number, whole

if TYPE_CHECKING:
    import numpy as np

REPLICAS = "replicas"
MOST_REPLICAS = 1000
KEPT = 10_000  # ages in a saved state


class Rules(NamedTuple):
    """What is the same for all services; defaults are Kubernetes'."""

    target_ratio: float
    tolerance: float
    stabilise_up_s: float
    stabilise_down_s: float
    rate_s: float
    up_pods: int
    up_ratio: float
    down_ratio: float
    low: int
    high: int


class Service:
    """What is remembered of a service. Times are of the policy's clock, oldest first."""

    def __init__(self, request_cores: float) -> None:
        self.request_cores = request_cores
        self.replicas: int | None = None  # as last known
        self.used = 0.0  # cores · seconds since the last sync, of `seen_s` seconds
        self.seen_s = 0.0
        self.desires: list[tuple[float, int]] = []
        self.changes: list[tuple[float, int]] = []  # replicas added (removed: negative)

    def note(self, usage_cores: float, elapsed_s: float) -> None:
        if math.isfinite(usage_cores) and usage_cores >= 0 and math.isfinite(elapsed_s) and elapsed_s > 0:
            self.used += usage_cores * elapsed_s
            self.seen_s += elapsed_s

    def sync(self, now_s: float, rules: Rules) -> tuple[int, str] | None:
        """How many replicas it should have, and why; None: its use is not known."""
        present = rules.low if self.replicas is None else self.replicas
        known, self.seen_s, used, self.used = self.seen_s, 0.0, self.used, 0.0
        if not present:
            return None  # somebody switched it off: Kubernetes' implicit maintenance mode
        if present > rules.high or present < rules.low:
            return self._decided(now_s, present, min(max(present, rules.low), rules.high)), "out of its bounds"
        if not known > 0:
            return None
        utilisation = used / known / (present * self.request_cores)
        ratio = utilisation / rules.target_ratio
        within = abs(ratio - 1) <= rules.tolerance
        desired = present if within else math.ceil(min(ratio * present, MOST_REPLICAS) - 1e-9)
        reason = f"{utilisation:.0%} of the request, target {rules.target_ratio:.0%}"
        steady = self._stabilised(now_s, present, desired, rules)
        return self._decided(now_s, present, self._limited(now_s, present, steady, rules)), reason

    def _stabilised(self, now_s: float, present: int, desired: int, rules: Rules) -> int:
        if not self.desires:
            self.desires.append((now_s, present))  # what it began with counts as a desire
        longest_s = max(rules.stabilise_up_s, rules.stabilise_down_s)
        self.desires = [*(d for d in self.desires if now_s - d[0] < longest_s), (now_s, desired)]
        up = min([desired, *(d for at_s, d in self.desires if now_s - at_s < rules.stabilise_up_s)])
        down = max([desired, *(d for at_s, d in self.desires if now_s - at_s < rules.stabilise_down_s)])
        return min(max(present, up), down)

    def _limited(self, now_s: float, present: int, desired: int, rules: Rules) -> int:
        self.changes = [change for change in self.changes if now_s - change[0] < rules.rate_s]
        began = max(present - sum(by for _, by in self.changes), 0)
        if desired > present:
            most = max(began + rules.up_pods, math.ceil(began * (1 + rules.up_ratio)))
            desired = min(desired, max(most, present))
        elif desired < present:
            desired = max(desired, min(int(began * (1 - rules.down_ratio)), present))
        return min(max(desired, rules.low), rules.high)

    def _decided(self, now_s: float, present: int, desired: int) -> int:
        if desired != present:
            self.changes.append((now_s, desired - present))
        self.replicas = desired
        return desired


class HorizontalAutoscaler:
    """One autoscaler a service; wishes are for `replicas` of `replicas:SERVICE`.

    Options: target_ratio (of the request), request_cores (of one replica: a number, or by TARGET), replicas (by TARGET;
    or a text for all in which {name} is the last part of the target's name), low and high (replicas; otherwise from
    limits.replicas, or 1 and 10), and Kubernetes' own defaults: sync_s, tolerance, stabilise_up_s, stabilise_down_s,
    rate_s, up_pods, up_ratio, down_ratio. Raises ConfigError.
    Signals: usage_cores and elapsed_s of the service; limit_replicas of it or of what is scaled, else what was last in
    force, is the present number.
    """

    name: ClassVar[str] = "hpa"
    learned: ClassVar[bool] = False

    def __init__(
        self,
        field: Field,
        rng: np.random.Generator | None = None,
        *,
        target_ratio: float = 0.7,
        request_cores: float | Mapping[str, float] = 0.5,
        replicas: str | Mapping[str, str] = "replicas:{name}",
        low: int | None = None,
        high: int | None = None,
        sync_s: float = 15.0,
        tolerance: float = 0.1,
        stabilise_up_s: float = 0.0,
        stabilise_down_s: float = 300.0,
        rate_s: float = 15.0,
        up_pods: int = 4,
        up_ratio: float = 1.0,
        down_ratio: float = 1.0,
    ) -> None:
        name = self.name
        bounds = field.bounds.get(REPLICAS, (1.0, 10.0))
        low = max(1, math.ceil(bounds[0])) if low is None else low
        high = min(MOST_REPLICAS, math.floor(bounds[1])) if high is None else high
        self._sync_s = number(name, "sync_s", sync_s, 0.01, 86400)
        self._rules = Rules(
            number(name, "target_ratio", target_ratio, 0.01, 10),
            number(name, "tolerance", tolerance, 0, 1),
            number(name, "stabilise_up_s", stabilise_up_s, 0, 3600),
            number(name, "stabilise_down_s", stabilise_down_s, 0, 3600),
            number(name, "rate_s", rate_s, 0.01, 1800),
            whole(name, "up_pods", up_pods, 0, MOST_REPLICAS),
            number(name, "up_ratio", up_ratio, 0, 100),
            number(name, "down_ratio", down_ratio, 0, 1),
            whole(name, "low", low, 1, MOST_REPLICAS),
            whole(name, "high", high, 1, MOST_REPLICAS),
        )
        if self._rules.low > self._rules.high:
            raise ConfigError(f"policy 'hpa': low={low} must not be above high={high}")
        self._scaled = _scaled(field.targets, replicas)
        self.acts_on = tuple(self._scaled.values())
        self._services = {target: Service(_request(request_cores, target)) for target in self._scaled}
        self._synced_s: float | None = None
        self._now_s = 0.0
        self._restored: Mapping[str, Mapping[str, Any]] | None = None

    def step(
        self, signals: Mapping[str, Mapping[str, float]], objective: Mapping[str, float], now_s: float
    ) -> Iterable[Wish]:
        """At each sync, a wish for every service that is seen and should have another number. Never raises."""
        self._now_s = now_s
        self._place_restored(now_s)
        for target, service in self._services.items():
            seen = signals.get(target, {})
            service.note(seen.get("usage_cores", math.nan), seen.get("elapsed_s", math.nan))
            present = seen.get("limit_replicas", math.nan)
            if not present >= 0:
                present = signals.get(self._scaled[target], {}).get("limit_replicas", math.nan)
            self._present(target, present)
        if self._synced_s is None:
            self._synced_s = now_s  # nothing was averaged yet
        if now_s - self._synced_s < self._sync_s * 0.99:  # timers are a little early at times
            return []
        self._synced_s = now_s
        wishes = []
        for target, service in self._services.items():
            if target not in signals:
                continue
            before = service.replicas
            found = service.sync(now_s, self._rules)
            if found is not None and found[0] != before:
                wishes.append(Wish(self._scaled[target], REPLICAS, float(found[0]), found[1]))
        return wishes

    def in_force(self, wishes: Mapping[tuple[str, str], float]) -> None:
        """The replicas that there are."""
        for target, scaled in self._scaled.items():
            self._present(target, wishes.get((scaled, REPLICAS), math.nan))

    def _present(self, target: str, replicas: float) -> None:
        if math.isfinite(replicas) and 0 <= replicas <= MOST_REPLICAS:
            self._services[target].replicas = round(replicas)

    def state(self) -> dict[str, Any]:
        """Replicas, desires and changes by service, with their ages."""
        aged = {
            target: {
                "replicas": service.replicas,
                "desires": [[max(self._now_s - at_s, 0.0), desired] for at_s, desired in service.desires],
                "changes": [[max(self._now_s - at_s, 0.0), by] for at_s, by in service.changes],
            }
            for target, service in self._services.items()
        }
        return {"services": aged if self._restored is None else {**aged, **self._restored}}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Of the services that there still are; ages count from the next step. Raises PolicyError."""
        try:
            found = {str(target): _read(saved) for target, saved in dict(state["services"]).items()}
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise PolicyError(f"hpa: stored state is damaged ({error}); starting afresh") from error
        self._restored = {target: saved for target, saved in found.items() if target in self._services}

    def _place_restored(self, now_s: float) -> None:
        for target, saved in (self._restored or {}).items():
            service = self._services[target]
            service.replicas = saved["replicas"] if service.replicas is None else service.replicas
            service.desires = [(now_s - age_s, desired) for age_s, desired in saved["desires"]]
            service.changes = [(now_s - age_s, by) for age_s, by in saved["changes"]]
        self._restored = None


def _scaled(targets: Iterable[str], replicas: str | Mapping[str, str]) -> dict[str, str]:
    """What is scaled, by target. Raises ConfigError."""
    if isinstance(replicas, str):
        found = {t: replicas.replace("{name}", t.partition(":")[2].rstrip("/").rpartition("/")[2]) for t in targets}
    elif isinstance(replicas, Mapping):
        found = {str(target): str(scaled) for target, scaled in replicas.items()}
        if unknown := found.keys() - set(targets):
            raise ConfigError(f"policy 'hpa': replicas names {min(unknown)!r}, which is none of the targets")
    else:
        raise ConfigError("policy 'hpa': option replicas is a text with {name}, or what is scaled by target")
    if len(set(found.values())) != len(found):
        raise ConfigError("policy 'hpa': two targets scale the same replicas; name them by target")
    for scaled in found.values():
        kind, colon, name = scaled.partition(":")
        if not (kind and colon and name):
            raise ConfigError(f"policy 'hpa': replicas {scaled!r} is not kind:name, such as replicas:web")
    return found


def _request(request_cores: float | Mapping[str, float], target: str) -> float:
    if isinstance(request_cores, Mapping):
        if target not in request_cores:
            raise ConfigError(f"policy 'hpa': request_cores has nothing for {target!r}")
        return number("hpa", f"request_cores.{target}", request_cores[target], 1e-3, 1e4)
    return number("hpa", "request_cores", request_cores, 1e-3, 1e4)


def _read(saved: Mapping[str, Any]) -> dict[str, Any]:
    """A service's state, checked. Raises KeyError, TypeError, ValueError, OverflowError."""
    replicas = saved["replicas"]
    found: dict[str, Any] = {"replicas": None if replicas is None else _count(replicas)}
    for key in ("desires", "changes"):
        if len(saved[key]) > KEPT:
            raise ValueError(f"{len(saved[key])} {key}")
        found[key] = [[float(age_s), _count(value, -MOST_REPLICAS)] for age_s, value in saved[key]]
        if not all(0 <= age_s < math.inf for age_s, _ in found[key]):
            raise ValueError(f"ages of {key}")
    return found


def _count(value: Any, least: int = 0) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST_REPLICAS:
        raise ValueError(f"{value!r} replicas")
    return value
