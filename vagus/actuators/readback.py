"""Whether what a file shows after a write is what was written: kernels normalise.

A file that shows more than was written to it, or shows it otherwise, has a line in `_SHOWN`, by the file's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from vagus.actuators.machine import parse_list
from vagus.actuators.resctrl_schemata import Schemata
from vagus.undo import Step

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_UNLIMITED_BYTES = 1 << 62


def _same_schemata(step: Step, found: str) -> bool:
    wanted, shown = Schemata.parse(step.value).lines, Schemata.parse(found).lines
    return all(
        shown.get(name, {}).get(domain) == value for name, values in wanted.items() for domain, value in values.items()
    )


def _same_cpus(step: Step, found: str) -> bool:
    return parse_list(step.value) == parse_list(found)


def _same_throttle(step: Step, found: str) -> bool:
    disk, value = step.value.split()
    shown = dict(line.split() for line in found.splitlines())
    return str(shown.get(disk, "0")) == value  # no line: no limit


def _same_io_max(step: Step, found: str) -> bool:
    disk, pair = step.value.split()
    key, _, value = pair.partition("=")
    lines = {words[0]: dict(word.split("=", 1) for word in words[1:]) for words in map(str.split, found.splitlines())}
    return str(lines.get(disk, {}).get(key, "max")) == value


_SHOWN: Mapping[str, Callable[[Step, str], bool]] = {
    "cpuset.cpus": _same_cpus,
    "cpuset.mems": _same_cpus,
    "io.max": _same_io_max,
    "blkio.throttle.read_bps_device": _same_throttle,
    "blkio.throttle.write_bps_device": _same_throttle,
    "blkio.throttle.read_iops_device": _same_throttle,
    "blkio.throttle.write_iops_device": _same_throttle,
    "schemata": _same_schemata,
}


def same(step: Step, found: str) -> bool:
    """Whether `found`, the file's text now, says what the write step asked for."""
    if step.value.split() == found.split():
        return True
    name = os.path.basename(step.path)
    if name in _SHOWN:
        return _SHOWN[name](step, found)
    return name.startswith("memory.") and _same_bytes(step.value.split(), found.split())


def _same_bytes(wanted: list[str], kept: list[str]) -> bool:
    if len(wanted) != 1 or len(kept) != 1:
        return False
    try:
        asked, got = int(wanted[0]), int(kept[0])
    except ValueError:
        return False
    return got >= _UNLIMITED_BYTES if asked < 0 else 0 <= asked - got < _PAGE_BYTES
