"""What listens where, which files are whose, which keys and certificates Ray is started with. Nothing of Ray runs."""

from __future__ import annotations

import os
import socket
import sys
import types
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from observers import observer, said

from vagus import config as configuration
from vagus.actors import gateway_file, health_process
from vagus.actors.base import Seat
from vagus.actors.collector import CollectorActor
from vagus.actors.datagrams import open_unix
from vagus.actors.probing import _host
from vagus.client import endpoint
from vagus.clock import ManualClock
from vagus.config import CollectSettings, Config, GatewaySettings, InputSettings
from vagus.controllers.load import find
from vagus.errors import ConfigError, PeerUnreachable
from vagus.health.instances import instance_of
from vagus.model import Event, Level
from vagus.runtime import cluster as ray_cluster
from vagus.runtime import launch, tls
from vagus.runtime.cluster import ClusterFile
from vagus.sealing import Opened, Sealer
from vagus.store import Store

KEY = bytes(range(32))
ELSEWHERE = "127.0.0.3"  # an address of this machine that is not the usual one: stands for the node's


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


@pytest.fixture(autouse=True)
def _nobodys_token(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE", "RAY_USE_TLS"):
        monkeypatch.delenv(name, raising=False)
    for name in tls.FILES:
        monkeypatch.delenv(name, raising=False)


# --- what listens where ------------------------------------------------------------------------------------------------


class Alone:
    """Links of a node without other actors."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        raise PeerUnreachable(f"{actor} is away")

    def nodes(self) -> tuple[str, ...]:
        return ("n1",)


@asynccontextmanager
async def collecting(home: Path, **settings: Any) -> AsyncIterator[CollectorActor]:
    config = Config(collect=CollectSettings(period_s=60, collectors=()), **settings)
    options = {"token": "t" * 32, "address": ELSEWHERE}
    actor = CollectorActor(Seat("collector", "n1", str(home), config, options=options), Alone())
    await actor.begin()
    try:
        yield actor
    finally:
        await actor.end()


@pytest.mark.says("gateway-loopback", "lines-closed", "forward-closed")
async def test_a_gateway_is_on_loopback_even_where_the_node_is_open_to_others(tmp_path: Path) -> None:
    assert Config().gateway.port == 7117
    async with collecting(tmp_path, gateway=GatewaySettings(port=0, bind="node")) as actor:
        assert actor._url.startswith("http://127.0.0.1:")
        port = int(actor._url.rpartition(":")[2])
        with pytest.raises(ConnectionRefusedError), socket.create_connection((ELSEWHERE, port), 2.0):
            pass
        assert actor._listeners is not None
        assert actor._listeners.ports == {}, "no port for lines or Fluent unless it is set"


@pytest.mark.says("gateway-loopback")
async def test_a_taken_port_is_followed_by_the_next(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with collecting(tmp_path, gateway=GatewaySettings(port=port)) as actor:
            assert port < int(actor._url.rpartition(":")[2]) <= port + 100


@pytest.mark.says("lines-closed", "forward-closed")
@pytest.mark.parametrize(("bind", "host"), [("loopback", "127.0.0.1"), ("node", ELSEWHERE)])
async def test_ports_for_others_telemetry_are_where_the_settings_say(tmp_path: Path, bind: Any, host: str) -> None:
    inputs = InputSettings(bind=bind, ulm_port=0, forward_port=0)
    async with collecting(tmp_path, gateway=GatewaySettings(port=0), inputs=inputs) as actor:
        assert actor._listeners is not None
        assert sorted(actor._listeners.ports) == ["forward", "ulm"]
        for port in actor._listeners.ports.values():
            with socket.create_connection((host, port), 2.0) as sock:
                assert sock.getpeername()[0] == host
            other = "127.0.0.1" if host == ELSEWHERE else ELSEWHERE
            with pytest.raises(ConnectionRefusedError), socket.create_connection((other, port), 2.0):
                pass


@pytest.mark.says("gossip-address", "probes-address")
async def test_gossip_and_probes_leave_loopback_by_one_setting_only(tmp_path: Path) -> None:
    actor = observer(tmp_path)
    await actor.begin()
    try:
        assert (await actor.address())[0] == "127.0.0.1"
    finally:
        await actor.end()
    for bind, host in (("loopback", "127.0.0.1"), ("node", ELSEWHERE)):
        config = Config(gateway=GatewaySettings(bind=bind))  # type: ignore[arg-type]
        seat = Seat("collector", "n1", str(tmp_path), config, options={"address": ELSEWHERE})
        assert _host(seat) == host


@pytest.mark.says("serve-loopback")
async def test_health_alone_serves_http_on_loopback_whatever_its_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[dict[str, Any]] = []

    class Server:
        def __init__(self, home: Path, node: str, config: Config, peers: Any, gossip: Any, **more: Any) -> None:
            made.append({"gossip": gossip, **more})

        async def start(self) -> str:
            raise ConfigError("enough")

    monkeypatch.setattr(health_process, "HealthServer", Server)
    for address, http in (("192.0.2.1:6688", "127.0.0.1"), ("127.0.0.3:6688", "127.0.0.3")):
        with pytest.raises(ConfigError, match="enough"):
            async with health_process._served(tmp_path, instance_of(b"", "x", "pano0", address)):
                pass
        assert (made[-1]["gossip"][0], made[-1]["http_host"]) == (address.partition(":")[0], http)


@pytest.mark.says("unix-sockets")
def test_a_unix_socket_is_its_users_alone(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.sock"
    with open_unix(path):
        assert mode(path) == 0o600
        assert mode(path.parent) == 0o700


# --- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.says("folders-private", "token-file", "secret-file", "ray-token-file", "address-files", "same-user")
def test_what_vagus_writes_is_its_owners_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = os.umask(0)  # the most careless
    try:
        home = tmp_path / "state" / "vagus"
        token, _ = configuration.secret(home / "token"), configuration.secret(home / "secret")
        ray_cluster.environment(home)
        ray_cluster.write(home, ClusterFile(id="a", address="127.0.0.2:1", started_ray=True))
        folder = configuration.node_folder(home, "n1")
        configuration.private_folder(folder)
        gateway_file.announce(folder, "n1", "http://127.0.0.1:7117", token)
    finally:
        os.umask(before)
    folders = [tmp_path / "state", home, home / "nodes", folder]
    assert {str(path): oct(mode(path)) for path in folders} == {str(path): "0o700" for path in folders}
    files = sorted(path for path in home.rglob("*") if path.is_file())
    names = ["cluster.json", "gateway.json", "ray_auth_token", "secret", "token", "token"]
    assert sorted(path.name for path in files) == names
    assert {oct(mode(path)) for path in files} == {"0o600"}
    with socket.create_server(("127.0.0.1", 0)) as listening:
        gateway_file.announce(folder, "n1", f"http://127.0.0.1:{listening.getsockname()[1]}", token)
        assert endpoint.find("", "", home=str(home)).token == token, "whoever runs as this user has it"


@pytest.mark.says("ray-token-file")
def test_a_token_of_rays_own_comes_first(tmp_path: Path) -> None:
    own = Path.home() / ".ray" / "auth_token"
    own.parent.mkdir(parents=True)
    own.write_text("x")
    assert ray_cluster.environment(tmp_path)["RAY_AUTH_TOKEN_PATH"] == str(own)
    assert not (tmp_path / "ray_auth_token").exists()


@pytest.mark.says("secrets-random")
def test_secrets_are_256_bits_of_the_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {configuration.secret(tmp_path / f"n{n}") for n in range(20)}
    assert len(made) == 20
    assert {len(bytes.fromhex(secret)) for secret in made} == {32}
    monkeypatch.setattr("secrets.token_bytes", lambda count=None: b"\x07" * (count or 0))
    assert configuration.secret(tmp_path / "known") == "07" * 32, "from the module `secrets`, and nothing else"


@pytest.mark.says("own-token-files")
def test_keys_that_others_can_read_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text("a-shared-key-of-forward")
    for wrong in (0o644, 0o640, 0o604, 0o660):
        path.chmod(wrong)
        with pytest.raises(ConfigError, match="chmod 600"):
            configuration.read_token("forward", str(path))


@pytest.mark.says("store-plain")
def test_what_is_stored_can_be_read_by_whoever_reads_the_file(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store") as store:
        event = Event(10**18, "order.paid", "n1", Level.INFO, "x", {"who": "somebody-in-the-clear"})
        store.put("event", event, t_ns=event.t_ns)
        store.flush()
    assert any(b"somebody-in-the-clear" in path.read_bytes() for path in (tmp_path / "store").iterdir())


@pytest.mark.says("files-are-code")
def test_a_controller_that_is_named_is_run(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nclass Mine: ...\n")
    find(f"{path}:Mine")
    assert (tmp_path / "ran").exists()


# --- keys ------------------------------------------------------------------------------------------------------------


@pytest.mark.says("sealed-restart")
def test_a_restarted_receiver_may_take_a_replay_once() -> None:
    clock = ManualClock()
    datagram = Sealer(KEY, "n1", clock=clock).seal(b"x")
    assert Sealer(KEY, "n2", clock=clock).open(datagram) is not None
    again = Sealer(KEY, "n2", clock=clock)
    assert again.open(datagram) is not None
    assert again.open(datagram) is None
    clock.advance(121)
    assert Sealer(KEY, "n2", clock=clock).open(datagram) is None


@pytest.mark.says("sealed-one-key")
def test_who_has_the_key_can_speak_in_any_name() -> None:
    clock = ManualClock()
    assert Sealer(KEY, "n1", clock=clock).open(Sealer(KEY, "n2", clock=clock).seal(b"x")) == Opened("n2", b"x")
    assert Sealer(KEY, "n1", clock=clock).open(Sealer(KEY, "anyone", clock=clock).seal(b"x")) == Opened("anyone", b"x")


@pytest.mark.says("rotate-old-refused")
async def test_datagrams_under_the_old_key_are_dropped_and_counted(tmp_path: Path) -> None:
    actor = observer(tmp_path)
    await actor.begin()
    try:
        await actor.set_peers({}, bytes(32).hex())
        actor.wire._open(Sealer(KEY, "n2").seal(b"\x90"), (ELSEWHERE, 1))
        assert actor.wire.counts["unsealed"] == 1
        assert await actor.report([said()])
    finally:
        await actor.end()


# --- Ray -------------------------------------------------------------------------------------------------------------


@pytest.mark.says("ray-token-default")
def test_ray_is_started_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = ray_cluster.environment(tmp_path)
    assert env["RAY_AUTH_MODE"] == "token"
    assert Path(env["RAY_AUTH_TOKEN_PATH"]).read_text() == configuration.secret(tmp_path / "ray_auth_token")
    ran: list[dict[str, str]] = []
    monkeypatch.setattr(ray_cluster, "_run", lambda command, env, temp_dir: ran.append(env))
    cluster = ray_cluster.start(tmp_path)
    try:
        assert ran[0]["RAY_AUTH_MODE"] == "token"
        assert ran[0]["RAY_AUTH_TOKEN_PATH"] == cluster.auth_token_path
        assert cluster.dashboard.startswith("http://127.0.0.1:")
    finally:
        ray_cluster.stop(tmp_path, cluster)


@pytest.mark.says("rotate-ray-copied")
def test_another_machine_makes_another_token(tmp_path: Path) -> None:
    head, joining = tmp_path / "head", tmp_path / "joining"
    one, other = (Path(ray_cluster.environment(home)["RAY_AUTH_TOKEN_PATH"]) for home in (head, joining))
    assert one.read_text() != other.read_text()
    other.write_text(one.read_text())
    assert Path(ray_cluster.environment(joining)["RAY_AUTH_TOKEN_PATH"]).read_text() == one.read_text()


class _Stop(Exception):
    pass


@pytest.fixture
def handed_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[Any, ...]]:
    """Makes a supervisor as `vagus up` does, up to what it is given."""
    given: list[tuple[Any, ...]] = []

    def make_supervisor(*arguments: Any) -> Any:
        given.append(arguments)
        raise _Stop

    def none() -> Any:
        raise PeerUnreachable("no supervisor")

    ray = types.SimpleNamespace(nodes=lambda: [{"Alive": True, "NodeID": "1", "Resources": {}}])
    monkeypatch.setitem(sys.modules, "ray", ray)  # type: ignore[arg-type]
    module = types.SimpleNamespace(make_supervisor=make_supervisor)
    monkeypatch.setitem(sys.modules, "vagus.runtime.supervisor", module)  # type: ignore[arg-type]
    monkeypatch.setattr(launch, "supervisor", none)
    monkeypatch.setattr(launch, "is_head", lambda node: True)

    def up() -> tuple[Any, ...]:
        with pytest.raises(_Stop):
            launch._supervisor(Config(), tmp_path, None, lambda text: None)
        return given[-1]

    return up


@pytest.mark.says("keys-by-ray", "rotate-made-anew")
def test_token_and_key_go_to_the_nodes_as_arguments(tmp_path: Path, handed_out: Callable[[], tuple[Any, ...]]) -> None:
    (first,) = [argument for argument in handed_out() if isinstance(argument, dict)]
    assert first == {"token": (tmp_path / "token").read_text(), "key": (tmp_path / "secret").read_text()}
    assert [argument for argument in handed_out() if isinstance(argument, dict)] == [first], "kept"
    (tmp_path / "token").unlink()
    (tmp_path / "secret").unlink()
    (second,) = [argument for argument in handed_out() if isinstance(argument, dict)]
    assert set(second.values()).isdisjoint(first.values())
    assert {oct(mode(tmp_path / name)) for name in ("token", "secret")} == {"0o600"}


# --- TLS -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def certified(tmp_path: Path) -> Path:
    """A state folder with what TLS needs (of the right names; Ray reads what is in them)."""
    for name in tls.FILES.values():
        configuration.write_private(tmp_path / "tls" / name, b"x")
    return tmp_path


@pytest.mark.says("tls-files", "tls-key-file")
def test_certificates_in_the_state_folder_turn_tls_on(certified: Path) -> None:
    env = ray_cluster.environment(certified)
    assert env["RAY_USE_TLS"] == "1"
    for variable, name in tls.FILES.items():
        assert env[variable] == str(certified / "tls" / name)
    for name in tls.FILES.values():
        path = certified / "tls" / name
        path.rename(path.with_suffix(".away"))
        with pytest.raises(ConfigError, match=f"lacks {name}.*docs/security.md"):
            ray_cluster.environment(certified)
        path.with_suffix(".away").rename(path)
    (certified / "tls" / "node.key").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        ray_cluster.environment(certified)


@pytest.mark.says("tls-environment")
def test_what_the_user_sets_wins(certified: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USE_TLS", "0")
    monkeypatch.setenv("RAY_TLS_CA_CERT", "/etc/ssl/ours.crt")
    env = ray_cluster.environment(certified)
    assert (env["RAY_USE_TLS"], env["RAY_TLS_CA_CERT"]) == ("0", "/etc/ssl/ours.crt")
    assert env["RAY_TLS_SERVER_KEY"] == str(certified / "tls" / "node.key")


@pytest.mark.says("tls-files")
def test_without_the_folder_there_is_no_tls(tmp_path: Path) -> None:
    assert "RAY_USE_TLS" not in ray_cluster.environment(tmp_path)
