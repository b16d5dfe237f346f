"""examples/cluster for AWS and Google Cloud: right by Ray's own schema, in step with cluster.yaml. Nothing is asked."""

from __future__ import annotations

import copy
import re
import shlex
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import ValidationError
from ray.autoscaler._private.util import prepare_config, validate_config

from vagus.runtime.cluster import ROBUST

ROOT = Path(__file__).parents[2]
HERE = ROOT / "examples/cluster"
CLOUDS = ("aws", "gcp")
FILES = (ROOT / "cluster.yaml", *(HERE / f"{cloud}.yaml" for cloud in CLOUDS))
PACKAGE = {"aws": "boto3", "gcp": "google-api-python-client"}
COMMANDS = (
    *("initialization_commands", "setup_commands", "head_setup_commands", "worker_setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
)
SHARED = (
    *("file_mounts", "rsync_exclude", "cluster_synced_files", "setup_commands"),
    *("head_start_ray_commands", "worker_start_ray_commands"),
)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("something asks the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def marked(path: Path) -> list[str]:
    lines = path.read_text().splitlines()
    return [
        re.split(r"[:#]", line.strip(" -"))[0].strip() for line in lines if "<<<" in line and "marked with" not in line
    ]


# --- AWS and Google Cloud ----------------------------------------------------------------------------------------------


@pytest.fixture(params=CLOUDS)
def cloud(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def shipped(cloud: str) -> dict[str, Any]:
    return read_yaml(HERE / f"{cloud}.yaml")


def test_ray_accepts_it_and_keeps_the_workers(shipped):
    prepared = prepare_config(copy.deepcopy(shipped))
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert (types["head"]["min_workers"], types["head"]["max_workers"]) == (0, 0)
    assert types["worker"]["min_workers"] == types["worker"]["max_workers"] == prepared["max_workers"] == 2
    assert prepared["worker_setup_commands"] == shipped["setup_commands"], "no default of Ray's is added"
    assert prepared["head_setup_commands"] == shipped["setup_commands"] + shipped["head_setup_commands"]


BREAKS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a key of no meaning": lambda c: c.update(start_commands=[]),
    "a typo in a key": lambda c: c.update(head_setup_command=c.pop("head_setup_commands")),
    "a number of workers that is none": lambda c: c.update(max_workers="two"),
    "a command that is no text": lambda c: c["setup_commands"].append({"run": "true"}),
    "no type of provider": lambda c: c["provider"].pop("type"),
    "a typo in a node type": lambda c: c["available_node_types"]["worker"].update(min_worker=2),
    "fewer machines than the types want": lambda c: c.update(max_workers=1),
    "a head of no type": lambda c: c.update(head_node_type="leader"),
}


@pytest.mark.parametrize("what", BREAKS)
def test_what_is_broken_ray_refuses(shipped, what):
    BREAKS[what](shipped)
    with pytest.raises((ValidationError, ValueError, KeyError)):
        validate_config(prepare_config(shipped))


def test_what_is_common_is_as_in_cluster_yaml(cloud, shipped):
    local = read_yaml(ROOT / "cluster.yaml")
    assert {key: shipped[key] for key in SHARED} == {key: local[key] for key in SHARED}
    *common, last = shipped["head_setup_commands"]
    assert common == local["head_setup_commands"]
    assert shlex.split(last)[-1] == PACKAGE[cloud], "without it the head starts nobody"


def test_the_machines_are_alike_and_none_shares_its_settings(shipped):
    """Ray writes into the head's: the account by which it makes machines is not for the others."""
    types = shipped["available_node_types"]
    assert types["head"]["node_config"] == types["worker"]["node_config"]
    types["head"]["node_config"]["IamInstanceProfile"] = {}
    assert "IamInstanceProfile" not in types["worker"]["node_config"]


def test_the_lines_to_be_edited(cloud):
    common = ["min_workers", "max_workers"]
    machine = {
        "aws": ["region", "InstanceType", "ImageId", "SecurityGroupIds", *common],
        "gcp": [
            "region",
            "availability_zone",
            "project_id",
            "resources",
            "machineType",
            "subnetwork",
            *common,
            "resources",
        ],
    }
    assert marked(HERE / f"{cloud}.yaml") == ["max_workers", *machine[cloud]]


def test_no_firewall_is_left_to_rays_default(shipped):
    """Ray's own group on AWS, and the default network of Google's, let everyone reach port 22."""
    for node_type in shipped["available_node_types"].values():
        machine = node_type["node_config"]
        assert machine.get("SecurityGroupIds") or machine["networkInterfaces"][0]["subnetwork"]
    assert "security_group" not in shipped["provider"]


def test_the_settings_in_comments_fit_too():
    """Root on AWS, as the comments have it."""
    text = (HERE / "aws.yaml").read_text().replace("      # UserData:", "      UserData:")
    changed = yaml.safe_load(text.replace("ssh_user: ubuntu", "ssh_user: root"))
    assert changed["available_node_types"]["worker"]["node_config"]["UserData"].startswith(
        "#cloud-config\ndisable_root: false"
    )
    validate_config(prepare_config(changed))


# --- every file --------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, str]]:
    for path in FILES:
        told = read_yaml(path)
        for key in COMMANDS:
            for number, command in enumerate(told.get(key) or []):
                yield f"{path.stem}-{key}-{number}", command
    yield "node.sh", (HERE / "kuberay/node.sh").read_text()
    for line in re.findall(r"^RUN (.*)$", (HERE / "Dockerfile").read_text(), re.MULTILINE):
        yield "Dockerfile", line
    for number, block in enumerate(re.findall(r"```console\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL)):
        yield f"README-{number}", block.replace("$ ", "")


def test_every_command_is_shell():
    told = list(commands())
    assert len(told) > 35
    for name, command in told:
        parsed = subprocess.run(["bash", "-n"], input=command, capture_output=True, text=True, check=False)
        assert parsed.returncode == 0, f"{name}: {parsed.stderr}"
    assert subprocess.run(["bash", "-n"], input="if true; then", capture_output=True, text=True, check=False).returncode


def test_authentication_is_on_everywhere_and_the_environment_is_what_vagus_up_gives_ray():
    for path in FILES:
        (written,) = [c for c in read_yaml(path)["setup_commands"] if "RAY_AUTH_MODE" in c]
        words = shlex.split(written)
        assert dict(word.split("=", 1) for word in words if word.startswith("RAY_")) == ROBUST, path
    assert ROBUST["RAY_AUTH_MODE"] == "token"


def test_the_dashboard_stays_on_loopback():
    for path in FILES:
        (start,) = [c for c in read_yaml(path)["head_start_ray_commands"] if "ray start" in c]
        assert "--dashboard-host=127.0.0.1" in shlex.split(start), path


def test_the_image_gets_what_an_installation_needs():
    dockerfile = (HERE / "Dockerfile").read_text()
    copied = {word for line in re.findall(r"^COPY (.*)$", dockerfile, re.MULTILINE) for word in line.split()}
    needed = set(read_yaml(ROOT / "cluster.yaml")["file_mounts"].values())
    assert needed <= copied
    ignored = (HERE / "Dockerfile.dockerignore").read_text().split()
    assert {line[1:] for line in ignored if line.startswith("!")} == needed
    assert ignored[0] == "*"
