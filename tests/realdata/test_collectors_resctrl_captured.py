"""The resctrl collector on trees captured from real machines."""

import shutil
from pathlib import Path

import pytest

from vagus.collectors.resctrl import ResctrlCollector
from vagus.config import CollectSettings

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "resctrl"
pytestmark = [pytest.mark.realdata, pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")]
T = 1_700_000_000 * 10**9


def samples(tmp_path, name):
    shutil.copytree(DATA / name, tmp_path / "sys/fs/resctrl")
    collector = ResctrlCollector("n", tmp_path, CollectSettings())
    try:
        return list(collector.collect(T))
    finally:
        collector.close()


def test_every_monitored_domain_of_the_full_tree(tmp_path):
    found = samples(tmp_path, "resctrl.full")
    files = list((DATA / "resctrl.full").rglob("mon_data/*/llc_occupancy"))
    assert len(found) == len(files) > 0
    assert {len(sample.values) for sample in found} == {3}
    groups = {(sample.stream.labels["group"], sample.stream.labels["mon_group"]) for sample in found}
    assert ("/", "") in groups
    assert ("/", "example") in groups
    assert ("goresctrl.Guaranteed", "goresctrl.predefined_group_live") in groups
    for sample in found:
        group, inner, cache = (sample.stream.labels[name] for name in ("group", "mon_group", "cache"))
        folder = DATA / "resctrl.full" / group.strip("/") / (f"mon_groups/{inner}" if inner else "")
        for field, value in zip(("llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"), sample.values, strict=True):
            assert value == float((folder / "mon_data" / f"mon_{cache}" / field).read_text())


def test_a_machine_that_does_not_monitor_is_silent(tmp_path):
    assert samples(tmp_path, "resctrl.l2l3mb") == []
