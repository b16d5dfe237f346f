"""A node in CoMon's words: the report and the slice dump, from samples and over HTTP."""

from __future__ import annotations

import numpy as np
import pytest

from tests.fixtures.gateway_backend import serving
from vagus.clock import NS
from vagus.feeds import FORMATS
from vagus.gateway.comon import node_report, slice_dump
from vagus.model import Field, Stream
from vagus.store import Batch

T0 = 1_202_486_984 * NS + 709_880_000


def rows(kind: str, *columns: tuple[Field, list[float]], **labels: str) -> Batch:
    t_ns = T0 + NS * np.arange(len(columns[0][1]), dtype=np.int64)
    return Batch(Stream("n1", kind, tuple(f for f, _ in columns), labels), t_ns, tuple(np.array(v) for _, v in columns))


def process(comm: str, cores: float, rss_bytes: int, count: int) -> Batch:
    fields = Field("cpu_cores"), Field("rss_bytes", "bytes", "u8"), Field("processes", dtype="u8")
    return rows("process", *zip(fields, ([cores], [rss_bytes], [count]), strict=True), comm=comm)


def entries(text: str) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in text.splitlines())


def test_feature_14_a_node_report_has_comon_s_lines() -> None:
    report = entries(
        node_report(
            "n1",
            [
                rows("host.cpu", (Field("idle"), [0.9, 0.4]), (Field("system"), [0.1, 0.25])),
                rows("host.stat", (Field("procs_running"), [10]), (Field("procs_blocked"), [14])),
                rows("host.load", (Field("load1"), [0.5]), (Field("load5"), [2])),
                rows("host.memory", (Field("mem_total", "bytes"), [8 << 30]), (Field("mem_free", "bytes"), [64 << 20])),
                rows("host.vmstat", (Field("pgpgin", counter=True), [100, 150])),
                rows("host.filesystem", (Field("avail_bytes"), [3 << 30]), (Field("readonly"), [0]), fstype="ext4"),
                rows("net.link", (Field("tx_bytes", counter=True), [0, 125_000])),
                process("python", 0.5, 1 << 20, 2),
            ],
            T0,
        )
    )
    vmstat = report["VMStat"].split()
    assert all(word.lstrip("-").isdigit() for word in vmstat)
    assert (report["Date"], report["Name"]) == ("1202486984.709880", "n1")
    assert (len(vmstat), vmstat[:2], vmstat[3], vmstat[8]) == (16, ["10", "14"], "65536", "50")
    assert (report["CPUUse"], report["1minload"], report["5minload"]) == ("25 60", "0.50", "2")
    assert (report["MemSize"], report["GbFree"], report["TxRate"], report["LiveSlices"]) == ("8192", "3", "1000", "1")
    assert (report["DNSFail"], report["RWFS"], report["Drift"]) == ("-1.0 -1.0", "0", "-1")


def test_what_no_sensor_tells_is_minus_one_and_a_read_only_disk_is_told() -> None:
    readonly = rows("host.filesystem", (Field("avail_bytes"), [1 << 30]), (Field("readonly"), [1]), fstype="ext4")
    image = rows("host.filesystem", (Field("readonly"), [1]), fstype="squashfs")
    assert entries(node_report("n1", [readonly, image], T0))["RWFS"] == "-1"
    empty = entries(node_report("n1", [image], T0))
    assert empty["RWFS"] == "0"
    assert {empty[key] for key in ("Uptime", "1minload", "MemSize", "GbFree")} == {"-1"}
    assert empty["CPUUse"] == "-1 -1"


def test_slices_are_programs_those_that_use_most_first() -> None:
    memory = rows("host.memory", (Field("mem_total", "bytes"), [100 << 20]))
    text = slice_dump("n1", [memory, process("idle", 0, 1 << 20, 1), process("a b\nc", 1.5, 10 << 20, 3)], T0)
    lines = text.splitlines()
    assert lines[0] == "Start: 1202486984 Fri Feb 08 16:09:44 2008"
    assert lines[1] == "Node: n1"
    assert lines[2].split() == ["0", "0", "0", "0", "0", "3", "10.0", "0.0", "150.0", "10.0", "0", "0", "a_b_c"]
    assert lines[3].split()[-1] == "idle"
    assert slice_dump("n1", [], T0).endswith("(null)\n\n")


@pytest.mark.parametrize("path", ["/v1/comon", "/v1/comon?node=a", "/v1/comon/slices", "/v1/comon/nodes"])
def test_over_http_as_plain_text(path: str) -> None:
    with serving() as served:
        status, headers, body = served.ask("GET", path)
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    expected = {"/v1/comon/slices": "Start: ", "/v1/comon/nodes": "# nodes of the cluster "}
    assert body.decode().startswith(expected.get(path, "Date: 1700000000.000000\n"))


def test_feature_14_the_ready_formats_read_what_a_node_serves() -> None:
    used = [process("python", 0.5, 1 << 20, 2), process("my prog", 0.1, 1 << 30, 1)]
    report, found = FORMATS.make("comon").parse(node_report("n1", used, T0).encode())
    assert found.errors == 0
    assert (report.name, report.date, report.live_slices, len(report.vm_stat)) == ("n1", 1202486984.70988, 2, 16)
    for batches, slices in ((used, ["python", "my_prog"]), ([], None)):
        [dump], found = FORMATS.make("comon_slices").parse(slice_dump("n1", batches, T0).encode())
        assert found.errors == 0
        assert dump.node == "n1"
        assert (dump.slices and [one.name for one in dump.slices]) == slices
