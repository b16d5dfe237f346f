"""`vagus up` and `vagus down`: one call each, both idempotent, with progress told through `say`."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from vagus import config as configuration
from vagus import watchdog
from vagus.config import Config, ControllerSettings
from vagus.errors import ConfigError, PeerUnreachable, VagusError
from vagus.model import ActorStatus
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.cluster import ClusterFile
from vagus.runtime.names import NAMESPACE, SUPERVISOR, is_head

Say = Callable[[str], None]
READY_TIMEOUT_S = 90.0
CALL_TIMEOUT_S = 30.0
GIVE_UP_STARTS = 4


def _quiet(_: str) -> None:
    pass


@contextlib.contextmanager
def _one_at_a_time(home: Path) -> Iterator[None]:
    """Two `up` or `down` at once on one state folder: the second waits."""
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise VagusError(
            f"cannot write the state folder {home}: {error.strerror}; choose another with VAGUS_HOME"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def up(config: Config | None = None, *, address: str = "", arm: bool = False, say: Say = _quiet) -> ClusterFile:
    """Makes sure that a cluster runs here, with all its actors; returns when they are healthy. Raises VagusError."""
    config = config or Config()
    home = configuration.home(config)
    with _one_at_a_time(home):
        found = _running_cluster(home, say)
        if found is not None and address and found.address != address and address != "auto":
            raise VagusError(f"this machine runs in the cluster at {found.address}; `vagus down` leaves it first")
        cluster = found or _join_or_start(home, config, address, say)
        say(f"connecting to Ray at {cluster.address}")
        with connected(home, cluster):
            supervisor = _supervisor(config, home, say)
            _wait_for_actors(supervisor, home, say)
            if arm:  # when all are up: one that was being started would keep the settings it was started with
                _call(supervisor.arm.remote(True))
        return cluster


def _running_cluster(home: Path, say: Say) -> ClusterFile | None:
    cluster = ray_cluster.read(home)
    if cluster is None:
        return None
    if ray_cluster.running(cluster):
        return cluster
    say("an earlier cluster did not end cleanly: restoring limits, removing its remains")
    ray_cluster.stop(home, cluster)
    restore_limits(home)
    return None


def _join_or_start(home: Path, config: Config, address: str, say: Say) -> ClusterFile:
    restore_limits(home)
    bind_node = config.gateway.bind == "node"
    if not address:
        say("starting Ray")
        return ray_cluster.start(home, bind_node=bind_node, say=say)
    there = ClusterFile(id="", address=address, started_ray=False)
    try:
        with connected(home, there):
            import ray

            there.address = str(ray.get_runtime_context().gcs_address)
            ray_cluster.write(home, there)
            return there
    except VagusError:
        say(f"no Ray node of {address} on this machine: joining")
        return ray_cluster.start(home, join=address, bind_node=bind_node, say=say)


@contextlib.contextmanager
def connected(home: Path, cluster: ClusterFile) -> Iterator[None]:
    """A driver's connection to Ray for the length of the block; an existing one is used and left. Raises VagusError."""
    os.environ.update(ray_cluster.environment(home))
    import ray

    if ray.is_initialized():
        yield
        return
    try:
        ray.init(
            address=cluster.address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR,
            configure_logging=False,
        )  # fmt: skip
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PeerUnreachable(f"no Ray at {cluster.address}: {first}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _supervisor(config: Config, home: Path, say: Say) -> Any:
    """The cluster's supervisor, made on the head when there is none."""
    import ray

    from vagus.runtime.supervisor import make_supervisor

    try:
        handle = ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
        say("vagus runs already; checking its actors")
        return handle
    except ValueError:
        say("spawning the supervisor")
    head = next(n for n in ray.nodes() if n["Alive"] and is_head(n))
    options = {"token": ray_cluster.secret(home / "token"), "key": ray_cluster.secret(home / "secret")}
    # the folder that was asked for, else each node's own default: other nodes may have other users
    return make_supervisor(config, config.home, options, head["NodeID"])


def _wait_for_actors(supervisor: Any, home: Path, say: Say) -> None:
    told, deadline = "", time.monotonic() + READY_TIMEOUT_S
    while True:
        state = _call(supervisor.describe.remote())
        actors: list[ActorStatus] = state["actors"]
        healthy = sum(a.state == "HEALTHY" for a in actors)
        line = f"actors: {healthy} of {len(actors)} healthy on {len(state['nodes'])} node(s)"
        if line != told and actors:
            say(line)
            told = line
        if actors and healthy == len(actors):
            return
        hopeless = any(a.figures.get("failed_starts", 0) >= GIVE_UP_STARTS for a in actors)
        if time.monotonic() > deadline or hopeless:
            words = "; ".join(f"{a.name}: {a.state} {a.last_error}" for a in actors if a.state != "HEALTHY")
            raise VagusError(
                f"not all actors start: {words or state['last_error']}. The others run and the supervisor keeps trying; "
                f"logs are in {home / 'nodes'}; `vagus down` stops everything"
            )
        time.sleep(0.2)


def _call(reference: Any) -> Any:
    """Waits for an answer of the supervisor. Raises the VagusError that it raised, or PeerUnreachable."""
    import ray
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference, timeout=CALL_TIMEOUT_S)
    except RayTaskError as error:
        if isinstance(error.cause, VagusError):
            raise error.cause from None
        raise PeerUnreachable(f"the supervisor failed: {error.cause!r}") from error
    except RayError as error:
        raise PeerUnreachable(f"the supervisor does not answer: {str(error).splitlines()[0]}") from error


