"""What a machine's resctrl can do, from its info folder, and which ways a group had best have.

Source: Documentation/filesystems/resctrl.rst.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from vagus.actuators.resctrl_schemata import runs
from vagus.errors import ActuateError, Unsupported
from vagus.undo import read_text, reason

EIGHTH_BYTES_S = 125_000_000.0  # AMD's unit: an eighth of a GB/s
MBPS_BYTES_S = float(1 << 20)  # the kernel's software controller divides by 2^20
UNLIMITED_MBPS = (1 << 32) - 1
Unit = Literal["percent", "mbps", "eighths"]


class Cache(NamedTuple):
    """A cache level that is divided by ways. mask: all of them; shareable: those that devices fill as well."""

    name: str
    mask: int
    min_bits: int
    shareable: int
    sparse: bool


class Bandwidth(NamedTuple):
    """Memory bandwidth. most: what stands for no limit, as far as the groups show it."""

    name: str
    unit: Unit
    least: int
    most: int
    granularity: int

    def units(self, value: float) -> int:
        """What the kernel will keep for percent or bytes per second, rounded as it rounds."""
        if self.unit == "percent":
            return math.ceil(math.ceil(value) / self.granularity) * self.granularity
        scale = MBPS_BYTES_S if self.unit == "mbps" else EIGHTH_BYTES_S
        return max(1, round(value / scale))

    def value(self, units: int) -> float | None:
        """Percent or bytes per second; None without a limit."""
        if units >= self.most:
            return None
        return units * {"percent": 1.0, "mbps": MBPS_BYTES_S, "eighths": EIGHTH_BYTES_S}[self.unit]


def mounted(folder: Path) -> bool:
    """Whether resctrl is mounted there."""
    return (folder / "info").is_dir()


def caches(folder: Path) -> dict[str, Cache]:
    """By name: L3, or L3CODE and L3DATA, L2 … Raises ActuateError."""
    found = {}
    for info in _infos(folder):
        if (info / "cbm_mask").exists():
            found[info.name] = Cache(
                info.name,
                _number(info, "cbm_mask", 16),
                _number(info, "min_cbm_bits", 10),
                _number(info, "shareable_bits", 16, 0),
                bool(_number(info, "sparse_masks", 10, 0)),
            )
    return found


class Range(NamedTuple):
    """What info says of a bandwidth line. linear: in percent; else in AMD's units."""

    least: int
    granularity: int
    linear: bool


def ranges(folder: Path) -> dict[str, Range]:
    """Of MB and SMBA. Raises ActuateError."""
    return {
        info.name: Range(
            _number(info, "min_bandwidth", 10),
            max(1, _number(info, "bandwidth_gran", 10)),
            bool(_number(info, "delay_linear", 10, 1)),
        )
        for info in _infos(folder)
        if (info / "bandwidth_gran").exists()
    }


def bandwidth(name: str, known: Range, highest: int, in_mbps: bool) -> Bandwidth:
    """How a line is to be read. highest: of all its values; in_mbps: the mount says so."""
    unit: Unit = "percent"
    most = 100
    if not known.linear:
        # the end of the range is nowhere in info: a power of two, and that of every group without a limit
        unit, most = "eighths", 1 << max(11, (highest - 1).bit_length())
    elif name == "MB" and (highest > 100 or in_mbps):
        unit, most = "mbps", UNLIMITED_MBPS
    return Bandwidth(name, unit, known.least, most, known.granularity)


def choose(cache: Cache, ways: int, present: int, others: Iterable[int], forbidden: int) -> int:
    """A mask of `ways` bits, 0 if there is none: without the forbidden ones, overlapping least with what other groups
    have for themselves, then least with what devices fill, then moving least from `present`, then lowest.
    """
    width = cache.mask.bit_length()
    others = list(others)
    windows = [((1 << ways) - 1) << low for low in range(width - ways + 1)]
    possible = [mask for mask in windows if not mask & forbidden]
    if possible:
        return min(
            possible,
            key=lambda mask: (
                sum((mask & other).bit_count() for other in others),
                (mask & cache.shareable).bit_count(),
                -(mask & present).bit_count(),
                mask,
            ),
        )
    free = [bit for bit in range(width) if not forbidden >> bit & 1]
    if not cache.sparse or len(free) < ways:
        return 0
    free.sort(
        key=lambda bit: (sum(o >> bit & 1 for o in others), cache.shareable >> bit & 1, not present >> bit & 1, bit)
    )
    return sum(1 << bit for bit in free[:ways])


def widest(cache: Cache, forbidden: int) -> int:
    """All ways that are not forbidden; of several runs the longest, where the machine takes only one."""
    free = cache.mask & ~forbidden
    if cache.sparse or not free:
        return free
    low, length = max(runs(free), key=lambda run: run[1])
    return ((1 << length) - 1) << low


def how_to_mount(root: Path, folder: Path) -> str:
    """What is missing where resctrl is not mounted."""
    flags: set[str] = set()
    try:
        with open(root / "proc/cpuinfo") as file:
            flags = set(next((line for line in file if line.startswith("flags")), "").partition(":")[2].split())
    except OSError:
        pass
    able = sorted(flags & {"cat_l3", "cat_l2", "cdp_l3", "cdp_l2", "mba", "cqm_llc", "cqm_mbm_total", "cqm_mbm_local"})
    if able:
        return (
            f"resctrl is not mounted at {folder}, and this processor has {', '.join(able)}: "
            "mount -t resctrl resctrl /sys/fs/resctrl (as root; -o cdp divides code and data, -o mba_MBps limits in MB/s)"
        )
    return (
        f"resctrl is not mounted at {folder}, and the flags in {root / 'proc/cpuinfo'} show neither cat_l3, cat_l2 nor "
        "mba: it takes a processor with Intel RDT or AMD QoS that no hypervisor hides; where there is one, "
        "mount -t resctrl resctrl /sys/fs/resctrl"
    )


def _infos(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in (folder / "info").iterdir() if path.is_dir())
    except OSError as error:
        raise Unsupported(f"cannot list {folder / 'info'}: {reason(error)}") from error


def _number(info: Path, name: str, base: int, default: int | None = None) -> int:
    try:
        return int(read_text(str(info / name)), base)
    except FileNotFoundError:
        if default is not None:  # older kernels have fewer files
            return default
        raise ActuateError(f"{info / name} is missing: no resctrl that we know") from None
    except (OSError, ValueError) as error:
        raise ActuateError(f"cannot read {info / name}: {error}") from error


def in_mbps(root: Path, folder: Path) -> bool:
    """Whether resctrl is mounted with mba_MBps."""
    if (folder / "mba_MBps_event").exists():
        return True
    try:
        mounts = read_text(str(root / "proc/self/mounts")).splitlines()
    except OSError:
        return False
    return any(
        fields[2] == "resctrl" and "mba_MBps" in fields[3].split(",") for m in mounts if len(fields := m.split()) > 3
    )
