"""Critical paths of 10k traces of 50 spans: sequential, parallel and background children, spans in any order.

Run: python -m benchmarks.act_paths [--json] [--quick]
CPU seconds of one thread, from spans to segments. Peer: the paper's pseudocode as it stands (recursive, a set of spans
instead of stretches of time, no lost parents, no clocks, no cycles), on the same spans in the same run.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Callable
from typing import Any

from vagus.model import Kind, Span
from vagus.traces.critical import critical_path, exclusive
from vagus.traces.graph import build

TRACES, SPANS, BATCH = 10_000, 50, 500
LEAST = 2_000.0


def trace(number: int, rng: random.Random) -> list[Span]:
    """A trace of 50 spans: 60 % sequential, 30 % parallel, 10 % background children."""
    made: list[Span] = []

    def add(parent: str, begin: int, end: int, count: int) -> None:
        name = f"{number:08x}{len(made):08x}"
        service = f"service-{rng.randrange(20)}"
        made.append(
            Span(f"{number:032x}", name, parent, service, service, "op", begin, end, Kind.INTERNAL, attributes={})
        )
        count -= 1
        cursor = begin + 1
        while count > 0:
            part = count if count < 3 else rng.randint(1, count)
            count -= part
            length = max(2, (end - cursor) // 2)
            how = rng.random()
            add(name, cursor, cursor + length + (2 * (end - begin) if how > 0.9 else 0), part)
            if how < 0.6:
                cursor = min(cursor + length, end - 1)

    add("", 10**18, 10**18 + 10**12, SPANS)
    return made


def paper(spans: list[Span]) -> list[set[str]]:
    """FIRM, algorithm 1."""
    traces: dict[str, list[Span]] = {}
    for span in spans:
        traces.setdefault(span.trace_id, []).append(span)
    found = []
    for group in traces.values():
        children: dict[str, list[Span]] = {}
        for span in group:
            children.setdefault(span.parent_id, []).append(span)

        def longest(node: Span, below: dict[str, list[Span]] = children) -> list[str]:
            path = [node.span_id]
            waited = [child for child in below.get(node.span_id, ()) if child.end_ns <= node.end_ns]
            if not waited:
                return path
            last = max(waited, key=lambda child: child.end_ns)
            path += longest(last)
            for child in waited:
                if child.end_ns <= last.start_ns:
                    path += longest(child)
            return path

        found.append(set(longest(children[""][0])))
    return found


def timed(call: Callable[[], object]) -> float:
    began = time.thread_time()
    call()
    return time.thread_time() - began


def measure(count: int) -> list[dict[str, Any]]:
    rng = random.Random(7)
    joined = paths = shared = peer = 0.0
    total = 0
    for begin in range(0, count, BATCH):
        spans = [span for n in range(begin, begin + BATCH) for span in trace(n, rng)]
        total += len(spans)
        rng.shuffle(spans)
        graphs: list[Any] = []
        joined += timed(lambda into=graphs, of=spans: into.extend(build(of)))  # type: ignore[misc]
        found: list[Any] = []
        paths += timed(lambda into=found, of=graphs: into.extend(map(critical_path, of)))  # type: ignore[misc]
        shared += timed(lambda of=graphs, by=found: [exclusive(g, p) for g, p in zip(of, by, strict=True)])  # type: ignore[misc]
        peer += timed(lambda of=spans: paper(of))  # type: ignore[misc]
    assert total == count * SPANS
    rate, theirs = count / (joined + paths), count / peer
    return [
        {"what": f"spans to critical paths, {count} traces of {SPANS} spans", "value": rate, "unit": "traces/s",
         "bar": f">= {LEAST:.0f}", "met": rate >= LEAST, "peer": f"paper's pseudocode {theirs:.0f}"},
        {"what": "of that: joining spans into graphs", "value": joined / count * 1e6, "unit": "us/trace"},
        {"what": "of that: the paths", "value": paths / count * 1e6, "unit": "us/trace"},
        {"what": "time of each component on them, besides", "value": shared / count * 1e6, "unit": "us/trace"},
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    rows = [{"bar": None, "met": None, "peer": None, **r} for r in measure(1_000 if options.quick else TRACES)]
    if options.json:
        print(json.dumps(rows))
        return
    for r in rows:
        met = "" if r["met"] is None else "met" if r["met"] else "NOT MET"
        print(f"{r['what']:60} {r['value']:10.1f} {r['unit']:10} {r['bar'] or '':10} {met:8} {r['peer'] or ''}")


if __name__ == "__main__":
    main()
