"""A driver's connection to Ray and to the supervisor, with a limit on every wait."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from vagus.errors import PeerUnreachable
from vagus.runtime import cluster as ray_cluster
from vagus.runtime.cluster import ClusterFile
from vagus.runtime.names import NAMESPACE, SUPERVISOR

CALL_TIMEOUT_S = 30.0
HEAD_TIMEOUT_S = 10.0


@contextlib.contextmanager
def connected(home: Path, cluster: ClusterFile) -> Iterator[None]:
    """A driver's connection to Ray for the length of the block; one to the same cluster is used and left.

    Raises PeerUnreachable.
    """
    if "ray" in sys.modules and sys.modules["ray"].is_initialized():
        address = sys.modules["ray"].get_runtime_context().gcs_address
        if cluster.address not in (address, "auto"):
            raise PeerUnreachable(
                f"this process is connected to Ray at {address}, and vagus runs in the one at {cluster.address}: "
                "call ray.shutdown() first, or use another process"
            )
        yield
        return
    with driver_environment(ray_cluster.environment(home, cluster)):
        check_head(cluster.address)
        import ray

        from vagus.runtime.links import first_lines

        try:
            with _own_signals():
                ray.init(
                    address=cluster.address, namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR,
                    configure_logging=False,
                )  # fmt: skip
        except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
            raise PeerUnreachable(f"no Ray at {cluster.address}: {first_lines(error)}") from error
        try:
            yield
        finally:
            with _own_signals():
                ray.shutdown()


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """SIGTERM stays this program's: Ray's handler aborts it, and at its end Ray resets the signal to the default, which
    ends the program just so: nothing that it made would be undone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # set by C code: cannot be set again from here
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def driver_environment(wanted: Mapping[str, str]) -> Iterator[None]:
    """The environment of a driver during the block; as it was afterwards."""
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    _read_environment()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        _read_environment()


def _read_environment() -> None:
    """Ray reads its settings and its token when it is imported, and then never again by itself."""
    if "ray" in sys.modules:
        raylet: Any = import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


def check_head(address: str) -> None:
    """Raises PeerUnreachable unless Ray's head answers there: `ray.init` would wait for minutes, and cannot be ended."""
    if address == "auto":
        return
    if not ray_cluster.answers(address):
        raise PeerUnreachable(f"nothing listens at {address}")
    from vagus.runtime.links import first_lines

    problem = [f"no answer within {HEAD_TIMEOUT_S:.0f} s"]

    def ask() -> None:
        raylet: Any = import_module("ray._raylet")
        try:
            raylet.GcsClient(address=address).internal_kv_get(b"vagus", None, timeout=HEAD_TIMEOUT_S)
            problem.clear()
        except Exception as error:  # Ray's own errors here are of many kinds
            problem[:] = [first_lines(error)]

    asking = threading.Thread(target=ask, daemon=True)  # a frozen head holds it for ever, whatever the time-out says
    asking.start()
    asking.join(HEAD_TIMEOUT_S)
    if problem:
        raise PeerUnreachable(f"Ray's head at {address} does not answer: {problem[0]}")


def supervisor() -> Any:
    """The handle of the cluster's supervisor. Raises PeerUnreachable when there is none."""
    import ray

    try:
        return ray.get_actor(SUPERVISOR, namespace=NAMESPACE)
    except ValueError as error:
        raise PeerUnreachable("the cluster has no supervisor; `vagus up` makes one") from error


def call(reference: Any, timeout_s: float = CALL_TIMEOUT_S) -> Any:
    """Waits for an answer of the supervisor. Raises the VagusError that it raised, or PeerUnreachable."""
    import ray
    from ray.exceptions import RayError

    from vagus.runtime.links import mapped

    try:
        return ray.get(reference, timeout=timeout_s)
    except RayError as error:
        raise mapped(error, "the supervisor") from None  # its message says it all; Ray's inner frames help nobody
