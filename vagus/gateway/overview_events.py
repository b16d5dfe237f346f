"""What one principal may see of the board, as server-sent events; encoded once for all viewers with the same rights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from vagus.access import Principal
from vagus.feeds.signals import kind_of
from vagus.gateway.door import Keys
from vagus.gateway.fanout import Gathered
from vagus.gateway.overview_asks import Known
from vagus.gateway.overview_board import Board
from vagus.gateway.overview_shapes import (
    shape_decisions,
    shape_feeds,
    shape_limits,
    shape_nodes,
    shape_verdicts,
)
from vagus.gateway.overview_signals import SIGNALS, Column, Values
from vagus.gateway.permitted import kept

NAMES: Mapping[str, tuple[Callable[[Any], str], ...]] = {
    "nodes": (lambda status: "status",),
    "verdicts": (lambda row: str(row.subject),),
    "feeds": (lambda status: kind_of(status.name),),
    "limits": (lambda receipt: "receipt",),
    "decisions": (lambda logged: "decision", lambda logged: "reward"),
}
"""What the rules are asked for each item of a section: all of these must be allowed."""


class Events:
    """The events of one viewer: `news` is what is new since it was last asked."""

    def __init__(self, board: Board, door: Keys, who: Principal) -> None:
        self._board = board
        self._door = door
        self._who = who
        self._key = "" if door.open else str(who)
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
                found.append(self._shared("tick", version, self._tick))
            elif name == "signals":
                found.append(self._shared("signals", version, self._signals))
            else:
                content = self._shared(name, version, lambda name=name: self._section(name))  # type: ignore[misc]
                if content != self._sent.get(name):
                    self._sent[name] = content
                    found.append(content)
        return found

    def _shared(self, name: str, version: int, make: Callable[[], Any]) -> bytes:
        held = self._board.rendered.get((name, self._key))
        if held is None or held[0] != version:
            held = self._board.rendered[name, self._key] = (version, event(name, make()))
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

    def _tick(self) -> dict[str, Any]:
        column = self._board.columns[-1]
        return {"t_ms": column.t_ms, "values": self._seen_of(column), **self._about("signals")}

    def _signals(self) -> dict[str, Any]:
        columns = list(self._board.columns)
        seen = [self._seen_of(column) for column in columns]
        nodes = sorted({node for values in seen for node in values})
        blank = (None,) * len(SIGNALS)
        lines = {
            node: [list(line) for line in zip(*(values.get(node, blank) for values in seen), strict=True)]
            for node in nodes
        }
        return {"t_ms": [column.t_ms for column in columns], "lines": lines, **self._about("signals")}

    def _seen_of(self, column: Column) -> Mapping[str, Values]:
        if self._door.open:
            return column.values
        return {node: self._allowed(node, values) for node, values in column.values.items()}

    def _allowed(self, node: str, values: Values) -> Values:
        allows = [self._door.allows(self._who, "read", signal.kind, node) for signal in SIGNALS]
        return tuple(value if allowed else None for value, allowed in zip(values, allows, strict=True))

    # --- the others --------------------------------------------------------------------------------------------------

    def _section(self, name: str) -> dict[str, Any]:
        known = self._board.known[name]
        refused: dict[str, None] = {}
        gathered = known.gathered
        if name == "nodes":
            gathered = Gathered({node: [part] for node, part in gathered.parts.items()}, gathered.missing)
        for name_of in NAMES[name]:
            gathered = kept(self._door, self._who, gathered, name_of)
            refused.update(dict.fromkeys(gathered.refused))
        shaped = self._shaped(name, known, gathered, refused)
        return {**shaped, **self._about(name), "refused": list(refused)}

    def _shaped(self, name: str, known: Known, gathered: Gathered, refused: dict[str, None]) -> dict[str, Any]:
        parts, more = gathered.parts, known.more
        if name == "nodes":
            return shape_nodes({node: part[0] for node, part in parts.items() if part})
        if name == "verdicts":
            return shape_verdicts(parts, more.get("left_off", 0))
        if name == "feeds":
            return shape_feeds(parts)
        if name == "limits":
            return shape_limits(parts)
        explained, groups = more.get("explained", {}), more.get("groups", 0)
        if not self._door.allows(self._who, "read", "decide"):
            refused["decide"] = None
            explained, groups = {}, 0
        return shape_decisions(parts, explained, groups)

    def _about(self, name: str) -> dict[str, Any]:
        known = self._board.known[name]
        missing = [{"node": m.node, "error": m.error[:200]} for m in known.gathered.missing[:30]]
        return {"missing": missing, "missing_count": len(known.gathered.missing), "error": known.error}


def event(name: str, about: Any) -> bytes:
    """One server-sent event; JSON has no line ends of its own."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), msgspec.json.encode(about))
