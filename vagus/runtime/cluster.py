"""Ray on this machine: started with the settings that make it robust, marked so that exactly it is stopped again."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil

from vagus.errors import VagusError

LOOPBACK = "127.0.0.2"  # Ray replaces 127.0.0.1 by an outside address; this one it takes as it is
MARK = "VAGUS_CLUSTER_ID"  # in the environment of every process of the cluster that `vagus up` started
GCS_PORT, DASHBOARD_PORT = 6379, 8265
OBJECT_STORE_BYTES = 256 << 20  # vagus moves little through it
STOP_TIMEOUT_S = 10.0

ROBUST = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_autoscaler_v2": "0",
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "20",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}
"""Measured: recovers from partitions and a restarted head; see ARCHITECTURE.md, 'Ray'."""


class ClusterFile(msgspec.Struct, kw_only=True):
    """`HOME/cluster.json`: the cluster that this machine is part of."""

    id: str
    address: str
    started_ray: bool
    temp_dir: str = ""
    dashboard: str = ""
    auth_token_path: str = ""
    version: int = 1


def path_of(home: Path) -> Path:
    return home / "cluster.json"


def read(home: Path) -> ClusterFile | None:
    """What `vagus up` left, or None."""
    try:
        return msgspec.json.decode(path_of(home).read_bytes(), type=ClusterFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise VagusError(f"{path_of(home)} cannot be read: {error}; remove it if no cluster of yours runs") from error


def write(home: Path, cluster: ClusterFile) -> None:
    write_private(path_of(home), msgspec.json.format(msgspec.json.encode(cluster)))


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file atomically, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def secret(path: Path) -> str:
    """64 hexadecimal digits, made at the first call and kept, readable by the owner only."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        write_private(path, secrets.token_hex(32).encode())
        return path.read_text().strip()


def environment(home: Path, cluster_id: str = "") -> dict[str, str]:
    """The environment in which Ray and everything that joins it runs; what the user set wins."""
    token_path = Path.home() / ".ray" / "auth_token"
    if not token_path.exists():
        token_path = home / "ray_auth_token"
        secret(token_path)
    env = {**ROBUST, "RAY_AUTH_TOKEN_PATH": str(token_path), **os.environ, "VAGUS_HOME": str(home)}
    if "RAY_AUTH_TOKEN" in os.environ:
        env.pop("RAY_AUTH_TOKEN_PATH")
    if cluster_id:
        env[MARK] = cluster_id
    return env


def free_port(preferred: int) -> int:
    """The preferred TCP port of loopback if nobody listens there, else one that the kernel chooses."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise VagusError("no free TCP port on 127.0.0.1; end something that holds one, or raise ip_local_port_range")


def start(
    home: Path, *, bind_node: bool = False, join: str = "", say: Callable[[str], None] = lambda _: None
) -> ClusterFile:
    """Runs `ray start` here: a head, or a node that joins `join`. Raises VagusError with Ray's own last words."""
    cluster_id = secrets.token_hex(8)
    temp_dir = Path(tempfile.gettempdir()) / f"vagus-ray-{os.geteuid()}-{cluster_id[:6]}"
    env = environment(home, cluster_id)
    (temp_dir / "tmp").mkdir(parents=True, mode=0o700)
    env["TMPDIR"] = str(temp_dir / "tmp")  # what Ray's processes leave there goes with the folder
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--log-color=false"]
    command += [f"--object-store-memory={OBJECT_STORE_BYTES}"]
    if join:
        command += [f"--address={join}"]
        address, dashboard = join, ""
    else:
        port, dashboard_port = free_port(GCS_PORT), free_port(DASHBOARD_PORT)
        command += ["--head", f"--port={port}", f"--temp-dir={temp_dir}"]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"]
        host = LOOPBACK
        if bind_node:
            import ray.util

            host = ray.util.get_node_ip_address()
        command += [f"--node-ip-address={host}"]
        address, dashboard = f"{host}:{port}", f"http://127.0.0.1:{dashboard_port}"
    say(f"ray start {'--address=' + join if join else '--head'} ({address})")
    cluster = ClusterFile(
        id=cluster_id,
        address=address,
        started_ray=True,
        temp_dir=str(temp_dir),
        dashboard=dashboard,
        auth_token_path=env.get("RAY_AUTH_TOKEN_PATH", ""),
    )
    write(home, cluster)  # before Ray starts: an interrupted start can be stopped too
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=False
        )
    except subprocess.TimeoutExpired as error:
        stop(home, cluster)
        raise VagusError("ray start did not finish within 120 s; see its logs in " + str(temp_dir)) from error
    if done.returncode:
        stop(home, cluster)
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise VagusError(f"ray start failed (exit {done.returncode}):\n{words}")
    return cluster


def processes(cluster_id: str) -> list[psutil.Process]:
    """Every process that carries the cluster's mark, watchdogs left out: these end by themselves when done."""
    mark, found = f"{MARK}={cluster_id}".encode(), []
    for pid in _pids():
        if pid == os.getpid():
            continue
        with contextlib.suppress(OSError, psutil.Error):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                if b"vagus.watchdog" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    continue
                found.append(psutil.Process(pid))
    ancestors = {p.pid for p in psutil.Process().parents()}
    return [p for p in found if p.pid not in ancestors]


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def running(cluster: ClusterFile) -> bool:
    """Whether the cluster that the file names is there: our processes, or an address that answers."""
    if cluster.started_ray:
        return any("raylet" in _name(p) for p in processes(cluster.id))
    return answers(cluster.address)


def answers(address: str) -> bool:
    """Whether something listens at host:port."""
    host, _, port = address.rpartition(":")
    with contextlib.suppress(OSError, ValueError), socket.create_connection((host, int(port)), 2.0):
        return True
    return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return process.name()
    return ""


def stop(home: Path, cluster: ClusterFile) -> list[str]:
    """Ends exactly the processes of this cluster, removes Ray's session folder. Returns what could not be ended."""
    problems: list[str] = []
    if cluster.started_ray:
        # the raylet first, while its head still answers: it then takes leave and its workers along at once
        _end([p for p in processes(cluster.id) if "raylet" in _name(p)], signal.SIGTERM, 5.0)
        _end(processes(cluster.id), signal.SIGTERM, 2.0)
        _end(processes(cluster.id), signal.SIGKILL, STOP_TIMEOUT_S)
        problems += [f"process {p.pid} ({_name(p)}) did not end" for p in processes(cluster.id)]
        if cluster.temp_dir:
            shutil.rmtree(cluster.temp_dir, ignore_errors=True)
        _forget_address(cluster.address)
    if not problems:
        path_of(home).unlink(missing_ok=True)
    return problems


def _end(found: list[psutil.Process], signal_number: signal.Signals, timeout_s: float) -> None:
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal_number)
    psutil.wait_procs(found, timeout=timeout_s)


def _forget_address(address: str) -> None:
    """Ray notes the last cluster in its temporary folder; a note of ours must not outlive the cluster."""
    note = Path(tempfile.gettempdir()) / "ray" / "ray_current_cluster"
    with contextlib.suppress(OSError):
        if note.read_text().strip() == address:
            note.unlink()
            note.parent.rmdir()
