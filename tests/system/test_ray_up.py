"""`ray up cluster.yaml` for real: three machines made of namespaces on this one, each with its own SSH server.

Ray's launcher runs in a fourth machine. Nothing of it is in the host's own namespaces, and all of it ends with one
process, which ends with this one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import PATIENCE, eventually

ROOT = Path(__file__).parents[2]
LAB = ROOT / "tests/lab/machines"
MACHINES = {"head": "10.77.0.11", "worker-1": "10.77.0.12", "worker-2": "10.77.0.13"}
PATH = f"{sys.prefix}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SSHD_CONFIG = """
Port 22
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/key.pub
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
PidFile none
PrintMotd no
UseDNS no
MaxStartups 100
"""


def missing() -> str:
    """Why there can be no such machines here, or nothing."""
    if os.geteuid() != 0:
        return "needs root: machines are made of namespaces"
    tools = ("sshd", "ssh", "ssh-keygen", "rsync", "ip", "unshare", "nsenter", "setpriv")
    lacking = [tool for tool in tools if shutil.which(tool, path=PATH) is None]
    if lacking:
        return f"needs {', '.join(lacking)} (Debian: openssh-server rsync iproute2 util-linux)"
    tried = subprocess.run(
        ["unshare", "--pid", "--mount", "--uts", "--net", "--fork", "sh", "-c", "ip link add name lab type bridge"],
        env={"PATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    return f"no namespaces with a bridge here: {tried.stderr.strip()}" if tried.returncode else ""


pytestmark = pytest.mark.system


class Lab:
    """The machine with the launcher, and by its network the others."""

    def __init__(self, folder: Path, first_pid: int) -> None:
        self.folder = folder
        self.asked_s = 0.0  # when `ray up` was called
        self._first_pid = first_pid

    def run(self, *command: str, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """A command in the launcher's machine, in the checkout; its output is in the failure when it takes too long."""
        enter = ["nsenter", f"--target={self._first_pid}", "--all", "--root", "env", "-i", f"--chdir={ROOT}"]
        settings = ("HOME=/root", "LANG=C.UTF-8", "TERM=dumb", f"PATH={PATH}", "RAY_USAGE_STATS_ENABLED=0")
        return subprocess.run(
            [*enter, *settings, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def ssh(self, machine: str, command: str, timeout_s: float = 30.0) -> subprocess.CompletedProcess[str]:
        """A command line in an interactive shell of a machine, as `ray exec` has it."""
        options = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR")
        login = ("-i", str(self.folder / "key"), f"root@{MACHINES[machine]}")
        return self.run("ssh", *options, *login, f"bash -ic '{command}' 2> /dev/null", timeout_s=timeout_s)

    def status(self, machine: str) -> dict[str, Any]:
        answer = self.ssh(machine, "vagus status --json")
        assert answer.stdout.startswith("{"), answer.stdout
        return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    if reason := missing():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("lab")
    for key in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)], check=True)
    (folder / "sshd_config").write_text(SSHD_CONFIG.format(folder=folder))
    (folder / "root").mkdir()
    kept = list(dict.fromkeys(map(str, (folder, ROOT, sys.prefix, sys.base_prefix))))
    alone = ["unshare", "--pid", "--mount", "--uts", "--net", "--fork", "--kill-child"]
    machine = [str(LAB / "machine.sh"), str(folder / "root"), "launcher", *kept, "--"]
    network = [str(LAB / "network.sh"), str(folder), *kept, "--", *MACHINES]
    with open(folder / "lab.log", "w") as log:
        # what this process leaves behind, however it ends, is ended by the kernel
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *alone, *machine, *network],
            env={"PATH": PATH, "LANG": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:

        def ready() -> bool:
            assert process.poll() is None, (folder / "lab.log").read_text()
            return (folder / "ready").exists()

        eventually(ready, what="machines with SSH servers")
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Lab(folder, int(children[0]))
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def rendered(shipped: dict[str, Any], folder: Path) -> dict[str, Any]:
    """cluster.yaml with its four lines edited; and, to be quick, this environment instead of a new installation."""
    head, *workers = MACHINES.values()
    shipped["provider"].update(head_ip=head, worker_ips=workers)
    shipped["auth"].update(ssh_user="root", ssh_private_key=str(folder / "key"))
    assert "pip" in shipped["setup_commands"][0]
    shipped["setup_commands"][0] = f"ln -sfn {sys.prefix} ~/vagus/venv"
    return shipped


@pytest.fixture(scope="module")
def cluster(lab: Lab) -> Path:
    """The file that `ray up` was called with."""
    path = lab.folder / "cluster.yaml"
    path.write_text(yaml.safe_dump(rendered(yaml.safe_load((ROOT / "cluster.yaml").read_text()), lab.folder)))
    lab.asked_s = time.monotonic()
    done = lab.run("ray", "up", "-y", "--no-config-cache", str(path), timeout_s=80.0 * PATIENCE)
    assert done.returncode == 0, done.stdout[-4000:]
    return path


def healthy(status: Mapping[str, Any]) -> dict[str, list[str]]:
    """The roles of the healthy actors of each node; complains of all others."""
    found: dict[str, list[str]] = {}
    for actor in status["actors"]:
        assert actor["state"] == "HEALTHY", actor
        found.setdefault(actor["node"], []).append(actor["role"])
    return found


def test_status_on_the_head_shows_every_machine_with_healthy_actors(lab, cluster):
    def complete() -> dict[str, Any]:
        status = lab.status("head")
        roles = healthy(status)
        assert set(roles) == set(MACHINES), roles
        assert all({"collector", "observer", "controller"} <= set(of_node) for of_node in roles.values()), roles
        assert {"decide", "feed"} <= set(roles["head"])
        return status

    eventually(complete, within_s=60.0, what="three machines with healthy actors")
    print(f"`vagus status` was healthy on three machines {time.monotonic() - lab.asked_s:.1f} s after `ray up`")


def test_a_report_on_one_machine_is_a_verdict_on_the_others(lab, cluster):
    sent = lab.ssh("worker-1", "vagus report db@2 read:u:30 --observer api@1")
    assert sent.returncode == 0, sent.stdout
    for machine in MACHINES:
        eventually(
            lambda m=machine: "UNHEALTHY" in lab.ssh(m, "vagus health db@2").stdout, what=f"verdict at {machine}"
        )


def test_without_the_token_nobody_is_answered(lab, cluster):
    ask = "ray status --address 10.77.0.11:6379 2>&1"
    assert "3 local.cluster.node" in lab.ssh("worker-2", ask).stdout
    refused = lab.ssh("worker-2", "RAY_AUTH_TOKEN=wrong " + ask)
    assert refused.returncode != 0
    assert "InvalidAuthToken" in refused.stdout, refused.stdout


def test_a_node_takes_its_leave_and_the_others_go_on(lab, cluster):
    """After the others that want three nodes: while its Ray runs, nothing is started there again."""
    left = lab.ssh("worker-1", "vagus down --leave")
    assert left.returncode == 0, left.stdout
    assert "this node has left" in left.stdout

    def gone() -> bool:
        return {a["node"] for a in lab.status("head")["actors"] if a["state"] == "HEALTHY"} == {"head", "worker-2"}

    eventually(gone, within_s=30.0, what="two nodes with actors, and none of the third")
    assert "raylet" in lab.ssh("worker-1", "head -qc 300 /proc/[0-9]*/cmdline").stdout, "Ray goes on there"


def test_stopping_as_the_page_says_leaves_no_process(lab, cluster):
    """Last, since it ends the cluster."""
    down = lab.run("ray", "exec", "--no-config-cache", str(cluster), "vagus down")
    assert "vagus is down" in down.stdout, down.stdout
    for machine in ("worker-1", "worker-2"):
        stopped = lab.ssh(machine, "ray stop")
        assert stopped.returncode == 0, stopped.stdout
    down = lab.run("ray", "down", "-y", str(cluster))
    assert "No nodes remaining" in down.stdout, down.stdout
    for machine in MACHINES:
        running = lab.ssh(machine, "head -qc 300 /proc/[0-9]*/cmdline").stdout
        assert "sshd" in running
        assert not [name for name in ("raylet", "gcs_server", "ray::", "vagus.watchdog") if name in running], running
