"""The watchdog for real: processes, pipes and a journal, over a folder of regular files as an ordinary user."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vagus.errors import ActuateError
from vagus.undo import Step
from vagus.watchdog import Journal, Lapsed, Locked, Watchdog, recover, restore
from vagus.watchdog.journal import NAME
from vagus.watchdog.process import Process

CONTROLLER = """
import sys, time
from pathlib import Path
from vagus.undo import Step, perform
from vagus.watchdog import Watchdog
folder, limit, lease_s = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
dog = Watchdog(folder, lease_s)
dog.start()
dog.journal([Step("write", limit, "original")])
perform(Step("write", limit, "limited"))
print(dog.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def limit(tmp_path: Path) -> Path:
    path = tmp_path / "limit"
    path.write_text("original\n")
    return path


@pytest.fixture
def dog(tmp_path: Path) -> Iterator[Watchdog]:
    dog = Watchdog(tmp_path / "journal", 30.0)
    dog.start()
    yield dog
    dog.close()
    await_end(dog.pid)


def undo_of(path: Path, value: str = "original") -> list[Step]:
    return [Step("write", str(path), value)]


def await_true(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return ") Z" not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def await_end(pid: int) -> None:
    await_true(lambda: not alive(pid))


def entries(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / NAME).read_text().splitlines()]


# --- the real thing ----------------------------------------------------------------------------------------------------


@pytest.mark.says("watchdog-restores")
def test_a_killed_controller_has_its_limit_restored(tmp_path: Path, limit: Path) -> None:
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path / "journal"), str(limit), "30"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        assert limit.read_text() == "limited\n"
        assert os.getsid(pid) != controller.pid  # neither its session nor its group
        assert Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] != str(controller.pid)
        os.killpg(controller.pid, signal.SIGKILL)
    await_end(pid)
    assert limit.read_text() == "original\n"
    (line,) = entries(tmp_path / "journal")
    assert (line["kind"], line["why"], line["undone"]) == ("restored", "pipe closed", 1)
    assert recover(tmp_path / "journal").undone == 0


