"""Observed handles of real Ray actors: answers, exceptions, streams, death; and blame across two real processes."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest
from conftest import PATIENCE

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client.endpoint import Endpoint
from vagus.client.indirection import origin, sink
from vagus.client.reporter import Reporter
from vagus.client.transport import Transport
from vagus.errors import NoData
from vagus.model import Status

pytestmark = pytest.mark.system


@pytest.fixture
def ray(cluster):
    import ray

    begun = not ray.is_initialized()
    if begun:
        ray.init(address=cluster.address, log_to_driver=False)
    yield ray
    if begun:
        ray.shutdown()


def settled(still, within_s=60.0):
    """What is reported once every call has been resolved."""
    deadline = time.monotonic() + within_s * PATIENCE
    while still.reporter.waiting:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return still.step()


def test_a_real_actor(ray):
    class Worker:
        def read(self, number):
            return number

        def bad(self):
            raise ValueError("told to")

        def pages(self):
            yield 1
            yield 2

        def die(self):
            os._exit(1)

        def whole(self, handle):
            import ray

            return ray.get(handle.read.remote(8))

    still = Still()
    remote = ray.remote(num_cpus=0)(Worker)
    plain = remote.remote()
    handle = vagus.observed(plain, "worker@1", observer="api@1", pending_s=60.0, reporter=still.reporter)
    ref = handle.read.remote(7)
    assert isinstance(ref, ray.ObjectRef)
    assert ray.get(ref, timeout=60) == 7
    assert settled(still) == [("worker@1", "read", "HEALTHY")]
    with pytest.raises(ValueError, match="told to"):
        ray.get(handle.bad.remote(), timeout=60)
    assert settled(still) == [("worker@1", "bad", "UNHEALTHY")]
    stream = handle.pages.options(num_returns="streaming").remote()
    assert [ray.get(page, timeout=60) for page in stream] == [1, 2]
    assert settled(still) == []
    other = remote.remote()
    assert ray.get(other.whole.remote(handle), timeout=60) == 8  # the observed handle travels
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(handle.die.remote(), timeout=60)
    assert settled(still) == [("worker@1", "die", "DEAD")]
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(handle.read.remote(1), timeout=60)
    assert settled(still) == [("worker@1", "read", "DEAD")]
    ray.kill(other)
    default = vagus.observed(plain, reporter=still.reporter)
    assert default._observed_as[0] == f"actor:Worker:{plain._actor_id.hex()[:12]}"


def program_on(connection, node, home):
    """A reporter as of a program on that node."""
    token = connection._headers["Authorization"].partition(" ")[2]
    made = Reporter()
    made._transport = Transport(lambda: Endpoint(connection.url, token, node, Path(home)))
    return made


def heard(connection, subject):
    """The statuses that this node has in the name of api@1, oldest first."""
    try:
        view = connection.panorama(subject, observer="api@1")["api@1"]
    except NoData:
        return []
    return [metric.status for report in view for metric in report.contexts.values()]


def until(holds, within_s=20.0):
    deadline = time.monotonic() + within_s * PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_sink_on_another_node_is_found_before_anyone_is_blamed(at, running):
    one, two = at("n1"), at("n2")
    here, there = program_on(one, "n1", running), program_on(two, "n2", running)
    try:
        met = origin("far@3", "job", observer="api@1", expire_s=2.0, reporter=here)
        hung = origin("far@4", "job", observer="api@1", expire_s=2.0, reporter=here)
        carried = hung.carry()
        assert sink(met.carry(), reporter=there)
        until(lambda: heard(one, "far@3") == [Status.HEALTHY])
        until(lambda: Status.PENDING in heard(two, "far@4"))
        until(lambda: two.inference("far@4").status >= Status.PENDING)
        assert heard(one, "far@3") == [Status.HEALTHY]  # nothing was said of it meanwhile
        assert sink(carried, reporter=there)
        until(lambda: one.inference("far@4").status == Status.HEALTHY)
        assert here.counts()["failed"] == there.counts()["failed"] == 0
    finally:
        here.close()
        there.close()
        here._way().close()
        there._way().close()
