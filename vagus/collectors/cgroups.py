"""Services as the kernel groups them: CPU use and throttling, memory, I/O, pressure, network of each cgroup, v1 and v2."""

from __future__ import annotations

import os
import resource
import select
from collections.abc import Iterator
from pathlib import Path

from vagus.cgroup_names import owner_of
from vagus.clock import NS
from vagus.collectors.cgroup_net import FIELDS as NET_FIELDS
from vagus.collectors.cgroup_net import NetSource, apart, hostname, processes
from vagus.collectors.cgroup_parse import READINGS, Reading
from vagus.collectors.cgroup_tree import Hierarchy, Patterns, hierarchies, scan
from vagus.collectors.files import KernelFile
from vagus.collectors.table import check_range
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import MAX_LABEL_VALUE, Event, Field, Level, Sample, Stream

SCAN_NS = 5 * NS  # how often groups are looked for, at most
VISITS_S = 10  # folders visited a second, in the mean: a scan of 1000 is made every 100 s
EXAMINE_NS = 60 * NS  # how often known groups are looked at anew: controllers are switched on and off
OPEN_SHARE = 4  # files are kept open up to a fourth of what the process may open

GROUP_FIELDS = (
    Field("groups", dtype="u8"),
    Field("left_out", dtype="u8"),  # beyond settings.max_cgroups, or beyond what a scan visits (then at least this)
    Field("files_open", dtype="u8"),
    Field("complete", dtype="u4"),
)


class _Source:
    """One stream of one group and the files behind it."""

    def __init__(self, reading: Reading, stream: Stream, paths: list[str], keep: bool) -> None:
        self.stream = stream
        self.keep = keep
        self.pause_ns = (reading.every_s - 1) * NS
        self.read_ns = -1
        self._reading = reading
        self._files = [KernelFile(Path("/"), path, whole=True) for path in paths]
        self._paths = paths
        self._contents: list[bytes] = []
        self._values: tuple[int | float, ...] = ()

    def sample(self, t_ns: int) -> Sample:
        """Raises CollectError, ValueError."""
        contents = [file.read() for file in self._files]
        if not self.keep:
            self.close()
        if contents != self._contents:  # most groups are idle
            values = self._reading.parse(contents)
            check_range([value for value in values if value == value])  # NaN: no limit
            self._contents, self._values = contents, values
        return Sample(self.stream, t_ns, self._values)

    def close(self) -> None:
        for file in self._files:
            file.close()

    def count(self) -> int:
        return len(self._files)

    def gone(self) -> bool:
        """Whether the group was removed, or its controller switched off: no failure."""
        return not all(map(os.path.exists, self._paths))

    def problem(self, error: Exception) -> str:
        """The error as a sentence that names the files."""
        return str(error) if isinstance(error, CollectError) else f"{', '.join(self._paths)}: {error!r}"


