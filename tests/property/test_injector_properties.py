"""Campaigns of any shape keep within their bounds; whoever is killed at any point of an injection leaves nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.clock import NS, ManualClock
from vagus.config import CampaignSettings, InjectionSettings
from vagus.errors import ActuateError, ConfigError
from vagus.injector import Prepared
from vagus.injector.campaign import MAX_AT_ONCE, MAX_INJECTIONS, MAX_TOTAL_S, schedule
from vagus.injector.session import BEGIN_TIMEOUT_S, Session, State
from vagus.injector.strain import PREPARE_S
from vagus.undo import Step

# --- campaigns -------------------------------------------------------------------------------------------------------

TIMES = st.one_of(st.floats(0, 1000), st.integers(0, 100).map(lambda n: f"{n}s"))
LINES = st.builds(
    InjectionSettings,
    type=st.sampled_from(["cpu", "memory", "llc", "disk", "load"]),
    at=st.one_of(st.just("after"), TIMES),
    duration=st.one_of(st.floats(0, 200_000), st.integers(0, 100).map(lambda n: f"{n}s")),
    jitter=TIMES,
)
CAMPAIGNS = st.builds(
    CampaignSettings,
    name=st.just("c"),
    injections=st.lists(LINES, max_size=80).map(tuple),
    seed=st.integers(0, 1000),
    repeat=st.one_of(st.integers(1, 20), st.integers(1, 10_000)),
    pause=TIMES,
)


@given(CAMPAIGNS)
@settings(max_examples=100, deadline=None)
def test_any_timetable_is_within_its_bounds(campaign: CampaignSettings) -> None:
    try:
        found = schedule(campaign)
    except ConfigError:
        return
    assert len(found) == len(campaign.injections) * campaign.repeat <= MAX_INJECTIONS
    assert found == schedule(campaign), "the same seed is the same campaign"
    assert list(found) == sorted(found, key=lambda due: due.begin_s)
    assert all(0 <= due.begin_s < due.end_s <= MAX_TOTAL_S * 1.0001 for due in found)
    by_line = {(due.repetition, due.number): due for due in found}
    assert len(by_line) == len(found)
    for (repetition, number), due in by_line.items():
        before = by_line.get((repetition, number - 1))
        if before is not None and due.settings.at == "after":
            assert due.begin_s >= before.end_s - 1e-6
        again = by_line.get((repetition + 1, number))
        if again is not None:
            assert again.begin_s >= due.end_s - 1e-6, "a repetition begins when the one before has ended"
    for due in found[:: max(1, len(found) // 50)]:
        assert sum(1 for other in found if other.begin_s <= due.begin_s < other.end_s) <= MAX_AT_ONCE


# --- killed ----------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """kill -9: nothing after it runs."""


class World:
    """A machine as far as an injection sees it: processes, settings, a watchdog's journal. `calls_left` acts from now
    the injector is killed, before or after the act."""

    def __init__(self, calls_left: int = 1 << 30, before: bool = True, fails: str = "") -> None:
        self.limits = {"a": "old", "b": "old"}
        self.processes: dict[int, str] = {}  # waiting, straining
        self.files: set[str] = set()
        self.journalled: list[list[Step]] = []
        self.groups: set[int] = set()
        self._left, self._before, self._fails = calls_left, before, fails

    def _act(self, name: str, act: Callable[[], None]) -> None:
        self._left -= 1
        if self._left < 0 and self._before:
            raise Killed
        if name == self._fails:
            raise ActuateError(f"{name} failed")
        act()
        if self._left < 0:
            raise Killed

    # --- hands

    def start(self, command: Sequence[str]) -> int:
        pid = 100 + len(self.processes)
        self._act("start", lambda: self.processes.update({pid: "waiting"}))
        return pid

    def ends(self, process: int) -> Step:
        return Step("kill", f"process:{process}:1")

    def journal(self, steps: Sequence[Step]) -> None:
        self._act("journal", lambda: self.journalled.append(list(steps)))

    def enter(self, procs: str, process: int) -> None:
        self._act("enter", lambda: self.groups.add(process))

    def release(self, process: int) -> None:
        def word() -> None:
            self.processes[process] = "straining"
            self.files.add(f"file-{process}")

        self._act("release", word)

    def perform(self, steps: Sequence[Step], undo: Sequence[Step]) -> None:
        for step in steps:
            self._act("perform", lambda step=step: self.limits.update({step.path: step.value}))

    def undo(self, steps: Sequence[Step]) -> tuple[str, ...]:
        for step in steps:
            self._act("undo", lambda step=step: self.restore(step))
        self.journalled = [[s for s in plan if s not in steps] for plan in self.journalled]
        return ()

    # --- what others do

    def restore(self, step: Step) -> None:
        if step.op == "kill":
            self.processes.pop(int(step.path.split(":")[1]), None)
        elif step.op == "unlink":
            self.files.discard(step.path)
        else:
            self.limits[step.path] = step.value

    def injector_is_gone(self) -> None:
        """Pipes close: the processes end by themselves; the watchdog performs its journal."""
        self.processes.clear()
        for plan in reversed(self.journalled):
            for step in plan:
                self.restore(step)

    def clean(self) -> bool:
        return not self.processes and not self.files and set(self.limits.values()) == {"old"}


def prepared(processes: int, steps: int) -> Prepared:
    names = ["a", "b"][:steps]
    files = tuple(Step("unlink", f"file-{100 + n}") for n in range(processes))
    return Prepared(
        steps=tuple(Step("write", name, "new") for name in names),
        undo=(*(Step("write", name, "old") for name in names), *files),
        commands=(("strain",),) * processes,
        enter=("procs",),
    )


def run(world: World, what: Prepared, ends_early: bool = False) -> Session[int]:
    """An injection from begin to end, as the shell drives it."""
    clock = ManualClock()
    session = Session(what, 10.0, world, clock)
    session.begin()
    for number in range(len(session.processes)):
        session.said(number, {"ready": True})
    for number in range(len(session.processes)):
        session.said(number, {"begun": True})
        session.said(number, {"bytes_s": 5.0, "p99_ms": number})
    if ends_early:
        session.end("interrupted")
    clock.advance(10.0)
    session.turn()
    return session


@given(st.integers(0, 3), st.integers(0, 2), st.integers(0, 40), st.booleans(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_killed_at_any_point_nothing_remains(
    processes: int, steps: int, calls: int, before: bool, ends_early: bool
) -> None:
    world = World(calls, before)
    try:
        session = run(world, prepared(processes, steps), ends_early)
    except Killed:
        world.injector_is_gone()
    else:
        assert session.state is State.ENDED
        assert not any(world.journalled), "what is undone is forgotten"
    assert world.clean()


@pytest.mark.parametrize("fails", ["start", "journal", "enter", "release", "perform"])
@pytest.mark.parametrize("processes", [0, 1, 2])
def test_what_fails_on_the_way_is_undone_and_told(fails: str, processes: int) -> None:
    world = World(fails=fails)
    session = run(world, prepared(processes, 1))
    assert session.outcome is not None
    if processes or fails in ("journal", "perform"):
        assert session.outcome.why == f"{fails} failed"
        assert session.outcome.begin_ns == 0, "it never was in force: there is no label"
    assert world.clean()


def test_figures_of_processes_add_up_but_for_times() -> None:
    session = run(World(), prepared(3, 0))
    assert session.outcome is not None
    assert session.outcome.figures == {"bytes_s": 15.0, "p99_ms": 2.0}
    assert session.outcome.why == "done"
    assert session.outcome.in_force_s == 10.0


def test_processes_that_never_begin_are_given_up() -> None:
    clock, world = ManualClock(), World()
    session = Session(prepared(2, 1), 10.0, world, clock)
    session.begin()
    session.said(0, {"ready": True})
    session.said(0, {"begun": True})
    session.turn()
    assert session.state is State.STARTING
    clock.advance(BEGIN_TIMEOUT_S)
    session.turn()
    assert session.outcome is not None
    assert "did not begin" in session.outcome.why
    assert PREPARE_S > BEGIN_TIMEOUT_S, "or the process's own alarm ends it, and nobody says of what"
    assert world.clean()


def test_a_process_that_ends_by_itself_ends_the_injection() -> None:
    clock, world = ManualClock(), World()
    session = Session(prepared(1, 0), 10.0, world, clock)
    session.begin()
    session.said(0, {"ready": True})
    session.said(0, {"begun": True})
    clock.advance(3)
    session.lost("MemoryError (status 1)")
    assert session.outcome is not None
    assert "MemoryError" in session.outcome.why
    assert session.outcome.end_ns - session.outcome.begin_ns == 3 * NS
    assert world.clean()
