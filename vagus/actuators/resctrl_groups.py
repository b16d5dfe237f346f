"""Every control group's schemata at one moment, and what is to be written for a limit beside what others have."""

from __future__ import annotations

import math
from pathlib import Path

from vagus.actuators import base
from vagus.actuators.resctrl_machine import Bandwidth, Cache, choose, widest
from vagus.actuators.resctrl_schemata import Schemata
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Target
from vagus.undo import read_text, reason

# resource → the lines that it is, of which the first that the machine has whole are meant
LINES: dict[str, tuple[tuple[str, ...], ...]] = {
    "llc_ways": (("L3",), ("L3CODE", "L3DATA")),
    "llc_code_ways": (("L3CODE",),),
    "llc_data_ways": (("L3DATA",),),
    "l2_ways": (("L2",), ("L2CODE", "L2DATA")),
    "memory_bandwidth_percent": (("MB",),),
    "memory_bandwidth_bytes_s": (("MB",),),
}


class Machine:
    """The machine's info and the schemata of its groups at one moment."""

    def __init__(
        self,
        groups: dict[Path, Schemata],
        folder: Path,
        control: Path,
        caches: dict[str, Cache],
        bandwidths: dict[str, Bandwidth],
    ) -> None:
        self.groups = groups
        self.present = groups.get(control, Schemata({}))
        self.domains = {name: sorted(values) for name, values in groups[folder].lines.items()}
        self.caches = caches
        self.bandwidths = bandwidths

    def names(self, resource: str) -> tuple[str, ...]:
        """The lines that a resource is; empty if the machine has it not."""
        for names in LINES[base(resource)]:
            if not all(name in self.domains and (name in self.caches or name in self.bandwidths) for name in names):
                continue
            percent = resource.startswith("memory_bandwidth_percent")
            if names != ("MB",) or percent == (self.bandwidths["MB"].unit == "percent"):
                return names
        return ()

    def lines(self, resource: str, target: Target) -> tuple[str, ...]:
        """`names`; raises Unsupported, saying what there is, and Rejected for a domain that is not there."""
        found = self.names(resource)
        if not found:
            there = ", ".join(name for name in LINES if self.names(name)) or "nothing"
            needs = {
                "llc_code_ways": "; mount with -o cdp to divide code and data",
                "llc_data_ways": "; mount with -o cdp to divide code and data",
                "memory_bandwidth_bytes_s": "; mount with -o mba_MBps to limit in bytes per second",
                "memory_bandwidth_percent": "; here bandwidth is limited in bytes per second",
            }
            more = needs.get(base(resource), "") if "MB" in self.bandwidths or "ways" in resource else ""
            raise Unsupported(f"resctrl cannot limit {resource} of {target} on this machine, only {there}{more}")
        domain = domain_of(resource)
        if domain is not None and domain not in self.domains[found[0]]:
            known = ", ".join(map(str, self.domains[found[0]]))
            raise Rejected(str(target), resource, f"{found[0]} has no domain {domain}, only {known}")
        return found

    def shown(self, lines: tuple[str, ...]) -> dict[str, dict[int, int]]:
        """The group's values now. Raises ActuateError where there are none: a group in pseudo-locking."""
        for name in lines:
            if not self.present.lines.get(name):
                raise ActuateError(f"the group shows no {name}: it is pseudo-locked, or of a class that {name} has not")
        return {name: self.present.lines[name] for name in lines}

    def tightest(self, lines: tuple[str, ...], values: dict[str, dict[int, int]], domain: int | None) -> float | None:
        """What `read` says of these values: the least of the domains."""
        found: list[float] = []
        for name in lines:
            for each, value in values[name].items():
                if domain is not None and each != domain:
                    continue
                cache = self.caches.get(name)
                if cache is None:
                    limit = self.bandwidths[name].value(value)
                else:
                    limit = None if value == cache.mask else float(value.bit_count())
                found += [] if limit is None else [limit]
        return min(found, default=None)

    def wanted(
        self, lines: tuple[str, ...], resource: str, value: float | None, control: Path
    ) -> dict[str, dict[int, int]]:
        """What to write for `value` in each line and domain. Raises Rejected."""
        only = domain_of(resource)
        found: dict[str, dict[int, int]] = {}
        for name in lines:
            domains = self.domains[name] if only is None else [only]
            if name in self.bandwidths:
                units = _units(self.bandwidths[name], resource, value, control)
                found[name] = dict.fromkeys(domains, units)
            else:
                cache = self.caches[name]
                first = found.get(lines[0], {})  # code and data of one resource get the same ways
                found[name] = {
                    d: first.get(d) or self._mask(cache, d, lines, resource, value, control) for d in domains
                }
        return found

    def _mask(
        self, cache: Cache, domain: int, lines: tuple[str, ...], resource: str, value: float | None, control: Path
    ) -> int:
        peers = {"L3CODE", "L3DATA"} if cache.name in ("L3CODE", "L3DATA") else {cache.name, *lines}
        peers = {"L2CODE", "L2DATA"} if cache.name in ("L2CODE", "L2DATA") else peers
        alone = _mode(control) == "exclusive"
        forbidden = cache.shareable if alone else 0
        others = []
        for path, group in self.groups.items():
            masks = [group.lines.get(name, {}).get(domain, 0) for name in peers]
            if path == control:
                continue
            for mask in masks:
                if alone or _mode(path) == "exclusive":
                    forbidden |= mask
                elif mask != cache.mask:
                    others.append(mask)
        least = max(1, cache.min_bits)
        if value is None:
            return widest(cache, forbidden)
        ways, most = round(value), cache.mask.bit_count()
        if not least <= ways <= most:
            raise Rejected(str(control), str(value), f"{resource} must be from {least} to {most} on this machine")
        present = self.present.lines.get(cache.name, {}).get(domain, cache.mask)
        mask = choose(cache, ways, 0 if present == cache.mask else present, others, forbidden)
        if not mask:
            free = cache.mask & ~forbidden
            raise Rejected(
                str(control),
                str(value),
                f"no {ways} {'' if cache.sparse else 'consecutive '}ways of {cache.name} domain {domain} are outside exclusive "
                f"groups (free: {free:x})",
            )
        return mask


