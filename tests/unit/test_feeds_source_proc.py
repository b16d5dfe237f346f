"""The command source with real processes: hung, loud, failing; none is left behind."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

import pytest
import uvloop

from vagus.errors import ConfigError
from vagus.feeds import Fetched, Net
from vagus.feeds.sources import file as source_file
from vagus.feeds.sources import proc, proc_run
from vagus.feeds.sources.file import FileSource
from vagus.feeds.sources.proc import ProcSource

PYTHON = f"proc:{sys.executable} -S -c "


async def test_output_and_exit() -> None:
    source = ProcSource()
    assert await source.fetch("proc:echo 'one  two' $HOME ; ls", 5.0, 100) == Fetched(
        Net.OK, b"one  two $HOME ; ls\n"
    )  # no shell: nothing is expanded
    assert await source.fetch("proc:sh -c 'echo out; echo bad >&2; exit 3'", 5.0, 100) == Fetched(
        Net.STATUS, b"out\n", "exit status 3: bad"
    )
    assert (await source.fetch("proc:sh -c 'kill -9 $$'", 5.0, 100)).note == "killed by signal 9"
    assert (await source.fetch("proc:printenv LC_ALL", 5.0, 100)).body == b"C\n"
    assert (await source.fetch("proc:cat", 5.0, 100)) == Fetched(Net.OK)  # no standard input


async def test_exits_that_are_good() -> None:
    source = ProcSource(good_exits=(0, 1))
    assert await source.fetch("proc:sh -c 'echo out; echo bad >&2; exit 1'", 5.0, 100) == Fetched(
        Net.OK, b"out\n", "bad"
    )
    assert (await source.fetch("proc:sh -c 'exit 2'", 5.0, 100)).note == "exit status 2"
    assert (await source.fetch("proc:true", 5.0, 100)).net is Net.OK
    assert (await ProcSource(good_exits=(1,)).fetch("proc:true", 5.0, 100)).note == "exit status 0"
    for wrong in ("01", (256,), (-9,), ("1",), (1.5,)):
        with pytest.raises(ConfigError, match="good_exits"):
            ProcSource(good_exits=wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("location", "note"),
    [
        ("proc:/no/such/program", "No such file"),
        ("proc:/etc/passwd", "Permission denied"),
        ("proc:", "no command"),
        ("proc:echo 'open", "cannot split"),
        ("proc:a\0b", "cannot run"),
    ],
)
async def test_what_cannot_run_is_failed(location: str, note: str) -> None:
    fetched = await ProcSource().fetch(location, 5.0, 100)
    assert fetched.net is Net.FAILED
    assert note in fetched.note


async def test_output_is_bounded_and_errors_are_read_away() -> None:
    source = ProcSource()
    assert (await source.fetch("proc:yes", 5.0, 10_000)).net is Net.TOO_LARGE
    loud = await source.fetch(PYTHON + '\'import sys; sys.stderr.write("e" * 300000 + " last words")\'', 5.0, 100)
    assert loud.net is Net.OK
    assert loud.note.endswith("last words")
    assert len(loud.note) <= 300


HANG = "sh -c 'echo $$ >{0}; sleep 1000 & echo $! >>{0}; trap \"\" TERM; echo ready; wait; sleep 1000'"


def _gone(pid: int) -> bool:
    """Dead, or a zombie that init has yet to collect."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


async def _until_gone(pids: list[int]) -> None:
    while not all(map(_gone, pids)):
        await asyncio.sleep(0.001)  # the kernel tells nobody but the parent


async def test_a_hung_group_is_killed_and_no_other(tmp_path: Path) -> None:
    bystander = await asyncio.create_subprocess_exec("sleep", "1000")
    fetched = await ProcSource().fetch("proc:" + HANG.format(tmp_path / "pids"), 0.2, 100)
    assert fetched.net is Net.TIMEOUT
    pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    await asyncio.wait_for(_until_gone(pids), 5.0)
    assert bystander.returncode is None
    bystander.kill()
    await bystander.wait()


async def test_a_cancelled_fetch_leaves_nothing(tmp_path: Path) -> None:
    pipe = tmp_path / "pids"
    os.mkfifo(pipe)
    task = asyncio.ensure_future(ProcSource().fetch(f"proc:sh -c 'echo $$ >{pipe}; sleep 1000'", 100.0, 100))
    pid = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(_until_gone([pid]), 5.0)


