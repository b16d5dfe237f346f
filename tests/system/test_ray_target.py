"""A Ray actor of a user's as a target: which process it is, asked of Ray's state API."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from vagus.errors import ActuateError, Unsupported
from vagus.model import Target
from vagus.runtime.processes import find_process

pytestmark = pytest.mark.system


@pytest.fixture
def ray(cluster: Any) -> Iterator[Any]:
    import ray

    begun = not ray.is_initialized()
    if begun:
        ray.init(address=cluster.address, log_to_driver=False)
    yield ray
    if begun:
        ray.shutdown()


def pid_of(actor: str) -> int:
    return int(find_process(Target("ray", actor)).name.partition(":")[0])


def test_the_process_of_a_named_actor(ray: Any) -> None:
    class Worker:  # in here: the workers cannot import this file
        def pid(self) -> int:
            return os.getpid()

    remote = ray.remote(num_cpus=0)(Worker)
    here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
    made = [
        remote.options(name="target-one", namespace=space, label_selector=here).remote()
        for space in ("first", "second")
    ]
    try:
        pids = ray.get([worker.pid.remote() for worker in made])
        assert pid_of("first/target-one") == pids[0]
        assert pid_of(made[1]._actor_id.hex()) == pids[1]
        with pytest.raises(ActuateError, match="ray:target-one means several actors"):
            pid_of("target-one")
        with pytest.raises(ActuateError, match="the actor target-none is not known to Ray"):
            pid_of("target-none")
        elsewhere = next(node["NodeID"] for node in ray.nodes() if node["NodeID"] != here["ray.io/node-id"])
        away = remote.options(name="target-away", label_selector={"ray.io/node-id": elsewhere}).remote()
        made.append(away)
        ray.get(away.pid.remote())
        with pytest.raises(Unsupported, match="ray:target-away runs on node"):
            pid_of("target-away")
    finally:
        for worker in made:
            ray.kill(worker)