class CgroupsCollector:
    """Kinds `cgroup.cpu`, `cgroup.memory`, `cgroup.io`, `cgroup.pressure`, `cgroup.net` (labels cgroup: the path below
    the hierarchies' root; service, pod, container: who runs in it, where the path says so; hostname: what a container
    is told that it is called) of the groups that `settings.cgroups` names, and `cgroup.groups`. Nothing where no
    hierarchy is mounted. Processor and pressure at each tick, memory, I/O, network and the number of groups every 5 s.
    A group that goes between two scans is dropped silently. Raises CollectError.
    """

    name = "cgroup"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        self._node = node
        self._root = root
        self._mounts = KernelFile(root, "proc/mounts")
        self._watch: select.poll | None = None  # tells when mounts changed
        self._patterns = Patterns(settings.cgroups)
        self._most = settings.max_cgroups
        self._stream = Stream(node, "cgroup.groups", GROUP_FIELDS)
        self._hierarchies: list[Hierarchy] = []
        self._groups: dict[str, list[_Source | NetSource]] = {}
        self._empty: set[str] = set()  # containers in which nothing ran yet
        self._called: dict[str, str] = {}  # hostnames of containers: labels stay when a process ends
        self._streams: dict[str, Stream] = {}
        self._files = self._budget = 0
        self._left_out = 0
        self._complete = True
        self._told = False
        self._scan_at_ns = self._pause_ns = self._examine_at_ns = 0
        self._read_ns = self._next_ns = 0  # in between no file is due

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """Samples of all groups; the error that names the failing files comes last."""
        scanned = not 0 < self._scan_at_ns - t_ns <= self._pause_ns  # wall time may step back
        if scanned:
            yield from self._scan(t_ns)
        if not self._hierarchies or (not scanned and self._read_ns <= t_ns < self._next_ns):
            return
        problems: list[str] = []
        for group, sources in list(self._groups.items()):
            changed = False
            for source in sources:
                if source.pause_ns and 0 <= t_ns - source.read_ns <= source.pause_ns:
                    continue
                source.read_ns = t_ns
                try:
                    yield source.sample(t_ns)
                except (CollectError, ValueError, IndexError, KeyError, ZeroDivisionError) as error:
                    changed = True
                    if not source.gone():
                        problems.append(source.problem(error))
            if changed:
                self._open(group)
        self._read_ns = t_ns
        self._next_ns = min((s.read_ns + s.pause_ns for found in self._groups.values() for s in found), default=t_ns)
        if scanned:
            values = (len(self._groups), self._left_out, self._files, int(self._complete))
            yield Sample(self._stream, t_ns, values)
        if problems:
            raise CollectError("; ".join(problems[:10]))

    def _scan(self, t_ns: int) -> Iterator[Event]:
        if self._watch is None or self._watch.poll(0):
            self._watch = None
            self._hierarchies = hierarchies(self._root, self._mounts.read())
            self._watch = self._mounts.watch()
        found = scan([h.point for h in self._hierarchies], self._patterns)
        self._pause_ns = max(SCAN_NS, found.visited * NS // VISITS_S)
        self._scan_at_ns = t_ns + self._pause_ns
        names = found.groups
        if len(names) > self._most:  # those that are shown stay, so that series do not flicker; containers go first
            names = sorted(names, key=lambda name: (name not in self._groups, not owner_of(name).container))
        shown = set(names[: self._most])
        for name in [name for name in self._groups if name not in shown]:
            self._drop(name)
            self._called.pop(name, None)
        examine = not 0 < self._examine_at_ns - t_ns <= EXAMINE_NS
        if examine:
            self._examine_at_ns = t_ns + EXAMINE_NS
        self._budget = _may_open() // OPEN_SHARE
        for name in names[: self._most]:
            if examine or name not in self._groups or name in self._empty:
                self._open(name)
        self._left_out, self._complete = len(names) - len(shown), found.complete
        self._streams = {s.stream.key: s.stream for sources in self._groups.values() for s in sources}
        if self._told and not self._left_out:
            self._told = False
        elif self._left_out and not self._told:
            self._told = True
            text = (
                f"{self._left_out} cgroups are not read: collect.max_cgroups is {self._most}; "
                "raise it, or narrow collect.cgroups"
            )
            yield Event(t_ns, "cgroup.limit", self._node, Level.WARNING, self.name, {"text": text})

    def _open(self, name: str) -> None:
        """Finds the files of a group: of each kind the first reading whose files it has."""
        self._drop(name)
        sources: dict[str, _Source | NetSource] = {}
        owner = owner_of(name)
        labels = {"cgroup": _label(name), **{who: _label(text) for who, text in owner.labels().items()}}
        pids = processes([f"{hierarchy.point}/{name}" for hierarchy in self._hierarchies])
        if owner.container and not pids:
            self._empty.add(name)
        inside = apart(self._root, pids)
        if inside is not None and owner.container and name not in self._called:
            self._called[name] = hostname(self._root, inside[0])
        if called := self._called.get(name):
            labels["hostname"] = called
        if inside is not None:
            pid, namespace = inside
            stream = self._known(Stream(self._node, "cgroup.net", NET_FIELDS, labels))
            sources[stream.kind] = NetSource(f"{self._root}/proc", pid, namespace, stream)
        for reading in READINGS:
            if reading.kind in sources:
                continue
            paths = [self._find(reading.version, name, file) for file in reading.files]
            present = [path for path in paths if path]
            if len(present) == len(reading.files):
                stream = self._known(Stream(self._node, reading.kind, reading.fields, labels))
                keep = self._files + len(present) <= self._budget
                sources[reading.kind] = _Source(reading, stream, present, keep)
                self._files += len(present) if keep else 0
        if sources:
            self._groups[name] = list(sources.values())

    def _known(self, stream: Stream) -> Stream:
        """The same stream as the object that was given out before, if it was."""
        known = self._streams.get(stream.key)
        return known if known is not None and known.fields == stream.fields else stream

    def _find(self, version: int, group: str, file: str) -> str:
        controller = file.partition(".")[0]
        for hierarchy in self._hierarchies:
            if hierarchy.version == version and (version == 2 or controller in hierarchy.controllers):
                path = f"{hierarchy.point}/{group}/{file}"
                return path if os.path.exists(path) else ""
        return ""

    def _drop(self, name: str) -> None:
        self._empty.discard(name)
        for source in self._groups.pop(name, ()):
            source.close()
            self._files -= source.count() if source.keep else 0

    def close(self) -> None:
        """Closes all files. Idempotent."""
        self._watch = None
        self._mounts.close()
        for sources in self._groups.values():
            for source in sources:
                source.close()


def _label(name: str) -> str:
    return os.fsencode(name).decode("utf-8", "replace")[-MAX_LABEL_VALUE:]


def _may_open() -> int:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 20
