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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec
import psutil

from vagus.config import secret, write_private
from vagus.errors import ConfigError, VagusError
from vagus.runtime import tls

LOOPBACK = "127.0.0.2"  # Ray replaces 127.0.0.1 by an outside address; this one it takes as it is
MARK = "VAGUS_CLUSTER_ID"  # in the environment of every process of the cluster that `vagus up` started
GCS_PORT, DASHBOARD_PORT = 6379, 8265
OBJECT_STORE_BYTES = 256 << 20  # vagus moves little through it
START_TIMEOUT_S = 120.0
LEAVE_TIMEOUT_S = 3.0
STOP_TIMEOUT_S = 10.0
RAY_DAEMONS = (
    *("/ray/dashboard/", "ray.dashboard", "ray-dashboard", "/ray/autoscaler/", "/ray/_private/log_monitor"),
    *("ray.util.client.server", "from multiprocessing.resource_tracker"),
)
MAX_TEMP_BASE = 30

ROBUST = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_autoscaler_v2": "0",
    "RAY_grpc_client_keepalive_time_ms": "10000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
    "RAY_health_check_failure_threshold": "20",
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    "RAY_worker_niceness": "0",  # at Ray's 15 a busy machine would silence those who are to notice that it is busy
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "1",
}
"""Measured: recovers from partitions and a restarted head; see ARCHITECTURE.md, 'Ray'."""


class ClusterFile(msgspec.Struct, kw_only=True):
    """`HOME/cluster.json`: the cluster that this machine is part of."""

    id: str
    address: str
    started_ray: bool
    head: bool = True
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
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as error:
        raise VagusError(f"{path_of(home)} cannot be read: {error}; remove it if no cluster of yours runs") from error


def write(home: Path, cluster: ClusterFile) -> None:
    write_private(path_of(home), msgspec.json.format(msgspec.json.encode(cluster)))


def environment(home: Path, cluster: ClusterFile | None = None) -> dict[str, str]:
    """The environment in which Ray and everything that joins it runs; what the user set wins.

    cluster: the one to join or start; it keeps the token with which it was started. Raises ConfigError (see `tls`).
    """
    if cluster is not None and cluster.auth_token_path:
        token_path = Path(cluster.auth_token_path)
    else:
        token_path = Path.home() / ".ray" / "auth_token"
        if not token_path.exists():
            token_path = home / "ray_auth_token"
            secret(token_path)
    given = {"RAY_AUTH_TOKEN_PATH": str(token_path), **tls.settings(home)}
    env = {**ROBUST, **given, **os.environ, "VAGUS_HOME": str(home)}
    if "RAY_AUTH_TOKEN" in os.environ:
        env.pop("RAY_AUTH_TOKEN_PATH")
    elif cluster is not None and cluster.auth_token_path:
        env["RAY_AUTH_TOKEN_PATH"] = cluster.auth_token_path
    return env


def free_port(preferred: int, host: str = "127.0.0.1") -> int:
    """The preferred TCP port of `host` ("": of all addresses) if nobody listens there, else one that the kernel chooses."""
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise VagusError("no free TCP port on 127.0.0.1; end something that holds one, or raise ip_local_port_range")


