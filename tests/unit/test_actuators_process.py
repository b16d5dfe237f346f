"""Process trees from a fixture /proc."""

from __future__ import annotations

import math
import os
from pathlib import Path

import pytest

from vagus.actuators.process import ProcessTree, parse_stat, read_meminfo_total, total
from vagus.errors import ActuateError

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def process(root: Path, pid: int, ppid: int, ticks: int = 10) -> None:
    folder = root / "proc" / str(pid)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stat").write_text(f"{pid} (x) S {ppid} 1 1 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 9 1000 3 0 0")


def test_a_name_with_brackets_and_spaces() -> None:
    stat = parse_stat("7 (my (odd) prog) 1) S 3 1 1 0 -1 0 0 0 0 0 1 2 3 4 20 0 1 0 9 1000 5 0 0")
    assert stat.ppid == 3
    assert stat.cpu_s == pytest.approx(10 * TICK_S)
    assert stat.memory_bytes == 5 * os.sysconf("SC_PAGE_SIZE")
    with pytest.raises((ValueError, IndexError)):
        parse_stat("7 (x) S")


def test_the_tree_follows_births_and_deaths(tmp_path: Path) -> None:
    for pid, ppid in ((1, 0), (10, 1), (11, 10), (12, 11), (20, 1)):
        process(tmp_path, pid, ppid)
    (tmp_path / "proc/cpuinfo").touch()
    tree = ProcessTree(tmp_path, 10)
    assert tree.pids() == [10, 11, 12]
    process(tmp_path, 13, 12)
    process(tmp_path, 21, 20)
    assert tree.pids() == [10, 11, 12, 13]
    os.unlink(tmp_path / "proc/11/stat")
    os.rmdir(tmp_path / "proc/11")
    process(tmp_path, 14, 13)
    assert tree.pids() == [10, 12, 13, 14]  # the orphan stays where it was seen
    assert total(tmp_path, tree.pids())[0] == pytest.approx(40 * TICK_S)


def test_a_first_process_that_has_ended_is_an_error(tmp_path: Path) -> None:
    process(tmp_path, 1, 0)
    with pytest.raises(ActuateError, match="process 10 does not exist"):
        ProcessTree(tmp_path, 10).pids()
    with pytest.raises(ActuateError, match="cannot list"):
        ProcessTree(tmp_path / "nowhere", 10).pids()


def test_a_circle_of_parents_ends(tmp_path: Path) -> None:
    for pid, ppid in ((10, 1), (30, 31), (31, 30)):
        process(tmp_path, pid, ppid)
    assert ProcessTree(tmp_path, 10).pids() == [10]


def test_this_very_process() -> None:
    assert os.getpid() in ProcessTree(Path("/"), os.getpid()).pids()
    assert total(Path("/"), [os.getpid()])[0] > 0


def test_memory_of_the_machine(tmp_path: Path) -> None:
    assert read_meminfo_total(Path("/")) > 1e8
    assert read_meminfo_total(tmp_path) == math.inf
