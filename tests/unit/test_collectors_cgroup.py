"""Cgroups against captured trees: Debian's 6.1 with v2 alone, and a 6.18 with v1 and v2 side by side."""

import math
import os
import shutil
from pathlib import Path

import pytest

from vagus.collectors import cgroup_tree, cgroups
from vagus.collectors.cgroup_tree import Patterns, hierarchies, scan
from vagus.collectors.cgroups import CgroupsCollector
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Event, Sample

FIXTURES = Path(__file__).parents[1] / "fixtures"
V2 = FIXTURES / "proc-debian12-vm-cgroup2"
HYBRID = FIXTURES / "cgroup1-hybrid-kernel618"
T = 1_700_000_000 * 10**9
NS = 10**9


class Reader:
    """A collector with a clock of its own."""

    def __init__(self, root, **settings):
        self.collector = CgroupsCollector("n", root, CollectSettings(**settings))
        self.t_ns = T
        self.streams = {}

    def __call__(self, seconds=1):
        """Values by (kind, cgroup) and field, the events, the error."""
        self.t_ns += seconds * NS
        records, error = [], ""
        try:
            records.extend(self.collector.collect(self.t_ns))
        except CollectError as failure:
            error = str(failure)
        found = {}
        for sample in records:
            if isinstance(sample, Sample):
                names = [field.name for field in sample.stream.fields]
                key = (sample.stream.kind.removeprefix("cgroup."), sample.stream.labels.get("cgroup"))
                found[key] = dict(zip(names, sample.values, strict=True))
                self.streams[key] = sample.stream
        return found, [record for record in records if isinstance(record, Event)], error


@pytest.fixture
def read(tmp_path):
    readers = []

    def begin(tree, **settings):
        shutil.copytree(tree, tmp_path / "root", dirs_exist_ok=True)
        reader = Reader(tmp_path / "root", **settings)
        readers.append(reader)
        return reader

    yield begin
    for reader in readers:
        reader.collector.close()
        reader.collector.close()


def group(tmp_path, name):
    return tmp_path / "root/sys/fs/cgroup" / name


def test_v2(read):
    got, events, error = read(V2)()
    assert (events, error) == ([], "")
    assert got["cpu", "system.slice/web.service"] == {
        "usage_us": 861616,
        "user_us": 806786,
        "system_us": 54830,
        "nr_periods": 46,
        "nr_throttled": 42,
        "throttled_us": 3271356,
        "limit_cores": 0.2,
    }
    assert math.isnan(got["cpu", "system.slice"]["limit_cores"])
    memory = got["memory", "system.slice/web.service"]
    assert (memory["current_bytes"], memory["limit_bytes"], memory["oom_kill"]) == (32768, 268435456.0, 0)
    assert memory["swap_bytes"] == 0
    assert got["memory", "system.slice"]["file_bytes"] == 94208
    assert got["io", "system.slice/db.service"] == {
        "read_bytes": 4096000,
        "write_bytes": 67108864,
        "reads": 1000,
        "writes": 576,
    }
    pressure = got["pressure", "system.slice/web.service"]
    assert (pressure["cpu_some_avg10"], pressure["cpu_some_total"]) == (6.72, 3198970)
    assert pressure["cpu_full_total"] == 3198956
    assert got["groups", None] == {"groups": 5, "left_out": 0, "files_open": 55, "complete": 1}


def test_v1_beside_v2(read):
    got, _, error = read(HYBRID)()
    assert error == ""
    web = "system.slice/web.service"
    assert got["cpu", web] == {
        "usage_us": 7080796553,
        "user_us": 5511390000,
        "system_us": 1569400000,
        "nr_periods": 31,
        "nr_throttled": 31,
        "throttled_us": 2159942,
        "limit_cores": 0.2,
    }
    assert got["io", web] == {"read_bytes": 4194304, "write_bytes": 4194304, "reads": 64, "writes": 64}
    assert got["memory", web]["current_bytes"] == 2972192768
    assert got["memory", web]["anon_bytes"] == 1179598848
    assert math.isnan(got["memory", web]["limit_bytes"])
    assert got["memory", "batch"]["limit_bytes"] == 268435456.0
    assert got["pressure", web]["io_some_total"] == 50619823
    assert ("cpu", "batch") not in got  # only the memory hierarchy knows it


