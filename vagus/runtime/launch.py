"""`vagus up` and `vagus down`: one call each, both idempotent, with progress told through `say`."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from vagus import config as configuration
from vagus import watchdog
from vagus.config import Config
from vagus.errors import ConfigError, PeerUnreachable, VagusError, unwritable
from vagus.model import ActorStatus
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.cluster import ClusterFile
from vagus.runtime.connect import call, connected, supervisor
from vagus.runtime.names import is_head

Say = Callable[[str], None]
READY_TIMEOUT_S = 90.0
LOCK_TIMEOUT_S = 180.0
STOP_CALL_TIMEOUT_S = 60.0
WATCHDOGS_TIMEOUT_S = 10.0
GIVE_UP_STARTS = 4


def _quiet(_: str) -> None:
    pass


@contextlib.contextmanager
def _one_at_a_time(home: Path, say: Say) -> Iterator[None]:
    """Two `up` or `down` at once on one state folder: the second waits. Raises VagusError."""
    try:
        configuration.private_folder(home)
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise VagusError(unwritable(f"the state folder {home}", error, "choose another with VAGUS_HOME")) from error
    try:
        _lock(descriptor, home, say)
        try:
            os.truncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:  # a full disk: better said now than after Ray was started
            raise VagusError(unwritable(f"the state folder {home}", error)) from error
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, home: Path, say: Say) -> None:
    deadline, told = time.monotonic() + LOCK_TIMEOUT_S, False
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except OSError as error:
            holder = os.pread(descriptor, 20, 0).decode(errors="replace") or "unknown"
            if not told:
                say(f"another `vagus up` or `down` is at work on {home} (process {holder}): waiting for it")
                told = True
            if time.monotonic() > deadline:
                raise VagusError(
                    f"another `vagus up` or `down` (process {holder}) has held {home / 'lock'} for "
                    f"{LOCK_TIMEOUT_S:.0f} s; end it, then try again"
                ) from error
        time.sleep(0.1)


def up(config: Config | None = None, *, address: str = "", arm: bool | None = None, say: Say = _quiet) -> ClusterFile:
    """Makes sure that a cluster runs here, with all its actors; returns when they are healthy. Raises VagusError."""
    if address:
        ray_cluster.check_address(address)
    settings = config or Config()
    home = configuration.home(settings)
    with _one_at_a_time(home, say):
        found = _running_cluster(home, say)
        if found is not None and address and found.address != address and address != "auto":
            raise VagusError(f"this machine runs in the cluster at {found.address}; `vagus down` leaves it first")
        cluster = found or _join_or_start(home, settings, address, say)
        say(f"connecting to Ray at {cluster.address}")
        try:
            with connected(home, cluster):
                handle = _supervisor(settings, home, arm, say)
                _wait_for_actors(handle, home, say)
        except PeerUnreachable as error:
            if found is None:
                raise
            raise VagusError(f"vagus was started here, and does not answer: {error}; `vagus down` ends it") from error
        return cluster


def _running_cluster(home: Path, say: Say) -> ClusterFile | None:
    cluster = ray_cluster.read(home)
    if cluster is None:
        return None
    if ray_cluster.running(cluster):
        return cluster
    say("an earlier cluster did not end cleanly: restoring limits, removing its remains")
    ray_cluster.stop(home, cluster)
    _await_watchdogs(cluster)
    _remove_sockets(home)
    return None


def _join_or_start(home: Path, config: Config, address: str, say: Say) -> ClusterFile:
    restore_limits(home)
    bind_node = config.gateway.bind == "node"
    if not address:
        say("starting Ray")
        return ray_cluster.start(home, bind_node=bind_node, say=say)
    if address != "auto" and not ray_cluster.answers(address):
        raise PeerUnreachable(f"nothing listens at {address}; is that where Ray's head runs?")
    there = ClusterFile(id="", address=address, started_ray=False)
    try:
        with connected(home, there):
            import ray

            there.address = str(ray.get_runtime_context().gcs_address)
            ray_cluster.write(home, there)
            return there
    except PeerUnreachable as error:
        if address == "auto":
            raise PeerUnreachable(f"{error}; leave --address out to start a cluster of vagus' own") from error
        say(f"no Ray node of {address} on this machine: joining")
        return ray_cluster.start(home, join=address, bind_node=bind_node, say=say)


def _supervisor(config: Config, home: Path, arm: bool | None, say: Say) -> Any:
    """The cluster's supervisor, made on the head when there is none."""
    import ray

    from vagus.runtime.supervisor import make_supervisor

    with contextlib.suppress(PeerUnreachable):
        handle = supervisor()
        state = call(handle.describe.remote())
        if not state["stopping"]:
            say("vagus runs already; checking its actors")
            asked = _comparable(config)
            if asked not in (Config(), _comparable(state["config"])):
                say("it keeps the settings that it was started with; `vagus down` first to change them")
            if arm is not None:
                say("arming the controllers" if arm else "disarming the controllers: their limits are restored")
                for problem in call(handle.arm.remote(arm)):
                    say(f"not {'armed' if arm else 'disarmed'}: {problem}")
            return handle
        say("finishing an interrupted `vagus down`")
        ray.kill(handle, no_restart=True)
        _await_gone()
    say("spawning the supervisor")
    if arm is not None:
        config = _armed(config, arm)
    nodes: Any = ray.nodes()  # type: ignore[no-untyped-call]
    if not any(n["Alive"] and is_head(n) for n in nodes):
        raise PeerUnreachable("Ray's head node is not alive yet; try again in a few seconds")
    options = {"token": configuration.secret(home / "token"), "key": configuration.secret(home / "secret")}
    # the folder that was asked for, else each node's own default: other nodes may have other users
    return make_supervisor(config, config.home, options)