def test_a_stopped_controller_loses_its_lease(tmp_path: Path, limit: Path) -> None:
    command = [sys.executable, "-c", CONTROLLER, str(tmp_path / "journal"), str(limit), "0.3"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as controller:
        assert controller.stdout is not None
        pid = int(controller.stdout.readline())
        controller.send_signal(signal.SIGSTOP)
        await_true(lambda: limit.read_text() == "original\n")
        await_true(lambda: "no heartbeat for 0.3 s" in [e.get("why") for e in entries(tmp_path / "journal")])
        # it wakes, finishes the write that it was stopped before, and is killed before it says anything
        limit.write_text("limited\n")
        controller.kill()
        await_end(pid)
        assert limit.read_text() == "original\n"


def test_beats_keep_the_lease(tmp_path: Path, limit: Path) -> None:
    dog = Watchdog(tmp_path / "journal", 0.25)
    dog.start()
    dog.journal(undo_of(limit))
    limit.write_text("limited\n")
    until = time.monotonic() + 0.5
    while time.monotonic() < until:
        dog.beat()
        time.sleep(0.05)
    assert limit.read_text() == "limited\n"
    await_true(lambda: limit.read_text() == "original\n")
    for say in (dog.beat, lambda: dog.journal(undo_of(limit)), lambda: dog.forget(undo_of(limit))):
        with pytest.raises(Lapsed, match=r"restored all: nothing was heard for 0\.25 s"):
            say()
    limit.write_text("written after all\n")
    assert dog.restore() == ()
    assert limit.read_text() == "original\n"
    assert dog.journal(undo_of(limit))  # it goes on, with the original noted anew
    dog.release()


def test_a_killed_watchdog_is_noticed_and_its_journal_adopted(tmp_path: Path, limit: Path, dog: Watchdog) -> None:
    dog.journal(undo_of(limit))
    limit.write_text("limited\n")
    os.kill(dog.pid, signal.SIGKILL)
    await_true(lambda: not dog.alive)
    assert limit.read_text() == "limited\n"
    dog.start()
    assert dog.adopted == 1
    assert dog.journal(undo_of(limit, "limited")) == ()  # the first original wins, over lives too
    assert dog.release() == ()
    assert limit.read_text() == "original\n"


def test_terminating_it_restores(limit: Path, dog: Watchdog) -> None:
    dog.journal(undo_of(limit))
    limit.write_text("limited\n")
    os.kill(dog.pid, signal.SIGTERM)
    await_end(dog.pid)
    assert limit.read_text() == "original\n"


def test_release_restores_and_ends_it(limit: Path, dog: Watchdog) -> None:
    dog.journal(undo_of(limit))
    limit.write_text("limited\n")
    assert dog.release() == ()
    assert limit.read_text() == "original\n"
    assert not dog.alive


def test_what_was_forgotten_is_left_alone(limit: Path, dog: Watchdog) -> None:
    dog.forget(dog.journal(undo_of(limit)))
    limit.write_text("of someone else\n")
    assert dog.restore() == ()
    dog.release()
    assert limit.read_text() == "of someone else\n"


def test_restoring_beside_a_live_watchdog_leaves_it_to_that(tmp_path: Path, limit: Path, dog: Watchdog) -> None:
    dog.journal(undo_of(limit))
    limit.write_text("limited\n")
    done = recover(tmp_path / "journal")
    assert done.busy
    assert restore(tmp_path / "journal", wait_s=0.05) == [
        f"{tmp_path}/journal is held by the live watchdog {dog.pid}, which will restore it"
    ]
    assert limit.read_text() == "limited\n"


def test_bytes_that_are_no_message_are_refused_and_the_journal_lives(limit: Path, dog: Watchdog) -> None:
    dog.journal(undo_of(limit))
    line = dog._socket
    assert line is not None
    for bad in (
        b"\xff\n",
        b"[]\n",
        b"{}\n",
        b'{"do":"fly"}\n',
        b'{"do":"journal","steps":[[1]]}\n',
        b"[" * 5000 + b"\n",
    ):
        line.sendall(bad)
        assert dog._receive(5.0)["ok"] is False
    dog.beat()


def test_a_message_without_end_restores(limit: Path, dog: Watchdog) -> None:
    dog.journal(undo_of(limit))
    limit.write_text("limited\n")
    line = dog._socket
    assert line is not None
    with contextlib.suppress(OSError):
        line.sendall(b"x" * (1 << 22))
    await_end(dog.pid)
    assert limit.read_text() == "original\n"


def test_a_second_watchdog_on_one_journal_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Journal(tmp_path / "journal"):
        monkeypatch.setattr("vagus.watchdog.client.START_TIMEOUT_S", 0.2)
        with pytest.raises(ActuateError, match="cannot start the watchdog in"):
            Watchdog(tmp_path / "journal", 5.0).start()


def test_it_starts_light() -> None:
    code = "import sys, vagus.watchdog.process; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"ray", "numpy", "aiohttp", "lmdb", "asyncio", "yaml"} & set(loaded)


# --- the journal -------------------------------------------------------------------------------------------------------


def test_undo_is_newest_plan_first_and_the_first_original_wins(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        first, second = Step("drain", "g", "p"), Step("rmdir", "g")
        write = Step("write", "g/limit", "1")
        assert journal.add([first, second]) == [first, second]
        assert journal.add([write, Step("write", "g/limit", "2")]) == [write]
        assert journal.add([Step("write", "g/limit", "3")]) == []
        assert journal.steps() == [write, first, second]
    with Journal(tmp_path) as journal:
        assert journal.steps() == [write, first, second]


def test_a_torn_last_line_is_no_entry(tmp_path: Path, limit: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add(undo_of(limit))
    with open(tmp_path / "j" / NAME, "ab") as file:
        file.write(b'{"v":1,"kind":"undo","steps":[["wri')
    limit.write_text("limited\n")
    done = recover(tmp_path / "j")
    assert (done.undone, done.failures) == (1, ())
    assert "torn last line" in done.notes[0]
    assert limit.read_text() == "original\n"


def test_a_damaged_line_is_skipped_and_said(tmp_path: Path, limit: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.add(undo_of(limit))
    text = (tmp_path / "j" / NAME).read_bytes()
    (tmp_path / "j" / NAME).write_bytes(b'nonsense\n{"v":1}\n{"v":1,"kind":"undo","steps":[[1,2]]}\n[]\n' + text)
    done = recover(tmp_path / "j")
    assert done.undone == 1
    assert len(done.notes) == 4


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text('{"v":2,"kind":"undo"}\n')
    with pytest.raises(ActuateError, match="version 2 is of a newer vagus"):
        recover(tmp_path)
    assert "newer vagus" in restore(tmp_path)[0]
    assert (tmp_path / NAME).read_text() == '{"v":2,"kind":"undo"}\n'


def test_a_huge_file_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.watchdog.journal.MAX_BYTES", 100)
    (tmp_path / NAME).write_bytes(b"x" * 101)
    with pytest.raises(ActuateError, match="larger than 100 bytes"):
        recover(tmp_path)


@pytest.mark.says("journal-owner")
def test_a_journal_of_someone_else_is_not_performed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / NAME).write_text("")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ActuateError, match="restore as that user"):
        recover(tmp_path)


def test_limits_end_with_the_boot(tmp_path: Path, limit: Path) -> None:
    with Journal(tmp_path / "j", boot_id="yesterday") as journal:
        journal.add(undo_of(limit))
    limit.write_text("of today\n")
    done = recover(tmp_path / "j")
    assert done.undone == 0
    assert "earlier boot" in done.notes[0]
    assert limit.read_text() == "of today\n"


def test_what_cannot_be_undone_is_kept_for_the_next_try(tmp_path: Path) -> None:
    busy = tmp_path / "folder"
    busy.mkdir()
    (busy / "file").touch()
    with Journal(tmp_path / "j") as journal:
        journal.add([Step("rmdir", str(busy))])
    assert "ENOTEMPTY" in recover(tmp_path / "j").failures[0]
    (busy / "file").unlink()
    assert recover(tmp_path / "j").undone == 1
    assert not busy.exists()
    assert restore(tmp_path / "j") == []
    assert restore(tmp_path / "never") == []


def test_the_journal_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.watchdog.journal.COMPACT_BYTES", 2000)
    with Journal(tmp_path) as journal:
        kept = journal.add([Step("write", "kept", "1")])
        for i in range(100):
            journal.forget(journal.add([Step("write", f"file{i}", "1")]))
        assert (tmp_path / NAME).stat().st_size < 2500
    with Journal(tmp_path) as journal:
        assert journal.steps() == kept


def test_the_journal_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.watchdog.journal.MAX_STEPS", 2)
    with Journal(tmp_path) as journal:
        journal.add([Step("write", "a", "1"), Step("write", "b", "1")])
        with pytest.raises(ActuateError, match="holds 2 undo steps"):
            journal.add([Step("write", "c", "1")])


def test_what_is_not_on_disk_is_not_journalled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Step("write", "a", "1")

    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with Journal(tmp_path) as journal:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(ActuateError, match="No space left"):
                journal.add([step])
        assert journal.steps() == []
        assert journal.add([step]) == [step]
    with Journal(tmp_path) as journal:
        assert journal.steps() == [step]


def test_one_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path), pytest.raises(Locked):
        Journal(tmp_path)


def test_the_protocol_without_a_process(tmp_path: Path, limit: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        process = Process(journal)
        step = ["write", str(limit), "original", ""]
        assert process.answer(json.dumps({"do": "journal", "steps": [step]}).encode()) == {"ok": True, "new": [step]}
        assert process.answer(b'{"do":"beat"}') == {"ok": True}
        assert process.answer(b'{"do":"release"}') == {"ok": True, "undone": 1, "failures": []}
        assert process.released


def test_a_socket_that_is_gone_is_an_error_not_a_crash(tmp_path: Path) -> None:
    dog = Watchdog(tmp_path, 5.0)
    with pytest.raises(ActuateError, match="no limit is written without one"):
        dog.beat()
    ours, theirs = socket.socketpair()
    theirs.close()
    dog._socket = ours
    assert not dog.alive
    dog.close()
