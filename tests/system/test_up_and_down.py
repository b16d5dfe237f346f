"""`vagus up` and `vagus down` as a person runs them, armed on the real cgroup: limits, receipts, restoration, no remains."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil
import pytest
from conftest import PATIENCE, eventually

import vagus
from vagus.runtime import cluster as ray_cluster

CPU = Path("/sys/fs/cgroup/cpu")
GROUP = CPU / f"vagus-test-up-{os.getpid()}"
QUOTA = GROUP / "cpu.cfs_quota_us"
pytestmark = [
    pytest.mark.system,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a cgroup and limits it"),
    pytest.mark.skipif(not (CPU / "cpu.cfs_quota_us").exists(), reason="needs the cgroup v1 cpu controller"),
]

CONFIG = """
gateway: {{port: 0}}
controllers:
  - name: hog
    target: cgroup:{group}
    period: 0.5s
    limits: {{cpu_cores: {{min: 0.2, max: 1.5, step_ratio: 0.5, cooldown: 0.4s}}}}
    options: {{target: 0.1}}
"""


def command(home: Path, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vagus", *arguments],
        env={**os.environ, "VAGUS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=timeout_s * PATIENCE,
        check=False,
    )


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    (folder / "vagus.yaml").write_text(CONFIG.format(group=GROUP.name))
    yield folder
    command(folder, "down")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def hog() -> Iterator[None]:
    GROUP.mkdir()
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    (GROUP / "cgroup.procs").write_text(str(burner.pid))
    yield
    burner.kill()
    burner.wait()
    eventually(lambda: not (GROUP / "cgroup.procs").read_text(), what="the group is empty")
    GROUP.rmdir()


def quota() -> int:
    return int(QUOTA.read_text())


def limited() -> bool:
    return 0 < quota() <= 150_000


@pytest.fixture(scope="module")
def armed(home: Path, hog: None) -> Iterator[vagus.Vagus]:
    assert quota() == -1
    done = command(home, "up", "--arm", "-c", str(home / "vagus.yaml"))
    assert done.returncode == 0, done.stderr + done.stdout
    assert "vagus status" in done.stdout
    with vagus.connect(home=str(home)) as connection:
        yield connection


def command_lines(processes: Iterable[psutil.Process]) -> Iterator[tuple[psutil.Process, list[str]]]:
    """Of those that have not ended since they were listed."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            yield process, process.cmdline()


def controller(connection: vagus.Vagus):
    return next(a for n in connection.status() for a in n.actors if a.role == "controller")


def test_the_limit_follows_the_policy_within_the_guards_bounds_and_leaves_receipts(armed):
    eventually(limited, what="a limit")
    receipts = eventually(
        lambda: [r for r in armed.records("receipt") if not (r.dry or r.error or r.note.startswith("held"))]
    )
    first = receipts[-1]
    assert (first.before, str(first.target)) == (None, f"cgroup:{GROUP.name}")
    assert all(0.2 <= r.after <= 1.5 for r in receipts)
    assert first.reason


def test_a_second_up_says_what_runs_and_status_has_one_shape(armed, home):
    done = command(home, "up")
    assert done.returncode == 0
    assert "runs already" in done.stdout
    status = json.loads(command(home, "status", "--json").stdout)
    assert status["series"] >= 400
    assert status["inferences"] >= 1
    assert status["errors"] == []
    assert {a["state"] for a in status["actors"]} == {"HEALTHY"}


def test_kill_9_of_the_controller_restores_the_limit_and_it_watches_before_it_acts_again(armed):
    eventually(limited)
    os.kill(controller(armed).pid, signal.SIGKILL)
    eventually(lambda: quota() == -1, within_s=10.0, what="the watchdog restored the limit")
    back = eventually(lambda: (a := controller(armed)).state == "HEALTHY" and a.restarts == 1 and a, within_s=10.0)
    assert quota() == -1
    eventually(lambda: any("watches" in note for note in controller(armed).notes), what=f"{back.name} holds off")


def test_a_frozen_controller_loses_its_lease_and_the_limit_is_restored(armed):
    eventually(limited, within_s=40.0, what="it acts again after watching")
    pid = controller(armed).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        eventually(lambda: quota() == -1, within_s=10.0, what="the lease ended")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def test_disarming_restores_and_arming_again_acts_again(armed, home):
    eventually(lambda: controller(armed).state == "HEALTHY", within_s=30.0)
    assert "disarming" in command(home, "up", "--dry").stdout
    assert quota() == -1
    assert command(home, "up", "--arm").returncode == 0
    eventually(limited, within_s=90.0, what="it acts again, once it has watched")


def test_down_restores_and_leaves_nothing(armed, home):
    cluster = ray_cluster.read(home)
    assert cluster is not None
    everything = ray_cluster.processes(cluster.id)
    assert {"ray::DashboardAgent", "ray::RuntimeEnvAgent"} <= {line[0] for _, line in command_lines(everything) if line}
    samples = sum(len(b.t_ns) for b in armed.query("host.load.load1", since="10m"))
    done = command(home, "down")
    assert done.returncode == 0, done.stdout + done.stderr
    assert quota() == -1
    assert ray_cluster.processes(cluster.id, cluster.temp_dir) == []
    left = [p for p in everything if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]
    assert left == [], "agents lose the mark, but not their number"
    mark = f"{ray_cluster.MARK}={cluster.id}".encode()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            assert mark not in Path(f"/proc/{pid}/environ").read_bytes(), f"process {pid} is left"
    assert not Path(cluster.temp_dir).exists()
    assert [p for p in home.rglob("*") if p.is_socket() or p.name in ("gateway.json", "token.lock")] == []
    assert list(CPU.glob("vagus-pid-*")) == []
    assert command(home, "down").returncode == 0, "down is idempotent"
    done = command(home, "status")
    assert (done.returncode, "vagus up" in done.stderr) == (1, True)
    assert samples >= 10


def test_what_was_stored_is_read_again_by_the_next_up(home):
    started = time.time()
    done = command(home, "up")
    assert done.returncode == 0, done.stdout + done.stderr
    with vagus.connect(home=str(home)) as connection:
        (batch,) = connection.query("host.load.load1", since="20m")
        assert batch.t_ns[0] / 1e9 < started
        assert quota() == -1, "dry again: nothing is armed unless asked"
    assert command(home, "down").returncode == 0


def test_kill_9_of_everything_is_cleaned_up_by_the_next_up(home):
    assert command(home, "up", "--arm", "-c", str(home / "vagus.yaml")).returncode == 0
    eventually(limited, within_s=30.0)
    cluster = ray_cluster.read(home)
    assert cluster is not None
    for process in ray_cluster.processes(cluster.id):
        with contextlib.suppress(ProcessLookupError, psutil.Error):
            os.kill(process.pid, signal.SIGKILL)
    eventually(lambda: quota() == -1, within_s=10.0, what="the watchdog restored the limit")
    done = command(home, "up")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "did not end cleanly" in done.stdout
    assert command(home, "down").returncode == 0
