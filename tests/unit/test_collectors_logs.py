"""Log files on a real file system: appended, rotated, truncated, torn and hostile ones."""

import os
from pathlib import Path

import pytest

from vagus.collectors import follow
from vagus.collectors.logs import LINGER_NS, MAX_LINES, SCAN_NS, LogsCollector
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Event, Sample

T = 1_700_000_000 * 10**9
NS = 10**9


class Tail:
    """A collector with a clock of its own."""

    def __init__(self, *paths):
        self.collector = LogsCollector("n", Path("/"), CollectSettings(logs=tuple(map(str, paths))))
        self.t_ns = T
        self.error = ""
        self.counts = {}
        self.events = []

    def __call__(self, seconds=1):
        """Texts of the new lines."""
        self.t_ns += seconds * NS
        records = []
        self.error = ""
        try:
            records.extend(self.collector.collect(self.t_ns))
        except CollectError as failure:
            self.error = str(failure)
        self.events = [r for r in records if isinstance(r, Event)]
        for sample in records:
            if isinstance(sample, Sample):
                names = [f.name for f in sample.stream.fields]
                self.counts[os.path.basename(sample.stream.labels["path"])] = dict(
                    zip(names, sample.values, strict=True)
                )
        return [e.fields["text"] for e in self.events]


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("old 1\nold 2\n")
    return path


@pytest.fixture
def start():
    tails = []

    def begin(*paths):
        tail = Tail(*paths)
        tails.append(tail)
        assert tail() == []
        return tail

    yield begin
    for tail in tails:
        tail.collector.close()
        tail.collector.close()


def append(path, text):
    with open(path, "ab") as file:
        file.write(text if isinstance(text, bytes) else text.encode())


def test_nothing_configured_gives_nothing():
    assert list(LogsCollector("n", Path("/"), CollectSettings()).collect(T)) == []


def test_only_new_lines(log, start):
    tail = start(log)
    append(log, "one\ntwo\r\n\n")
    assert tail() == ["one", "two", ""]
    assert tail.events[0].source == str(log)
    assert tail.events[0].event == "log.line"
    assert tail() == []
    assert tail.counts["app.log"] == {"lines": 3, "bytes": 10, "dropped": 0, "skipped_bytes": 0, "rotations": 0}


def test_partial_lines_are_joined(log, start):
    append(log, "begun before, ")
    tail = start(log)
    append(log, "ended after\nha")
    assert tail() == ["begun before, ended after"]
    append(log, "lf")
    assert tail() == []
    append(log, "\nnext\n")
    assert tail() == ["half", "next"]


def test_rotation_by_rename(log, start):
    tail = start(log)
    with open(log, "ab", buffering=0) as writer:
        writer.write(b"before\n")
        os.rename(log, log.with_name("app.log.1"))
        writer.write(b"written to the renamed file\n")
        log.write_text("first of the new\n")
        assert sorted(tail()) == ["before", "first of the new", "written to the renamed file"]
        writer.write(b"late, before the writer reopened\n")
    append(log, "second of the new\n")
    assert sorted(tail()) == ["late, before the writer reopened", "second of the new"]
    assert tail.counts["app.log"]["rotations"] == 1
    assert tail.counts["app.log"]["lines"] == 5
    assert tail.error == ""


