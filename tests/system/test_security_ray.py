"""What Ray lets in: its token, its open ports, and TLS between its processes with vagus on top. See docs/security.md.

Each cluster here has a state folder and a token of its own, whatever other cluster the tests run.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import pytest
from conftest import PATIENCE, eventually

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from certificates import Made, made_as_documented

from vagus import config as configuration
from vagus.errors import VagusError
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch, tls
from vagus.runtime.cluster import LOOPBACK, ClusterFile, environment, free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(400)]
WORKER = "127.0.0.3"
ANYWHERE = {"0.0.0.0", "::"}
QUIET = "gateway: {port: 0}\ncontrollers: []\nfeeds: []\nprobes: {enabled: false}\n"


@pytest.fixture(scope="module", autouse=True)
def _own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the cluster that other tests share, and nobody's own Ray token."""
    before = dict(os.environ)
    for name in list(os.environ):
        if name.startswith(("RAY_", "VAGUS_")):
            del os.environ[name]
    os.environ["HOME"] = str(tmp_path_factory.mktemp("user"))
    yield
    os.environ.clear()
    os.environ.update(before)


class Node(NamedTuple):
    """A Ray node of this machine."""

    home: Path
    cluster: ClusterFile

    @property
    def port(self) -> int:
        """Of Ray's head."""
        return int(self.cluster.address.rpartition(":")[2])

    def token(self) -> str:
        return Path(self.cluster.auth_token_path).read_text().strip()

    def end(self) -> None:
        at_once = msgspec.structs.replace(self.cluster, head=True)  # nobody to take leave of
        assert ray_cluster.stop(self.home, at_once) == []


def started(home: Path, name: str, head: Node | None = None, options: Sequence[str] = ()) -> Node:
    more = [f"--labels=vagus/node={name}", "--num-cpus=1", *options]
    address = head.cluster.address if head else ""
    return Node(home, ray_cluster.start(home, join=address, head=head.cluster if head else None, options=more))


def run(env: dict[str, str], script: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def get(url: str, token: str = "") -> int:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"} if token else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def listening(port: int) -> set[str]:
    """The addresses on which that port is open."""
    found = psutil.net_connections("tcp")
    return {c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN and c.laddr.port == port}


# --- with the token alone ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain(_own_environment: None) -> Iterator[tuple[Node, int, int]]:
    """A head with its dashboard; also the ports of its metrics and of its agent."""
    home = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    metrics, agent = free_port(0, ""), free_port(0, "")
    ports = [f"--metrics-export-port={metrics}", f"--dashboard-agent-listen-port={agent}"]
    head = started(home, "n1", options=ports)
    try:
        yield head, metrics, agent
    finally:
        head.end()
        shutil.rmtree(home, ignore_errors=True)


JOIN = """
import ray
ray.init(address={address!r}, logging_level="ERROR", log_to_driver=False)

@ray.remote(num_cpus=0)
def write(path):
    import os
    open(path, "w").write(str(os.getuid()))

ray.get(write.remote({path!r}), timeout=60)
"""


@pytest.mark.says("ray-token-runs-code", "ray-token-needed", "ray-pickles")
def test_who_has_rays_token_runs_code_and_nobody_else(plain: tuple[Node, int, int], tmp_path: Path) -> None:
    head = plain[0]
    script = JOIN.format(address=head.cluster.address, path=str(tmp_path / "ran"))
    without = {**environment(head.home, head.cluster)}
    wrong = tmp_path / "wrong"
    configuration.write_private(wrong, b"f" * 64)
    for env in (
        {**without, "RAY_AUTH_TOKEN_PATH": str(wrong)},
        {name: value for name, value in without.items() if not name.startswith("RAY_AUTH")},
    ):
        try:
            done = run(env, script)
        except subprocess.TimeoutExpired:
            done = None  # it never got in
        assert done is None or done.returncode != 0, done
        assert not (tmp_path / "ran").exists(), "a pickle of a stranger was run"
    done = run(without, script)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "ran").read_text() == str(os.getuid())


@pytest.mark.says("ray-token-needed", "ray-dashboard", "open-dashboard")
def test_the_dashboards_data_and_jobs_need_the_token_its_files_do_not(plain: tuple[Node, int, int]) -> None:
    head = plain[0]
    url, port = head.cluster.dashboard, int(head.cluster.dashboard.rpartition(":")[2])
    assert listening(port) == {"127.0.0.1"}
    eventually(lambda: get(f"{url}/api/jobs/", head.token()) == 200, 30, "the jobs are answered")
    for path in ("/api/jobs/", "/nodes?view=summary", "/api/cluster_status"):
        assert get(url + path) == 401, path
        assert get(url + path, "f" * 64) in (401, 403), path
    assert get(f"{url}/") == 200, "static files are open"


