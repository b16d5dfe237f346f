"""Observers need no head: reports reach the other nodes' verdicts while Ray's GCS is dead."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import PATIENCE

pytestmark = pytest.mark.system

SCRIPT = """
import json, os, sys, time
from pathlib import Path
home = Path(sys.argv[1])
import vagus
from vagus.config import Config, GatewaySettings
from vagus.runtime.cluster import DASHBOARD_PORT, environment, free_port
os.environ.update(environment(home))
from ray.cluster_utils import Cluster
from vagus.runtime import launch

head = {"num_cpus": 2, "labels": {"vagus/node": "n1"}, "dashboard_port": free_port(DASHBOARD_PORT)}
cluster = Cluster(initialize_head=True, head_node_args=head)
cluster.add_node(num_cpus=1, labels={"vagus/node": "n2"})
cluster.add_node(num_cpus=1, labels={"vagus/node": "n3"})
launch.up(Config(home=str(home), gateway=GatewaySettings(port=0), controllers=(), feeds=()), address=cluster.address)


def at(node):
    endpoint = json.loads((home / "nodes" / node / "gateway.json").read_text())
    return vagus.connect(endpoint["url"], Path(endpoint["token_file"]).read_text(), home=str(home))


def verdict(node, subject):
    try:
        answer, _ = at(node).request("GET", "/v1/health/" + subject, query={"node": node})
        return json.loads(answer)["inference"]["status"]
    except vagus.VagusError:
        return None


def spread(said, subject, within_s):
    assert at(said).report(subject, {"call": ("UNHEALTHY", 1)}, observer="api@" + said) == "ACCEPTED"
    deadline = time.monotonic() + within_s * float(sys.argv[2])
    for node in ("n1", "n2", "n3"):
        while verdict(node, subject) != "UNHEALTHY":
            assert time.monotonic() < deadline, (said, subject, node, verdict(node, subject))
            time.sleep(0.05)


try:
    spread("n2", "before", 10)
    gcs = cluster.head_node.all_processes["gcs_server"][0].process
    gcs.kill()
    gcs.wait(10)
    for said in ("n2", "n3", "n1"):
        spread(said, "without-a-head-" + said, 10)
    print("spread without a head", flush=True)
finally:
    cluster.shutdown()
    left = launch.down(home)
    assert left == [], left
"""


def test_observers_keep_exchanging_while_rays_head_is_dead(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path), str(PATIENCE)],
        env={**os.environ, "RAY_DEDUP_LOGS": "0"},
        capture_output=True,
        text=True,
        timeout=110 * PATIENCE,
        check=False,
    )
    assert "spread without a head" in done.stdout, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.returncode == 0, done.stderr[-4000:]