def _units(bandwidth: Bandwidth, resource: str, value: float | None, control: Path) -> int:
    if value is None:
        return bandwidth.most
    units = bandwidth.units(value)
    if bandwidth.unit == "mbps":
        if units > bandwidth.most:
            raise Rejected(str(control), str(value), f"{resource} is more than the kernel can count")
    elif not bandwidth.least <= math.ceil(value if bandwidth.unit == "percent" else units) or units > bandwidth.most:
        lowest, highest = bandwidth.value(max(1, bandwidth.least)), bandwidth.value(bandwidth.most - 1)
        top = 100.0 if bandwidth.unit == "percent" else highest
        raise Rejected(str(control), str(value), f"{resource} must be from {lowest:.15g} to {top:.15g} on this machine")
    return units


def domain_of(resource: str) -> int | None:
    _, at, identity = resource.partition("@")
    if not at:
        return None
    if not identity.isdigit() or len(identity) > 9:
        raise Unsupported(f"{resource!r}: behind @ stands the number of a cache domain, such as llc_ways@0")
    return int(identity)


def schemata_of(group: Path) -> Schemata | None:
    try:
        return Schemata.parse(read_text(str(group / "schemata")))
    except FileNotFoundError:
        return None  # removed while we looked, or a machine that only monitors
    except OSError as error:
        raise ActuateError(f"cannot read {group / 'schemata'}: {reason(error)}") from error


def _mode(group: Path) -> str:
    try:
        return read_text(str(group / "mode"))
    except OSError:
        return "shareable"
