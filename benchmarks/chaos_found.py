"""What is there after `benchmarks.chaos`: read from the stores' files, and asked of the gateways."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.chaos_clients import FEED, KIND, Gates, checksum, fetched
from benchmarks.chaos_ledger import BYTES, REPORT, SAMPLE, Key, Ledger, Outcome
from vagus.clock import NS
from vagus.feeds import Raw
from vagus.model import Net, Report
from vagus.store import Store

PIECE_NS = 60 * NS  # asked at once: a gateway shows 10,000 records at most
MAX_RECORDS = 10_000
Found = Iterable[tuple[Key, Hashable]]


def stored(home: Path, ledger: Ledger) -> dict[str, Outcome]:
    """By the files of all nodes' stores, while they are written. Raises StoreError."""
    found: dict[str, list[tuple[Key, Hashable]]] = {SAMPLE: [], REPORT: [], BYTES: []}
    for node in sorted((home / "nodes").iterdir()):
        for kind, role, read in (
            (SAMPLE, "collector", _samples),
            (REPORT, "observer", _reports),
            (BYTES, "feed", _raws),
        ):
            if (node / "store" / role / "data.mdb").exists():
                with closing(Store.open(node / "store" / role, create=False, readonly=True)) as store:
                    found[kind] += read(store, node.name)
    return _compared(ledger, found)


def asked(nodes: Sequence[str], gates: Gates, ledger: Ledger, begin_ns: int, end_ns: int) -> dict[str, Outcome]:
    """By what each node's gateway answers of its own node. Raises VagusError."""
    found: dict[str, list[tuple[Key, Hashable]]] = {SAMPLE: [], REPORT: [], BYTES: []}
    for node in nodes:
        for series in gates.at(node).query(KIND, start=begin_ns, end=end_ns, node=node):
            found[SAMPLE] += _rows(series)
        for start_ns, to_ns in pieces(begin_ns, end_ns):
            span = f"start={start_ns}&end={to_ns}&limit={MAX_RECORDS}&node={node}"
            for record in gates.get(node, f"/v1/records?kind=report&{span}")["records"]:
                if record["origin"] == node and "chaos" in record["contexts"]:
                    found[REPORT].append(
                        _told(record["observer"], record["contexts"]["chaos"]["score"], record["t_ns"])
                    )
            items = gates.get(node, f"/v1/feeds/{FEED}/items?{span}")["items"]
            found[BYTES] += [(key, content) for key, content in map(fetched, items) if content is not None]
    return _compared(ledger, found)


def pieces(begin_ns: int, end_ns: int, piece_ns: int = PIECE_NS) -> Iterator[tuple[int, int]]:
    """A span of time in pieces."""
    for start_ns in range(begin_ns, end_ns, piece_ns):
        yield start_ns, min(start_ns + piece_ns, end_ns)


def _compared(ledger: Ledger, found: dict[str, list[tuple[Key, Hashable]]]) -> dict[str, Outcome]:
    # bodies may be archived whose items nobody saw: nodes were killed
    return {kind: ledger.compare(kind, there, all_sent=kind != BYTES) for kind, there in found.items()}


def _samples(store: Store, _: str) -> Iterator[tuple[Key, Hashable]]:
    for batch in store.scan(KIND):
        yield from _rows(batch)


def _rows(batch: Any) -> Iterator[tuple[Key, Hashable]]:
    """Of a store's Batch or a gateway's Series."""
    writer = batch.stream.labels["writer"]
    for t_ns, (number,) in zip(batch.t_ns.tolist(), batch.values.tolist(), strict=True):
        yield (writer, int(number)), t_ns


def _reports(store: Store, node: str) -> Iterator[tuple[Key, Hashable]]:
    """Those that this node accepted: it keeps what others tell it, too."""
    for report in store.records("report", Report, newest_first=False):
        if report.origin == node and "chaos" in report.contexts:
            yield _told(report.observer, report.contexts["chaos"].score, report.t_ns)


def _told(observer: str, score: float, t_ns: int) -> tuple[Key, Hashable]:
    return (observer.removeprefix("chaos@"), int(score)), t_ns


def _raws(store: Store, _: str) -> Iterator[tuple[Key, Hashable]]:
    for raw in store.records("raw", Raw, newest_first=False):
        if raw.meta.feed == FEED and raw.meta.net is Net.OK:
            yield (raw.meta.location, raw.meta.due_ns), checksum(raw.body)
