"""`vagus run`, `vagus submit` and `ray job submit` on a real cluster and a real cgroup: what they limit is restored,
however they end."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import test_up_and_down as machine
from conftest import PATIENCE, eventually
from test_up_and_down import GROUP, command, command_lines, limited, quota

import vagus
from vagus.cli.run import LEASE_S
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.cluster import ClusterFile

pytestmark = machine.pytestmark
hog = machine.hog  # the fixture: a busy process in GROUP

CONFIG = "gateway: {port: 0}\ncontrollers: []\n"
CONTROLLER = f"""
name: squeeze
policy: squeeze.py:Squeeze
target: cgroup:{GROUP.name}
period: 0.5s
limits: {{cpu_cores: {{min: 0.2, max: 1.5, step_ratio: 0.5, cooldown: 0.4s}}}}
options: {{cores: 0.5}}
"""
SQUEEZE = """
from beside_squeeze import least

class Squeeze:
    def __init__(self, cores=1.0):
        self.cores = cores
    def step(self, signals):
        return least(self.cores)
"""
BROKEN = """
class Broken:
    def __init__(self):
        raise RuntimeError("it has no data")
    def step(self, signals): ...
"""
ALONE = SQUEEZE.replace("from beside_squeeze import least", "least = lambda cores: max(cores, 0.2)")


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    (folder / "vagus.yaml").write_text(CONFIG)
    yield folder
    command(folder, "down")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def files(home: Path) -> Path:
    """A user's folder: a controller in a yaml and two Python files, one in a file of its own, one that is broken."""
    folder = home / "user"
    folder.mkdir()
    (folder / "controller.yaml").write_text(CONTROLLER)
    (folder / "squeeze.py").write_text(SQUEEZE)
    (folder / "beside_squeeze.py").write_text("def least(cores): return max(cores, 0.2)\n")
    (folder / "alone.py").write_text(ALONE)
    (folder / "broken.py").write_text(BROKEN)
    return folder


@pytest.fixture(scope="module")
def cluster(home: Path, hog: None, files: Path) -> ClusterFile:
    assert quota() == -1
    done = command(home, "up", "-c", str(home / "vagus.yaml"))
    assert done.returncode == 0, done.stderr + done.stdout
    found = ray_cluster.read(home)
    assert found is not None
    return found


@pytest.fixture(autouse=True)
def _alone(cluster: ClusterFile, home: Path) -> None:
    """What a failed test left is removed, so that one failure is not the failure of all that follow."""

    def nothing() -> bool:
        with vagus.connect(home=str(home)) as connection:
            for name in controllers(home):
                connection.remove(name)
        return quota() == -1 and not controllers(home)

    eventually(nothing, within_s=LEASE_S + 20.0, what="nothing runs of before")


