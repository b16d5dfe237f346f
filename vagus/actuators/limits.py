"""What every limit of a control group is: files in a folder, with one value each or a line for each device."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from vagus.actuators.machine import Machine
from vagus.errors import Rejected
from vagus.undo import read_text


class Write(NamedTuple):
    """A text for a file of a group; part: the line of it that changes; op: how (`vagus.undo`)."""

    file: str
    text: str
    part: str = ""
    op: str = "write"


class Change(NamedTuple):
    """What sets a limit, what brings back what was before, and what reading shows in between."""

    writes: tuple[Write, ...]
    undo: tuple[Write, ...]
    expected: float | None


class Limit(Protocol):
    """One resource of a group. Paths are folders; one that does not exist yet (`change` only) has the kernel's defaults.

    part is what stands behind `@` in the resource's name; empty where there is none. Methods raise OSError and
    ValueError as they come, Rejected for a value that this machine cannot give, Unsupported for a part it has not.
    """

    controller: str
    file: str  # without it in the group's folder there is no such limit
    tree: bool  # whether it may be set on processes that are moved into a group of their own

    def read(self, group: Path, part: str, machine: Machine) -> float | None:
        """The limit in the resource's unit, None without one."""

    def change(self, group: Path, value: float | None, part: str, machine: Machine) -> Change:
        """What to write for `value` (None: no limit); touches nothing."""


Limits = Mapping[str, Limit]


def text_of(group: Path, file: str, default: str) -> str:
    """A file's text; the default where there is none, as in a group that is still to be made. Raises OSError."""
    try:
        return read_text(str(group / file))
    except FileNotFoundError:
        return default


def at_most(group: Path, file: str, value: float, most: float, has: str) -> None:
    """Raises Rejected for more than there is."""
    if value > most:
        raise Rejected(str(group / file), f"{value:g}", f"{has} {most:g}")


def whole(group: Path, file: str, value: float, least: int = 1) -> int:
    """The value, rounded down. Raises Rejected below `least`."""
    if value < least:
        raise Rejected(str(group / file), f"{value:g}", f"the least is {least}")
    return math.floor(value)