def start(
    home: Path,
    *,
    bind_node: bool = False,
    join: str = "",
    say: Callable[[str], None] = lambda _: None,
    head: ClusterFile | None = None,
    options: Sequence[str] = (),
    again: ClusterFile | None = None,
    settings: Mapping[str, str] | None = None,
) -> ClusterFile:
    """Runs `ray start` here: a head, or a node that joins `join`. Raises VagusError with Ray's own last words.

    head: of the cluster to join, when this process started it: its token is used; options: more words for Ray, settings:
    for its environment. again: a head of which no process is left; it returns to where the other nodes look for it.
    """
    cluster = ClusterFile(id=again.id if again else secrets.token_hex(8), address=join, started_ray=True, head=not join)
    env = environment(home, again or head) | dict(settings or {})
    cluster.auth_token_path = env.get("RAY_AUTH_TOKEN_PATH", "")
    temp_dir = Path(again.temp_dir) if again else _temp_dir(cluster.id)
    cluster.temp_dir = str(temp_dir)
    programs = f"{Path(sys.executable).parent}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["PATH"] = programs  # so that `vagus` and `python` of a job are these
    env |= {MARK: cluster.id, "TMPDIR": str(temp_dir / "tmp")}  # what Ray's processes leave there goes with the folder
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--disable-usage-stats", "--log-color=false"]
    # any port: with the default one, jobs of a second cluster on a machine find no agent
    command += [f"--object-store-memory={OBJECT_STORE_BYTES}", "--dashboard-agent-listen-port=0", *options]
    if join:
        command += [f"--address={join}"]
    else:
        # Ray listens on all addresses, whatever the node's own is; its token keeps others out
        port, dashboard_port = _port(again, temp_dir), free_port(DASHBOARD_PORT)
        command += ["--head", f"--port={port}", f"--temp-dir={temp_dir}"]
        command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard_port}"]
        host = LOOPBACK
        if bind_node:
            import ray.util

            host = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
        command += [f"--node-ip-address={host}"]
        cluster.address, cluster.dashboard = f"{host}:{port}", f"http://127.0.0.1:{dashboard_port}"
    try:
        say(f"ray start {'--address=' + join if join else '--head'} ({cluster.address})")
        write(home, cluster)  # before Ray starts: an interrupted start can be stopped too
        _run(command, env, temp_dir)
    except BaseException:  # an interrupt too: nothing half started stays
        if again is None:
            stop(home, cluster)
        else:  # its folder is the other nodes' too
            _send(processes(cluster.id), signal.SIGKILL)
        raise
    return cluster


def _port(again: ClusterFile | None, temp_dir: Path) -> int:
    """Where a head shall listen."""
    if again is None:
        return free_port(GCS_PORT, "")
    # Ray takes other nodes on this machine for the head that it shall start, and refuses, unless it has forgotten it
    (temp_dir / "ray_current_cluster").unlink(missing_ok=True)
    return int(again.address.rpartition(":")[2])


def _temp_dir(cluster_id: str) -> Path:
    """A new folder, this user's alone. Ray puts sockets deep into it, whose paths have at most 107 bytes."""
    base = tempfile.gettempdir()
    folder = Path(base if len(base) <= MAX_TEMP_BASE else "/tmp") / f"vagus-ray-{os.geteuid()}-{cluster_id[:6]}"  # noqa: S108
    try:
        folder.mkdir(mode=0o700)
        (folder / "tmp").mkdir(mode=0o700)
    except OSError as error:
        raise VagusError(
            f"cannot make {folder}: {error.strerror}; set TMPDIR to a folder that you may write"
        ) from error
    return folder


def _run(command: list[str], env: dict[str, str], temp_dir: Path) -> None:
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=START_TIMEOUT_S, stdin=subprocess.DEVNULL,
            check=False, start_new_session=True,  # Ctrl-C here, or the end of this terminal, is not for Ray
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise VagusError(
            f"ray start did not finish within {START_TIMEOUT_S:.0f} s: is this machine overloaded?"
        ) from error
    if done.returncode:
        words = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise VagusError(f"ray start failed (exit {done.returncode}):\n{words}")


def processes(cluster_id: str, temp_dir: str = "") -> list[psutil.Process]:
    """Every process of the cluster: those that carry its mark, and their descendants; watchdogs left out, which end by
    themselves when done.

    Ray's agents write their title over their environment, and lose the mark: they are found as descendants, or when
    their raylet is gone, by their logs in Ray's `temp_dir`.
    """
    ancestors = {p.pid for p in psutil.Process().parents()} | {os.getpid()}
    found: dict[int, psutil.Process] = {}
    for process, watchdog in _marked(cluster_id):
        if not watchdog and process.pid not in ancestors:
            found[process.pid] = process
            with contextlib.suppress(psutil.Error):
                found.update({p.pid: p for p in process.children(recursive=True) if not _is_watchdog(p.pid)})
    if temp_dir:
        found.update({p.pid: p for p in _logging_to(temp_dir) if p.pid not in found})
    return [p for p in found.values() if p.pid not in ancestors]


