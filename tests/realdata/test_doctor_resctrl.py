"""The doctor on captured resctrl trees of real machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagus.runtime.checkup import Machine
from vagus.runtime.doctor_kernel import check_resctrl

CAPTURED = Path(__file__).parents[2].parent / "shared/data/resctrl"

pytestmark = pytest.mark.realdata


@pytest.mark.parametrize(
    ("tree", "levels"),
    [
        ("resctrl.full", {"cmt": "L3", "mbm": "L3", "cat": "L3", "mba": "MB"}),
        ("resctrl.l2l3mb", {"cmt": "L3", "mbm": "L3", "cat": "L3, L2", "mba": "MB"}),
    ],
)
def test_captured_machines(tmp_path: Path, tree: str, levels: dict[str, str]) -> None:
    if not (CAPTURED / tree).is_dir():
        pytest.skip(f"no captured tree {CAPTURED / tree}")
    (tmp_path / "sys/fs").mkdir(parents=True)
    (tmp_path / "sys/fs/resctrl").symlink_to(CAPTURED / tree)
    found = {check.name: check for check in check_resctrl(Machine(tmp_path))}
    assert found["resctrl"].ok == "yes"
    assert {name: found[f"resctrl.{name}"].value for name in levels} == levels
