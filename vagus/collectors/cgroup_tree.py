"""Which cgroups there are: the hierarchies of v1, v2 or both (hybrid), and the groups in them that patterns name."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from fnmatch import translate
from pathlib import Path
from typing import NamedTuple

MAX_VISITED = 5000  # folders of one scan; a machine with more groups is seen in part
LEAF = 2  # links of a folder without folders: listing the files of one costs ten times as much as asking for this
MEASURING = frozenset({"cpu", "cpuacct", "memory", "blkio"})
_OCTAL = re.compile(r"\\([0-7]{3})")


class Hierarchy(NamedTuple):
    """A mounted hierarchy: its folder, its version, and its controllers (v1; v2 says so in each group)."""

    point: str
    version: int
    controllers: frozenset[str]


def hierarchies(root: Path, mounts: bytes) -> list[Hierarchy]:
    """The cgroup hierarchies in the content of /proc/mounts that measure something, each once, v1 first: where both
    are mounted (hybrid) its counters are the complete ones, while v2 has pressure."""
    found: dict[frozenset[str], Hierarchy] = {}
    for line in mounts.decode("utf-8", "surrogateescape").splitlines():
        words = line.split(" ")
        if len(words) < 4 or words[2] not in ("cgroup", "cgroup2"):
            continue
        version = 2 if words[2] == "cgroup2" else 1
        controllers = MEASURING.intersection(words[3].split(",")) if version == 1 else frozenset[str]()
        if controllers or version == 2:
            point = _OCTAL.sub(lambda code: chr(int(code[1], 8)), words[1])
            found.setdefault(controllers, Hierarchy(str(root / point.lstrip("/")), version, controllers))
    return sorted(found.values(), key=lambda hierarchy: hierarchy.version)


class Patterns:
    """Glob patterns of paths, matched name by name: `*` is one level, `**` any number of levels."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self._patterns = [[_name(part) for part in pattern.strip("/").split("/")] for pattern in patterns]

    def begin(self) -> frozenset[tuple[int, int]]:
        """The state at the root: which pattern has come how far."""
        return self._skip({(i, 0) for i in range(len(self._patterns))})

    def step(self, state: frozenset[tuple[int, int]], name: str) -> frozenset[tuple[int, int]]:
        """The state one level deeper, in the folder `name`; empty when nothing there or below can match."""
        after = set()
        for i, at in state:
            if at < len(self._patterns[i]):
                part = self._patterns[i][at]
                if part is None:
                    after.add((i, at))
                elif part.match(name):
                    after.add((i, at + 1))
        return self._skip(after)

    def matches(self, state: frozenset[tuple[int, int]]) -> bool:
        """Whether a folder that was reached in this state is named."""
        return any(at == len(self._patterns[i]) for i, at in state)

    def goes_on(self, state: frozenset[tuple[int, int]]) -> bool:
        """Whether anything below a folder that was reached in this state can match."""
        return any(at < len(self._patterns[i]) for i, at in state)

    def _skip(self, state: set[tuple[int, int]]) -> frozenset[tuple[int, int]]:
        """`**` also stands for no level at all."""
        waiting = list(state)
        while waiting:
            i, at = waiting.pop()
            if at < len(self._patterns[i]) and self._patterns[i][at] is None and (i, at + 1) not in state:
                state.add((i, at + 1))
                waiting.append((i, at + 1))
        return frozenset(state)


def _name(part: str) -> re.Pattern[str] | None:
    return None if part == "**" else re.compile(translate(part))


class Found(NamedTuple):
    """The groups of a scan, as paths below the hierarchies' roots; how many folders were visited, and whether all."""

    groups: list[str]
    visited: int
    complete: bool


def scan(points: Sequence[str], patterns: Patterns) -> Found:
    """The named groups of all hierarchies, sorted, each once. Folders that go meanwhile are left out."""
    groups: set[str] = set()
    visited = 0
    begin = patterns.begin()
    for point in points:
        waiting = [("", begin)]
        while waiting:
            if visited >= MAX_VISITED:
                return Found(sorted(groups), visited, False)
            visited += 1
            path, state = waiting.pop()
            try:
                if os.stat(f"{point}/{path}").st_nlink == LEAF:
                    continue
                with os.scandir(f"{point}/{path}") as entries:
                    names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
            except OSError:
                continue
            for name in names:
                deeper = patterns.step(state, name)
                if deeper:
                    below = f"{path}/{name}" if path else name
                    if patterns.matches(deeper):
                        groups.add(below)
                    if patterns.goes_on(deeper):
                        waiting.append((below, deeper))
    return Found(sorted(groups), visited, True)
