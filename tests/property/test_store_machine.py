"""A store against a dict, through any order of appends, bulk, seals, retention, compaction, reopening and kill -9.

A kill is a copy of the files as they are: what was not flushed is gone. Times come late, twice, and in bulk across
what is there. For a long run: `python tests/property/test_store_machine.py 500`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from vagus.clock import NS, ManualClock
from vagus.model import Event, Field, Stream
from vagus.store import Store, blocks, sealer, writer
from vagus.store import store as store_module

T0 = 1_700_000_000 * NS
SPAN = 300  # times
STREAMS = (
    Stream("a", "one", (Field("x"),)),
    Stream("a", "two", (Field("n", "", "i8"), Field("x"), Field("f", "", "f4"))),
    Stream("a", "wide", tuple(Field(f"f{k}") for k in range(70))),
)
SMALL = (  # so that a few rows go through everything
    *((writer, name, value) for name, value in (("SEAL_TICKS", 9), ("HASTE", 1))),
    *((sealer, name, value) for name, value in (("SLICE", 3), ("STEPS", 4))),
    *((blocks, name, value) for name, value in (("BLOCK_VALUES", 40), ("BLOCK_ROWS", 12), ("SMALL_BYTES", 200))),
    *((blocks, name, value) for name, value in (("EASY_VALUES", 90), ("MAX_BLOCK_ROWS", 30))),
    (store_module, "BULK_ROWS", 6),
)
TIMES = st.integers(0, SPAN - 1)
PLACES = st.integers(0, len(STREAMS) - 1)

Row = tuple[float, ...]


class Machine(RuleBasedStateMachine):
    """`rows`, `events` and `states` are what was flushed; `taken` is what was not yet, as functions that add it."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vagus-machine-"))
        self.patches = [mock.patch.object(*patched) for patched in SMALL]
        for patch in self.patches:
            patch.start()
        self.clock = ManualClock(T0)
        self.lives = 0
        self.made = 0
        self.rows: list[dict[int, Row]] = [{} for _ in STREAMS]
        self.events: set[int] = set()
        self.state = b""
        self.forget()
        self.open(self.folder / "0")

    def forget(self) -> None:
        self.taken: list[tuple[int, int, Row]] = []
        self.put: set[int] = set()
        self.saved: bytes | None = None

    def open(self, path: Path) -> None:
        self.store = Store.open(path, map_bytes=8 << 20, clock=self.clock)
        self.ids: dict[int, int] = {}

    def teardown(self) -> None:
        self.store.close()
        for patch in self.patches:
            patch.stop()
        shutil.rmtree(self.folder)

    def row(self, place: int) -> Row:
        self.made += 1
        return tuple(float(self.made * 8 + k % 3) for k in range(len(STREAMS[place].fields)))

    def id(self, place: int) -> int:
        if place not in self.ids:
            self.ids[place] = self.store.declare(STREAMS[place])
        return self.ids[place]

    # --- what comes in -------------------------------------------------------------------------------------------

    @rule(places=st.lists(PLACES, min_size=1, max_size=5), times=st.lists(TIMES, min_size=1, max_size=5))
    def append(self, places: list[int], times: list[int]) -> None:
        for place, t in zip(places, times * 5, strict=False):
            row = self.row(place)
            if self.id(place) in self.store._pending.bulk:  # what comes after bulk of the stream flushes that first
                self.flush()
            self.store.append(self.id(place), T0 + t * NS, row)
            self.taken.append((place, t, row))

    @rule(start=TIMES, ticks=st.integers(1, 25), places=st.sets(PLACES, min_size=1))
    def tick(self, start: int, ticks: int, places: set[int]) -> None:
        for t in range(start, min(start + ticks, SPAN)):
            self.append(sorted(places), [t])
            self.flush()

    @rule(place=PLACES, times=st.lists(TIMES, min_size=1, max_size=40))
    def extend(self, place: int, times: list[int]) -> None:
        rows = [self.row(place) for _ in times]
        self.store.extend(self.id(place), [T0 + t * NS for t in times], np.array(rows))
        self.taken += [(place, t, row) for t, row in zip(times, rows, strict=True)]

    @rule(times=st.lists(TIMES, min_size=1, max_size=4))
    def note(self, times: list[int]) -> None:
        for t in times:
            self.made += 1
            event = Event(T0 + t * NS, f"e.{self.made % 3}", "a", fields={"ID": self.made, "guid": str(self.made % 5)})
            self.store.put("event", event, t_ns=event.t_ns)
            self.put.add(self.made)

    @rule()
    def save(self) -> None:
        self.made += 1
        self.saved = str(self.made).encode()
        self.store.save("state", self.saved)

    @rule()
    def flush(self) -> None:
        self.store.flush()
        self.acknowledge()

    def acknowledge(self) -> None:
        for place, t, row in self.taken:
            self.rows[place][t] = row
        self.events |= self.put
        if self.saved is not None:
            self.state = self.saved
        self.forget()

    # --- what happens to it --------------------------------------------------------------------------------------

    @rule()
    def seal(self) -> None:
        self.store.seal()
        self.acknowledge()

    @rule()
    def sync(self) -> None:
        self.store.sync()
        self.acknowledge()

    @rule(age_s=st.integers(0, SPAN))
    def retain_age(self, age_s: int) -> None:
        self.clock.advance((T0 + SPAN * NS - self.clock.time_ns()) / NS)
        self.store.retain(max_age_s=age_s)
        self.acknowledge()
        self.dropped(SPAN - age_s)

    @rule(part=st.floats(0.3, 1.2))
    def retain_bytes(self, part: float) -> None:
        self.store.flush()
        self.store.retain(max_bytes=int(self.store.stats()["used_bytes"] * part))
        self.acknowledge()
        self.dropped(SPAN)

    def dropped(self, before: int) -> None:
        """Nothing but what is older than that may be gone; a block goes as a whole, so that some of it may stay."""
        for place, held in enumerate(self.held()):
            expected = self.rows[place]
            assert all(expected[t] == row for t, row in held.items())
            assert all(t in held for t in expected if t >= before)
            self.rows[place] = held
        found = {int(e.fields["ID"]) for e in self.store.events()}
        assert found <= self.events
        assert {int(e.fields["ID"]) for e in self.store.events(start_ns=T0 + before * NS)} <= found
        self.events = found

    @rule()
    def compact(self) -> None:
        self.store.compact()
        self.acknowledge()

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.acknowledge()
        self.open(self.store.path)

    @rule()
    def kill(self) -> None:
        self.lives += 1
        copy = self.folder / str(self.lives)
        former = self.store
        shutil.copytree(former.path, copy)
        former.close()
        self.forget()
        self.open(copy)

    # --- what must hold ------------------------------------------------------------------------------------------

    def held(self, start: int = 0, end: int = SPAN, limit: int = 0) -> list[dict[int, Row]]:
        found: list[dict[int, Row]] = [{} for _ in STREAMS]
        for batch in self.store.scan("*", T0 + start * NS, T0 + end * NS, limit):
            times = ((batch.t_ns - T0) // NS).tolist()
            assert times == sorted(set(times))
            place = [stream.kind for stream in STREAMS].index(batch.stream.kind)
            assert not found[place]
            found[place] = {t: tuple(row) for t, row in zip(times, batch.values.tolist(), strict=True)}
        return found

    @invariant()
    @precondition(lambda self: not (self.taken or self.put or self.saved))
    def everything_is_there(self) -> None:
        assert self.held() == self.rows
        assert self.store.load("state") == (self.state or None)
        assert sorted(int(e.fields["ID"]) for e in self.store.events()) == sorted(self.events)
        listed = {info.stream.kind: info for info in self.store.sensors()}
        for stream, rows in zip(STREAMS, self.rows, strict=True):
            info = listed.get(stream.kind)
            if rows and info is not None:
                assert info.samples >= len(rows)  # a row written twice counts twice until it is sealed
                assert info.last_ns >= T0 + max(rows) * NS
            else:
                assert not rows

    @rule(start=TIMES, length=st.integers(1, SPAN), limit=st.integers(0, 20), which=st.integers(0, 4))
    @precondition(lambda self: not (self.taken or self.put or self.saved))
    def ask(self, start: int, length: int, limit: int, which: int) -> None:
        held = self.held(start, start + length, limit)
        for rows, found in zip(self.rows, held, strict=True):
            due = sorted(t for t in rows if start <= t < start + length)
            assert found == {t: rows[t] for t in (due[-limit:] if limit else due)}
        found_events = {int(e.fields["ID"]) for e in self.store.events("e.*", where=[f"guid={which}"])}
        assert found_events == {number for number in self.events if number % 5 == which}

    @rule()
    def verify(self) -> None:
        assert self.store.verify() == []


def run(examples: int, steps: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=checks, database=None
    )
    run_state_machine_as_test(Machine, settings=chosen)  # type: ignore[no-untyped-call]


def test_the_store_is_a_dict_through_everything() -> None:
    run(examples=12, steps=20)


if __name__ == "__main__":
    run(examples=int(sys.argv[1]), steps=40)
