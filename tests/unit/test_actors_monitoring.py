"""Monitoring groups that the collector keeps: what is said where they cannot be. With a kernel: test_resctrl_fuse."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagus.actors.monitoring import Monitoring
from vagus.errors import ConfigError


def test_a_machine_without_resctrl_is_told_how(tmp_path: Path) -> None:
    monitoring = Monitoring(["cgroup:web"], tmp_path, tmp_path / "journal-monitor")
    monitoring.step()
    (note,) = monitoring.notes()
    assert note.startswith("cgroup:web: not monitored by resctrl: resctrl is not mounted at ")
    assert "mount -t resctrl" in note
    assert not (tmp_path / "journal-monitor").exists(), "no watchdog without anything to restore"
    monitoring.stop()
    monitoring.stop()
    monitoring.step()


def test_a_target_that_is_none_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="kind:name"):
        Monitoring(["web"], tmp_path, tmp_path)
