"""Processes: the real ones of this machine, those of a captured one, and made ones by the thousand."""

import os
import shutil
from pathlib import Path

import pytest

from vagus.collectors import processes
from vagus.collectors.process_stat import parse_stat, program
from vagus.collectors.processes import ProcessesCollector
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

VM = Path(__file__).parents[1] / "fixtures/proc-debian12-vm-cgroup2"
T = 1_700_000_000 * 10**9
NS = 10**9
HZ = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def stat_line(pid, comm, state="S", flags=0, ticks=0, threads=1, start=100, pages=10):
    before = f"{pid} ({comm}) {state} 1 0 0 0 -1 {flags} 0 0 0 0 {ticks} 0 0 0 20 0 {threads} 0 {start} 4096 {pages}"
    return before + " 0" * 28 + "\n"


class Machine:
    """A made /proc and the collector that reads it."""

    def __init__(self, root, **settings):
        self.root = root
        (root / "proc/sys/fs").mkdir(parents=True)
        (root / "proc/uptime").write_text("1000.00 1.00\n")
        (root / "proc/sys/fs/file-nr").write_text("5\t0\t99\n")
        self.collector = ProcessesCollector("n", root, CollectSettings(**settings))
        self.t_ns = T

    def again(self):
        self.collector.close()
        self.collector = ProcessesCollector("n", self.root, CollectSettings())
        return self

    def put(self, pid, comm, **values):
        folder = self.root / f"proc/{pid}"
        folder.mkdir(exist_ok=True)
        (folder / "stat").write_text(stat_line(pid, comm, **values))

    def end(self, pid):
        shutil.rmtree(self.root / f"proc/{pid}")

    def __call__(self, seconds=5):
        """Programs by name, the host's counts, the error."""
        self.t_ns += seconds * NS
        records, error = [], ""
        try:
            records.extend(self.collector.collect(self.t_ns))
        except CollectError as failure:
            error = str(failure)
        host, programs = {}, {}
        for record in records:
            assert isinstance(record, Sample)
            values = dict(zip([field.name for field in record.stream.fields], record.values, strict=True))
            if record.stream.kind == "process":
                programs[record.stream.labels["comm"]] = values
            else:
                host = values
        return programs, host, error


@pytest.fixture
def machine(tmp_path):
    made = []

    def make(**settings):
        made.append(Machine(tmp_path / "m", **settings))
        return made[-1]

    yield make
    for one in made:
        one.collector.close()
        one.collector.close()


def test_a_captured_machine():
    collector = ProcessesCollector("n", VM, CollectSettings())
    host, *programs = collector.collect(T)
    counts = dict(zip([field.name for field in host.stream.fields], host.values, strict=True))
    assert (counts["total"], counts["sleeping"], counts["files_max"]) == (9, 4, 96715)
    found = {sample.stream.labels["comm"]: sample.values for sample in programs}
    assert found["init"][1:] == (400 * PAGE, 1, 1, 1)
    assert found["[kthreadd]"][4] == 2
    collector.close()


