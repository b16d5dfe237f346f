"""Cache occupancy and memory bandwidth of each resctrl group, where kernel and processor monitor them.

Source: the kernel's Documentation/arch/x86/resctrl.rst (mon_data).
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from vagus.clock import NS
from vagus.collectors.files import KernelFile
from vagus.collectors.task_owner import labels_of
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import MAX_LABEL_VALUE, Event, Field, Sample, Stream

SCAN_NS = 10 * NS
MAX_DOMAINS = 500  # groups times caches; the processor has 192 or so monitoring ids
FILES = {
    "llc_occupancy": Field("llc_occupancy_bytes", unit="bytes"),
    "mbm_total_bytes": Field("mbm_total_bytes", unit="bytes", counter=True),
    "mbm_local_bytes": Field("mbm_local_bytes", unit="bytes", counter=True),
}
_NOT_GROUPS = frozenset({"info", "mon_data", "mon_groups"})


def parse_count(data: bytes) -> float:
    """A count of bytes; NaN for the kernel's `Unavailable`, `Unassigned` and `Error`. Raises ValueError."""
    text = data.strip()
    if text in (b"Unavailable", b"Unassigned", b"Error"):
        return math.nan
    if not text.isdigit() or len(text) > 20:
        raise ValueError(f"{data[:40]!r} is no count")
    return float(text)


class _Domain:
    """One cache of one group: as many files as the processor has events."""

    def __init__(self, node: str, folder: str, labels: dict[str, str], names: list[str]) -> None:
        self.folder = folder
        self.files = [KernelFile(Path(folder), name, whole=True) for name in names]
        self.stream = Stream(node, "resctrl.l3", tuple(FILES[name] for name in names), labels)

    def close(self) -> None:
        for file in self.files:
            file.close()


class ResctrlCollector:
    """Kind `resctrl.l3{group=,mon_group=,cache=}`: llc_occupancy_bytes, mbm_total_bytes, mbm_local_bytes of the root
    group (`/`), the control groups, and the monitoring groups below each, with labels cgroup, service, pod, container
    where all tasks of a group are of one. Nothing where resctrl is not mounted or
    nothing is monitored. Raises CollectError.
    """

    name = "resctrl"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        self._node = node
        self._root = root
        self._path = str(root / "sys/fs/resctrl")
        self._owners: dict[str, dict[str, str]] = {}  # of each group, from when it first had tasks: series stay one
        self._domains: dict[str, _Domain] = {}
        self._scan_at_ns = 0

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """One sample for each cache of each group; the error that names failing files comes last."""
        if not 0 < self._scan_at_ns - t_ns <= SCAN_NS:
            self._scan(t_ns)
        problems = []
        for domain in list(self._domains.values()):
            try:
                values = tuple([parse_count(file.read()) for file in domain.files])
                yield Sample(domain.stream, t_ns, values)
            except (CollectError, ValueError) as error:
                domain.close()
                if all(os.path.exists(file.path) for file in domain.files):
                    problems.append(str(error) if isinstance(error, CollectError) else f"{domain.folder}: {error}")
                else:  # the group was removed
                    del self._domains[domain.folder]
        if problems:
            raise CollectError("; ".join(problems[:10]))

    def _scan(self, t_ns: int) -> None:
        self._scan_at_ns = t_ns + SCAN_NS
        found: dict[str, tuple[dict[str, str], list[str]]] = {}
        groups = [(name, f"{self._path}/{name}") for name in _folders(self._path) if name not in _NOT_GROUPS]
        for group, folder in [("/", self._path), *groups]:
            monitored = [(name, f"{folder}/mon_groups/{name}") for name in _folders(f"{folder}/mon_groups")]
            for mon_group, inner in [("", folder), *monitored]:
                if inner != self._path and inner not in self._owners:
                    owner = labels_of(self._root, f"{inner}/tasks")
                    if owner:
                        self._owners[inner] = owner
                for cache in _folders(f"{inner}/mon_data"):
                    if cache.startswith("mon_L3_") and len(found) < MAX_DOMAINS:
                        labels = {"group": _label(group), "mon_group": _label(mon_group), "cache": cache[4:]}
                        labels |= self._owners.get(inner, {})
                        path = f"{inner}/mon_data/{cache}"
                        names = [name for name in FILES if os.path.exists(f"{path}/{name}")]
                        if names:
                            found[path] = (labels, names)
        for path in [path for path in self._domains if path not in found]:
            self._domains.pop(path).close()
        there = {path.rpartition("/mon_data/")[0] for path in found}
        for path in [path for path in self._owners if path not in there]:
            del self._owners[path]
        for path, (labels, names) in found.items():
            known = self._domains.get(path)
            if known is None or len(known.files) != len(names) or known.stream.labels != labels:
                if known is not None:
                    known.close()
                self._domains[path] = _Domain(self._node, path, labels, names)

    def close(self) -> None:
        """Closes all files. Idempotent."""
        for domain in self._domains.values():
            domain.close()


def _folders(path: str) -> list[str]:
    """Names of the folders in a folder, sorted; none where it is not there."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise CollectError(f"cannot list {path}: {error.strerror}") from error


def _label(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")[-MAX_LABEL_VALUE:]