def test_the_same_fields_for_v1_and_v2(read, tmp_path):
    one = read(V2)
    one()
    two = Reader(HYBRID)
    two()
    for kind in ("cpu", "memory", "io", "pressure"):
        key = (kind, "system.slice/web.service")
        assert one.streams[key].fields == two.streams[key].fields
    two.collector.close()


def test_older_kernels_without_recursive_counters_or_throttling(read, tmp_path):
    reader = read(HYBRID)
    web = "system.slice/web.service"
    for name in ("io_service_bytes", "io_serviced"):
        (group(tmp_path, f"blkio/{web}") / f"blkio.throttle.{name}_recursive").unlink()
    shutil.rmtree(group(tmp_path, f"cpu/{web}"))
    got, _, error = reader()
    assert error == ""
    assert got["io", web]["reads"] == 64
    assert set(got["cpu", web]) == {"usage_us", "user_us", "system_us"}


def test_patterns_and_a_machine_without_cgroups(read, tmp_path):
    reader = read(V2, cgroups=("system.slice/*.service", "nothing"))
    assert {name for kind, name in reader()[0] if kind == "cpu"} == {
        "system.slice/web.service",
        "system.slice/db.service",
    }
    (tmp_path / "bare/proc").mkdir(parents=True)
    (tmp_path / "bare/proc/mounts").write_text("proc /proc proc rw 0 0\n")
    bare = Reader(tmp_path / "bare")
    assert bare() == ({}, [], "")


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("*",), {"a", "b"}),
        (("*", "*/*"), {"a", "b", "a/x", "b/y"}),
        (("a/**",), {"a", "a/x", "a/x/deep", "a/x/deep/er"}),
        (("**/deep",), {"a/x/deep"}),
        (("/b/[x-z]/",), {"b/y"}),
        ((), set()),
    ],
)
def test_globs_match_level_by_level(tmp_path, patterns, expected):
    for path in ("a/x/deep/er", "b/y"):
        (tmp_path / path).mkdir(parents=True)
    assert set(scan([str(tmp_path)], Patterns(patterns)).groups) == expected


def test_folders_that_no_pattern_reaches_are_not_visited(tmp_path):
    for i in range(50):
        (tmp_path / f"a/{i}/deep").mkdir(parents=True)
    assert scan([str(tmp_path)], Patterns(["*"])).visited <= 2
    assert scan([str(tmp_path)], Patterns(["*/7/*"])).visited <= 4


def test_folders_without_folders_are_not_listed(tmp_path, monkeypatch):
    for i in range(20):
        (tmp_path / f"a/{i}").mkdir(parents=True)
    if os.stat(tmp_path / "a/1").st_nlink != cgroup_tree.LEAF:
        pytest.skip("this file system does not count folders as the kernel's cgroups do")
    listed = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: listed.append(path) or real(path))
    found = scan([str(tmp_path)], Patterns(["*/*/**"]))
    assert (len(found.groups), found.visited, len(listed)) == (20, 22, 2)


def test_hierarchies():
    mounts = b"""cgroup /c/cpu,cpuacct cgroup rw,nosuid,cpu,cpuacct 0 0
cgroup /twice cgroup rw,cpuacct,cpu 0 0
cgroup /c/systemd cgroup rw,xattr,name=systemd 0 0
cgroup2 /c/with\\040space cgroup2 rw 0 0
cgroup /c/pids cgroup rw,pids 0 0
broken
"""
    found = hierarchies(Path("/r"), mounts)
    assert [(h.point, h.version) for h in found] == [("/r/c/cpu,cpuacct", 1), ("/r/c/with space", 2)]


