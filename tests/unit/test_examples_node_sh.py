"""What a pod of examples/cluster/kuberay runs, with stand-ins for Ray and vagus."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "examples/cluster/kuberay/node.sh"
STAND_INS = {
    "vagus": 'echo "vagus $*"\n[ "$1" != up ] || [ -e "$PLACE/failed" ] || { touch "$PLACE/failed"; exit 1; }',
    "ray": 'trap "kill %1; echo ray ends; exit 7" TERM; /bin/sleep 60 & echo "ray $*"; wait',
    "sleep": "true",
}


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Callable[[str, str], subprocess.Popen[str]]]:
    """Runs node.sh as a container would; `ray` runs until it is told to end."""
    for name, body in STAND_INS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    started: list[subprocess.Popen[str]] = []

    def run(group: str, what: str) -> subprocess.Popen[str]:
        env = {
            "PATH": f"{tmp_path}:/usr/bin:/bin",
            "PLACE": str(tmp_path),
            "RAY_NODE_TYPE_NAME": group,
            "NODE_NAME": "n-1.example",
            "KUBERAY_GEN_RAY_START_CMD": "ray start --head --block",
        }
        command = ["bash", str(SCRIPT), what]
        started.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True))
        return started[-1]

    yield run
    for process in started:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def lines_until(process: subprocess.Popen[str], *expected: str) -> list[str]:
    """What it tells until each of the expected beginnings was told, in whatever order."""
    assert process.stdout is not None
    told: list[str] = []
    for line in process.stdout:
        told.append(line.rstrip("\n"))
        if all(sum(line.startswith(want) for line in told) >= expected.count(want) for want in expected):
            break
    return told


def test_the_head_starts_vagus_again_until_it_runs_and_ends_with_ray(pod):
    process = pod("headgroup", "start")
    told = lines_until(process, "ray start", "vagus up", "vagus up")  # Ray and vagus begin side by side
    assert told.pop(0) == "vagus down", "what an earlier pod left is restored first"
    up = "vagus up --address auto --config /etc/vagus/vagus.yaml"
    assert sorted(told) == ["ray start --head --block --labels=vagus/role=head,vagus/node=n-1.example", up, up]
    process.terminate()
    assert process.communicate(timeout=20)[0].split("\n") == ["ray ends", "vagus down", ""]
    assert process.returncode == 7, "KubeRay is told how Ray ended"


def test_a_worker_starts_no_vagus_and_takes_its_leave(pod):
    process = pod("nodes", "start")
    assert lines_until(process, "ray start")[-1].endswith("--labels=vagus/role=worker,vagus/node=n-1.example")
    process.terminate()
    assert process.communicate(timeout=20)[0].split("\n") == ["ray ends", "vagus down", ""]
    assert pod("nodes", "stop").communicate(timeout=20)[0] == "vagus down --leave\n"
    assert pod("headgroup", "stop").communicate(timeout=20)[0] == "vagus down\n"
