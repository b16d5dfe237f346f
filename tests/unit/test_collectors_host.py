"""The host collector against captured and hand-written machines."""

import math
import os
import shutil
import subprocess
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagus.collectors.cpu import STATES, shares
from vagus.collectors.filesystem import FileSystems, parse_mounts
from vagus.collectors.host import HostCollector
from vagus.collectors.memory import snake
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

FIXTURES = Path(__file__).parents[1] / "fixtures"
T = 1_700_000_000 * 10**9


def read(root, collector=None, t_ns=T):
    """Series by text such as `host.disk.reads{dev="vda"}`, events, and the error."""
    collector = collector or HostCollector("n", Path(root), CollectSettings())
    series, events, error = {}, [], ""
    try:
        for record in collector.collect(t_ns):
            if isinstance(record, Sample):
                for field, value in zip(record.stream.fields, record.values, strict=True):
                    series[record.stream.series(field.name).replace(',node="n"}', "}").replace('{node="n"}', "")] = (
                        value
                    )
            else:
                events.append(record)
    except CollectError as failure:
        error = str(failure)
    return series, events, error


@pytest.fixture
def tree(tmp_path):
    def copy(name):
        shutil.copytree(FIXTURES / name, tmp_path / name)
        return tmp_path / name

    return copy


def test_debian12():
    got, events, error = read(FIXTURES / "proc-debian12-2core")
    assert (error, events) == ("", [])
    total = 12791 + 0 + 5214 + 401368 + 745 + 0 + 116 + 10
    assert got["host.cpu.user"] == round(12791 / total, 4)
    assert got["host.cpu.idle"] == round(401368 / total, 4)
    assert got['host.core.iowait{core="1"}'] == round(715 / (10154 + 3476 + 195665 + 715 + 85 + 6), 4)
    assert got["host.load.load1"] == 0.42
    assert got["host.load.threads"] == 111
    assert got["host.memory.mem_total"] == 24684092 * 1024
    assert got["host.memory.hugepagesize"] == 2048 * 1024
    assert got["host.memory.huge_pages_total"] == 0
    assert got["host.vmstat.pgfault"] == 5183728
    assert got["host.vmstat.nr_free_pages"] == 1402585
    assert got["host.stat.ctxt"] == 950986
    assert got["host.stat.intr"] == 461455
    assert got["host.stat.softirq"] == 361657
    assert got["host.stat.btime"] == 1795293362
    assert got["host.uptime.uptime_s"] == 2107.22
    assert got["host.filehandles.max"] == 2466177
    assert got["host.entropy.available"] == 256
    assert got['host.disk.reads{dev="vda"}'] == 176171
    assert got['host.disk.read_bytes{dev="vda"}'] == 5326634 * 512
    assert got['host.disk.weighted_io_ms{dev="vda"}'] == 40349
    assert got['host.disk.flush_ms{dev="vda"}'] == 167
    assert not [name for name in got if "loop" in name or "zram" in name]
    assert [n for n in got if n.startswith("host.filesystem.size_bytes")] == [
        'host.filesystem.size_bytes{dev="/dev/vda",fstype="ext4",mount="/"}'
    ]


def test_raspberry_pi_with_linux_4_19():
    got, events, error = read(FIXTURES / "proc-rpi4-kernel419")
    assert error == ""
    assert sum(got[f"host.cpu.{s}"] for s in STATES[:8]) == pytest.approx(1)
    assert len([n for n in got if n.startswith("host.core.user")]) == 4
    assert got['host.disk.write_bytes{dev="mmcblk0"}'] == 1404624 * 512
    assert got['host.disk.discard_bytes{dev="sda"}'] == 24576 * 512
    assert 'host.disk.flushes{dev="sda"}' not in got
    assert not [n for n in got if "mmcblk0p1" in n or 'dev="sda1"}' in n or "ram0" in n]
    assert got["host.memory.high_free"] == 2410496 * 1024
    assert got["host.memory.inactive_anon"] == 24216 * 1024
    assert not any(n.startswith("host.entropy") for n in got)
    # /boot and the USB disk are not below the fixture: events, and no error of the collector.
    assert {e.fields["mount"] for e in events} == {"/boot", "/media/my disk"}
    assert {e.event for e in events} == {"host.filesystem.unreadable"}


def test_linux_3_10_has_fewer_columns():
    got, _, error = read(FIXTURES / "proc-centos7-kernel310")
    assert got["host.cpu.user"] == 0.1
    assert got["host.cpu.steal"] == 0.0
    assert got['host.disk.weighted_io_ms{dev="dm-0"}'] == 1224000
    assert 'host.disk.discards{dev="dm-0"}' not in got
    assert not [n for n in got if "sda1" in n or "sr0" in n]
    assert got["host.stat.softirq"] == 0  # that line is not in this file
    assert "proc/meminfo" in error  # the fixture has none: said, and the rest is there


