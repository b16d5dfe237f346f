"""How each section of the page `/` is asked for: a question to every node, and what is remembered between two."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vagus.clock import NS, Clock
from vagus.errors import VagusError
from vagus.gateway.backend import Backend
from vagus.gateway.fanout import Gathered, gather
from vagus.gateway.overview_shapes import MAX_GROUPS, SPAN_NS, WORST, fresh, newest
from vagus.gateway.overview_signals import SELECTORS, Column, Meter, past
from vagus.health.matrix import Matrix, unpacked
from vagus.model import Receipt
from vagus.store import Batch

PAST_STEP_NS = 5 * NS
OVERLAP_NS = 30 * NS  # a receipt may come later than one that is newer, and clocks differ
AT_ONCE = 1000  # receipts of a node in one answer
LOG_NS = 600 * NS
LOGGED = 200  # decisions of a node
MAX_TABLE = 2000  # groups of a table that is looked through for names


@dataclass(frozen=True)
class Known:
    """A section as last known. more: what is no node's part; error: why it is not newer."""

    gathered: Gathered = field(default_factory=lambda: Gathered({}))
    more: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


class Asks:
    """The questions; each returns what is known now. They raise what `gather` raises."""

    def __init__(self, backend: Backend, clock: Clock, timeout_s: float) -> None:
        self._backend = backend
        self._clock = clock
        self._timeout_s = timeout_s
        self._meters: dict[str, Meter] = {}
        self._matrices: dict[str, tuple[str, Matrix]] = {}
        self._receipts: dict[str, list[Receipt]] = {}
        self._receipts_ns = 0  # up to when all nodes told theirs

    async def _gather(self, method: str, *args: Any) -> Gathered:
        return await gather(self._backend, method, args, "", self._timeout_s)

    async def past(self) -> list[Column]:
        """Columns of what was before anybody looked, as far as it is stored."""
        now_ns = self._clock.time_ns()
        since_ns = now_ns - 80 * PAST_STEP_NS
        batches: list[Batch] = []
        for selector in SELECTORS:  # one after another: nobody waits for them
            gathered = await self._gather("query", selector, since_ns, now_ns, 0)
            batches += [batch for part in gathered.parts.values() for batch in part]
        return await asyncio.to_thread(past, batches, now_ns, PAST_STEP_NS)

    async def signals(self) -> tuple[Known, Column]:
        """The values of all nodes now."""
        gathered = await self._gather("latest", SELECTORS)
        now_ns = self._clock.time_ns()
        for gone in self._meters.keys() - gathered.parts.keys():
            del self._meters[gone]
        values = {
            node: self._meters.setdefault(node, Meter()).read(samples, now_ns)
            for node, samples in gathered.parts.items()
        }
        return Known(Gathered({}, gathered.missing)), Column(now_ns // 1_000_000, values)

    async def nodes(self) -> Known:
        """What each node says of itself."""
        return Known(await self._gather("status"))

    async def verdicts(self) -> Known:
        """The worst subjects of each observer; one that has nothing new sends its tag alone."""
        held = dict(self._matrices.values())
        gathered = await self._gather("observer", "matrix", (WORST, tuple(held)))
        self._matrices = {
            node: (tag, held[tag] if tag in held else unpacked(body)) for node, (tag, body) in gathered.parts.items()
        }
        found = {node: matrix for node, (_, matrix) in self._matrices.items()}
        left_off = max((matrix.left_off for matrix in found.values()), default=0)
        rows = {node: matrix.rows for node, matrix in found.items()}
        return Known(Gathered(rows, gathered.missing), {"left_off": left_off})

    async def feeds(self) -> Known:
        """What each node says of the feeds that it fetches."""
        return Known(await self._gather("feeds"))

    async def limits(self) -> Known:
        """Receipts of the last hour; only new ones are asked for."""
        now_ns = self._clock.time_ns()
        since_ns = max(now_ns - SPAN_NS, self._receipts_ns - OVERLAP_NS)
        gathered = await self._gather("records", "receipt", since_ns, now_ns + 1, AT_ONCE)
        if not gathered.missing:  # who was away has told less: the next question is for the same time again
            self._receipts_ns = now_ns
        for node in self._receipts.keys() | gathered.parts.keys():
            come = gathered.parts.get(node, ())
            self._receipts[node] = fresh(self._receipts.get(node, ()), come, now_ns, SPAN_NS)
        kept = {node: found for node, found in self._receipts.items() if found}
        self._receipts = kept
        return Known(Gathered(dict(kept), gathered.missing))

    async def decisions(self) -> Known:
        """The newest decisions, and what the leaders of their groups know."""
        now_ns = self._clock.time_ns()
        gathered = await self._gather("decision_log", now_ns - LOG_NS, now_ns + 1, LOGGED, None)
        counts = Counter(one.group for one in newest(gathered.parts))
        names = [group for group, _ in counts.most_common(MAX_GROUPS)]
        table = self._backend.table
        if len(names) < MAX_GROUPS and len(table) <= MAX_TABLE:
            names += sorted(table.full().groups.keys() - counts.keys())[: MAX_GROUPS - len(names)]
        explained = {name: await self._explain(name) for name in names}
        return Known(gathered, {"explained": explained, "groups": max(len(table), len(counts))})

    async def _explain(self, group: str) -> Mapping[str, Any]:
        try:
            return await asyncio.wait_for(self._backend.explain(group), self._timeout_s)
        except VagusError as error:
            return {"error": str(error)}
        except (asyncio.TimeoutError, TimeoutError):
            return {"error": f"its leader did not answer within {self._timeout_s:g} s"}
