"""Undoing goes on whatever one step does: what a step raises that no one expected is a failure of that step alone."""

from __future__ import annotations

import json
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from vagus.actuators import Plan
from vagus.actuators.apply import apply
from vagus.errors import ActuateError, Rejected
from vagus.undo import Step, perform, undo
from vagus.watchdog import Journal, Watchdog, process, recover
from vagus.watchdog.journal import MAX_BYTES, NAME

# a file of process ids that holds something else; a path that none can be; a text that is no UTF-8
ODD = (
    lambda folder: Step("return", str(folder / "odd"), str(folder / "limit")),
    lambda folder: Step("write", f"{folder}/a\0b", "1"),
    lambda folder: Step("write", str(folder / "limit"), "\udc80"),
    lambda folder: Step("tunable", str(folder / "limit"), "[1]"),
    lambda folder: Step("http", "http://127.0.0.1:1/", json.dumps({"method": "PUT", "gone": 3})),
    lambda folder: Step("resized", "http://127.0.0.1:1/", "3"),
    lambda folder: Step("unlink", f"{folder}/a\0b"),
    lambda folder: Step("run", "x", '["a\\u0000b"]'),
)


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    (tmp_path / "odd").write_text("not a number\n")
    path = tmp_path / "limit"
    path.write_text("limited\n")
    return path


@contextmanager
def full_disk(bytes_left: int) -> Iterator[None]:
    """Files may not grow beyond so many bytes: a write is cut, the next one refused, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_left, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.parametrize("odd", ODD)
def test_an_odd_step_is_a_failure_of_its_own(odd, tmp_path: Path, limit: Path) -> None:  # type: ignore[no-untyped-def]
    step = odd(tmp_path)
    with pytest.raises(Rejected):
        perform(step)
    failed = undo([step, Step("write", str(limit), "original")])
    assert [one for one, _ in failed] == [step]
    assert failed[0][1]
    assert limit.read_text() == "original\n"


def test_a_plan_with_an_odd_step_is_undone(tmp_path: Path, limit: Path) -> None:
    limit.write_text("original\n")
    steps = (Step("write", str(limit), "limited"), Step("write", f"{tmp_path}/a\0b", "1"))
    with pytest.raises(Rejected):
        apply(Plan(steps, (Step("write", str(limit), "original"),)))
    assert limit.read_text() == "original\n"


def test_the_journal_of_a_dead_one_is_undone_around_an_odd_step(tmp_path: Path, limit: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.add([Step("write", str(limit), "original")])
        journal.add([ODD[0](tmp_path)])
    done = recover(tmp_path / "journal")
    assert done.undone == 1
    assert len(done.failures) == 1
    assert limit.read_text() == "original\n"


def test_a_watchdog_that_fails_restores_first(tmp_path: Path, limit: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def serve(process: process.Process, lease_s: float) -> str:
        process.journal.add([Step("write", str(limit), "original")])
        raise RuntimeError("no one expected this")

    monkeypatch.setattr(process, "serve", serve)
    monkeypatch.setattr(process, "_reply", lambda answer: True)
    monkeypatch.setattr(process, "_survive_memory_pressure", lambda: None)
    assert process.main([str(tmp_path / "journal")]) == 0
    assert limit.read_text() == "original\n"
    assert "no one expected this" in (tmp_path / "journal" / NAME).read_text()


# --- a full disk ------------------------------------------------------------------------------------------------------


def test_a_cut_append_is_no_entry(tmp_path: Path, limit: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.forget(journal.add([Step("write", "/nowhere/0", "original")]))
        size = (tmp_path / "journal" / NAME).stat().st_size
        with full_disk(size + 20), pytest.raises(ActuateError, match="cannot journal"):
            journal.add([Step("write", str(limit), "original")])
        assert journal.steps() == []
        journal.add([Step("write", str(limit), "first")])
    with Journal(tmp_path / "journal") as journal:
        assert [step.value for step in journal.steps()] == ["first"]
        assert journal.notes == []


def test_a_journal_that_cannot_be_written_anew_keeps_what_it_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.watchdog.journal.COMPACT_BYTES", 2000)
    steps = [Step("write", f"/nowhere/{number}", "x" * 200) for number in range(9)]
    with Journal(tmp_path / "journal") as journal:
        for step in steps[:-1]:
            journal.add([step])
        with full_disk(1000), pytest.raises(ActuateError):
            journal.add([steps[-1]])
        journal.add([steps[-1]])
    with Journal(tmp_path / "journal") as journal:
        assert sorted(journal.steps(), key=lambda step: step.path) == steps


def test_limits_are_undone_on_a_full_disk(tmp_path: Path, limit: Path) -> None:
    with Journal(tmp_path / "journal") as journal:
        journal.add([Step("unlink", str(limit))])
    with full_disk(0):
        done = recover(tmp_path / "journal")
    assert not limit.exists()
    assert done.undone == 1
    assert "cannot write" in " ".join(done.notes)


def test_what_is_journalled_can_be_read_again(tmp_path: Path) -> None:
    steps = [Step("write", f"/nowhere/{number}", "x" * 60_000) for number in range(MAX_BYTES // 60_000 + 1)]
    with Journal(tmp_path / "journal") as journal:
        for step in steps[:-2]:
            journal.add([step])
        with pytest.raises(ActuateError, match="restore before limiting more"):
            journal.add(steps[-2:])
    with Journal(tmp_path / "journal") as journal:
        assert journal.steps() == steps[-3::-1]


def test_a_watchdog_that_cannot_write_its_journal_goes_on_watching(tmp_path: Path, limit: Path) -> None:
    dog = Watchdog(tmp_path / "journal", 0.2)
    dog.start()
    try:
        dog.journal([Step("write", str(limit), "original")])
        resource.prlimit(dog.pid, resource.RLIMIT_FSIZE, (20, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
        for _ in range(2):  # each lease once more, since who is silent may be about to write
            limit.write_text("limited\n")
            until = 200
            while limit.read_text() != "original\n" and until:
                signal.sigtimedwait([], 0.05)
                until -= 1
            assert limit.read_text() == "original\n"
        assert dog.alive
    finally:
        dog.close()
    while os.path.exists(f"/proc/{dog.pid}"):
        signal.sigtimedwait([], 0.02)
