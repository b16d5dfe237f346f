"""Following a path line by line: rotation by rename and by copytruncate, lines without an end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from vagus.collectors.follow_path import LINGER_S, READ_BYTES, PathFollower
from vagus.errors import CollectError


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "app.log"
    path.write_bytes(b"one\n")
    return path


@pytest.fixture
def read(log: Path) -> Callable[..., list[str]]:
    """Everything that there is to read at a time."""
    follower = PathFollower(str(log))

    def lines(now_s: float = 0.0) -> list[str]:
        found = []
        while (got := follower.read(now_s)).more:
            found += got.lines
        return [line.decode() for line in found]

    lines.follower = follower
    return lines


def append(path: Path, text: str) -> None:
    with open(path, "a") as file:
        file.write(text)


def test_from_the_begin_then_what_is_appended_a_line_when_it_is_whole(log, read) -> None:
    assert read() == ["one"]
    append(log, "two\nthr")
    assert read() == ["two"]
    assert read.follower.unfinished() == [b"thr"]
    append(log, "ee\n")
    assert read() == ["three"]
    assert read() == []
    assert read.follower.unfinished() == []


def test_rotation_by_rename_also_while_the_old_file_is_still_written(log, read) -> None:
    assert read() == ["one"]
    append(log, "two\n")
    log.rename(log.with_suffix(".1"))
    assert read() == ["two"], "there may be no file of that name for a while"
    append(log.with_suffix(".1"), "three\n")
    append(log, "four\n")
    assert read() == ["three", "four"]
    append(log.with_suffix(".1"), "five, late")
    assert read(1.0) == []
    append(log, "six\n")
    assert read(2.0) == ["six"]
    assert read(1.0 + LINGER_S) == ["five, late"], "its end will not come"
    append(log.with_suffix(".1"), " and lost\n")
    append(log, "seven\n")
    assert read(3.0 + LINGER_S) == ["seven"]
    assert read.follower.rotations == 1


def test_rotation_by_copytruncate(log, read) -> None:
    assert read() == ["one"]
    append(log, "two\n")
    assert read() == ["two"]
    shutil.copy(log, log.with_suffix(".1"))
    os.truncate(log, 0)
    append(log, "three\n")
    assert read() == ["three"]
    os.truncate(log, 0)
    append(log, "four, which is as long as all before together\n")
    assert read() == ["four, which is as long as all before together"]
    assert read.follower.rotations == 2


def test_rotation_by_copytruncate_while_the_writer_goes_on_where_it_was(log, read) -> None:
    """Without O_APPEND it leaves a hole of zeros before its next line."""
    with open(log, "r+b", buffering=0) as writer:
        writer.seek(0, os.SEEK_END)
        writer.write(b"two\nthr")
        assert read() == ["one", "two"]
        os.truncate(log, 0)
        writer.write(b"ee\nfour\n")
    assert read() == ["ee", "four"]


def test_a_hole_larger_than_the_disk_is_leapt_over(log, read, monkeypatch: pytest.MonkeyPatch) -> None:
    took: list[int] = []
    whole = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, n, at: (took.append(n), whole(fd, n, at))[1])
    for text in ("two\n", "three, behind the begin of a", " line\n"):
        os.truncate(log, log.stat().st_size + (1 << 40))
        append(log, text)
    assert read()[:2] == ["one", "two"]
    os.truncate(log, log.stat().st_size + (1 << 40))  # up to the end
    assert read() == []
    append(log, "four\n")
    assert read() == ["four"]
    assert sum(took) < 64 << 20


def test_a_rotation_in_the_moment_of_opening_is_no_second_reading(log, read, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read() == ["one"]
    opened = os.open

    def late(path: str, flags: int) -> int:
        monkeypatch.undo()
        log.rename(log.with_suffix(".2"))
        append(log, "three\n")
        return opened(path, flags)

    log.rename(log.with_suffix(".1"))
    append(log, "two\n")
    monkeypatch.setattr("vagus.collectors.follow.os.open", late)
    assert read() == ["three"]
    append(log, "four\n")
    assert read() == ["four"]


def test_a_deleted_file_is_let_go_and_its_successor_read(log, read) -> None:
    assert read() == ["one"]
    append(log, "two, without an end")
    log.unlink()
    assert read(0.0) == []
    assert read(LINGER_S) == ["two, without an end"]
    assert not read.follower._files, "its disk space is free again"
    assert read(LINGER_S + 1) == []
    append(log, "three\n")
    assert read(LINGER_S + 2) == ["three"]


def test_a_file_that_is_moved_away_and_back_is_not_read_twice(log, read) -> None:
    assert read() == ["one"]
    log.rename(log.with_suffix(".1"))
    log.write_bytes(b"other\n")
    assert read() == ["other"]
    log.with_suffix(".1").rename(log)
    append(log, "two\n")
    assert read() == ["two"]


def test_nothing_is_dropped_of_much(log, read) -> None:
    log.write_bytes(b"".join(b"%09d\n" % number for number in range(300_000)))
    got = read()
    assert log.stat().st_size > 2 * READ_BYTES
    assert (len(got), got[0], got[-1]) == (300_000, "000000000", "000299999")


@pytest.mark.parametrize(
    ("make", "match"), [("", "No such file"), ("mkdir", "not a regular file"), ("fifo", "not a regular")]
)
def test_what_cannot_be_followed_is_told(tmp_path: Path, make: str, match: str) -> None:
    path = tmp_path / "x"
    if make == "mkdir":
        path.mkdir()
    elif make:
        os.mkfifo(path)
    with pytest.raises(CollectError, match=match):
        PathFollower(str(path))


def test_closing_twice(log) -> None:
    follower = PathFollower(str(log))
    follower.close()
    follower.close()