def test_rates_states_and_sums(machine):
    m = machine()
    m.put(10, "web", ticks=0, threads=4, pages=100)
    m.put(11, "web", ticks=0, threads=2, pages=50, state="R")
    m.put(12, "disk", state="D")
    m.put(13, "gone", state="Z", pages=-1)
    m.put(14, "debugged", state="t")
    m.put(15, "odd", state="X")
    programs, host, error = m()
    assert error == ""
    assert host["sleeping"] == host["running"] == host["disk_sleep"] == host["zombie"] == host["traced"] == 1
    assert (host["total"], host["threads"], host["files_open"]) == (6, 10, 5)
    m.put(10, "web", ticks=10 * HZ, threads=4, pages=100)
    m.put(11, "web", ticks=HZ * 5 // 2, threads=2, pages=50)
    assert m(seconds=1) == ({}, {}, "")  # not at every tick
    programs, host, _ = m(seconds=9)
    assert programs["web"] == {
        "cpu_cores": 1.25,
        "rss_bytes": 150 * PAGE,
        "processes": 2,
        "threads": 6,
        "pid": 10,
    }
    assert host["running"] == 0
    m.end(10)
    assert m()[0]["web"]["pid"] == 11
    assert m()[0]["web"]["cpu_cores"] == 0.0


def test_a_pid_that_is_used_again_begins_anew(machine):
    m = machine()
    m.put(10, "old", ticks=100 * HZ, start=100)
    m()
    m.put(10, "new", ticks=HZ, start=998 * HZ)  # two seconds old
    programs, _, _ = m()
    assert programs["new"]["cpu_cores"] == 0.5
    assert "old" not in programs


def test_time_that_goes_back_keeps_the_last_rate(machine):
    m = machine()
    m.put(10, "web", ticks=0)
    m()
    m.put(10, "web", ticks=5 * HZ)
    assert m()[0]["web"]["cpu_cores"] == 1.0
    m.put(10, "web", ticks=10 * HZ)
    assert m(seconds=-100)[0]["web"]["cpu_cores"] == 1.0


def test_a_round_takes_six_readings_and_the_busy_are_in_each(machine, monkeypatch):
    m = machine(top_processes=2)
    for pid in range(100, 1100):
        m.put(pid, f"p{pid % 7}")
    m.put(50, "busy")
    assert m()[1]["total"] == 1001  # the first reads all
    m.put(50, "busy", ticks=HZ)
    while m()[0].get("busy", {}).get("cpu_cores", 0) == 0:
        m.put(50, "busy", ticks=HZ * (2 + (m.t_ns - T) // NS))
        assert m.t_ns < T + 65 * NS  # it had slept, so in one of two rounds
    reads = []
    real = processes.read_stat
    monkeypatch.setattr(processes, "read_stat", lambda folder, pid: reads.append(pid) or real(folder, pid))
    for tick in range(6):
        reads.clear()
        m.put(50, "busy", ticks=5 * HZ * (100 + tick))
        m()
        assert "50" in reads
        assert len(reads) <= 169


def test_those_that_sleep_are_read_in_one_of_two_rounds(machine, monkeypatch):
    m = machine()
    ticks = 0
    for pid in range(100, 160):
        m.put(pid, "runs" if pid < 130 else "sleeps")
    m()
    reads = []
    real = processes.read_stat
    monkeypatch.setattr(processes, "read_stat", lambda folder, pid: reads.append(int(pid)) or real(folder, pid))
    for _ in range(24):
        ticks += 2
        for pid in range(100, 130):
            m.put(pid, "runs", ticks=ticks)
        assert m()[1]["total"] == 60
    counts = [reads.count(pid) for pid in range(100, 160)]
    assert min(counts) >= 1
    assert sum(counts[:30]) > 1.5 * sum(counts[30:])


def test_a_new_process_and_one_that_ended_are_seen_within_a_round(machine):
    m = machine()
    for pid in range(100, 200):
        m.put(pid, "same")
    assert m()[1]["total"] == 100
    m.put(300, "same")
    m.put(2, "kthreadd", flags=0x200000)
    m.end(100)
    m.end(101)
    for _ in range(9):
        host = m()[1]
    assert host["total"] == host["sleeping"] == 100


def test_names_of_short_lived_processes_do_not_flood_the_store(machine, monkeypatch):
    monkeypatch.setattr(processes, "MAX_PROGRAMS", 20)
    m = machine(top_processes=3)
    m.put(1, "init", pages=10_000)
    names = set()
    for i in range(100):
        m.put(1000 + i, f"job{i}x", ticks=10 * HZ, start=999 * HZ)
        programs, _, error = m(seconds=11)
        m.end(1000 + i)
        names |= set(programs)
        assert error == ""
        assert "init" in programs
    assert len(names) <= 21
    assert "(other)" in names
    m.put(5000, "later", ticks=10 * HZ, start=999 * HZ)
    m(seconds=90_000)
    m()
    assert "later" in m()[0]  # a day later others have their turn
    assert len(m.collector._streams) <= 21


def test_a_program_stays_a_minute_after_it_was_among_the_first(machine):
    m = machine(top_processes=1)
    m.put(1, "big", pages=1000)
    m.put(2, "burst", ticks=0)
    m()
    m.put(2, "burst", ticks=5 * HZ)
    assert "burst" in m()[0]
    m.put(3, "other", ticks=HZ, start=999 * HZ)
    assert {"burst", "other", "big"} <= set(m()[0])
    for _ in range(21):
        programs, _, _ = m(seconds=5)
    assert set(programs) == {"big"}


def test_no_top(machine):
    m = machine(top_processes=0)
    m.put(1, "init")
    programs, host, error = m()
    assert (programs, host["total"], error) == ({}, 1, "")


@pytest.mark.parametrize("content", ["", "12", "12 (x", "12 (x) S 1", stat_line(12, "x").replace("4096 10", "4096 x")])
def test_broken_files_are_named(machine, content):
    m = machine()
    m.put(11, "good")
    m.put(12, "bad")
    (m.root / "proc/12/stat").write_text(content)
    programs, host, error = m()
    assert f"{m.root}/proc/12/stat" in error
    assert (set(programs), host["total"]) == ({"good"}, 1)


def test_the_largest_number_of_files_and_a_broken_one(machine):
    m = machine()
    (m.root / "proc/sys/fs/file-nr").write_text("5\t0\t9223372036854775807\n")
    assert m()[1]["files_max"] == 2**63 - 1
    m = m.again()
    (m.root / "proc/sys/fs/file-nr").write_text("5\t0\n")
    assert "proc/sys/fs/file-nr" in m()[2]
    m = m.again()
    (m.root / "proc/sys/fs/file-nr").write_text("5\t0\t9\n")
    (m.root / "proc/uptime").write_text("x\n")
    m.put(1, "init")
    assert "proc/uptime" in m()[2]


def test_no_proc_at_all(tmp_path):
    collector = ProcessesCollector("n", tmp_path, CollectSettings())
    with pytest.raises(CollectError, match=f"cannot list {tmp_path}/proc"):
        list(collector.collect(T))


@pytest.mark.parametrize(
    ("comm", "flags", "expected"),
    [
        ("python3", 0, "python3"),
        ("kworker/0:1-events", 69238880, "[kworker]"),
        ("worker-17", 0, "worker"),
        ("ray::IDLE_3", 0, "ray::IDLE"),
        (") S 1 (", 0, ") S 1 ("),
        ("tmux: server", 0, "tmux: server"),
        ("a\tb", 0, "a?b"),
        ("", 0, "?"),
    ],
)
def test_names(comm, flags, expected):
    assert program(parse_stat(stat_line(9, comm, flags=flags).encode())) == expected


def test_this_machine():
    collector = ProcessesCollector("n", Path("/"), CollectSettings(top_processes=5))
    host, *programs = collector.collect(T)
    collector.close()
    counts = dict(zip([field.name for field in host.stream.fields], host.values, strict=True))
    assert counts["total"] == pytest.approx(len([p for p in os.listdir("/proc") if p.isdigit()]), abs=20)
    assert sum(counts[state] for state in processes.STATES.values()) <= counts["total"] <= counts["threads"]
    assert 5 <= len(programs) <= 10
