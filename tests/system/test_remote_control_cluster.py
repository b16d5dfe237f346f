"""Somebody outside steers a real cgroup over HTTP: guarded, receipted, refused without the right, and gone when silent."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import eventually

from vagus.client.connection import Connection
from vagus.environments.live import LiveWorld
from vagus.errors import ConfigError
from vagus.model import Action, Target

CPU = Path("/sys/fs/cgroup/cpu")
GROUP = CPU / f"vagus-test-remote-{os.getpid()}"
QUOTA = GROUP / "cpu.cfs_quota_us"
TARGET = Target("cgroup", GROUP.name)
pytestmark = [
    pytest.mark.system,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes a cgroup and limits it"),
    pytest.mark.skipif(not (CPU / "cpu.cfs_quota_us").exists(), reason="needs the cgroup v1 cpu controller"),
]

CONFIG = """
gateway: {{port: 0}}
tokens: {{agent: {home}/agent, reader: {home}/reader}}
access:
  - {{who: ["token:cluster", "uid:*"], read: ["*"], send: ["*"], act: ["*"]}}
  - {{who: ["token:agent"], read: ["controller:web"], act: ["{target}", "controller:web"]}}
  - {{who: ["token:reader"], read: ["*"]}}
controllers:
  - name: web
    policy: remote
    armed: true
    target: {target}
    period: 0.25s
    limits: {{cpu_cores: {{min: 0.2, max: 1.6, step_ratio: 0.25, cooldown: 0.1s}}}}
    options: {{silence: 3s}}
    guard: {{shield: none, hold: 3s, rule_for: 5s}}
  - {{name: other, target: {target}, period: 0.5s}}