@pytest.mark.parametrize("pidfd", [True, False])
async def test_ends_that_a_kernel_without_pidfd_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pidfd: bool
) -> None:
    if not pidfd:
        monkeypatch.setattr(proc_run, "_pidfd", lambda _pid: None)
        monkeypatch.setattr(proc_run, "LOOK_S", 0.005)
    source = ProcSource()
    assert await source.fetch("proc:echo hello", 5.0, 100) == Fetched(Net.OK, b"hello\n")
    quiet = "proc:sh -c 'exec >&- 2>&-; echo $$ >{0}; sleep 1000'"  # closes its pipes and goes on
    assert (await source.fetch(quiet.format(tmp_path / "pid"), 0.2, 100)).net is Net.TIMEOUT
    await asyncio.wait_for(_until_gone([int((tmp_path / "pid").read_text())]), 5.0)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    task = asyncio.ensure_future(source.fetch(quiet.format(pipe), 100.0, 100))
    pid = int(await asyncio.to_thread(pipe.read_text))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert _gone(pid)
    await source.close()


async def test_a_descendant_in_a_session_of_its_own_holds_up_nothing(tmp_path: Path) -> None:
    escaped = f"proc:sh -c 'setsid sh -c \"echo \\$\\$ >{tmp_path}/pid; exec sleep 1000\" & while :; do sleep 1; done'"
    fetched = await ProcSource().fetch(escaped, 0.3, 100)
    assert fetched.net is Net.TIMEOUT
    os.kill(int((tmp_path / "pid").read_text()), 9)


async def test_more_commands_than_threads_are_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proc, "THREADS", 1)
    source = ProcSource()
    both = await asyncio.gather(*(source.fetch("proc:sleep 1000", 0.1, 100) for _ in range(2)))
    assert [fetched.net for fetched in both] == [Net.TIMEOUT] * 2


def test_the_same_on_uvloop(tmp_path: Path) -> None:
    async def both() -> None:
        assert (await ProcSource().fetch("proc:echo hello", 5.0, 100)) == Fetched(Net.OK, b"hello\n")
        assert (await ProcSource().fetch("proc:yes", 5.0, 10_000)).net is Net.TOO_LARGE
        fetched = await ProcSource().fetch("proc:" + HANG.format(tmp_path / "pids"), 0.2, 100)
        assert fetched.net is Net.TIMEOUT
        pids = [int(line) for line in (tmp_path / "pids").read_text().split()]
        await asyncio.wait_for(_until_gone(pids), 5.0)

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(both())
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


async def test_files(tmp_path: Path) -> None:
    source = FileSource()
    (tmp_path / "a b").write_bytes(b"content")
    assert await source.fetch(f"file:{tmp_path}/a b", 5.0, 7) == Fetched(Net.OK, b"content")
    assert await source.fetch(f"file://{tmp_path}/a%20b", 5.0, 7) == Fetched(Net.OK, b"content")
    assert (await source.fetch(f"file:{tmp_path}/a b", 5.0, 6)).net is Net.TOO_LARGE
    assert (await source.fetch("file:/proc/loadavg", 5.0, 100)).body.count(b" ") == 4
    os.mkfifo(tmp_path / "pipe")
    for what, note in (("none", "No such file"), ("pipe", "not a regular"), ("", "directory"), ("\0", "null byte")):
        fetched = await source.fetch(f"file:{tmp_path}/{what}", 5.0, 100)
        assert fetched.net is Net.FAILED
        assert note in fetched.note


async def test_a_file_that_hangs_takes_one_thread_and_other_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = threading.Event()
    read = source_file._read

    def hang(path: str, max_bytes: int) -> Fetched:
        if path.endswith("hung"):
            released.wait(60.0)
        return read(path, max_bytes)

    monkeypatch.setattr(source_file, "_read", hang)
    (tmp_path / "well").write_bytes(b"x")
    (tmp_path / "hung").write_bytes(b"y")
    source = FileSource()
    try:
        for _ in range(source_file.THREADS + 2):
            assert (await source.fetch(f"file:{tmp_path}/hung", 0.01, 10)).net is Net.TIMEOUT
        assert await source.fetch(f"file:{tmp_path}/well", 10.0, 10) == Fetched(Net.OK, b"x")
        released.set()
        [reading] = source._hanging.values()
        await asyncio.wrap_future(reading)
        assert await source.fetch(f"file:{tmp_path}/hung", 10.0, 10) == Fetched(Net.OK, b"y")
    finally:
        released.set()
        await source.close()