def watchdogs(cluster_id: str) -> list[psutil.Process]:
    """The watchdogs of the cluster."""
    return [p for p, watchdog in _marked(cluster_id) if watchdog]


def _marked(cluster_id: str) -> Iterator[tuple[psutil.Process, bool]]:
    mark = f"{MARK}={cluster_id}".encode()
    for pid in _pids():
        with contextlib.suppress(OSError, psutil.Error):
            if mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                yield psutil.Process(pid), _is_watchdog(pid)


def _is_watchdog(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return b"vagus.watchdog" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _logging_to(temp_dir: str) -> Iterator[psutil.Process]:
    """Ray's own processes, by the title that they give themselves, with files open below `temp_dir`."""
    for pid in _pids():
        with contextlib.suppress(OSError, psutil.Error):
            if Path(f"/proc/{pid}/cmdline").read_bytes().startswith((b"ray::", b"ray-")):
                with os.scandir(f"/proc/{pid}/fd") as entries:
                    found = any(os.readlink(entry.path).startswith(temp_dir + "/") for entry in entries)
                if found:
                    yield psutil.Process(pid)


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def running(cluster: ClusterFile) -> bool:
    """Whether the cluster that the file names is there: our processes, or an address that answers."""
    if cluster.started_ray:
        return any("raylet" in _name(p) for p in processes(cluster.id))
    return answers(cluster.address)


def check_address(address: str) -> None:
    """Raises ConfigError unless it is `auto` or `host:port`."""
    host, _, port = address.rpartition(":")
    if address != "auto" and not (host and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConfigError(f"address {address!r} is not host:port, such as 10.0.0.1:6379, nor auto")


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
        first = found = processes(cluster.id, cluster.temp_dir)
        ray = [p for p in found if _is_ray(p)]
        if cluster.head:
            # nobody to take leave of, nothing to save: raylet and head would take seconds to say so
            _send(ray, signal.SIGKILL)
        else:
            _send(ray, signal.SIGTERM)  # the raylet tells its head
        _send([p for p in found if p not in ray], signal.SIGTERM)
        psutil.wait_procs(found, timeout=LEAVE_TIMEOUT_S)
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while (found := _left(first, cluster)) and time.monotonic() < deadline:
            _send(found, signal.SIGKILL)
            psutil.wait_procs(found, timeout=1.0)
        problems += [f"process {p.pid} ({_name(p)}) did not end" for p in found]
        if cluster.temp_dir:
            shutil.rmtree(cluster.temp_dir, ignore_errors=True)
    if not problems:
        path_of(home).unlink(missing_ok=True)
    return problems


def _left(first: list[psutil.Process], cluster: ClusterFile) -> list[psutil.Process]:
    """What still runs: of those that were found first (orphans lose their ties), and of any that came since."""
    alive = {p.pid: p for p in first if _alive(p)}
    return list({**alive, **{p.pid: p for p in processes(cluster.id, cluster.temp_dir)}}.values())


def _alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and bool(process.status() != psutil.STATUS_ZOMBIE)
    return False


def _is_ray(process: psutil.Process) -> bool:
    """Whether it is one of Ray's own daemons, and not a worker or a job."""
    with contextlib.suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return process.name() in ("raylet", "gcs_server") or any(part in line for part in RAY_DAEMONS)
    return False


def _send(found: list[psutil.Process], signal_number: signal.Signals) -> None:
    for process in found:
        with contextlib.suppress(psutil.Error):
            process.send_signal(signal_number)
