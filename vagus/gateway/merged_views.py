"""One panorama, one matrix from those of several nodes. The result does not depend on the order of the nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from vagus.health.local import VIEW
from vagus.health.matrix import Cell, Row
from vagus.model import Report

Panorama = Mapping[str, Sequence[Report]]


def merge_panoramas(parts: Iterable[Panorama]) -> dict[str, list[Report]]:
    """Of each observer, by name, the newest ten reports that any node has, oldest first; a copy of one counts once."""
    found: dict[str, dict[tuple[int, str, int], Report]] = {}
    for part in parts:
        for observer, view in part.items():
            found.setdefault(observer, {}).update({(r.t_ns, r.origin, r.seq): r for r in view})
    return {observer: [view[order] for order in sorted(view)[-VIEW:]] for observer, view in sorted(found.items())}


def merge_rows(parts: Iterable[Iterable[Row]]) -> list[Row]:
    """The newest verdict on each subject with the newest cell of each observer, the worst subjects first."""
    found: dict[str, Row] = {}
    cells: dict[str, dict[str, Cell]] = {}
    for part in parts:
        for row in part:
            known = found.get(row.subject)
            if known is None or _row_rank(row) > _row_rank(known):
                found[row.subject] = row
            by_observer = cells.setdefault(row.subject, {})
            for cell in row.cells:
                other = by_observer.get(cell.observer)
                if other is None or _cell_rank(cell) > _cell_rank(other):
                    by_observer[cell.observer] = cell
    rows = [replace(row, cells=tuple(cells[subject].values())) for subject, row in found.items()]
    return sorted(rows, key=lambda row: (-row.status, row.subject))


def _row_rank(row: Row) -> tuple[int, int, int]:
    return row.t_ns, row.status, len(row.cells)


def _cell_rank(cell: Cell) -> tuple[int, int, int]:
    return cell.t_ns, cell.status, len(cell.contexts)
