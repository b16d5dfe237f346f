"""What a resctrl group measures has its owner's name: the control group that all its tasks are in."""

from __future__ import annotations

from pathlib import Path

from vagus.collectors.resctrl import ResctrlCollector
from vagus.collectors.task_owner import labels_of, parse_cgroup
from vagus.config import CollectSettings

ID = "4c01db0b339ca50b5e9a7b3f8d4a9f6e0c1b2a39485766778899aabbccddeeff"
T = 1_700_000_000 * 10**9
SCAN = 11 * 10**9


def process(root: Path, pid: int, group: str) -> None:
    (root / f"proc/{pid}").mkdir(parents=True, exist_ok=True)
    (root / f"proc/{pid}/cgroup").write_text(f"0::/{group}\n")


def test_the_hierarchy_that_says_something() -> None:
    assert parse_cgroup(b"0::/system.slice/web.service\n") == "system.slice/web.service"
    assert parse_cgroup(b"9:name=systemd:/\n2:cpuacct,cpu:/vagus/web\n0::/\n") == "vagus/web"
    assert parse_cgroup(b"2:cpu:/\n0::/system.slice/a:b.service\n") == "system.slice/a:b.service"
    assert parse_cgroup(b"") == parse_cgroup(b"nonsense") == ""


def test_all_tasks_of_one_group_name_it(tmp_path: Path) -> None:
    tasks = tmp_path / "tasks"
    tasks.write_text("1\n2\n3\n")
    for pid in (1, 2, 3):
        process(tmp_path, pid, f"docker/{ID}")
    assert labels_of(tmp_path, str(tasks)) == {"cgroup": f"docker/{ID}", "container": ID}
    process(tmp_path, 3, "docker/other")
    assert labels_of(tmp_path, str(tasks)) == {}
    tasks.write_text("1\n99\n")  # one has ended meanwhile
    assert labels_of(tmp_path, str(tasks)) == {}
    tasks.write_text("")
    assert labels_of(tmp_path, str(tasks)) == {}
    assert labels_of(tmp_path, str(tmp_path / "nope")) == {}


def test_tasks_of_the_root_group_name_nothing(tmp_path: Path) -> None:
    (tmp_path / "tasks").write_text("1\n")
    process(tmp_path, 1, "")
    assert labels_of(tmp_path, str(tmp_path / "tasks")) == {}


def test_a_resctrl_group_keeps_the_name_of_its_first_tasks(tmp_path: Path) -> None:
    for group in ("", "web/"):
        folder = tmp_path / f"sys/fs/resctrl/{group}mon_data/mon_L3_00"
        folder.mkdir(parents=True)
        (folder / "llc_occupancy").write_text("5\n")
    tasks = tmp_path / "sys/fs/resctrl/web/tasks"
    tasks.write_text("")
    (tmp_path / "sys/fs/resctrl/tasks").write_text("7\n")
    process(tmp_path, 7, "system.slice/web.service")
    made = ResctrlCollector("n", tmp_path, CollectSettings())

    def labels(at: int) -> dict[str, dict[str, str]]:
        return {s.stream.labels["group"]: s.stream.labels for s in made.collect(T + at * SCAN)}

    assert "service" not in labels(0)["web"]
    tasks.write_text("7\n")
    assert labels(1)["web"]["service"] == "web.service"
    assert "service" not in labels(1)["/"]
    tasks.write_text("")
    assert labels(2)["web"]["service"] == "web.service"
    made.close()