def _armed(config: Config, on: bool) -> Config:
    controllers = (msgspec.structs.replace(c, armed=on) for c in config.controllers)
    return msgspec.structs.replace(config, controllers=tuple(controllers))


def _comparable(config: Config) -> Config:
    """What a second `vagus up` may ask for in vain: all but the folder, and arming, which it can change."""
    return _armed(msgspec.structs.replace(config, home=""), False)


def _await_gone() -> None:
    """Waits until the killed supervisor's name is free."""
    deadline = time.monotonic() + 10.0
    with contextlib.suppress(PeerUnreachable):
        while time.monotonic() < deadline:
            supervisor()
            time.sleep(0.1)


def _wait_for_actors(handle: Any, home: Path, say: Say) -> None:
    """Waits until every actor is healthy, on this machine's node too. Raises VagusError."""
    import ray

    here = ray.get_runtime_context().get_node_id()
    told, deadline, problem = "", time.monotonic() + READY_TIMEOUT_S, ""
    while True:
        actors: list[ActorStatus] = []
        hopeless = False
        try:
            state = call(handle.describe.remote())
            actors, problem = state["actors"], state["last_error"]
            healthy = sum(a.state == "HEALTHY" for a in actors)
            line = f"actors: {healthy} of {len(actors)} healthy on {len(state['nodes'])} node(s)"
            if line != told and actors:
                say(line)
                told = line
            if actors and healthy == len(actors) and here in state["nodes"]:
                return
            hopeless = any(a.figures.get("failed_starts", 0) >= GIVE_UP_STARTS for a in actors)
        except PeerUnreachable as error:  # Ray restarts it
            problem = str(error)
        if time.monotonic() > deadline or hopeless:
            words = "; ".join(f"{a.name}: {a.state} {a.last_error}" for a in actors if a.state != "HEALTHY")
            raise VagusError(
                f"not all actors start: {words or problem}. The others run and the supervisor keeps trying; "
                f"logs are in {home / 'nodes'}; `vagus down` stops everything"
            )
        time.sleep(0.2)


def down(home: Path, *, leave: bool = False, say: Say = _quiet) -> list[str]:
    """Stops all of it, restores every limit, leaves data. Idempotent. Returns what could not be undone.

    On a machine that joined a cluster as a node of its own, that node leaves and the others go on. leave: so too where
    Ray was not started by vagus; Ray stays, and who cannot be asked to end its actors is a problem. Raises VagusError:
    the cluster was started here, which cannot leave it.
    """
    problems: list[str] = []
    if not home.exists():
        if leave:
            return [f"there is no state folder {home}, so no actor of it was ended; VAGUS_HOME or --home names another"]
        say("no cluster runs here")
        return problems
    with _one_at_a_time(home, say):
        cluster = ray_cluster.read(home)
        if leave and (cluster is None or not cluster.started_ray):
            return _end_actors(home, cluster or _ray_here(), say, leave=True) + restore_limits(home)
        if leave and cluster is not None and cluster.head:
            raise VagusError("the cluster was started on this machine, which cannot leave it; `vagus down` ends it")
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


def _ray_here() -> ClusterFile:
    """Ray's cluster of this machine, which someone else started: by RAY_ADDRESS, whose head can be asked first whether
    it answers, else as Ray finds it."""
    address = os.environ.get("RAY_ADDRESS", "")
    try:
        ray_cluster.check_address(address)
    except ConfigError:
        address = "auto"
    return ClusterFile(id="", address=address, started_ray=False)


def _end_actors(home: Path, cluster: ClusterFile, say: Say, leave: bool = False) -> list[str]:
    """Asks the supervisor to end them; when Ray does not answer, and ends, the watchdogs restore what they held."""
    try:
        with connected(home, cluster):
            import ray

            try:
                handle = supervisor()
            except PeerUnreachable:
                return []
            say("ending actors: limits restored, stores flushed")
            if leave or (cluster.started_ray and not cluster.head):
                here = ray.get_runtime_context().get_node_id()
                left: list[str] = call(handle.leave.remote(here), STOP_CALL_TIMEOUT_S)
                return left
            problems: list[str] = call(handle.stop.remote(), STOP_CALL_TIMEOUT_S)
            ray.kill(handle)
            return problems
    except VagusError as error:
        if leave:  # Ray stays, and with it the actors
            return [f"{error}: this node's actors may run on; try again, or end its Ray"]
        say(f"{error}: the watchdogs restore what the actors held")
        return []


def _await_watchdogs(cluster: ClusterFile) -> None:
    """Watchdogs end by themselves once their pipes have closed and all is restored."""
    if cluster.id:
        psutil.wait_procs(ray_cluster.watchdogs(cluster.id), timeout=WATCHDOGS_TIMEOUT_S)


def restore_limits(home: Path) -> list[str]:
    """Undoes what journals of dead controllers still hold, on every node of this state folder."""
    problems: list[str] = []
    for folder in sorted((home / "nodes").glob("*/journal*")):
        problems += watchdog.restore(folder)
    return problems


def _remove_sockets(home: Path) -> None:
    """Endpoints and sockets that killed actors could not remove themselves."""
    for folder in (home / "nodes").glob("*"):
        report, ingest = (configuration.socket_path(home, folder.name, name) for name in ("report", "ingest"))
        for path in (report, ingest, *folder.glob("*.sock"), folder / "gateway.json", folder / "token"):
            path.unlink(missing_ok=True)
        if folder not in report.parents:
            with contextlib.suppress(OSError):  # not there, or in use by another state folder of this user
                report.parent.rmdir()
