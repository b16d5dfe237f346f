"""examples/cluster/kuberay and kuberay-act: right by KubeRay's and Kubernetes' own descriptions. No cluster is asked."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from vagus.config import Config, GatewaySettings, load
from vagus.gateway.params import HealthzParams
from vagus.runtime.cluster import OBJECT_STORE_BYTES, ROBUST

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
kube = pytest.importorskip("kube_api")
import ray_cluster_api as api  # noqa: E402

ROOT = Path(__file__).parents[2]
HERE = ROOT / "examples/cluster"

MODELS = {
    "Namespace": "V1Namespace",
    "NetworkPolicy": "V1NetworkPolicy",
    "ServiceAccount": "V1ServiceAccount",
    "ClusterRole": "V1ClusterRole",
    "RoleBinding": "V1RoleBinding",
}


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def pods(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    spec = cluster["spec"]
    return [group["template"]["spec"] for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]


def patched(told: dict[str, Any], steps: list[dict[str, Any]]) -> dict[str, Any]:
    """The document after JSON Patch (RFC 6902): test, add, replace, remove."""
    document = copy.deepcopy(told)
    for step in steps:
        *way, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].split("/")[1:]]
        at: Any = document
        for part in way:
            at = at[int(part)] if isinstance(at, list) else at[part]
        key: Any = (len(at) if last == "-" else int(last)) if isinstance(at, list) else last
        if step["op"] == "test":
            assert at[key] == step["value"], step
        elif step["op"] == "remove":
            del at[key]
        elif step["op"] == "add" and isinstance(at, list):
            at.insert(key, step["value"])
        else:
            assert step["op"] == "add" or key in at or isinstance(at, list), step
            at[key] = step["value"]
    return document


@pytest.fixture
def kuberay() -> dict[str, Any]:
    return json.loads(json.dumps(read_yaml(HERE / "kuberay/raycluster.yaml")))


@pytest.fixture
def acting(kuberay: dict[str, Any]) -> dict[str, Any]:
    """As kustomize makes it: of one anchor, head and workers have a copy each."""
    steps = read_yaml(HERE / "kuberay-act/privileges.yaml")
    return patched(kuberay, steps)


@pytest.mark.parametrize("variant", ["kuberay", "acting"])
def test_kuberay_accepts_it(variant, request):
    cluster = api.read(request.getfixturevalue(variant))
    assert api.refused(cluster) == []
    for pod in pods(request.getfixturevalue(variant)):
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in (*pod.get("initContainers", ()), *pod["containers"]):
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


SPOILS: dict[str, Callable[[dict[str, Any], dict[str, Any]], object]] = {
    "a typo in the cluster": lambda c, _: c["spec"].update(workerGroupSpec=c["spec"].pop("workerGroupSpecs")),
    "a typo in a group": lambda c, _: c["spec"]["workerGroupSpecs"][0].update(replica=2),
    "a typo in the options": lambda c, _: c["spec"].update(authOptions={"modus": "token"}),
    "a mode that there is not": lambda c, _: c["spec"].update(authOptions={"mode": "tokens"}),
    "a typo in the pod": lambda _, pod: pod.update(hostPid=pod.pop("hostPID")),
    "a typo in a container": lambda _, pod: pod["containers"][0].update(readinesProbe=pod["containers"][0]["readinessProbe"]),
    "a typo in a mount": lambda _, pod: pod["containers"][0]["volumeMounts"][1].update(readonly=True),
    "a start parameter that is no text": lambda c, _: c["spec"]["headGroupSpec"]["rayStartParams"].update(port=6379),
    "replicas that are no number": lambda c, _: c["spec"]["workerGroupSpecs"][0].update(replicas="2"),
    "another version of the API": lambda c, _: c.update(apiVersion="ray.io/v1alpha2"),
}  # fmt: skip


@pytest.mark.parametrize("what", SPOILS)
def test_what_is_broken_kuberay_refuses(kuberay, what):
    SPOILS[what](kuberay, pods(kuberay)[1])
    with pytest.raises((msgspec.ValidationError, AssertionError, ValueError)):
        api.read(kuberay)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["spec"].update(rayVersion="2.51.0"), "2.52"),
        (lambda c: c["spec"]["headGroupSpec"]["rayStartParams"].update(labels="a=b"), "labels"),
        (lambda c: c["spec"]["workerGroupSpecs"][0].update(minReplicas=3), "above"),
        (lambda c: c["spec"]["workerGroupSpecs"][0].pop("maxReplicas"), "needed"),
        (lambda c: c["metadata"].update(name="Vagus"), "DNS"),
    ],
)
def test_the_operators_own_rules_are_known(kuberay, change, why):
    change(kuberay)
    (problem,) = api.refused(api.read(kuberay))
    assert why in problem


def test_never_two_pods_of_it_on_a_node(kuberay):
    """The label is KubeRay's: on every pod of the cluster, the head's too."""
    labels = {"ray.io/cluster": kuberay["metadata"]["name"]}
    for pod in pods(kuberay):
        (rule,) = pod["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert rule == {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    policy = read_yaml(HERE / "kuberay/network.yaml")["spec"]
    assert policy["podSelector"]["matchLabels"] == labels
    assert policy["ingress"] == [{"from": [{"podSelector": {"matchLabels": labels}}]}]


def test_as_many_nodes_are_expected_as_there_are_pods(kuberay):
    settings = load(HERE / "kuberay/vagus.yaml", Config)
    assert settings.gateway.bind == "node"
    (workers,) = kuberay["spec"]["workerGroupSpecs"]
    assert settings.expected.nodes == 1 + workers["replicas"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"]
    assert not any(controller.armed for controller in settings.controllers)


def test_only_sensing_gets_no_privilege_but_to_see(kuberay):
    for pod in pods(kuberay):
        (ray,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 1000
        assert ray["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert pod["hostPID"]
        assert not pod["automountServiceAccountToken"]
        written = {m["mountPath"] for m in ray["volumeMounts"] if not m.get("readOnly")}
        assert written == {"/var/lib/vagus"} == {e["value"] for e in ray["env"] if e["name"] == "VAGUS_HOME"}


def test_acting_adds_exactly_what_the_readme_says(kuberay, acting):
    said = (HERE / "README.md").read_text()
    for before, after in zip(pods(kuberay), pods(acting), strict=True):
        ray, acts = before["containers"][0], after["containers"][0]
        assert set(after) - set(before) == {"serviceAccountName"}
        assert set(before) - set(after) == {"initContainers"}
        differ = {key for key in ray if ray[key] != acts[key]}
        assert differ == {"securityContext", "volumeMounts"}
        added = acts["securityContext"]["capabilities"]["add"]
        assert added == ["DAC_OVERRIDE", "SYS_PTRACE"]
        assert all(f"`{name}`" in said for name in added)
        assert acts["securityContext"]["capabilities"]["drop"] == ["ALL"]
        assert not acts["securityContext"]["allowPrivilegeEscalation"]
        mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in acts["volumeMounts"]}
        assert mounts["/sys/fs/cgroup"] is False
        assert mounts["/run/systemd/system"] is True
        assert after["securityContext"]["runAsUser"] == 0


def test_what_vagus_may_ask_of_the_api_server():
    account, role, binding = yaml.safe_load_all((HERE / "kuberay-act/resize.yaml").read_text())
    rules = {resource: rule["verbs"] for rule in role["rules"] for resource in rule["resources"]}
    assert rules == {"pods": ["get"], "pods/resize": ["patch"]}, "as docs/act.md says"
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    (subject,) = binding["subjects"]
    assert (subject["name"], subject["namespace"]) == (account["metadata"]["name"], account["metadata"]["namespace"])


@pytest.mark.parametrize("path", ["kuberay/namespace.yaml", "kuberay/network.yaml", "kuberay-act/resize.yaml"])
def test_kubernetes_knows_every_field(path):
    for told in yaml.safe_load_all((HERE / path).read_text()):
        kube.check(told, MODELS[told["kind"]])
        told["metadata"]["lables"] = {}
        with pytest.raises(AssertionError):
            kube.check(told, MODELS[told["kind"]])


def test_the_lines_to_be_edited():
    marked = {
        path.name: [line.split(":")[0].strip(" -#") for line in path.read_text().splitlines() if "# <<<" in line]
        for path in sorted(HERE.glob("kuberay*/*"))
    }
    assert {name: lines for name, lines in marked.items() if lines} == {
        "raycluster.yaml": [
            "<<< one for each further taint of nodes that are to be watched",
            "image",
            "replicas",
            "minReplicas",
            "maxReplicas",
        ],
        "vagus.yaml": ["expected"],
        "resize.yaml": ["namespace"],
    }


def test_the_readiness_asks_this_node_alone(kuberay):
    for pod in pods(kuberay):
        command = pod["containers"][0]["readinessProbe"]["exec"]["command"]
        assert command[0] == "wget"
        assert command[-1] == f"http://127.0.0.1:{GatewaySettings().port}/healthz?scope=node"
    assert HealthzParams(scope="node").scope == "node"


@pytest.mark.parametrize("folder", ["kuberay", "kuberay-act"])
def test_kubectl_builds_the_same(folder, kuberay, acting):
    """By the real kustomize within kubectl, which asks no cluster for it."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here")
    built = subprocess.run(["kubectl", "kustomize", str(HERE / folder)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    found = {told["kind"]: told for told in yaml.safe_load_all(built.stdout)}
    wanted = {"kuberay": kuberay, "kuberay-act": acting}[folder]
    assert found["RayCluster"]["spec"] == wanted["spec"]
    assert found["ConfigMap"]["data"]["node.sh"] == (HERE / "kuberay/node.sh").read_text()
    assert {found[kind]["metadata"]["namespace"] for kind in ("RayCluster", "ConfigMap", "NetworkPolicy")} == {"vagus"}
    if folder == "kuberay-act":
        assert found["RoleBinding"]["metadata"]["namespace"] == "default"
    mounted = [m["mountPath"] for m in pods(found["RayCluster"])[0]["containers"][0]["volumeMounts"]]
    assert "/etc/vagus" in mounted


def test_authentication_is_on_and_the_environment_is_what_vagus_up_gives_ray(kuberay, acting):
    for cluster in (kuberay, acting):
        assert cluster["spec"]["authOptions"]["mode"] == "token"
        for pod in pods(cluster):
            env = {e["name"]: e.get("value") for e in pod["containers"][0]["env"]}
            assert {name: value for name, value in env.items() if name.startswith("RAY_")} == ROBUST
    assert ROBUST["RAY_AUTH_MODE"] == "token"


def test_nothing_but_ray_itself_and_its_metrics_listens_to_others(kuberay):
    assert kuberay["spec"]["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"
    for pod in pods(kuberay):
        assert {port["containerPort"] for port in pod["containers"][0]["ports"]} == {6379, 8080}
        assert "hostNetwork" not in pod


def test_versions_are_those_that_were_tested_together(kuberay):
    (ray_version,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert kuberay["spec"]["rayVersion"] == ray_version
    assert f"FROM rayproject/ray:{ray_version}-py3" in (HERE / "Dockerfile").read_text()


def test_what_ray_gets_for_objects_is_what_vagus_up_gives_it(kuberay):
    groups = (kuberay["spec"]["headGroupSpec"], *kuberay["spec"]["workerGroupSpecs"])
    assert {group["rayStartParams"]["object-store-memory"] for group in groups} == {str(OBJECT_STORE_BYTES)}
