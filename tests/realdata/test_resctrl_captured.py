"""resctrl trees captured from real machines: the stand-in shows the same files and texts, the actuator reads them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.fixtures.resctrl_kernel import Kernel
from tests.fixtures.resctrl_machines import PROFILES, Bandwidth, Cache, Profile
from vagus.actuators.resctrl import Resctrl
from vagus.actuators.resctrl_machine import Cache as Found
from vagus.actuators.resctrl_machine import caches
from vagus.actuators.resctrl_schemata import Schemata
from vagus.model import Action, Target

DATA = Path(__file__).parents[2].parent / "shared" / "data" / "resctrl"
pytestmark = [pytest.mark.realdata, pytest.mark.skipif(not DATA.is_dir(), reason=f"{DATA} is absent")]
FULL = Profile(
    l3=Cache(bits=20, shareable=0xC0000, domains=(0, 1, 2, 3), size_bytes=55 << 20),
    mb=Bandwidth(domains=(0, 1, 2, 3)),
    rmids=192,
    cpus=192,
)


def test_the_stand_in_shows_what_the_machine_showed() -> None:
    captured = DATA / "resctrl.full"
    kernel = Kernel(replace(FULL, old=False))
    for path in sorted(captured.rglob("*")):
        name = "/" + str(path.relative_to(captured))
        parts = name.split("/")
        made = name if path.parent == captured else str(Path(name).parent) if parts[-2] == "mon_groups" else ""
        if path.is_dir() and kernel.folder(name) is None and "mon_data" not in parts:
            assert made, name
            kernel.mkdir(name)
    newer = {"sparse_masks", "thread_throttle_mode"}
    for path in sorted(captured.rglob("*")):
        name = "/" + str(path.relative_to(captured))
        if path.is_dir():
            here = {p.name for p in path.iterdir()}
            there = set(kernel.folder(name) or ())
            assert here - there <= {"xxx_new_metric"}, name
            assert there - here <= newer | {"mon_groups", "mon_data", "L3_MON"} | {
                p for p in there if p.startswith("mbm")
            }
    for name in ("info/L3/cbm_mask", "info/L3/min_cbm_bits", "info/L3/num_closids", "info/L3/shareable_bits"):
        assert kernel.read(f"/{name}") == (captured / name).read_text()
    for name in ("info/L3/bit_usage", "info/MB/bandwidth_gran", "info/MB/min_bandwidth", "info/L3_MON/mon_features"):
        assert kernel.read(f"/{name}").split() == (captured / name).read_text().split()
    for name in ("info/last_cmd_status", "info/L3_MON/num_rmids", "info/L3_MON/max_threshold_occupancy", "mode"):
        assert kernel.read(f"/{name}") == (captured / name).read_text()
    for name in ("cpus", "cpus_list"):
        assert kernel.read(f"/{name}") == (captured / name).read_text()
    for name in ("schemata", "size"):
        shown = {line.strip() for line in kernel.read(f"/{name}").splitlines()}
        assert {line.strip() for line in (captured / name).read_text().splitlines()} == shown


def test_older_kernels_pad() -> None:
    captured = DATA / "resctrl.l2l3mb"
    schemata = Schemata.parse((captured / "schemata").read_text())
    assert set(schemata.lines) == {"MB", "L2", "L3"}
    assert set(schemata.lines["MB"].values()) == {100}
    assert set(schemata.lines["L2"].values()) == {0xFFFF}
    l2 = Cache(bits=16, closids=8, domains=tuple(schemata.lines["L2"]))
    kernel = Kernel(replace(PROFILES["l2l3mb"], l2=l2, old=True))
    assert kernel.read("/schemata").split() == (captured / "schemata").read_text().split()


def test_the_actuator_reads_both_machines(tmp_path: Path) -> None:
    for number, (tree, resources) in enumerate(
        {
            "resctrl.full": ("llc_ways", "memory_bandwidth_percent"),
            "resctrl.l2l3mb": ("llc_ways", "l2_ways", "memory_bandwidth_percent"),
        }.items()
    ):
        root = tmp_path / str(number)
        (root / "sys/fs").mkdir(parents=True)
        (root / "sys/fs/resctrl").symlink_to(DATA / tree)
        actuator, target = Resctrl(root), Target("resctrl", "/")
        assert caches(actuator.folder)["L3"] == Found("L3", 0xFFFFF, 1, 0xC0000 | number, False)
        for resource in resources:
            assert actuator.read(target, resource) is None, "nothing is limited"
        plan = actuator.plan(Action(target, "llc_ways@1", 5.0))
        assert [(step.op, step.value, step.part) for step in plan.steps] == [
            ("write", "L3:1=1f" if not number else "L3:1=3e", "L3@1")
        ]
        assert plan.undo[0].value == "L3:1=fffff"
        assert actuator.plan(Action(target, "memory_bandwidth_percent", 41.5)).expected == 50.0
