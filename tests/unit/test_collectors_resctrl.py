"""resctrl's monitoring data: a small made tree with the kernel's odd answers. Captured ones: tests/realdata."""

import math
import shutil
from pathlib import Path

import pytest

from vagus.collectors import resctrl
from vagus.collectors.resctrl import ResctrlCollector, parse_count
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Sample

T = 1_700_000_000 * 10**9
NS = 10**9


def domain(root, group, cache="mon_L3_00", **counts):
    folder = root / "sys/fs/resctrl" / group / "mon_data" / cache
    folder.mkdir(parents=True)
    for name, text in counts.items():
        (folder / name).write_text(f"{text}\n")
    return folder


def read(collector, t_ns):
    found, error = {}, ""
    records = []
    try:
        records.extend(collector.collect(t_ns))
    except CollectError as failure:
        error = str(failure)
    for record in records:
        assert isinstance(record, Sample)
        labels = record.stream.labels
        names = [field.name for field in record.stream.fields]
        found[labels["group"], labels["mon_group"], labels["cache"]] = dict(zip(names, record.values, strict=True))
    return found, error


@pytest.fixture
def collector(tmp_path):
    made = ResctrlCollector("n", tmp_path, CollectSettings())
    yield made
    made.close()
    made.close()


def test_groups_caches_and_unavailable_counts(tmp_path, collector):
    everything = {"llc_occupancy": 1048576, "mbm_total_bytes": 2**60, "mbm_local_bytes": "Unavailable"}
    domain(tmp_path, "", **everything)
    domain(tmp_path, "", cache="mon_L3_01", llc_occupancy="Error")
    domain(tmp_path, "web", mbm_total_bytes="Unassigned", llc_occupancy=3)
    domain(tmp_path, "web/mon_groups/job", llc_occupancy=4)
    domain(tmp_path, "web/mon_groups/job", cache="mon_sub_L3_00", llc_occupancy=9)
    (tmp_path / "sys/fs/resctrl/info/L3_MON").mkdir(parents=True)
    found, error = read(collector, T)
    assert error == ""
    root = found["/", "", "L3_00"]
    assert (root["llc_occupancy_bytes"], root["mbm_total_bytes"]) == (1048576.0, float(2**60))
    assert math.isnan(root["mbm_local_bytes"])
    assert math.isnan(found["/", "", "L3_01"]["llc_occupancy_bytes"])
    assert found["web", "", "L3_00"]["llc_occupancy_bytes"] == 3.0
    assert found["web", "job", "L3_00"] == {"llc_occupancy_bytes": 4.0}
    assert len(found) == 4


def test_absent_is_silent(collector):
    assert read(collector, T) == ({}, "")


def test_allocation_without_monitoring_is_silent(tmp_path, collector):
    (tmp_path / "sys/fs/resctrl/info/L3").mkdir(parents=True)
    (tmp_path / "sys/fs/resctrl/web").mkdir()
    assert read(collector, T) == ({}, "")


def test_groups_come_and_go(tmp_path, collector):
    domain(tmp_path, "web", llc_occupancy=1)
    assert set(read(collector, T)[0]) == {("web", "", "L3_00")}
    shutil.rmtree(tmp_path / "sys/fs/resctrl/web")
    domain(tmp_path, "batch", llc_occupancy=2)
    assert read(collector, T + 11 * NS) == ({("batch", "", "L3_00"): {"llc_occupancy_bytes": 2.0}}, "")


@pytest.mark.parametrize("content", ["", "-1", "1.5", "0x10", "lots", "9" * 30])
def test_other_words_are_errors(tmp_path, collector, content):
    folder = domain(tmp_path, "web", llc_occupancy=content)
    domain(tmp_path, "", llc_occupancy=1)
    found, error = read(collector, T)
    assert set(found) == {("/", "", "L3_00")}
    assert str(folder) in error


def test_at_most_so_many(tmp_path, collector, monkeypatch):
    monkeypatch.setattr(resctrl, "MAX_DOMAINS", 3)
    for i in range(5):
        domain(tmp_path, f"g{i}", llc_occupancy=i)
    assert len(read(collector, T)[0]) == 3


def test_a_folder_that_cannot_be_listed(tmp_path, collector):
    (tmp_path / "sys/fs").mkdir(parents=True)
    (tmp_path / "sys/fs/resctrl").symlink_to(Path("resctrl"))
    found, error = read(collector, T)
    assert "cannot list" in error
    assert found == {}


def test_counts():
    assert parse_count(b"18446744073709551615\n") == float(2**64 - 1)