def test_ninety_six_cores_and_hotplug(tree):
    root = tree("proc-centos7-kernel310")
    tail = "intr 1\nctxt 2\nbtime 3\nprocesses 4\nprocs_running 5\nprocs_blocked 6\n"

    def stat(cores, ticks):
        lines = [f"cpu{c} {ticks} 0 0 {9 * ticks} 0 0 0 0 0 0" for c in cores]
        (root / "proc/stat").write_text("\n".join(["cpu  1 0 0 9 0 0 0 0 0 0", *lines, tail]))

    collector = HostCollector("n", root, CollectSettings())
    stat(range(96), 100)
    assert len([n for n in read(root, collector)[0] if n.startswith("host.core.idle")]) == 96
    stat([c for c in range(96) if c != 7], 200)
    assert 'host.core.idle{core="7"}' not in read(root, collector)[0]
    stat(range(96), 250)
    got, _, _ = read(root, collector)
    assert got['host.core.user{core="7"}'] == pytest.approx(0.1)
    assert got['host.core.idle{core="95"}'] == pytest.approx(0.9)


def test_shares_of_an_interval():
    before = (100, 0, 50, 800, 50, 0, 0, 0, 20, 0)
    now = (130, 0, 60, 850, 60, 0, 0, 0, 25, 0)
    got = shares(now, before)
    assert got[:5] == (0.3, 0.0, 0.1, 0.5, 0.1)
    assert got[8] == 0.05
    assert sum(got[:8]) == pytest.approx(1)


@given(st.lists(st.integers(0, 2**40), min_size=8, max_size=8).filter(any))
def test_shares_are_decimals_that_sum_to_one(spent):
    got = shares((*spent, 0, 0), (0,) * 10)
    assert sum(got[:8]) == pytest.approx(1, abs=1e-12)
    assert all(value == round(value, 4) >= 0 for value in got)
    assert all(abs(value - s / sum(spent)) < 5e-4 for value, s in zip(got, spent, strict=False))


def test_shares_when_counters_go_back():
    before = (100, 0, 50, 800, 50, 0, 0, 0, 0, 0)
    one_back = shares((110, 0, 50, 890, 40, 0, 0, 0, 0, 0), before)
    assert one_back[4] == 0
    assert one_back[:4] == (0.1, 0.0, 0.0, 0.9)
    anew = shares((1, 0, 0, 3, 0, 0, 0, 0, 0, 0), before)
    assert anew[:4] == (0.25, 0.0, 0.0, 0.75)
    assert all(math.isnan(v) for v in shares(before, before))


def test_disks_come_and_go(tree):
    root = tree("proc-centos7-kernel310")
    collector = HostCollector("n", root, CollectSettings())
    assert 'host.disk.reads{dev="sdb"}' not in read(root, collector)[0]
    file = root / "proc/diskstats"
    text = file.read_text()
    file.write_text(text + "   8      16 sdb 5 0 40 1 0 0 0 0 0 1 1\n")
    assert read(root, collector)[0]['host.disk.read_bytes{dev="sdb"}'] == 20480
    file.write_text(text)
    assert 'host.disk.reads{dev="sdb"}' not in read(root, collector)[0]


def test_new_lines_of_meminfo_are_found(tree):
    root = tree("proc-rpi4-kernel419")
    collector = HostCollector("n", root, CollectSettings())
    read(root, collector)
    file = root / "proc/meminfo"
    file.write_text(file.read_text().replace("Buffers:           60412 kB\n", "") + "Balloon: 3 kB\n")
    got, _, _ = read(root, collector)
    assert got["host.memory.balloon"] == 3072
    assert got["host.memory.cached"] == 724160 * 1024
    assert "host.memory.buffers" not in got


@pytest.mark.parametrize(
    ("path", "content", "kept"),
    [
        ("proc/stat", "", "host.load.load1"),
        ("proc/stat", "cpu  1 2\n", "host.load.load1"),
        ("proc/stat", "cpu  a b c d\n", "host.load.load1"),
        ("proc/stat", "cpu  1 2 3 -4 5 6 7 8 9 10\n", "host.load.load1"),
        ("proc/loadavg", "0.1 0.2", "host.cpu.user"),
        ("proc/loadavg", "x y z 1/2 3", "host.cpu.user"),
        ("proc/meminfo", "", "host.cpu.user"),
        ("proc/meminfo", "MemTotal: lots kB\n", "host.cpu.user"),
        ("proc/meminfo", f"MemTotal: {2**70} kB\n", "host.cpu.user"),
        ("proc/meminfo", "\xff\xfe: 3 kB\n", "host.cpu.user"),
        ("proc/vmstat", "pgfault 1\npgmaj", "host.cpu.user"),
        ("proc/vmstat", "pgfault -1\n", "host.cpu.user"),
        ("proc/vmstat", "0x:y 1\n", "host.cpu.user"),
        ("proc/diskstats", " 8 0 sda 1 2 3\n", "host.cpu.user"),
        ("proc/diskstats", " 8 0 sda 1 2 3 4 5 6 7 8 9 10 eleven\n", "host.cpu.user"),
        ("proc/uptime", "1\n", "host.cpu.user"),
        ("proc/sys/fs/file-nr", "1 2 3 4\n", "host.cpu.user"),
        ("proc/sys/kernel/random/entropy_avail", "-3\n", "host.cpu.user"),
        ("proc/mounts", None, "host.cpu.user"),
        ("proc/uptime", "1 2 " * (3 << 20), "host.cpu.user"),
    ],
)
def test_broken_files_are_named_and_keep_nothing_else(tree, path, content, kept):
    root = tree("proc-debian12-2core")
    if content is None:
        (root / path).unlink()
    else:
        (root / path).write_text(content, encoding="latin-1")
    got, _, error = read(root)
    assert str(root / path) in error
    assert kept in got


