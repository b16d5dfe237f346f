"""Log filters on real lines and on hostile ones."""

from __future__ import annotations

from datetime import timedelta, timezone

import pytest

from vagus.errors import ConfigError
from vagus.health.filter_kernel import KernelFilter
from vagus.health.filter_zookeeper import ZooKeeperFilter
from vagus.model import Metric, Report, Status

NOW = 1_700_000_000_000_000_000
CANNOT = (
    "2017-05-26 17:26:04,937 [myid:0] - WARN  [WorkerSender[myid=0]:QuorumCnxManager@382] - "
    "Cannot open channel to 1 at election address pano1/10.0.0.5:3888"
)
BUSY = "2017-05-19 17:16:25,012 [myid:9] - WARN  [SyncThread:9:SyncRequestProcessor@148] - Too busy to snap, skipping"


def test_zookeeper_cannot_open_channel() -> None:
    report = ZooKeeperFilter(zone=timezone(timedelta(hours=-4))).read(CANNOT, "z.out", NOW)
    assert report == Report(
        "peer@0",
        "peer@1",
        1_495_833_964_937_000_000,
        {"WorkerSender": Metric(Status.MAYBE_UNHEALTHY, 40)},
    )


def test_zookeeper_too_busy_to_snap() -> None:
    report = ZooKeeperFilter(zone=timezone.utc).read(BUSY, "z.out", NOW)
    assert report == Report("peer@9", "peer@9", 1_495_214_185_012_000_000, {"Snapshot": Metric(Status.UNHEALTHY, 20)})


def test_log_times_are_local_times(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        report = ZooKeeperFilter().read(CANNOT, "z.out", NOW)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert report is not None
    assert report.t_ns == 1_495_833_964_937_000_000


@pytest.mark.parametrize(
    "line",
    [
        "",
        "INFO: Got ping reply with time: 17:26:04:821",
        CANNOT.replace("Cannot open", "Opened"),
        BUSY.replace("WARN ", "DEBUG"),
        BUSY.replace("[myid:9]", "[myid:]"),
        BUSY.replace("SyncThread:9:", ""[:0])[:60],
    ],
)
def test_zookeeper_other_lines_say_nothing(line: str) -> None:
    assert ZooKeeperFilter().read(line, "z.out", NOW) is None


def test_zookeeper_an_impossible_date_is_when_it_was_read() -> None:
    report = ZooKeeperFilter().read(BUSY.replace("2017-05-19", "2017-13-39"), "z.out", NOW)
    assert report is not None
    assert report.t_ns == NOW
    assert ZooKeeperFilter().read(BUSY.replace("2017", "9999"), "z.out", NOW) is None


U20, U30, H100 = Metric(Status.UNHEALTHY, 20), Metric(Status.UNHEALTHY, 30), Metric(Status.HEALTHY, 100)
KERNEL = [
    (
        "[  123.456789] Out of memory: Killed process 4711 (java) total-vm:8123456kB, anon-rss:7000000kB, UID:1000",
        "host@n1",
        "memory",
        U20,
    ),
    (
        "Jun  3 10:00:01 web7 kernel: [98765.432100] Memory cgroup out of memory: Killed process 99 (python3) score 1",
        "host@n1",
        "memory",
        U20,
    ),
    (
        "3,1234,56789012,-;blk_update_request: I/O error, dev sda, sector 12345 op 0x0:(READ) flags 0x80700",
        "host@n1",
        "disk:sda",
        U20,
    ),
    (
        "2024-05-01T10:00:00.123456+00:00 web7 kernel: Buffer I/O error on dev dm-0, logical block 1, async page read",
        "host@n1",
        "disk:dm-0",
        U20,
    ),
    (
        "[ 10.000001] EXT4-fs error (device nvme0n1p2): ext4_find_entry:1455: inode #2: comm ls: reading directory",
        "host@n1",
        "disk:nvme0n1p2",
        U20,
    ),
    ("[  484.1] INFO: task jbd2/sda1-8:221 blocked for more than 120 seconds.", "host@n1", "hung_task", U30),
    (
        "Jun 13 10:00:01 web7 kernel: watchdog: BUG: soft lockup - CPU#3 stuck for 22s! [kworker/3:1:55]",
        "host@n1",
        "cpu",
        U20,
    ),
    (
        "Jun 13 10:00:01 web7 kernel: [1.2] nginx[812]: segfault at 0 ip 00007f sp 00007ffe error 4 in libc.so.6",
        "nginx@n1",
        "segfault",
        U20,
    ),
    ("[ 5.123456] e1000e: eth0 NIC Link is Down", "host@n1", "link:eth0", U20),
    ("[ 5.123456] e1000e 0000:00:1f.6 eno1: NIC Link is Down", "host@n1", "link:eno1", U20),
    ("[ 5.123456] r8169 0000:02:00.0 enp2s0: Link is Down", "host@n1", "link:enp2s0", U20),
    (
        "<6>[ 5.123456][  T301] tg3 0000:01:00.0 eth1: Link is up at 1000 Mbps, full duplex",
        "host@n1",
        "link:eth1",
        H100,
    ),
    ("[ 5.123456] bond0: link down", "host@n1", "link:bond0", U20),
]


@pytest.mark.parametrize(("line", "subject", "context", "metric"), KERNEL)
def test_kernel_lines(line: str, subject: str, context: str, metric: Metric) -> None:
    expected = Report("kernel@n1", subject, NOW, {context: metric})
    assert KernelFilter("n1").read(line, "/var/log/kern.log", NOW) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "Jun  3 10:00:01 web7 sshd[1]: Out of memory: Killed process 4711 (java)",
        "Out of memory: Killed process 4711 (java)",
        "[ 1.280168] random: crng reseeded due to virtual machine fork",
        "[ 1.340863] EXT4-fs (vda): mounted filesystem r/w without journal. Quota mode: none.",
        "[ 1.340863] usb 1-1: thinking is down",
        "[ 1.340863] ata1: SATA link down (SStatus 0 SControl 300)",
    ],
)
def test_kernel_other_lines_say_nothing(line: str) -> None:
    assert KernelFilter("n1").read(line, "kern.log", NOW) is None


def test_kernel_names_this_machine_unless_told_and_refuses_a_bad_name() -> None:
    report = KernelFilter().read(KERNEL[0][0], "kern.log", NOW)
    assert report is not None
    assert report.subject.startswith("host@")
    assert len(report.subject) > len("host@")
    with pytest.raises(ConfigError, match="node"):
        KernelFilter("a\nb")
    assert KernelFilter("n" * 200).read(KERNEL[0][0], "kern.log", NOW) is None
