"""Resource signals of components: what their groups use and wait for, relative to their own healthy history. Pure.

The figures are those that FIRM compares (OSDI'20, section 3.3): processor, memory, cache, memory bandwidth, disk, network.
A signal is a ratio: 1 is as usual, 3 is three times as much as usual. What is next to nothing is compared with a floor,
so that an idle group's first byte is no alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from vagus.controllers.places import ID, Key, key_of
from vagus.controllers.places import keys_of as labelled
from vagus.errors import ConfigError
from vagus.model import Sample, Stream, Target

SELECTORS = ("cgroup.cpu", "cgroup.memory", "cgroup.io", "cgroup.net", "cgroup.pressure", "resctrl.l3")
MAX_COMPONENTS = 1000
LEAST = 3  # healthy readings before anything is said
MAX_COUNT = 1_000_000
_US = 1e-6


class Gauge(NamedTuple):
    """Fields of a kind of stream that are added up; counters as a rate a second. floor: in the scaled unit.

    both: less than usual is as telling as more (a cache that others took away).
    """

    resource: str
    kind: str
    fields: tuple[str, ...]
    scale: float
    floor: float
    both: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}.{self.fields[0]}"


GAUGES = (
    Gauge("cpu", "cgroup.cpu", ("usage_us",), _US, 0.05),  # cores
    Gauge("cpu", "cgroup.cpu", ("throttled_us",), _US, 0.02),  # seconds a second
    Gauge("cpu", "cgroup.pressure", ("cpu_some_total",), _US, 0.02),
    Gauge("memory", "cgroup.memory", ("anon_bytes", "active_file_bytes"), 1.0, 32 << 20),
    Gauge("memory", "cgroup.memory", ("refault_anon", "refault_file"), 1.0, 50.0),
    Gauge("memory", "cgroup.memory", ("limit_hits",), 1.0, 1.0),
    Gauge("memory", "cgroup.pressure", ("memory_some_total",), _US, 0.02),
    Gauge("llc", "resctrl.l3", ("llc_occupancy_bytes",), 1.0, 1 << 20, both=True),
    Gauge("memory_bandwidth", "resctrl.l3", ("mbm_total_bytes",), 1.0, 10 << 20),
    Gauge("disk", "cgroup.io", ("read_bytes", "write_bytes"), 1.0, 1 << 18),
    Gauge("disk", "cgroup.io", ("reads", "writes"), 1.0, 20.0),
    Gauge("disk", "cgroup.pressure", ("io_some_total",), _US, 0.02),
    Gauge("network", "cgroup.net", ("rx_bytes", "tx_bytes"), 1.0, 1 << 15),
    Gauge("network", "cgroup.net", ("rx_dropped", "tx_dropped", "rx_errors", "tx_errors"), 1.0, 1.0),
)


def keys_of(component: str, service: str, places: Mapping[str, str]) -> tuple[Key, ...]:
    """By which labels the streams of a component are found: its place, or its service's, else what has its name.

    Raises ConfigError for a place whose kind has no streams of its own.
    """
    for name in (component, service):
        if name in places:
            return (_place(places[name]),)
    found: list[Key] = []
    for name in dict.fromkeys((component, service)):
        if name:
            found += [("hostname", name), ("service", name), ("service", f"{name}.service"), ("pod", name)]
            if len(name) >= ID and all(c in "0123456789abcdef" for c in name):
                found.append(("container", name[:ID]))
    return tuple(found)


def _place(text: str) -> Key:
    key = key_of(Target.parse(text))
    if key is None:
        raise ConfigError(
            f"traces.localise.places: {text[:80]!r} has no signals; name a cgroup:, systemd:, container:, pod: or resctrl:"
        )
    return key


class Signals:
    """Reads the newest samples, keeps what is usual for each component. every_s: between readings; normal_s: how far
    back the usual reaches, in the mean."""

    def __init__(self, places: Mapping[str, str], every_s: float, normal_s: float) -> None:
        self._places = dict(places)
        self._fade = min(1.0, every_s / max(normal_s, every_s))
        self._before: dict[Stream, Sample] = {}
        self._now: dict[str, dict[str, float]] = {}  # component → gauge → value, of the last reading
        self._usual: dict[str, dict[str, tuple[float, int]]] = {}  # component → gauge → mean of healthy ones, how many
        for place in self._places.values():
            _place(place)  # a wrong one fails at the start

    def read(self, samples: Sequence[Sample], components: Mapping[str, str]) -> dict[str, dict[str, float]]:
        """Component → resource → ratio to its usual value, where it is known. components: each one's service."""
        by_key: dict[Key, list[Mapping[str, float]]] = {}
        before, self._before = self._before, {}
        for sample in samples:
            gauges = dict(_gauges(sample, before.get(sample.stream)))
            self._before[sample.stream] = sample
            if gauges:
                for key in labelled(sample.stream.labels):
                    by_key.setdefault(key, []).append(gauges)
        self._now = {}
        for component, service in components.items():
            if len(self._now) >= MAX_COMPONENTS:
                break
            found = next((by_key[key] for key in keys_of(component, service, self._places) if key in by_key), None)
            if found:
                self._now[component] = _added(found)
        return {component: ratios for component in self._now if (ratios := self._ratios(component))}

    def healthy(self) -> None:
        """What was read last is usual."""
        for component, values in self._now.items():
            usual = self._usual.pop(component, {})
            for name, value in values.items():
                mean, count = usual.get(name, (0.0, 0))
                share = max(1.0 / (count + 1), self._fade)
                usual[name] = (mean + share * (value - mean), min(count + 1, MAX_COUNT))
            self._usual[component] = usual
        while len(self._usual) > MAX_COMPONENTS:  # the one that was not seen for longest
            del self._usual[next(iter(self._usual))]

    def _ratios(self, component: str) -> dict[str, float]:
        usual, values = self._usual.get(component, {}), self._now[component]
        found: dict[str, float] = {}
        for gauge in GAUGES:
            mean, count = usual.get(gauge.name, (0.0, 0))
            if count < LEAST or gauge.name not in values:
                continue
            ratio = (values[gauge.name] + gauge.floor) / (mean + gauge.floor)
            if gauge.both:
                ratio = max(ratio, 1.0 / ratio)
            found[gauge.resource] = max(found.get(gauge.resource, 0.0), ratio)
        return found

    def state(self) -> dict[str, Any]:
        """What is usual, JSON-ready."""
        return {component: {name: [*pair] for name, pair in usual.items()} for component, usual in self._usual.items()}

    def restore(self, state: Any) -> None:
        """Raises ConfigError when it is not such a state; then nothing of it is taken."""
        known = {gauge.name for gauge in GAUGES}
        usual: dict[str, dict[str, tuple[float, int]]] = {}
        try:
            for component, pairs in list(state.items())[-MAX_COMPONENTS:]:
                found = {str(name): (float(mean), int(count)) for name, (mean, count) in pairs.items() if name in known}
                if not all(math.isfinite(mean) and mean >= 0 and count >= 0 for mean, count in found.values()):
                    raise ValueError("a mean that is none")
                usual[str(component)] = found
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise ConfigError(f"not a saved state of resource signals: {error}") from error
        self._usual = usual


def _gauges(sample: Sample, before: Sample | None) -> Iterator[tuple[str, float]]:
    """The gauges in a sample; rates where the one before is older and no counter was reset."""
    fields = {field.name: (at, field.counter) for at, field in enumerate(sample.stream.fields)}
    for gauge in GAUGES:
        places = [fields[name] for name in gauge.fields if name in fields]
        if gauge.kind != sample.stream.kind or len(places) < len(gauge.fields):
            continue
        if not places[0][1]:
            value = sum(sample.values[at] for at, _ in places)
        else:
            over_s = (sample.t_ns - before.t_ns) / 1e9 if before is not None else 0.0
            if before is None or over_s <= 0:
                continue
            value = sum(sample.values[at] - before.values[at] for at, _ in places) / over_s
        if math.isfinite(value) and value >= 0:
            yield gauge.name, value * gauge.scale


def _added(found: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Streams of one component (caches, containers of a pod) together."""
    total: dict[str, float] = {}
    for gauges in found:
        for name, value in gauges.items():
            total[name] = total.get(name, 0.0) + value
    return total