def test_a_file_that_was_broken_is_read_again(tree):
    root = tree("proc-debian12-2core")
    collector = HostCollector("n", root, CollectSettings())
    good = (root / "proc/meminfo").read_text()
    (root / "proc/meminfo").write_text("MemTotal:\n")
    assert "meminfo" in read(root, collector)[2]
    (root / "proc/meminfo").write_text(good)
    got, _, error = read(root, collector)
    assert error == ""
    assert got["host.memory.mem_total"] == 24684092 * 1024


def test_mounts():
    mounts = parse_mounts((FIXTURES / "proc-rpi4-kernel419/proc/mounts").read_bytes())
    assert [(m.path, m.fstype) for m in mounts] == [("/", "ext4"), ("/boot", "vfat"), ("/media/my disk", "ntfs3")]
    assert parse_mounts(b"overlay / overlay rw 0 0\noverlay /x overlay rw 0 0\nnas:/a /b nfs rw 0 0\n\nx\n") == [
        ("overlay", "/", "overlay")
    ]
    many = b"".join(b"/dev/d%d /m%04d ext4 rw 0 0\n" % (i, i) for i in range(500))
    assert len(parse_mounts(many)) == 200


def test_a_file_system_that_answers_again(tree):
    root = tree("proc-rpi4-kernel419")
    collector = HostCollector("n", root, CollectSettings())
    assert len(read(root, collector)[1]) == 2
    assert read(root, collector, T + 5 * 10**9)[1] == []
    (root / "boot").mkdir()
    assert read(root, collector, T + 9 * 10**9)[1] == []  # every 5 s
    got, events, _ = read(root, collector, T + 10**10)
    assert [(e.event, e.fields["mount"]) for e in events] == [("host.filesystem.readable", "/boot")]
    label = '{dev="/dev/mmcblk0p1",fstype="vfat",mount="/boot"}'
    assert got["host.filesystem.size_bytes" + label] == os.statvfs(root).f_blocks * os.statvfs(root).f_frsize


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("MemTotal", "mem_total"),
        ("Active(anon)", "active_anon"),
        ("HugePages_Free", "huge_pages_free"),
        ("Committed_AS", "committed_as"),
        ("SReclaimable", "sreclaimable"),
        ("DirectMap2M", "direct_map2m"),
        ("NFS_Unstable", "nfs_unstable"),
    ],
)
def test_names_of_meminfo(name, expected):
    assert snake(name) == expected


def test_this_machine_agrees_with_psutil():
    got, _, error = read("/")
    assert error == ""
    assert got["host.memory.mem_total"] == psutil.virtual_memory().total
    assert got["host.load.load15"] == pytest.approx(psutil.getloadavg()[2], abs=0.5)
    assert got["host.stat.btime"] == pytest.approx(psutil.boot_time(), abs=2)
    assert got["host.stat.ctxt"] == pytest.approx(psutil.cpu_stats().ctx_switches, rel=0.05)
    assert len([n for n in got if n.startswith("host.core.user")]) == psutil.cpu_count()
    for dev, counters in psutil.disk_io_counters(perdisk=True).items():
        if f'host.disk.read_bytes{{dev="{dev}"}}' in got:
            assert got[f'host.disk.read_bytes{{dev="{dev}"}}'] == pytest.approx(counters.read_bytes, rel=0.05)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system, which only root may")
def test_a_mount_of_this_machine_is_seen_at_once(tmp_path):
    part = FileSystems("n", Path("/"))
    assert len(list(part.read(T))) == len(list(part.read(T)))
    before = part._mounts
    subprocess.run(["mount", "-t", "tmpfs", "vagus-test", tmp_path], check=True)
    try:
        list(part.read(T))
        assert str(tmp_path).encode() in part._mounts
    finally:
        subprocess.run(["umount", tmp_path], check=True)
    list(part.read(T))
    assert str(tmp_path).encode() not in part._mounts
    assert str(tmp_path).encode() not in before
    part.close()
    assert list(part.read(T))
    part.close()
