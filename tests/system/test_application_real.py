"""A small application in real control groups, of whichever version has the cpu controller: limited, scaled, killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures.deployments import FOLDER, get, lives, small, until
from vagus.actuators.choose import choose
from vagus.actuators.hierarchy import mounts
from vagus.cli.application import Deployment
from vagus.errors import VagusError
from vagus.model import Action, Target
from vagus.undo import perform, undo

pytestmark = pytest.mark.root
NAME = f"test{os.getpid()}"

# deploys, says the processes of the services and of the watchdog, and waits to be killed
DEPLOYER = """
import sys, time
from pathlib import Path
from tests.fixtures.deployments import FOLDER, small
from vagus.cli.application import Deployment
app = Deployment(small(sys.argv[1], web=2, db=0), FOLDER, Path(sys.argv[2]))
app.start()
print(*[shown.pid for shown in app.shown()], app._watchdog.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def top() -> Path:
    """The folder of the application's groups."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = [mount for mount in mounts(Path("/")) if "cpu" in mount.controllers]
    if not found:
        pytest.skip("no hierarchy with the cpu controller")
    return found[0].point / f"vagus-app-{NAME}"


@pytest.fixture
def app(top: Path, tmp_path: Path) -> Iterator[Deployment]:
    with Deployment(small(NAME, web=2, db=0), FOLDER, tmp_path / "run") as made:
        yield made
    assert made.problems == []
    assert not top.exists()


def members(folder: Path) -> set[int]:
    return {int(pid) for pid in (folder / "cgroup.procs").read_text().split()}


def test_each_replica_is_in_its_group_and_controllers_limit_the_service(app: Deployment, top: Path) -> None:
    assert app.confined
    for shown in app.shown():
        assert members(top / shown.service / f"replica-{shown.replica}") == {shown.pid}
    assert app.limits() == {"web": float("inf"), "db": float("inf")}
    actuator = choose("auto")
    plan = actuator.plan(Action(Target("cgroup", app.group("web")), "cpu_cores", 0.3))
    for step in plan.steps:
        perform(step)
    assert app.limits() == {"web": pytest.approx(0.3), "db": float("inf")}
    before = actuator.usage(Target("cgroup", app.group("web"))).cpu_s
    for url in app.urls("web"):
        assert [get(url, "/burn") for _ in range(4)] == [200] * 4
    used = actuator.usage(Target("cgroup", app.group("web")))
    assert used.cpu_s - before >= 0.35  # what the group counts is what its replicas used
    assert used.throttled_periods >= 1  # 8 × 50 ms at 0.3 cores
    assert undo(plan.undo) == []
    assert app.limits()["web"] == float("inf")


def test_replicas_come_and_go_with_their_groups(app: Deployment, top: Path) -> None:
    app.scale("web", 3)
    assert sorted(path.name for path in (top / "web").glob("replica-*")) == ["replica-0", "replica-1", "replica-2"]
    app.scale("web", 1)
    assert [path.name for path in (top / "web").glob("replica-*")] == ["replica-0"]
    (web,) = (shown for shown in app.shown() if shown.service == "web")
    os.kill(web.pid, signal.SIGKILL)
    until(lambda: app.dead() and app.replicas("web") == 1, "it is replaced")
    (web,) = (shown for shown in app.shown() if shown.service == "web")
    assert members(top / "web/replica-0") == {web.pid}


def test_replicas_of_a_size(top: Path, tmp_path: Path) -> None:
    with Deployment(small(NAME, web=2, db=0), FOLDER, tmp_path / "run", replica_cores=0.2) as app:
        assert app.limits() == {"web": pytest.approx(0.4), "db": pytest.approx(0.2)}
        app.scale("web", 3)
        assert app.limits()["web"] == pytest.approx(0.6)
        actuator = choose("auto")
        assert actuator.read(Target("cgroup", f"{app.group('web')}/replica-2"), "cpu_cores") == pytest.approx(0.2)
    assert app.problems == []
    assert not top.exists()


def deployed(run: Path) -> tuple[subprocess.Popen[str], list[int], int]:
    """Another process that deploys it; its services' processes, and its watchdog."""
    deployer = subprocess.Popen([sys.executable, "-c", DEPLOYER, NAME, str(run)], stdout=subprocess.PIPE, text=True)
    assert deployer.stdout is not None
    with deployer.stdout:
        *services, watchdog = map(int, deployer.stdout.readline().split())
    assert len(services) == 3
    return deployer, services, watchdog


def test_nothing_is_left_when_the_deployer_is_killed(top: Path, tmp_path: Path) -> None:
    deployer, services, watchdog = deployed(tmp_path / "run")
    assert top.is_dir()
    with pytest.raises(VagusError, match="holds processes already"):  # another of this name, from elsewhere
        Deployment(small(NAME, web=1), FOLDER, tmp_path / "other").start()
    assert all(map(lives, services))  # that one was not disturbed
    deployer.kill()
    deployer.wait()
    until(lambda: not any(map(lives, [*services, watchdog])), "the watchdog ends the services, and itself")
    assert not top.exists()


def test_when_the_watchdog_is_killed_too_services_end_and_the_next_deployment_removes_the_groups(
    top: Path, tmp_path: Path
) -> None:
    deployer, services, watchdog = deployed(tmp_path / "run")
    os.kill(watchdog, signal.SIGKILL)
    deployer.kill()
    deployer.wait()
    until(lambda: not any(map(lives, services)), "their standard input has ended")
    assert top.exists()
    for run in ("run", "another"):  # by its journal; by its name
        with Deployment(small(NAME, web=1), FOLDER, tmp_path / run) as app:
            assert get(app.urls("web")[0]) == 200
        assert app.problems == []
        assert not top.exists()