@pytest.mark.says("ray-ports", "ray-metrics", "open-metrics")
def test_ports_of_ray_that_are_on_all_addresses_and_those_that_anyone_may_ask(plain: tuple[Node, int, int]) -> None:
    head, metrics, agent = plain
    assert listening(head.port) & ANYWHERE
    eventually(lambda: listening(metrics) & ANYWHERE, 30, "the metrics are served")
    eventually(lambda: get(f"http://127.0.0.1:{metrics}/metrics") == 200, 30, "anyone may ask")
    eventually(lambda: get(f"http://127.0.0.1:{agent}/api/local_raylet_healthz") == 200, 30, "anyone may ask")


# --- with TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Made:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return made_as_documented(tmp_path_factory.mktemp("ours"), "node", WORKER)


@pytest.fixture(scope="module")
def theirs(ours: Made, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Of an authority that this cluster does not know."""
    return made_as_documented(tmp_path_factory.mktemp("theirs"), "node", WORKER)


def home_with(folder: Path, made: Made | None, head: Node | None = None) -> Path:
    """A state folder with certificates, and with the head's Ray token as docs/security.md has it copied."""
    folder.mkdir(mode=0o700)
    if made is not None:
        for name, path in zip(tls.FILES.values(), (made.ca, made.certificate, made.key), strict=True):
            configuration.write_private(folder / "tls" / name, path.read_bytes())
    if head is not None:
        configuration.write_private(folder / "ray_auth_token", head.token().encode())
    return folder


@pytest.fixture(scope="module")
def secured(ours: Made, _own_environment: None) -> Iterator[tuple[Node, Node]]:
    """A head and a worker with certificates, with vagus on both."""
    folder = Path(tempfile.mkdtemp(prefix="vagus-test-"))
    nodes: list[Node] = []
    try:
        nodes.append(started(home_with(folder / "n1", ours), "n1"))
        nodes.append(started(home_with(folder / "n2", ours, nodes[0]), "n2", nodes[0], [f"--node-ip-address={WORKER}"]))
        (folder / "vagus.yaml").write_text(QUIET)
        done = vagus_at(nodes[0], "up", "--config", str(folder / "vagus.yaml"))
        assert done.returncode == 0, done.stdout + done.stderr
        yield nodes[0], nodes[1]
    finally:
        for node in reversed(nodes):
            node.end()
            assert launch.down(node.home) == []
        shutil.rmtree(folder, ignore_errors=True)


def vagus_at(node: Node, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "vagus", *arguments],
        env={**os.environ, "VAGUS_HOME": str(node.home)},
        capture_output=True,
        text=True,
        timeout=200 * PATIENCE,
        check=False,
    )


def alive(node: Node) -> int:
    """How many nodes Ray has."""
    script = (
        f"import ray; ray.init(address={node.cluster.address!r}, logging_level='ERROR', log_to_driver=False)\n"
        "print(sum(node['Alive'] for node in ray.nodes()))"
    )
    done = run(environment(node.home, node.cluster), script)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


@pytest.mark.says("tls-joins")
def test_vagus_runs_on_nodes_that_speak_tls(secured: tuple[Node, Node]) -> None:
    head, _ = secured

    def both() -> bool:
        status = json.loads(vagus_at(head, "status", "--json").stdout)
        return {node["node"] for node in status["nodes"]} == {"n1", "n2"} and not status["missing"]

    eventually(both, 60, "both nodes have their actors")
    assert alive(head) == 2


@pytest.mark.says("tls-joins")
def test_the_head_speaks_tls_only_and_wants_a_certificate(secured: tuple[Node, Node], ours: Made, theirs: Made) -> None:
    head, _ = secured

    def meets(client: Made | None) -> bool:
        context = ssl.create_default_context(cafile=str(ours.ca))
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        context.set_alpn_protocols(["h2"])
        try:
            with (
                socket.create_connection((LOOPBACK, head.port), 5) as connection,
                context.wrap_socket(connection, server_hostname=LOOPBACK) as secured,
            ):
                secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
                return bool(secured.recv(9))  # in TLS 1.3 a client learns only now that it is refused
        except OSError:
            return False

    assert meets(ours)
    assert not meets(None)
    assert not meets(theirs)


@pytest.mark.says("tls-joins")
@pytest.mark.parametrize("with_certificate", [False, True], ids=["without a certificate", "of another authority"])
def test_a_node_without_a_certificate_of_ours_cannot_join(
    secured: tuple[Node, Node], theirs: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_certificate: bool
) -> None:
    head, _ = secured
    monkeypatch.setattr(ray_cluster, "START_TIMEOUT_S", 20.0)  # it would try for long
    home = home_with(tmp_path / "stranger", theirs if with_certificate else None, head)  # the token it does have
    with pytest.raises(VagusError, match="ray start"):
        started(home, "stranger", head, ["--node-ip-address=127.0.0.4"]).end()
    assert alive(head) == 2
