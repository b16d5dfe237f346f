"""What a target uses of each steered resource, in the resource's unit, from the collector's newest samples. Pure.

FIRM's states compare use with limit for five resources: processor, memory bandwidth, cache, disk, network (OSDI'20,
section 3.4). Cores and memory come from the actuator, which reads them when the step is taken.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vagus.clock import NS
from vagus.controllers.places import Key, key_of, keys_of
from vagus.model import Sample, Target


class Use(NamedTuple):
    """Where a resource's use is found. counter: as a rate a second. scaled: in another unit than the limit's (bytes of
    cache against ways, bytes a second against percent); see `Uses`."""

    kind: str
    field: str
    counter: bool = True
    scaled: bool = False


USES: Mapping[str, Use] = {
    "io_read_bytes_s": Use("cgroup.io", "read_bytes"),
    "io_write_bytes_s": Use("cgroup.io", "write_bytes"),
    "io_read_ops_s": Use("cgroup.io", "reads"),
    "io_write_ops_s": Use("cgroup.io", "writes"),
    "net_bytes_s": Use("cgroup.net", "tx_bytes"),
    "net_in_bytes_s": Use("cgroup.net", "rx_bytes"),
    "llc_ways": Use("resctrl.l3", "llc_occupancy_bytes", counter=False, scaled=True),
    "memory_bandwidth_percent": Use("resctrl.l3", "mbm_total_bytes", scaled=True),
    "memory_bandwidth_bytes_s": Use("resctrl.l3", "mbm_total_bytes"),
}


STALE_S = 30.0  # three times the slowest collector that tells of a group


class Uses:
    """The uses of `targets`. Where a limit's unit is another than the use's, the most that was ever used for a unit of
    limit is taken for what a unit is worth, so that use ÷ limit is 1 where the limit was used up most.
    """

    def __init__(self, targets: Sequence[Target], resources: Sequence[str]) -> None:
        self._resources = {r: USES[base] for r in resources if (base := r.partition("@")[0]) in USES}
        self._keys: dict[Key, Target] = {key: t for t in targets if (key := key_of(t)) is not None}
        self.selectors = tuple(dict.fromkeys(use.kind for use in self._resources.values()))
        self._before: dict[tuple[Target, str], tuple[int, float]] = {}
        self._now: dict[tuple[Target, str], tuple[int, float]] = {}
        self._newest_ns = 0
        self._worth: dict[tuple[Target, str], float] = {}

    def see(self, samples: Sequence[Sample]) -> None:
        """New samples; counters become rates between the last two that differ in time."""
        mine = [sample for sample in samples if sample.stream.kind in self.selectors]  # these kinds are vagus' own
        if mine:
            self._newest_ns = max(sample.t_ns for sample in mine)
        for sample in mine:
            target = next((self._keys[k] for k in keys_of(sample.stream.labels) if k in self._keys), None)
            if target is None:
                continue
            fields = {field.name: at for at, field in enumerate(sample.stream.fields)}
            for resource, use in self._resources.items():
                if use.kind == sample.stream.kind and use.field in fields:
                    self._take((target, resource), use, sample.t_ns, float(sample.values[fields[use.field]]))

    def _take(self, key: tuple[Target, str], use: Use, t_ns: int, value: float) -> None:
        if not use.counter:
            self._now[key] = t_ns, value
            return
        before = self._before.get(key)
        if before is not None and before[0] - STALE_S * NS < t_ns <= before[0]:
            return
        self._before[key] = t_ns, value
        if before is not None and t_ns > before[0] and value >= before[1]:
            self._now[key] = t_ns, (value - before[1]) * NS / (t_ns - before[0])

    def of(self, target: Target, resource: str, limit: float | None) -> float:
        """The use, in the unit of the limit; NaN where it is not known, or no longer while others are."""
        use = self._resources.get(resource)
        t_ns, value = self._now.get((target, resource), (0, math.nan))
        if self._newest_ns - t_ns > STALE_S * NS:
            value = math.nan
        if use is None or not use.scaled or math.isnan(value):
            return value
        if limit is not None and math.isfinite(limit) and limit > 0:
            worth = max(self._worth.get((target, resource), 0.0), value / limit)
            self._worth[target, resource] = worth
        worth = self._worth.get((target, resource), 0.0)
        return value / worth if worth > 0 else math.nan
