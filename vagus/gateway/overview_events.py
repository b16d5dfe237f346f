"""What one principal may see of the board, as server-sent events; encoded once for all viewers with the same rights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from vagus.access import Principal
from vagus.gateway.door import Keys
from vagus.gateway.fanout import Gathered
from vagus.gateway.overview_asks import Known
from vagus.gateway.overview_board import Board
from vagus.gateway.overview_rights import Rights
from vagus.gateway.overview_shapes import (
    shape_decisions,
    shape_feeds,
    shape_limits,
    shape_nodes,
    shape_verdicts,
)
from vagus.gateway.overview_signals import SIGNALS, Column, Values

MAX_VALUES = 20_000  # of a `signals` event, which are some 200 kB


class Events:
    """The events of one viewer: `news` is what is new since it was last asked."""

    def __init__(self, board: Board, door: Keys, who: Principal) -> None:
        self._board = board
        self._rights = Rights(door, who)
        self._seen = dict.fromkeys(board.versions, 0)
        self._sent: dict[str, bytes] = {}
        self._greeted = False

    def news(self) -> list[bytes]:
        """Events that this viewer has not had; a section that reads as before is not sent again."""
        found = []
        if not self._greeted:
            self._greeted = True
            found.append(event("hello", self._hello()))
        for name, version in self._board.versions.items():
            if name not in self._board.known or version == self._seen[name]:
                continue
            next_one = 0 < self._seen[name] == version - 1
            self._seen[name] = version
            if name == "signals" and next_one:
                found += self._shared("tick", version, self._tick)
            elif name == "signals":
                found += self._shared("signals", version, self._signals)
            else:
                (content,) = self._shared(name, version, lambda name=name: self._section(name))  # type: ignore[misc]
                if content != self._sent.get(name):
                    self._sent[name] = content
                    found.append(content)
        return found

    def _shared(self, name: str, version: int, make: Callable[[], list[bytes]]) -> list[bytes]:
        held = self._board.rendered.get((name, self._rights.key))
        if held is None or held[0] != version:
            held = self._board.rendered[name, self._rights.key] = (version, make())
        return held[1]

    def _hello(self) -> dict[str, Any]:
        board = self._board
        return {
            "node": board.backend.node,
            "cluster": board.backend.cluster,
            "period_s": round(board.period_s, 3),
            "points": board.columns.maxlen,
            "signals": [
                {"name": s.name, "title": s.title, "unit": s.unit, "kind": s.kind, "field": s.shown} for s in SIGNALS
            ],
        }

    # --- signals -----------------------------------------------------------------------------------------------------

    def _tick(self) -> list[bytes]:
        columns = [self._board.columns[-1]]
        return _ticks(columns, *self._seen_of(columns))

    def _signals(self) -> list[bytes]:
        """All columns: the oldest as far as one event takes them, each other as a tick, which readers put behind them."""
        columns = list(self._board.columns)
        seen, about = self._seen_of(columns)
        count = max(1, MAX_VALUES // max(1, len(seen) * len(SIGNALS)))
        lines = {node: list(zip(*values[:count], strict=True)) for node, values in seen.items()}
        whole = {"t_ms": [column.t_ms for column in columns[:count]], "lines": lines, **about}
        behind = {node: values[count:] for node, values in seen.items()}
        return [event("signals", whole), *_ticks(columns[count:], behind, about)]

    def _seen_of(self, columns: Sequence[Column]) -> tuple[dict[str, list[Values]], dict[str, Any]]:
        """By node its values in each column, None for those that are refused; and what the section says of itself."""
        known = self._board.known["signals"]
        nodes = sorted({node for column in columns for node in column.values})
        found = self._rights.judged("signals", Gathered(dict.fromkeys(nodes, SIGNALS), known.gathered.missing))
        blank = (None,) * len(SIGNALS)
        seen: dict[str, list[Values]] = {}
        for node, allowed in found.parts.items():
            if len(allowed) == len(SIGNALS):
                seen[node] = [column.values.get(node, blank) for column in columns]
            elif allowed:
                places = [signal in allowed for signal in SIGNALS]
                seen[node] = [
                    tuple(value if may else None for value, may in zip(values, places, strict=True))
                    for values in (column.values.get(node, blank) for column in columns)
                ]
        return seen, _about(known, found, found.refused)

    # --- the others --------------------------------------------------------------------------------------------------

    def _section(self, name: str) -> list[bytes]:
        known = self._board.known[name]
        gathered = known.gathered
        if name == "nodes":
            gathered = Gathered({node: [part] for node, part in gathered.parts.items()}, gathered.missing)
        gathered = self._rights.judged(name, gathered)
        refused = dict.fromkeys(gathered.refused)
        shaped = self._shaped(name, known, gathered, refused)
        return [event(name, {**shaped, **_about(known, gathered, refused)})]

    def _shaped(self, name: str, known: Known, gathered: Gathered, refused: dict[str, None]) -> dict[str, Any]:
        parts, more = gathered.parts, known.more
        if name == "nodes":
            return shape_nodes({node: part[0] for node, part in parts.items() if part}, self._rights.knows)
        if name == "verdicts":
            left_off = more.get("left_off", {})
            return shape_verdicts(parts, max((left_off.get(node, 0) for node in parts if parts[node]), default=0))
        if name == "feeds":
            return shape_feeds(parts)
        if name == "limits":
            return shape_limits(parts)
        if not self._rights.may("decide"):
            refused["decide"] = None
            return shape_decisions(parts, {}, 0)
        explained = self._rights.led(more.get("explained", {}), self._board.backend.nodes())
        return shape_decisions(parts, explained, more.get("groups", 0))


def _ticks(columns: Iterable[Column], seen: Mapping[str, list[Values]], about: Mapping[str, Any]) -> list[bytes]:
    return [
        event("tick", {"t_ms": column.t_ms, "values": {node: line[at] for node, line in seen.items()}, **about})
        for at, column in enumerate(columns)
    ]


def _about(known: Known, gathered: Gathered, refused: Iterable[str]) -> dict[str, Any]:
    missing = [{"node": m.node, "error": m.error[:200]} for m in gathered.missing[:30]]
    return {
        "missing": missing,
        "missing_count": len(gathered.missing),
        "error": known.error,
        "refused": list(refused),
    }


def event(name: str, about: Any) -> bytes:
    """One server-sent event; JSON has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(about))