"""


def command(home: Path, *arguments: str, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vagus", *arguments],
        env={**os.environ, "VAGUS_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )


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


@pytest.fixture(scope="module")
def home(hog: None) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    for name in ("agent", "reader"):
        (folder / name).write_text(f"the-token-of-{name}")
        (folder / name).chmod(0o600)
    (folder / "vagus.yaml").write_text(CONFIG.format(target=TARGET, home=folder))
    done = command(folder, "up", "-c", str(folder / "vagus.yaml"))
    try:
        assert done.returncode == 0, done.stderr + done.stdout
        yield folder
    finally:
        done = command(folder, "down")
        shutil.rmtree(folder, ignore_errors=True)
    assert done.returncode == 0, done.stderr + done.stdout
    assert quota() == -1, "nothing stays limited"


def connect(home: Path, token: str) -> Connection:
    (endpoint,) = [json.loads(path.read_text()) for path in home.glob("nodes/*/gateway.json")]
    return Connection(endpoint["url"], token, timeout_s=15.0)


@pytest.fixture
def agent(home: Path) -> Iterator[Connection]:
    with connect(home, "the-token-of-agent") as connection:
        yield connection


def quota() -> int:
    return int(QUOTA.read_text())


def test_an_outsider_sees_and_steers(agent: Connection) -> None:
    state = eventually(
        lambda: (s := agent.state("web")).armed and s.targets[str(TARGET)] and s, 20, "it sees and may act"
    )
    assert (state.policy, state.steerable, state.rung) == ("remote", True, "trust")
    assert state.bounds == {"cpu_cores": (0.2, 1.6)}
    assert state.targets[str(TARGET)]["usage_cores"] > 0
    assert math.isnan(state.limits[str(TARGET)]["cpu_cores"])
    assert len(state.vectors[str(TARGET)]) > 5
    for _ in range(5):
        state = agent.state("web", after_ns=state.t_ns)
    assert quota() == -1, "nothing is done before somebody speaks"

    done = agent.act("web", [Action(TARGET, "cpu_cores", 0.01, "as little as there is")])
    (receipt,) = done.receipts
    assert (receipt.before, receipt.requested, receipt.after, receipt.dry, receipt.error) == (
        None,
        0.01,
        1.2,
        False,
        "",
    )
    assert "bounds are 0.2 to 1.6" in receipt.note
    assert "at most 25% at once" in receipt.note
    assert "as little as there is" in receipt.reason
    assert done.limits == {str(TARGET): {"cpu_cores": 1.2}}
    seen = []

    def at_the_bound() -> bool:
        seen.append(quota())
        return agent.act("web", []).limits == {} and quota() == 20_000

    eventually(at_the_bound, 20, "step by step to the bound")
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) > 4, "in steps of a quarter"
    with pytest.raises(ConfigError, match="may not read 'receipt'"):
        agent.records("receipt")


def test_who_may_only_read_is_refused(home: Path, agent: Connection) -> None:
    before = agent.act("web", [Action(TARGET, "cpu_cores", 0.2)]).rung
    with connect(home, "the-token-of-reader") as reader:
        assert reader.state("web").rung == before
        with pytest.raises(ConfigError, match=f"may not act '{TARGET}'") as refused:
            reader.act("web", [Action(TARGET, "cpu_cores", 1.0)])
        assert refused.value.__cause__ is not None
        assert refused.value.__cause__.code == "refused"  # type: ignore[attr-defined]
        with pytest.raises(ConfigError, match="may not act"):
            reader.act("web", [])
        assert "web" in {receipt.controller for receipt in reader.records("receipt")}
        with pytest.raises(ConfigError, match="may not read 'controller:other'"):
            agent.state("other")
        assert reader.state("other").policy == "throttle"
    with connect(home, (home / "token").read_text()) as owner, pytest.raises(ConfigError, match="policy: remote"):
        owner.act("other", [Action(TARGET, "cpu_cores", 1.0)])
    assert quota() == 20_000


def test_a_live_world(agent: Connection) -> None:
    world = LiveWorld(agent, "web")
    world.reset(0)
    seen = world.step({(str(TARGET), "cpu_cores"): 0.25})
    assert seen.signals[str(TARGET)]["limit_cpu_cores"] == 0.25
    assert 0 < seen.signals[str(TARGET)]["usage_cores"] < 0.4
    assert world.step({}).signals[str(TARGET)]["throttled_ratio"] > 0.2
    world.close()


def test_one_that_hangs_is_held_then_replaced_by_the_rule_then_all_is_restored(agent: Connection) -> None:
    for _ in range(8):  # long enough to be a safe one
        agent.act("web", [Action(TARGET, "cpu_cores", 0.2)])
    assert quota() == 20_000
    rungs: list[tuple[str, int]] = []
    deadline_s, state = time.monotonic() + 60, agent.state("web")
    while state.rung != "restore" or quota() != -1:
        assert time.monotonic() < deadline_s, rungs
        state = agent.state("web", after_ns=state.t_ns)
        rungs.append((state.rung, quota()))
    order = list(dict.fromkeys(rung for rung, _ in rungs))
    assert order == ["trust", "hold", "rule", "restore"], rungs
    assert {limit for rung, limit in rungs if rung == "hold"} == {20_000}, "what is in force stays"
    assert max(limit for rung, limit in rungs if rung == "rule") > 20_000, "the captain gives what is missing"

    refused = agent.act("web", [Action(TARGET, "cpu_cores", 1.0)])
    assert refused.receipts[0].note.startswith("held: ")
    assert "nothing was heard" in refused.receipts[0].note

    def again() -> bool:
        agent.act("web", [Action(TARGET, "cpu_cores", 1.2)])
        return quota() == 120_000

    eventually(again, 30, "who speaks again is heard, once doubt is over")
    assert agent.state("web").rung == "trust"


def test_killed_with_a_limit_in_force_nothing_stays(home: Path, agent: Connection) -> None:
    agent.act("web", [Action(TARGET, "cpu_cores", 1.2)])
    assert quota() == 120_000
    with connect(home, (home / "token").read_text()) as owner:
        (web,) = [a for n in owner.status() for a in n.actors if a.name.startswith("vagus:controller:web@")]
    os.kill(web.pid, signal.SIGKILL)
    eventually(lambda: quota() == -1, 10, "the watchdog restored it")
