"""How each section of the page `/` is asked for: a question to every node, and what is remembered between two."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vagus.clock import NS, Clock
from vagus.errors import VagusError
from vagus.gateway.backend import Backend
from vagus.gateway.fanout import DEFECT, Gathered, gather
from vagus.gateway.overview_shapes import MAX_GROUPS, SPAN_NS, WORST, fresh, newest
from vagus.gateway.overview_signals import SELECTORS, Column, Meter, past
from vagus.health.matrix import Matrix, unpacked
from vagus.model import Receipt
from vagus.store import Batch

log = logging.getLogger("vagus")
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
    """The questions; each returns what is known now. They raise what `gather` raises; `failed` is told of defects."""

    def __init__(self, backend: Backend, clock: Clock, timeout_s: float, failed: Callable[[str], None]) -> None:
        self._backend = backend
        self._clock = clock
        self._timeout_s = timeout_s
        self._failed = failed
        self._meters: dict[str, Meter] = {}
        self._matrices: dict[str, tuple[str, Matrix]] = {}
        self._receipts: dict[str, list[Receipt]] = {}
        self._receipts_ns: dict[str, int] = {}  # of each node up to when it told them

    async def _gather(self, method: str, *args: Any) -> Gathered:
        return await self._each(method, lambda node: args)

    async def _each(self, method: str, args_of: Callable[[str], tuple[Any, ...]]) -> Gathered:
        return await gather(self._backend, method, args_of, "", self._timeout_s, failed=self._failed)

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
        left_off = {node: matrix.left_off for node, matrix in found.items()}
        rows = {node: matrix.rows for node, matrix in found.items()}
        return Known(Gathered(rows, gathered.missing), {"left_off": left_off})

    async def feeds(self) -> Known:
        """What each node says of the feeds that it fetches."""
        return Known(await self._gather("feeds"))

    async def limits(self) -> Known:
        """Receipts of the last hour; of each node only those since it last told its own."""
        now_ns = self._clock.time_ns()
        told = {node: t_ns for node, t_ns in self._receipts_ns.items() if t_ns > now_ns - SPAN_NS}

        def args_of(node: str) -> tuple[Any, ...]:
            since_ns = max(now_ns - SPAN_NS, told.get(node, 0) - OVERLAP_NS)
            return "receipt", since_ns, now_ns + 1, AT_ONCE

        gathered = await self._each("records", args_of)
        self._receipts_ns = told | dict.fromkeys(gathered.parts, now_ns)
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
        told = await asyncio.gather(*(self._explain(name) for name in names))  # who hangs keeps nobody waiting
        explained = dict(zip(names, told, strict=True))
        return Known(gathered, {"explained": explained, "groups": max(len(table), len(counts))})

    async def _explain(self, group: str) -> Mapping[str, Any]:
        try:
            return await asyncio.wait_for(self._backend.explain(group), self._timeout_s)
        except VagusError as error:
            return {"error": str(error)}
        except (asyncio.TimeoutError, TimeoutError):
            return {"error": f"its leader did not answer within {self._timeout_s:g} s"}
        except Exception as error:  # a defect there: the other groups are told of
            log.error("a leader failed", exc_info=error, extra={"group": group})
            self._failed(f"explain of {group}: {type(error).__name__}: {error}"[:300])
            return {"error": DEFECT}
