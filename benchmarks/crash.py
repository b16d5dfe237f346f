"""kill -9 at random moments: what was acknowledged is there, exactly, and the file is whole.

python -m benchmarks.crash [--rounds 50] [--seed 1] [--json]

One store lives through all rounds. Each round a process goes on writing where the last one was killed: rows of a tick,
bulk, events, state, seals, retention, syncs, compactions; it says each before it begins and after the flush that
acknowledged it. It is killed after a random time. Then everything that was acknowledged and is younger than retention
must be there bit for bit, what was under way wholly or not at all, and `verify` must find nothing. Every other round
a reader keeps LMDB's lock file in use over the crash.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from vagus.clock import NS, ManualClock
from vagus.model import Event, Field, Level, Stream
from vagus.store import Store

T0 = 1_700_000_000 * NS
STEP_NS = NS  # between operations: each owns this span of time
KEEP_S = 600.0  # retention drops what is older than 600 operations
STREAMS = tuple(Stream("a", f"crash.s{i}", tuple(Field(f"f{k}") for k in range(5 + 10 * i))) for i in range(4))
BULK = Stream("a", "crash.bulk", (Field("x"), Field("n", "", "i8")))
BULK_ROWS = 700
KINDS = ("tick",) * 8 + ("bulk", "bulk", "events", "state", "seal", "retain", "sync", "compact")
ROOT = Path(__file__).parents[1]

Row = tuple[float, ...]


def kind_of(seed: int, number: int) -> str:
    """What operation `number` is."""
    return Random(seed * 1_000_003 + number).choice(KINDS)


def rows_of(seed: int, number: int) -> dict[str, tuple[list[int], list[Row]]]:
    """The rows that operation `number` writes, by kind of stream: times and values."""
    rng = np.random.default_rng([seed, number])
    t_ns = T0 + number * STEP_NS
    kind = kind_of(seed, number)
    if kind == "bulk":
        values = np.column_stack([rng.normal(size=BULK_ROWS), rng.integers(0, 1000, BULK_ROWS)])
        return {BULK.kind: ((t_ns + np.arange(BULK_ROWS)).tolist(), [tuple(row) for row in values.tolist()])}
    if kind != "tick":
        return {}
    return {s.kind: ([t_ns], [tuple(rng.normal(size=len(s.fields)).tolist())]) for s in STREAMS}


def perform(store: Store, clock: ManualClock, seed: int, number: int) -> None:
    """Operation `number`: acknowledged when it returns."""
    t_ns = T0 + number * STEP_NS
    clock.advance((t_ns - clock.time_ns()) / NS)
    kind = kind_of(seed, number)
    for name, (times, rows) in rows_of(seed, number).items():
        stream = BULK if name == BULK.kind else next(s for s in STREAMS if s.kind == name)
        stream_id = store.declare(stream)
        if kind == "bulk":
            store.extend(stream_id, times, np.array(rows))
        else:
            store.append(stream_id, times[0], rows[0])
    if kind == "events":
        for k in range(5):
            event = Event(t_ns + k, f"crash.e{k}", "a", Level.ERROR, "", {"number": number, "ID": str(number)})
            store.put("event", event, t_ns=event.t_ns)
    if kind == "state":
        store.save("number", str(number).encode())
    store.flush()
    if kind == "seal":
        store.seal()
    elif kind == "retain":
        store.retain(max_age_s=KEEP_S)
    elif kind == "sync":
        store.sync()
    elif kind == "compact":
        store.compact()


def work(path: Path, seed: int, first: int, last: int) -> None:
    """The process that is killed: says `+N` before, and `=N` after each operation."""
    clock = ManualClock(T0 + first * STEP_NS)
    with Store.open(path, clock=clock) as store:
        for number in range(first, last):
            os.write(1, b"+%d\n" % number)
            perform(store, clock, seed, number)
            os.write(1, b"=%d\n" % number)


class Found:
    """What a store holds, to be compared with what it should."""

    def __init__(self, store: Store) -> None:
        self.problems = store.verify()
        self.rows: dict[str, dict[int, Row]] = {}
        for batch in store.scan("crash.*"):
            rows = zip(batch.t_ns.tolist(), batch.values.tolist(), strict=True)
            self.rows.setdefault(batch.stream.kind, {}).update((t, tuple(row)) for t, row in rows)
        self.events = Counter(int(e.fields["number"]) for e in store.events("crash.*"))
        self.by_field = Counter(int(e.fields["number"]) for e in store.events("crash.e3", where=["number>=0"]))
        self.state = int(store.load("number") or -1)

    def has(self, seed: int, number: int) -> bool | None:
        """Whether all of an operation is there (False: nothing of it). None: a part, or wrong values."""
        parts: list[bool] = []
        for kind, (times, rows) in rows_of(seed, number).items():
            held = self.rows.get(kind, {})
            parts += [held[t] == row if t in held else False for t, row in zip(times, rows, strict=True)]
            if any(t in held and held[t] != row for t, row in zip(times, rows, strict=True)):
                return None
        if kind_of(seed, number) == "events":
            parts += [self.events[number] == 5, self.by_field[number] == 1]
            if self.events[number] not in (0, 5):
                return None
        if len(set(parts)) > 1:
            return None
        return parts[0] if parts else True


def check(store: Store, seed: int, acknowledged: set[int], uncertain: set[int]) -> tuple[list[str], Found]:
    """What is wrong: damage, acknowledged operations that are lost, uncertain ones of which a part is there."""
    found = Found(store)
    wrong = [f"damaged: {problem}" for problem in found.problems]
    horizon = max(acknowledged | uncertain, default=0) - int(KEEP_S * NS / STEP_NS)
    wrong += [f"lost: {kind_of(seed, n)} {n}" for n in acknowledged if n >= horizon and found.has(seed, n) is not True]
    wrong += [f"torn: {kind_of(seed, n)} {n}" for n in uncertain if n >= horizon and found.has(seed, n) is None]
    states = [n for n in acknowledged if kind_of(seed, n) == "state"]
    if states and found.state not in {max(states), *(n for n in uncertain if n > max(states))}:
        wrong.append(f"lost: state {max(states)}, found {found.state}")
    return wrong, found


def play(
    path: Path, rounds: int, seed: int, told: Callable[[int, str], None] = lambda round_, text: None
) -> dict[str, Any]:
    """All rounds on the store at `path`; the figures of the table."""
    rng = Random(seed)
    acknowledged: set[int] = set()
    uncertain: set[int] = set()
    during: Counter[str] = Counter()
    wrong: list[str] = []
    reader: subprocess.Popen[bytes] | None = None
    following = 0
    for round_ in range(rounds):
        argv = [sys.executable, "-m", "benchmarks.crash", "--work", str(path), str(seed), str(following)]
        process = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=ROOT)
        assert process.stdout is not None
        said = process.stdout.readline()  # the first operation has begun
        time.sleep(rng.uniform(0, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        said += process.stdout.read()
        process.wait()
        process.stdout.close()
        begun = [int(line[1:]) for line in said.splitlines() if line.startswith(b"+")]
        done = {int(line[1:]) for line in said.splitlines() if line.startswith(b"=")}
        acknowledged |= done
        for number in set(begun) - done:
            uncertain.add(number)
            during[kind_of(seed, number)] += 1
        following = max(begun, default=following) + 1
        with Store.open(path, clock=ManualClock(T0)) as store:
            found, _ = check(store, seed, acknowledged, uncertain)
        wrong += [f"round {round_}: {text}" for text in found]
        told(round_, f"{len(done)} operations acknowledged, {len(found)} wrong")
        if reader is not None:
            reader.communicate()
        reader = (
            subprocess.Popen([*argv[:3], "--read", str(path)], stdin=subprocess.PIPE, cwd=ROOT) if round_ % 2 else None
        )
    if reader is not None:
        reader.communicate()
    return {
        "rounds": rounds,
        "acknowledged": len(acknowledged),
        "rows": sum(len(t) for n in acknowledged for t, _ in rows_of(seed, n).values()),
        "events": 5 * sum(kind_of(seed, n) == "events" for n in acknowledged),
        "killed_during": dict(during),
        "wrong": wrong,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", nargs=3, metavar=("PATH", "SEED", "FIRST"), help=argparse.SUPPRESS)
    parser.add_argument("--read", metavar="PATH", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.read:
        with Store.open(options.read, readonly=True):
            sys.stdin.read()
        return 0
    if options.work:
        work(Path(options.work[0]), int(options.work[1]), int(options.work[2]), int(options.work[2]) + 100_000)
        return 0
    folder = Path(tempfile.mkdtemp(prefix="vagus-crash-"))

    def told(round_: int, text: str) -> None:
        if not options.json and sys.stderr.isatty():
            print(f"round {round_ + 1}: {text}", file=sys.stderr)

    try:
        result = play(folder / "store", options.rounds, options.seed, told)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result))
    else:
        for name in ("rounds", "acknowledged", "rows", "events"):
            print(f"{name:<16}{result[name]:>10}")
        print("killed during   " + ", ".join(f"{kind} {n}" for kind, n in sorted(result["killed_during"].items())))
        print(f"{'lost or damaged':<16}{len(result['wrong']):>10}")
        for text in result["wrong"][:20]:
            print(f"  {text}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