def down(home: Path, *, say: Say = _quiet) -> list[str]:
    """Stops all of it, restores every limit, leaves data. Idempotent. Returns what could not be undone."""
    problems: list[str] = []
    with _one_at_a_time(home):
        cluster = ray_cluster.read(home)
        if cluster is None:
            say("no cluster runs here")
        else:
            if ray_cluster.running(cluster):
                problems += _end_actors(home, cluster, say)
            if cluster.started_ray:
                say("stopping Ray")
            problems += ray_cluster.stop(home, cluster)
            _await_watchdogs(cluster)
        say("restoring limits" if cluster else "checking for limits left behind")
        problems += restore_limits(home)
        _remove_sockets(home)
    return problems


def _end_actors(home: Path, cluster: ClusterFile, say: Say) -> list[str]:
    """Asks the supervisor to end everything; when Ray does not answer, the watchdogs restore what the actors held."""
    try:
        if not ray_cluster.answers(cluster.address):
            raise PeerUnreachable(f"nothing listens at {cluster.address}")
        with connected(home, cluster):
            import ray

            try:
                supervisor = ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
            except ValueError:
                return []
            say("ending actors: limits restored, stores flushed")
            problems: list[str] = _call(supervisor.stop.remote())
            ray.kill(supervisor)
            return problems
    except VagusError as error:
        say(f"{error}: the watchdogs restore what the actors held")
        return []


def _await_watchdogs(cluster: ClusterFile) -> None:
    """Watchdogs end by themselves once their pipes have closed and all is restored."""
    if not cluster.id:
        return
    mark = f"{ray_cluster.MARK}={cluster.id}".encode()
    waiting = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            marked = mark in Path(f"/proc/{process.pid}/environ").read_bytes()
            if marked and b"vagus.watchdog" in Path(f"/proc/{process.pid}/cmdline").read_bytes():
                waiting.append(process)
    psutil.wait_procs(waiting, timeout=10.0)


def restore_limits(home: Path) -> list[str]:
    """Undoes what journals of dead controllers still hold, on every node of this state folder."""
    problems: list[str] = []
    for folder in sorted((home / "nodes").glob("*/journal*")):
        problems += watchdog.restore(folder)
    return problems


def _remove_sockets(home: Path) -> None:
    """Endpoints and sockets that killed actors could not remove themselves."""
    for pattern in ("*.sock", "gateway.json", "token"):
        for path in (home / "nodes").glob(f"*/{pattern}"):
            path.unlink(missing_ok=True)


def spawn(home: Path, settings: ControllerSettings, user_class: Any, *, timeout_s: float = 30.0) -> list[str]:
    """Runs a user's controller, supervised like vagus' own; returns the actors' names once all are healthy."""
    cluster = ray_cluster.read(home)
    if cluster is None:
        raise PeerUnreachable("no cluster runs here; start one with `vagus up`")
    with connected(home, cluster):
        import ray

        try:
            supervisor: Any = ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
        except ValueError as error:
            raise PeerUnreachable("the cluster has no supervisor; `vagus up` makes one") from error
        names: list[str] = _call(supervisor.spawn.remote(settings, user_class))
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            actors = {a.name: a for a in _call(supervisor.describe.remote())["actors"]}
            if all(n in actors and actors[n].state == "HEALTHY" for n in names):
                return names
            failed = [a for n, a in actors.items() if n in names and a.state == "UNHEALTHY"]
            if failed:
                _call(supervisor.remove.remote(settings.name))
                raise ConfigError(f"controller {settings.name!r} does not start: {failed[0].last_error}")
            time.sleep(0.2)
        raise VagusError(f"controller {settings.name!r} is not healthy after {timeout_s:.0f} s; see `vagus status`")


def remove(home: Path, name: str) -> bool:
    """Stops a spawned controller everywhere; False when there is none of that name."""
    cluster = ray_cluster.read(home)
    if cluster is None:
        raise PeerUnreachable("no cluster runs here; start one with `vagus up`")
    with connected(home, cluster):
        import ray

        supervisor: Any = ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
        return bool(_call(supervisor.remove.remote(name)))


def settings_for(name: str, on: str, **options: Any) -> ControllerSettings:
    """Settings of a controller that is spawned from Python. Raises ConfigError."""
    try:
        return msgspec.convert({"name": name, "on": on, **options}, ControllerSettings)
    except msgspec.ValidationError as error:
        raise ConfigError(f"spawn {name!r}: {error}") from error
