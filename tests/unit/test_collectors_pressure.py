"""Pressure: captured files, kernels without it, and broken ones."""

import shutil
from pathlib import Path

import pytest

from vagus.collectors.pressure import PressureCollector
from vagus.config import CollectSettings
from vagus.errors import CollectError

FIXTURES = Path(__file__).parents[1] / "fixtures"
T = 1_700_000_000 * 10**9


def read(root):
    collector = PressureCollector("n", root, CollectSettings())
    try:
        return {
            s.stream.kind: dict(zip([f.name for f in s.stream.fields], s.values, strict=True))
            for s in collector.collect(T)
        }
    finally:
        collector.close()


def test_captured():
    got = read(FIXTURES / "proc-debian12-2core")
    assert list(got) == ["pressure.cpu", "pressure.memory", "pressure.io"]
    assert got["pressure.io"]["some_total"] == 7188158
    assert got["pressure.io"]["full_total"] == 6943726
    assert got["pressure.io"]["some_avg60"] == 0.32
    assert list(got["pressure.io"]) == [
        *("some_avg10", "some_avg60", "some_avg300", "some_total"),
        *("full_avg10", "full_avg60", "full_avg300", "full_total"),
    ]


def test_cpu_without_full_and_irq_without_some(tmp_path):
    shutil.copytree(FIXTURES / "proc-debian12-2core", tmp_path / "r")
    folder = tmp_path / "r/proc/pressure"
    (folder / "cpu").write_text("some avg10=1.50 avg60=0.00 avg300=0.00 total=9\n")  # before Linux 5.13
    (folder / "irq").write_text("full avg10=0.00 avg60=0.25 avg300=0.00 total=18446744073709551615\n")
    got = read(tmp_path / "r")
    assert got["pressure.cpu"] == {"some_avg10": 1.5, "some_avg60": 0, "some_avg300": 0, "some_total": 9}
    assert got["pressure.irq"]["full_total"] == 2**64 - 1
    assert got["pressure.irq"]["full_avg60"] == 0.25


def test_a_kernel_without_pressure_says_what_it_needs():
    with pytest.raises(CollectError, match="CONFIG_PSI"):
        read(FIXTURES / "proc-rpi4-kernel419")


@pytest.mark.parametrize(
    "content", ["", "some\n", "some avg10=x avg60=0 avg300=0 total=0\n", "nothing here\n", "some total=-4\n"]
)
def test_broken(tmp_path, content):
    shutil.copytree(FIXTURES / "proc-debian12-2core", tmp_path / "r")
    (tmp_path / "r/proc/pressure/memory").write_text(content)
    collector = PressureCollector("n", tmp_path / "r", CollectSettings())
    samples = []
    with pytest.raises(CollectError, match="pressure/memory"):
        samples.extend(collector.collect(T))
    assert [s.stream.kind for s in samples] == ["pressure.cpu", "pressure.io"]
    collector.close()