def test_more_groups_than_are_read_is_said_once(read, tmp_path):
    reader = read(V2, max_cgroups=2)
    got, events, error = reader()
    assert got["groups", None]["left_out"] == 3
    assert [event.event for event in events] == ["cgroup.limit"]
    assert "3 cgroups are not read: collect.max_cgroups is 2" in events[0].fields["text"]
    assert error == ""
    shown = {name for _, name in got}
    group(tmp_path, "aaa").mkdir()
    (group(tmp_path, "aaa") / "cpu.stat").write_text("usage_usec 1\nuser_usec 1\nsystem_usec 0\n")
    got, events, _ = reader(seconds=60)
    assert events == []
    assert {name for _, name in got} == shown  # a new one takes nobody's place
    for name in ("aaa", "kubepods.slice", "system.slice/web.service"):
        shutil.rmtree(group(tmp_path, name))
    assert reader(seconds=60)[0]["groups", None]["left_out"] == 0


def test_a_scan_is_bounded(read, monkeypatch):
    monkeypatch.setattr(cgroup_tree, "MAX_VISITED", 2)
    assert read(V2)()[0]["groups", None]["complete"] == 0


def test_a_group_that_goes_is_no_failure_and_one_that_comes_is_found(read, tmp_path, monkeypatch):
    monkeypatch.setattr(
        cgroups, "_may_open", lambda: 0
    )  # opened at each tick, as the kernel's files end with their group
    reader = read(V2)
    assert reader()[0]["groups", None]["files_open"] == 0
    shutil.rmtree(group(tmp_path, "system.slice/web.service"))
    got, _, error = reader()
    assert error == ""
    assert ("cpu", "system.slice/db.service") in got
    assert ("cpu", "system.slice/web.service") not in got
    shutil.copytree(V2 / "sys/fs/cgroup/system.slice/web.service", group(tmp_path, "system.slice/web.service"))
    got, _, error = reader(seconds=6)
    assert got["cpu", "system.slice/web.service"]["nr_throttled"] == 42
    assert error == ""


def test_a_controller_that_is_switched_off_and_on(read, tmp_path):
    reader = read(V2)
    reader()
    before = reader.streams["memory", "system.slice"]
    (group(tmp_path, "system.slice") / "cpu.max").unlink()
    got, _, _ = reader(seconds=61)
    assert set(got["cpu", "system.slice"]) == {"usage_us", "user_us", "system_us"}
    assert reader.streams["memory", "system.slice"] is before
    (group(tmp_path, "system.slice") / "cpu.max").write_text("max 100000\n")
    assert "nr_throttled" in reader(seconds=61)[0]["cpu", "system.slice"]


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("cpu.stat", ""),
        ("cpu.stat", "usage_usec lots\n"),
        ("cpu.max", "1000 0\n"),
        ("cpu.max", "x\n"),
        ("memory.current", "-1\n"),
        ("memory.current", f"{2**70}\n"),
        ("memory.stat", "anon 1\nfile\n"),
        ("memory.stat", ""),
        ("io.stat", "8:0 rbytes=x\n"),
        ("cpu.pressure", ""),
        ("cpu.pressure", "some avg10=1\n"),
        ("cpu.pressure", "\xff\n"),
    ],
)
def test_broken_files_are_named_and_keep_nothing_else(read, tmp_path, file, content):
    reader = read(V2)
    (group(tmp_path, "system.slice") / file).write_text(content, encoding="latin-1")
    got, _, error = reader()
    assert str(group(tmp_path, "system.slice") / file) in error
    kind = file.partition(".")[2] if file.endswith("pressure") else file.partition(".")[0]
    assert (kind, "system.slice") not in got
    assert len([name for _, name in got if name == "system.slice"]) == 3
    assert ("cpu", "system.slice/web.service") in got
    shutil.copy(V2 / "sys/fs/cgroup/system.slice" / file, group(tmp_path, "system.slice") / file)
    assert reader()[2] == ""


def test_pressure_without_a_line_full(read, tmp_path):
    reader = read(V2)
    (group(tmp_path, "system.slice") / "cpu.pressure").write_text("some avg10=1.50 avg60=0.00 avg300=0.00 total=7\n")
    got, _, error = reader()
    assert error == ""
    assert got["pressure", "system.slice"]["cpu_some_avg10"] == 1.5
    assert got["pressure", "system.slice"]["cpu_full_total"] == 0


def test_streams_stay_the_same_objects(read):
    reader = read(V2)
    reader()
    before = dict(reader.streams)
    reader(seconds=61)  # all groups are looked at anew
    assert all(reader.streams[key] is stream for key, stream in before.items())