def test_the_renamed_file_is_closed_when_quiet(log, start):
    tail = start(log)
    os.rename(log, log.with_name("app.log.1"))
    log.write_text("new\n")
    assert tail() == ["new"]
    assert len(tail.collector._readers) == 2
    tail(seconds=LINGER_NS // NS + 1)
    assert len(tail.collector._readers) == 1
    append(log, "more\n")
    assert tail() == ["more"]


def test_a_gap_between_rename_and_creation(log, start):
    tail = start(log)
    os.rename(log, log.with_name("app.log.1"))
    append(log.with_name("app.log.1"), "last\n")
    assert tail() == ["last"]
    log.write_text("first\n")
    assert tail() == ["first"]
    assert tail.counts["app.log"]["rotations"] == 1


def test_copytruncate(log, start):
    tail = start(log)
    append(log, "one\n")
    assert tail() == ["one"]
    os.truncate(log, 0)
    append(log, "two\n")
    assert tail() == ["two"]
    assert tail.counts["app.log"]["rotations"] == 1


def test_copytruncate_that_grew_beyond_the_old_end(log, start):
    tail = start(log)
    append(log, "one\n")
    assert tail() == ["one"]
    os.truncate(log, 0)
    append(log, "".join(f"line {i}\n" for i in range(20)))
    assert tail() == [f"line {i}" for i in range(20)]
    assert tail.counts["app.log"]["rotations"] == 1


def test_a_writer_that_does_not_append_leaves_zeros(log, start):
    tail = start(log)
    os.truncate(log, 0)
    with open(log, "r+b") as file:
        file.seek(100_000)
        file.write(b"after the hole\n")
    assert tail() == ["after the hole"]


def test_a_file_that_appears_later_is_read_from_its_begin(tmp_path, start):
    tail = start(tmp_path / "later.log")
    assert "later.log" not in tail.counts
    (tmp_path / "later.log").write_text("hello\n")
    assert tail() == ["hello"]


def test_patterns(tmp_path, start):
    (tmp_path / "a.log").write_text("old\n")
    tail = start(tmp_path / "*.log*")
    append(tmp_path / "a.log", "a\n")
    (tmp_path / "b.log").write_text("b\n")
    (tmp_path / "a.log.1").write_text("rotated away\n")
    (tmp_path / "a.log-20260101").write_text("rotated away\n")
    (tmp_path / "a.log.2.gz").write_bytes(b"\x1f\x8b\n\n")
    assert tail() == ["a"]  # patterns are matched every ten seconds
    assert tail(seconds=SCAN_NS // NS) == ["b"]


def test_a_rename_within_a_pattern_is_not_read_twice(tmp_path, start):
    (tmp_path / "x.log").write_text("")
    tail = start(tmp_path / "*.log")
    append(tmp_path / "x.log", "one\n")
    assert tail() == ["one"]
    os.rename(tmp_path / "x.log", tmp_path / "y.log")
    append(tmp_path / "y.log", "two\n")
    (tmp_path / "x.log").write_text("three\n")
    assert sorted(tail(seconds=SCAN_NS // NS)) == ["three", "two"]
    assert tail(seconds=SCAN_NS // NS) == []


def test_invalid_utf8_is_replaced(log, start):
    tail = start(log)
    append(log, b"caf\xe9 \xff\n")
    assert tail() == ["caf\ufffd \ufffd"]


def test_long_lines_are_cut(log, start):
    tail = start(log)
    append(log, "x" * 8192 + "\n" + "y" * 8193 + "\n" + "z" * 100_000)
    first, second = tail()
    assert (len(first), len(second)) == (8192, 8192)
    assert [e.fields.get("cut", False) for e in tail.events] == [False, True]
    append(log, "z" * 100_000 + "\nshort\n")
    third, fourth = tail()
    assert (third, fourth) == ("z" * 8192, "short")


def test_more_lines_than_a_tick_takes_are_counted(log, start, tmp_path):
    quiet = tmp_path / "quiet.log"
    quiet.write_text("")
    tail = start(log, quiet)
    append(log, "noise\n" * 5000 + "torn")
    append(quiet, "important\n")
    got = tail()
    assert len(got) == MAX_LINES
    assert "important" in got
    assert tail.counts["app.log"]["dropped"] == 5000 - 999
    assert tail.counts["app.log"]["lines"] == 5000
    append(log, " off\n")
    assert tail() == ["torn off"]


def test_far_behind_goes_on_near_the_end(log, start, monkeypatch):
    monkeypatch.setattr(follow, "MAX_BACKLOG_BYTES", 10_000)
    monkeypatch.setattr(follow, "MAX_READ_BYTES", 1_000)
    tail = start(log)
    append(log, "".join(f"{i:09d}\n" for i in range(2000)))
    got = tail()
    assert got[-1] == "000001999"
    assert all(len(line) == 9 for line in got)
    assert tail.counts["app.log"]["skipped_bytes"] == 19_000
    append(log, "next\n")
    assert tail() == ["next"]


def test_what_is_no_file_is_said_and_stops_nothing(log, tmp_path, start):
    os.mkfifo(tmp_path / "fifo")
    tail = start(tmp_path / "fifo", tmp_path, log)
    append(log, "one\n")
    assert tail() == ["one"]
    assert "fifo is not a regular file" in tail.error
    assert f"{tmp_path} is not a regular file" in tail.error


def test_no_permission_at_first(log, monkeypatch, start):
    def refuse(path, flags):
        raise PermissionError(13, "Permission denied", path)

    with monkeypatch.context() as patch:
        patch.setattr(follow.os, "open", refuse)
        tail = start(log)
        assert f"cannot follow {log}: Permission denied" in tail.error
    assert tail() == []  # what was there before is not new
    append(log, "one\n")
    assert tail() == ["one"]
    assert tail.error == ""


def test_too_many_files(tmp_path, start):
    for i in range(201):
        (tmp_path / f"{i}.log").write_text("")
    tail = start(tmp_path / "*.log")
    assert "200 log files are the most" in tail.error
    assert len(tail.counts) == 200


def test_dated_names_that_are_gone_are_forgotten(tmp_path, start):
    (tmp_path / "day1.log").write_text("")
    tail = start(tmp_path / "*.log")
    (tmp_path / "day1.log").unlink()
    (tmp_path / "day2.log").write_text("x\n")
    assert tail(seconds=60) == ["x"]
    tail(seconds=60)
    assert [f.path for f in tail.collector._files.values()] == [str(tmp_path / "day2.log")]


def test_names_that_are_not_utf8(tmp_path, start):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.log")
    with open(path, "wb"):
        pass
    tail = start(os.fsdecode(path))
    append(path, "x\n")
    assert tail() == ["x"]
    assert tail.events[0].source.endswith("caf\ufffd.log")


class Lives:
    """The same settings in one life after another, with the state handed on as the collector's actor does."""

    def __init__(self, *paths):
        self.paths = paths
        self.state = None
        self.tail = None

    def begin(self, *paths):
        self.tail = Tail(*(paths or self.paths))
        if self.state is not None:
            self.tail.collector.restore(self.state)
        return self.tail

    def end(self):
        state = self.tail.collector.state()
        self.state = state if state is not None else self.state
        self.tail.collector.close()


@pytest.fixture
def lives():
    made = []

    def make(*paths):
        made.append(Lives(*paths))
        return made[-1]

    yield make
    for one in made:
        one.tail.collector.close()


def test_what_was_written_between_two_lives_is_read(log, lives):
    life = lives(log)
    assert life.begin()() == []
    append(log, "one\nhal")
    assert life.tail() == ["one"]
    life.end()
    append(log, "f\ntwo\n")
    assert life.begin()() == ["half", "two"]
    append(log, "three\n")
    assert life.tail() == ["three"]
    life.end()
    assert life.begin()() == []


def test_the_state_is_given_when_it_changes(log, lives):
    life = lives(log)
    tail = life.begin()
    tail()
    assert tail.collector.state() is not None
    tail()
    assert tail.collector.state() is None
    append(log, "x\n")
    tail()
    assert tail.collector.state() is not None


def test_a_file_that_was_rotated_between_two_lives(log, lives):
    life = lives(log)
    life.begin()()
    append(log, "before\n")
    assert life.tail() == ["before"]
    append(log, "unread\n")
    life.end()
    os.rename(log, log.with_name("app.log.1"))
    append(log.with_name("app.log.1"), "late\n")
    log.write_text("first of the new\n")
    assert sorted(life.begin()()) == ["first of the new", "late", "unread"]
    assert life.tail.counts["app.log"]["rotations"] == 1
    append(log, "more\n")
    assert life.tail() == ["more"]
    life.end()
    append(log, "again\n")
    assert life.begin()() == ["again"]


def test_a_file_that_was_rotated_and_compressed_between_two_lives(log, lives):
    life = lives(log)
    life.begin()()
    life.end()
    (log.with_name("app.log.1.gz")).write_bytes(b"\x1f\x8b")
    log.unlink()
    log.with_name("keeps-the-inode-from-being-used-again").write_text("")
    log.write_text("new\n")
    assert life.begin()() == ["new"]


def test_a_file_that_was_renamed_and_not_made_again_yet(log, lives):
    life = lives(log)
    life.begin()()
    append(log, "unread\n")
    life.end()
    os.rename(log, log.with_name("app.log.1"))
    assert life.begin()() == []
    life.end()
    log.write_text("new\n")
    assert sorted(life.begin()()) == ["new", "unread"]


def test_a_file_that_was_truncated_between_two_lives(log, lives):
    life = lives(log)
    life.begin()()
    life.end()
    os.truncate(log, 0)
    append(log, "anew, and longer than what was there before\n")
    assert life.begin()() == ["anew, and longer than what was there before"]
    assert life.tail.counts["app.log"]["rotations"] == 1


def test_nothing_of_a_backlog_is_dropped(log, lives):
    life = lives(log)
    life.begin()()
    life.end()
    append(log, "".join(f"line {i}\n" for i in range(2500)) + "torn")
    tail = life.begin()
    got = tail()
    append(log, " off\nlive\n")
    while more := tail():
        got += more
    assert got == [*(f"line {i}" for i in range(2500)), "torn off", "live"]
    assert tail.counts["app.log"]["dropped"] == 0


def test_a_backlog_is_bounded(log, lives, monkeypatch):
    monkeypatch.setattr(follow, "MAX_BACKLOG_BYTES", 10_000)
    monkeypatch.setattr(follow, "MAX_READ_BYTES", 1_000)
    life = lives(log)
    life.begin()()
    life.end()
    append(log, "".join(f"{i:09d}\n" for i in range(2000)))
    got = life.begin()()
    assert got[-1] == "000001999"
    assert 90 <= len(got) <= 100
    assert life.tail.counts["app.log"]["skipped_bytes"] == 19_000
    life.end()
    assert life.begin()() == []


def test_files_that_appeared_between_two_lives(tmp_path, lives):
    (tmp_path / "a.log").write_text("old\n")
    life = lives(tmp_path / "*.log")
    life.begin()()
    life.end()
    (tmp_path / "b.log").write_text("new\n")
    assert life.begin()() == ["new"]
    life.end()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/c.log").write_text("was there long before it was asked for\n")
    assert life.begin(tmp_path / "*.log", tmp_path / "elsewhere/*.log")() == []


@pytest.mark.parametrize("state", [b"", b"\xff", b"\x92\x90\xc0", b"\x80"])
def test_damaged_state_is_as_none(log, lives, state):
    life = lives(log)
    life.state = state
    assert life.begin()() == []
    append(log, "x\n")
    assert life.tail() == ["x"]
