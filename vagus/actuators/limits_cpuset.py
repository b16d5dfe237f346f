"""cpuset_cpus: on how many processors a group may run, and on which (cgroup-v1/cpusets.rst, cgroup-v2.rst).

Which: those that it has already, then those on the same NUMA node, then those that the fewest neighbours are set to.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from vagus.actuators.limits import Change, Write, at_most, text_of, whole
from vagus.actuators.machine import Machine, list_text, parse_list
from vagus.errors import Rejected
from vagus.undo import read_text

_CPUS = "cpuset.cpus"
_MEMS = "cpuset.mems"
_MAX_NEIGHBOURS = 1000


class Cpuset:
    """cpuset.cpus; `effective` is the file with what the group above really has."""

    controller = "cpuset"
    file = _CPUS
    tree = True

    def __init__(self, effective: str, version: int) -> None:
        self._effective = effective
        self._version = version

    def read(self, group: Path, part: str, machine: Machine) -> float | None:
        """None: all that the group above has."""
        own = parse_list(read_text(str(group / _CPUS)))
        return float(len(own)) if own and own != self._above(group, machine) else None

    def change(self, group: Path, value: float | None, part: str, machine: Machine) -> Change:
        before = text_of(group, _CPUS, "")
        there = self._above(group, machine)
        chosen, expected = there, None  # all: the kernel does not let a list be emptied while processes use it
        if value is not None:
            wanted = whole(group, _CPUS, value)
            at_most(group, _CPUS, wanted, len(there), "the processors of the group above it are")
            chosen = choose(wanted, there, parse_list(before) & there, machine.nodes(), _taken(group))
            expected = None if chosen == there else float(wanted)
        writes, undo = [Write(_CPUS, list_text(chosen))], [_back(_CPUS, before, list_text(there))]
        if self._version == 1 and not text_of(group, _MEMS, ""):
            # without memory nodes a group of version 1 takes no process
            nodes = read_text(str(group.parent / _MEMS))
            writes.insert(0, Write(_MEMS, nodes))
            undo.append(_back(_MEMS, "", nodes))
        return Change(tuple(writes), tuple(undo), expected)

    def _above(self, group: Path, machine: Machine) -> frozenset[int]:
        """What the group above has. Raises Rejected when that is nothing, as in version 1 until someone sets it."""
        for file in (self._effective, _CPUS):
            try:
                found = parse_list(read_text(str(group.parent / file)))
            except FileNotFoundError:
                continue
            if found or self._version == 1:
                if not found:
                    raise Rejected(
                        str(group / _CPUS), "", f"the group above has no processors: set {group.parent / _CPUS}"
                    )
                return found
        return machine.online


def _back(file: str, before: str, all_text: str) -> Write:
    return Write(file, before) if before else Write(file, all_text, op="clear")


def choose(
    count: int, there: frozenset[int], held: frozenset[int], nodes: Iterable[frozenset[int]], taken: Counter[int]
) -> frozenset[int]:
    """`count` of the processors `there`."""
    places = [place for node in nodes if (place := node & there)] or [there]
    # the node that holds most of what is held; else the smallest that is large enough; else the largest
    places.sort(
        key=lambda node: (-len(node & held), len(node) < count, len(node) if len(node) >= count else -len(node))
    )
    rank = {cpu: i for i, node in enumerate(places) for cpu in node}
    order = sorted(there, key=lambda cpu: (cpu not in held, rank.get(cpu, len(places)), taken[cpu], cpu))
    return frozenset(order[:count])


def _taken(group: Path) -> Counter[int]:
    """How many neighbours are set to each processor, those aside that may run on all."""
    counts: Counter[int] = Counter()
    try:
        names = os.listdir(group.parent)[:_MAX_NEIGHBOURS]
    except OSError:
        return counts
    for name in names:
        if name != group.name:
            try:
                counts.update(parse_list(read_text(str(group.parent / name / _CPUS))))
            except (OSError, ValueError):
                continue  # a file, or a group that has just gone
    return counts


CPUS1 = Cpuset("cpuset.effective_cpus", 1)
CPUS2 = Cpuset("cpuset.cpus.effective", 2)
