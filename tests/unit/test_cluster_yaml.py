"""cluster.yaml: right by Ray's own schema, and in step with what `vagus up` does. Nothing is started."""

from __future__ import annotations

import copy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from vagus.config import Config, load
from vagus.runtime.cluster import GCS_PORT, ROBUST

ROOT = Path(__file__).parents[2]


@pytest.fixture
def shipped() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "cluster.yaml").read_text())


def setup_command(shipped: dict[str, Any], part: str) -> str:
    (found,) = [c for c in shipped["setup_commands"] + shipped["head_setup_commands"] if part in c]
    return found


def test_ray_accepts_it_and_wants_every_worker(shipped):
    prepared = prepare_config(copy.deepcopy(shipped))
    validate_config(prepared)
    (node_type,) = prepared["available_node_types"].values()
    assert node_type["min_workers"] == node_type["max_workers"] == len(shipped["provider"]["worker_ips"])
    assert prepared["head_start_ray_commands"] == shipped["head_start_ray_commands"]


def test_the_check_finds_a_key_that_ray_does_not_know(shipped):
    shipped["head_start_commands"] = shipped.pop("head_start_ray_commands")
    with pytest.raises(ValidationError, match="head_start_commands"):
        validate_config(prepare_config(shipped))


def test_four_lines_are_to_be_edited():
    lines = (ROOT / "cluster.yaml").read_text().splitlines()
    marked = [line.split(":")[0].strip() for line in lines if "# <<<" in line]
    assert marked == ["head_ip", "worker_ips", "ssh_user", "ssh_private_key"]


@pytest.mark.says("ray-token-default")
def test_ray_gets_the_environment_that_vagus_up_gives_it(shipped):
    words = shlex.split(setup_command(shipped, "RAY_AUTH_MODE"))
    assert dict(w.split("=", 1) for w in words if w.startswith("RAY_")) == ROBUST
    starts = [c for key in ("head", "worker") for c in shipped[f"{key}_start_ray_commands"] if "ray start" in c]
    assert len(starts) == 2
    assert all(command.startswith(". ~/vagus/ray.env && ") for command in starts)
    assert f"--port={GCS_PORT}" in starts[0]
    assert f"--address=$RAY_HEAD_IP:{GCS_PORT}" in starts[1]


def test_what_the_installation_needs_is_synced(shipped):
    for remote, local in shipped["file_mounts"].items():
        assert (ROOT / local).exists(), remote
    synced = set(shipped["file_mounts"].values())
    if sys.version_info >= (3, 11):
        import tomllib

        project = tomllib.loads((ROOT / "pyproject.toml").read_text())
        packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
        assert {project["project"]["readme"], *project["project"]["license-files"], *packages} <= synced
    install = setup_command(shipped, "pip")
    assert {f"~/vagus/{name}" for name in synced} >= {w for w in shlex.split(install) if w.endswith(".txt")}


def test_the_settings_that_it_writes_are_right_and_let_observers_reach_each_other(shipped, tmp_path):
    settings = tmp_path / "vagus/vagus.yaml"
    settings.parent.mkdir()
    command = ["bash", "-c", setup_command(shipped, "vagus.yaml")]
    subprocess.run(command, env={"HOME": str(tmp_path)}, check=True)
    assert load(settings, Config).gateway.bind == "node"
    settings.write_text("cluster: mine\n")
    subprocess.run(command, env={"HOME": str(tmp_path)}, check=True)
    assert load(settings, Config).cluster == "mine"
