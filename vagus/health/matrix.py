"""Observers x subjects at a glance: of each subject its verdict, of each view its last word. Pure.

A view's word is what `view.walk` makes of its ten reports, the same that the strategies `paper` and `majority` count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import Protocol

import msgspec

from vagus.health.view import walk
from vagus.model import Inference, Metric, Report, Status, Verdict

MAX_SUBJECTS = 10_000


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """What one observer said last of the row's subject: when, its worst context, each context."""

    observer: str
    t_ns: int
    status: Status
    contexts: dict[str, Metric]


class Row(msgspec.Struct, frozen=True, array_like=True):
    """A subject: the verdict on it, and a cell for each observer that has a view of it, by name."""

    subject: str
    t_ns: int
    status: Status
    contexts: dict[str, Verdict]
    cells: tuple[Cell, ...]


class Matrix(msgspec.Struct, frozen=True, array_like=True):
    """Rows, the worst first; left_off: how many more subjects there are."""

    rows: tuple[Row, ...]
    left_off: int = 0


class Views(Protocol):
    """What is asked of a store."""

    def inferences(self) -> list[Inference]: ...

    def panorama(self, subject: str) -> dict[str, tuple[Report, ...]]: ...


class Overview:
    """Makes matrices of a store. Cells are kept while their view is the same: asking each second costs little."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, tuple[tuple[Report, ...], Cell]]] = {}

    def matrix(self, store: Views, limit: int) -> Matrix:
        """The `limit` worst subjects, among equals the first by name."""
        found = sorted(store.inferences(), key=lambda inference: (-inference.status, inference.subject))
        kept: dict[str, dict[str, tuple[tuple[Report, ...], Cell]]] = {}
        rows = []
        for inference in found[:limit]:
            known = self._cells.get(inference.subject, {})
            cells = kept[inference.subject] = {
                observer: known[observer] if known.get(observer, _NONE)[0] == view else (view, _cell(observer, view))
                for observer, view in sorted(store.panorama(inference.subject).items())
                if view
            }
            rows.append(
                Row(
                    inference.subject,
                    inference.t_ns,
                    inference.status,
                    inference.contexts,
                    tuple(cell for _, cell in cells.values()),
                )
            )
        self._cells = kept
        return Matrix(tuple(rows), len(found) - len(rows))

    def packed(self, store: Views, limit: int, known: Collection[str] = ()) -> tuple[str, bytes]:
        """A tag of the content, and the matrix in MessagePack; b"" when the tag is one of `known`."""
        body = _encoder.encode(self.matrix(store, limit))
        tag = hashlib.blake2b(body, digest_size=12).hexdigest()
        return tag, b"" if tag in known else body


_NONE: tuple[tuple[Report, ...], None] = ((), None)
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Matrix)


def unpacked(body: bytes) -> Matrix:
    """What `Overview.packed` made. Raises msgspec.ValidationError."""
    return _decoder.decode(body)


def _cell(observer: str, view: tuple[Report, ...]) -> Cell:
    contexts = walk(view)
    worst = max((metric.status for metric in contexts.values()), default=Status.NA)
    return Cell(observer, view[-1].t_ns, worst, contexts)
