"""Pressure stall information: how long tasks waited for a resource (Documentation/accounting/psi.rst)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vagus.collectors.parts import FilePart, read_parts
from vagus.collectors.table import Column, Table
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Event, Field, Sample

RESOURCES = ("cpu", "memory", "io", "irq")
OPTIONAL = ("irq",)  # since Linux 6.1, where irq time is accounted


def layout(tokens: list[bytes]) -> list[Column]:
    """`some avg10 0.00 avg60 0.00 avg300 0.00 total 0`, then the same for `full`; either line may be absent."""
    columns = []
    who = ""
    for i, token in enumerate(tokens):
        if token in (b"some", b"full"):
            who = token.decode()
        elif token.startswith(b"avg") and who:
            columns.append(Column(i + 1, Field(f"{who}_{token.decode()}", unit="percent")))
        elif token == b"total" and who:
            columns.append(Column(i + 1, Field(f"{who}_total", unit="us", dtype="u8", counter=True)))
    return columns


class Pressure(FilePart):
    """`pressure.RESOURCE`: averages over 10, 60 and 300 s in percent of time, and the total in microseconds."""

    def __init__(self, node: str, root: Path, resource: str) -> None:
        super().__init__(root, f"proc/pressure/{resource}", whole=True)
        self._table = Table(node, f"pressure.{resource}", layout)

    def read(self, t_ns: int) -> list[Sample]:
        """One sample."""
        sample = self._table.sample(self._file.read(), t_ns)
        if sample is None:
            raise CollectError(f"{self.source}: no line that begins with some or full")
        return [sample]


class PressureCollector:
    """Kinds `pressure.cpu`, `.memory`, `.io`, `.irq`. Raises CollectError where the kernel has no PSI."""

    name = "pressure"

    def __init__(self, node: str, root: Path, settings: CollectSettings) -> None:
        self._folder = root / "proc/pressure"
        there = [name for name in RESOURCES if name not in OPTIONAL or (self._folder / name).exists()]
        self._parts = tuple(Pressure(node, root, resource) for resource in there)

    def collect(self, t_ns: int) -> Iterator[Sample | Event]:
        """A sample for each resource."""
        try:
            yield from read_parts(self._parts, t_ns)
        except CollectError as error:
            if self._folder.is_dir():
                raise
            raise CollectError(
                f"{self._folder} is not there: this kernel has no pressure stall information; "
                "it needs Linux 4.20 with CONFIG_PSI, and psi=1 on the kernel's command line where it is off by default"
            ) from error

    def close(self) -> None:
        """Closes all files. Idempotent."""
        for part in self._parts:
            part.close()
