"""Performing plans: verified, all or nothing, undone tolerantly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from vagus.actuators import Plan
from vagus.actuators.apply import LeftBehind, apply
from vagus.errors import Rejected
from vagus.undo import Step, perform, undo


def test_a_failing_step_undoes_the_ones_before_it(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("1\n")
    plan = Plan(
        (Step("write", str(tmp_path / "a"), "2"), Step("write", str(tmp_path / "missing"), "3")),
        (Step("write", str(tmp_path / "missing"), "0"), Step("write", str(tmp_path / "a"), "1")),
    )
    with pytest.raises(Rejected, match=r"writing '3' to .*missing was refused: .*ENOENT") as caught:
        apply(plan)
    assert caught.value.path == str(tmp_path / "missing")
    assert (tmp_path / "a").read_text() == "1\n"
    assert not isinstance(caught.value, LeftBehind)


def test_a_value_that_does_not_stick_is_a_rejection() -> None:
    with pytest.raises(Rejected, match="the kernel keeps ''"):
        apply(Plan((Step("write", "/dev/null", "5"),), ()))


def test_what_cannot_be_undone_is_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    plan = Plan((Step("write", str(tmp_path / "missing"), "3"),), (Step("rmdir", str(tmp_path / "folder")),))
    with pytest.raises(LeftBehind, match=r"could not be undone: rmdir .*folder: Directory not empty"):
        apply(plan)


@pytest.mark.parametrize(
    ("name", "asked", "kept", "fine"),
    [
        ("memory.max", "10000", "8192", True),
        ("memory.limit_in_bytes", "-1", "9223372036854771712", True),
        ("memory.max", "10000", "1000000", False),
        ("memory.max", "max", "8192", False),
        ("cpu.max", "10000 100000", "8192 100000", False),
    ],
)
def test_rounding_to_pages_is_no_rejection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: str, kept: str, fine: bool
) -> None:
    path = tmp_path / name
    path.write_text("0")
    monkeypatch.setattr("vagus.actuators.apply.read_text", lambda _: kept)
    plan = Plan((Step("write", str(path), asked),), ())
    if fine:
        apply(plan)
    else:
        with pytest.raises(Rejected, match="the kernel keeps"):
            apply(plan)


def test_undo_takes_what_has_vanished_as_undone(tmp_path: Path) -> None:
    gone = str(tmp_path / "gone")
    assert undo([Step("write", gone, "1"), Step("rmdir", gone), Step("drain", gone, gone)]) == []
    failed = undo([Step("write", str(tmp_path), "1"), Step("paint", gone)])
    assert [step.op for step, _ in failed] == ["write", "paint"]
    assert "EISDIR" in failed[0][1]


def test_undo_goes_on_after_a_failure(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("2")
    assert len(undo([Step("write", str(tmp_path), "1"), Step("write", str(tmp_path / "a"), "1")])) == 1
    assert (tmp_path / "a").read_text() == "1\n"


def test_making_a_folder_twice_is_fine(tmp_path: Path) -> None:
    perform(Step("mkdir", str(tmp_path / "g")))
    perform(Step("mkdir", str(tmp_path / "g")))
    assert undo([Step("rmdir", str(tmp_path / "g"))]) == []
    assert not os.path.exists(tmp_path / "g")


def test_a_shorter_value_replaces_a_longer_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("100000 100000\n")
    perform(Step("write", str(tmp_path / "a"), "max"))
    assert (tmp_path / "a").read_text() == "max\n"