class Started:
    """A command that runs, and what it has printed."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))

    def says(self, text: str, within_s: float = 30.0) -> str:
        """The first line with the text, once it is there."""
        found = eventually(lambda: [line for line in self.lines if text in line], within_s, f"{text!r}: {self.lines}")
        assert isinstance(found, list)
        return str(found[0])

    def last(self) -> str:
        """How it says that the controller ended."""
        return next((line for line in reversed(self.lines) if " ended: " in line), "")

    def ended(self, within_s: float = 60.0) -> int:
        """The exit status, with all that was printed read."""
        code = self.process.wait(within_s)
        self._reading.join(10.0)
        return code


@contextmanager
def started(home: Path, *arguments: str, cwd: Path | None = None) -> Iterator[Started]:
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # of pytest under nohup, and so of its children
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    process = subprocess.Popen(
        [sys.executable, "-m", "vagus", *arguments],
        env={**os.environ, "VAGUS_HOME": str(home)},
        cwd=cwd or "/",
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    made = Started(process)
    try:
        yield made
    finally:
        process.kill()
        made.ended()
        assert process.stdout is not None
        process.stdout.close()


def controllers(home: Path) -> list[str]:
    with vagus.connect(home=str(home)) as connection:
        return [a.name for n in connection.status() for a in n.actors if a.role == "controller"]


def alone(*more: str) -> tuple[str, ...]:
    """The options with which a Python file alone acts on the group."""
    return ("--target", f"cgroup:{GROUP.name}", "--option", "cores=0.5", "--arm", *more)


# --- vagus run --------------------------------------------------------------------------------------------------------


def test_ctrl_c_ends_what_a_yaml_runs_and_restores_its_limit(home: Path, files: Path) -> None:
    with started(home, "run", str(files / "controller.yaml"), "--arm") as run:
        assert "armed: it acts" in run.says("squeeze runs on every node")
        eventually(
            limited, what="a limit by a class that lies nowhere but in the user's folder, with a module beside it"
        )
        run.says("cpu_cores of cgroup:")
        run.process.send_signal(signal.SIGINT)
        assert run.ended() == 0, run.lines
        assert quota() == -1, "before the command has ended"
        assert any("(restored)" in line for line in run.lines), run.lines
        assert run.last() == "squeeze ended: SIGINT; 1 limit restored"
    eventually(lambda: controllers(home) == [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_what_a_python_file_runs(home: Path, files: Path, number: signal.Signals, code: int) -> None:
    with started(home, "run", "alone.py", *alone("--json"), cwd=files) as run:
        eventually(limited, within_s=30.0, what=f"a limit: {run.lines}")
        run.process.send_signal(number)
        assert run.ended() == code, run.lines
        assert quota() == -1
        said = [json.loads(line) for line in run.lines if line.startswith("{")]
    assert said[0]["what"] == "running"
    assert said[0]["name"] == "alone"
    assert (said[-1]["what"], said[-1]["exit"], said[-1]["restored"]) == ("ended", code, "1 limit restored")
    receipts = [one for one in said if one["what"] == "receipt"]
    assert len({json.dumps(one, sort_keys=True) for one in receipts}) == len(receipts), "each once"
    assert receipts[-1]["reason"] == "restored"


def test_dry_it_writes_nothing_and_ends_by_itself(home: Path, files: Path) -> None:
    with started(home, "run", "controller.yaml", "--for", "4s", cwd=files) as run:
        run.says("dry: nothing is written; --arm lets it act")
        run.says("dry: nothing written")
        assert quota() == -1
        assert run.ended() == 0, run.lines
        assert run.last().endswith("there was no limit to restore")


def test_kill_9_leaves_its_limit_no_longer_than_the_lease(home: Path, files: Path) -> None:
    with started(home, "run", "alone.py", *alone(), cwd=files) as run:
        eventually(limited, within_s=30.0, what="a limit")
        run.says("alone runs on")
        run.process.kill()
        run.ended()
        assert limited(), "it is not at once that nobody is heard"
        eventually(lambda: quota() == -1, within_s=LEASE_S + 15.0, what="the lease ended")
    eventually(lambda: controllers(home) == [])
    with vagus.connect(home=str(home)) as connection:
        orphaned = eventually(lambda: connection.records("event", event="controller.orphaned"))
    assert orphaned[0].fields["actor"].startswith("vagus:controller:alone@")  # type: ignore[index]


def test_a_supervisor_that_is_killed_leaves_it_running(home: Path, files: Path, cluster: ClusterFile) -> None:
    def supervisors() -> list[psutil.Process]:
        found = ray_cluster.processes(cluster.id, cluster.temp_dir)
        return [p for p, line in command_lines(found) if "".join(line[:1]).startswith("ray::Supervisor")]

    with started(home, "run", "alone.py", *alone(), cwd=files) as run:
        eventually(limited, within_s=30.0, what="a limit")
        run.says("alone runs on")
        mine = supervisors()
        assert mine, [p.cmdline()[:1] for p in ray_cluster.processes(cluster.id, cluster.temp_dir)]
        for process in mine:
            process.kill()
        old = {p.pid for p in mine}
        eventually(lambda: {p.pid for p in supervisors()} - old, within_s=30.0, what="another supervisor")
        assert run.process.poll() is None, run.lines
        assert limited()
        run.process.send_signal(signal.SIGINT)
        run.ended()
        eventually(lambda: quota() == -1, within_s=LEASE_S + 15.0, what="removed, or its fresh lease ended")


def test_what_does_not_start_or_whose_name_is_taken_is_1(home: Path, files: Path) -> None:
    done = command(home, "run", str(files / "broken.py"))
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken ended: it does not start at " in done.stdout
    assert "it has no data" in done.stdout
    with started(home, "run", "alone.py", cwd=files) as run:
        run.says("alone runs on")
        done = command(home, "run", str(files / "alone.py"))
        assert (done.returncode, "choose another with --name" in done.stderr) == (1, True), done.stderr
        assert run.process.poll() is None
        with vagus.connect(home=str(home)) as connection:
            assert connection.remove("alone")
        assert run.ended() == 1
        assert "someone else removed it" in run.last()


# --- jobs -------------------------------------------------------------------------------------------------------------


def test_submit_and_wait_is_0_when_the_job_is_well(home: Path, files: Path) -> None:
    with started(home, "submit", "alone.py", *alone("--for", "8s", "--wait"), cwd=files) as run:
        run.says("alone was submitted as raysubmit_")
        run.says("alone runs on", within_s=60.0)
        eventually(limited, within_s=30.0, what=f"a limit: {run.lines}")
        assert run.ended() == 0, run.lines
        assert quota() == -1
        assert run.last().endswith("1 limit restored"), run.lines
        assert any(line.endswith(": succeeded") for line in run.lines)


def test_submit_and_wait_is_1_when_it_failed(home: Path, files: Path) -> None:
    done = command(home, "submit", str(files / "broken.py"), "--wait")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "it has no data" in done.stdout
    assert ": failed: " in done.stdout.splitlines()[-1]


def test_a_job_that_is_stopped_has_restored_its_limit_by_then(home: Path, files: Path) -> None:
    def submitted(*more: str) -> str:
        done = command(home, "submit", str(files / "alone.py"), *alone("--json", *more))
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["job"])

    job = submitted()
    eventually(limited, within_s=60.0, what="a limit")
    done = command(home, "job", "stop", job)
    assert (done.returncode, done.stdout) == (0, f"{job}: stopped\n"), done.stderr
    assert quota() == -1
    listed = json.loads(command(home, "job", "list", "--json").stdout)["jobs"]
    assert [one["status"] for one in listed if one["job"] == job] == ["STOPPED"]
    log = command(home, "job", "log", job).stdout
    assert '"what": "ended"' in log
    assert "SIGTERM" in log


def test_ctrl_c_while_waiting_leaves_the_job(home: Path, files: Path) -> None:
    with started(home, "submit", "alone.py", *alone("--wait"), cwd=files) as run:
        job = run.says("alone was submitted as ").rpartition(" ")[2]
        eventually(limited, within_s=60.0, what="a limit")
        run.process.send_signal(signal.SIGINT)
        assert run.ended() == 130, run.lines
        assert any(f"vagus job stop {job} ends it" in line for line in run.lines)
        assert limited()
    with started(home, "job", "log", job, "-f") as followed:
        followed.says("alone runs on")
        assert command(home, "job", "stop", job).returncode == 0
        assert followed.ended() == 0, "stopped by us is no failure"
    assert quota() == -1


def test_kill_9_of_a_jobs_process_restores_and_fails_the_job(home: Path, files: Path, cluster: ClusterFile) -> None:
    done = command(home, "submit", str(files / "alone.py"), *alone("--json"))
    job = json.loads(done.stdout)["job"]
    eventually(limited, within_s=60.0, what="a limit")
    running = [
        p
        for p, line in command_lines(ray_cluster.processes(cluster.id, cluster.temp_dir))
        if "run" in line and "vagus" in line and Path(line[0]).name not in ("sh", "dash", "bash")
    ]
    assert running
    for process in running:
        process.kill()
    assert command(home, "job", "log", job, "-f").returncode == 1
    eventually(lambda: quota() == -1, within_s=LEASE_S + 15.0, what="the lease ended")


def test_plain_ray_job_submit_runs_vagus(home: Path, files: Path, cluster: ClusterFile) -> None:
    def ray(*arguments: str, check: Callable[[int], bool] = lambda code: code == 0) -> str:
        env = {**ray_cluster.environment(home, cluster), "RAY_API_SERVER_ADDRESS": cluster.dashboard}
        done = subprocess.run(
            [sys.executable, "-m", "ray.scripts.scripts", "job", *arguments],
            env=env,
            capture_output=True,
            text=True,
            timeout=120 * PATIENCE,
            check=False,
        )
        assert check(done.returncode), shlex.join(arguments) + done.stdout + done.stderr
        return done.stdout + done.stderr

    said = ray("submit", "--working-dir", str(files), "--", "vagus", "run", "controller.yaml", "--arm", "--for", "6s")
    assert "squeeze runs on every node" in said
    assert "squeeze ended: after 6 s, as asked; 1 limit restored" in said
    assert quota() == -1
    said = ray("submit", "--no-wait", "--submission-id", "mine", "--working-dir", str(files), "--",
               *("vagus", "run", "controller.yaml", "--arm"))  # fmt: skip
    eventually(limited, within_s=60.0, what="a limit")
    ray("stop", "mine")  # waits; Ray gives it 3 s and no more
    eventually(lambda: quota() == -1, within_s=10.0, what="Ray's own grace is enough")
    assert "squeeze ended: SIGTERM; 1 limit restored" in ray("logs", "mine")
    ray("submit", "--working-dir", str(files), "--", "vagus", "run", "broken.py", check=lambda code: code == 1)


# --- the end ----------------------------------------------------------------------------------------------------------


def test_down_ends_what_runs_and_who_follows_it(home: Path, files: Path) -> None:
    with started(home, "run", "alone.py", *alone(), cwd=files) as run:
        eventually(limited, within_s=30.0, what="a limit")
        run.says("alone runs on")
        done = command(home, "down")
        assert done.returncode == 0, done.stdout + done.stderr
        assert quota() == -1
        assert run.ended() != 0, run.lines
