"""vagus.ActorPool on real Ray: steered as `replicas:NAME`, finishing work before an actor goes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import PATIENCE

import vagus
from vagus.actuators.apply import apply
from vagus.actuators.replicas import Replicas
from vagus.client.tunable_server import TunableServer
from vagus.config import ActSettings
from vagus.errors import ConfigError, PeerUnreachable, Rejected
from vagus.model import Action, Target
from vagus.undo import undo

pytestmark = pytest.mark.system
POOL = Target("replicas", "squares")


def squares() -> type:
    """A class that Ray sends along: workers cannot import the tests."""

    class Squares:
        """Waits for a file, so that tests and not clocks say when work is done."""

        def __init__(self, power: int = 2) -> None:
            self.power = power

        def of(self, number: int) -> tuple[int, int]:
            return os.getpid(), number**self.power

        def when(self, path: str) -> int:
            while not os.path.exists(path):
                time.sleep(0.01)
            return os.getpid()

        def die(self) -> None:
            os._exit(1)

    return Squares


@pytest.fixture(scope="module")
def ray(cluster) -> Iterator[object]:
    import ray

    ray.init(address=cluster.address, log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TunableServer]:
    made = TunableServer(lambda: tmp_path / "tunables")
    yield made
    made.close()


def eventually(what: Callable[[], bool], timeout_s: float = 30.0) -> bool:
    end = time.monotonic() + timeout_s * PATIENCE
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def test_without_ray_it_says_so():
    import ray

    if ray.is_initialized():
        pytest.skip("this process is connected to Ray already")
    with pytest.raises(PeerUnreachable, match=r"call ray\.init\(\) first"):
        vagus.ActorPool(squares(), name="squares")


def test_a_controllers_action_scales_it_and_undo_scales_it_back(ray, server, tmp_path):
    options = {"num_cpus": 0}
    with vagus.ActorPool(squares(), name="squares", low=1, high=4, args=(3,), options=options, server=server) as pool:
        assert server.wait(10)
        replicas = Replicas()
        replicas.configure(ActSettings(), tmp_path)
        assert replicas.read(POOL, "replicas") == 1.0
        plan = replicas.plan(Action(POOL, "replicas", 3.0))
        apply(plan)
        assert replicas.read(POOL, "replicas") == 3.0
        answers = ray.get([pool.submit("of", 2) for _ in range(30)], timeout=60)
        assert {cube for _, cube in answers} == {8}
        assert len({pid for pid, _ in answers}) == 3, "spread over all"
        with pytest.raises(Rejected, match="its service takes 1 to 4"):
            replicas.plan(Action(POOL, "replicas", 5.0))
        assert undo(plan.undo) == []
        assert len(pool) == 1
        assert pool.wait(30), "the two that were started have ended"
    with pytest.raises(ConfigError, match="is closed"):
        pool.submit("of", 1)
    assert server.wait(10)
    assert undo(plan.undo) == [], "the pool has ended: there is nothing to undo"


def test_what_goes_first_finishes_its_work(ray, server, tmp_path):
    with vagus.ActorPool(
        squares(), name="squares", low=1, high=3, start=3, options={"num_cpus": 0}, server=server
    ) as pool:
        gate = tmp_path / "gate"
        references = [pool.submit("when", str(gate)) for _ in range(6)]
        pool.scale(1)
        assert len(pool) == 1
        assert pool.figures()["draining"] == 2
        assert not pool.wait(1.0), "they have work"
        quick = pool.submit("of", 3)
        gate.write_text("")
        assert len(set(ray.get(references, timeout=60))) == 3
        assert ray.get(quick, timeout=60)[1] == 9
        assert pool.wait(30)
        assert pool.figures()["draining"] == 0


def test_one_that_goes_is_taken_back_before_another_is_started(ray, server, tmp_path):
    with vagus.ActorPool(
        squares(), name="squares", low=1, high=2, start=2, options={"num_cpus": 0}, server=server
    ) as pool:
        gate = tmp_path / "gate"
        references = [pool.submit("when", str(gate)) for _ in range(2)]
        pool.scale(1)
        pool.scale(2)
        gate.write_text("")
        before = set(ray.get(references, timeout=60))
        after = {pid for pid, _ in ray.get([pool.submit("of", 1) for _ in range(8)], timeout=60)}
        assert before == after


def test_an_actor_that_dies_is_replaced_and_its_work_fails(ray, server):
    with vagus.ActorPool(squares(), name="squares", low=2, high=2, options={"num_cpus": 0}, server=server) as pool:
        ray.get([pool.submit("of", 1) for _ in range(4)], timeout=60)
        reference = pool.submit("die")
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(reference, timeout=60)
        assert eventually(lambda: pool.figures()["replaced"] == 1.0)
        assert len(pool) == 2
        assert len({pid for pid, _ in ray.get([pool.submit("of", 2) for _ in range(8)], timeout=60)}) == 2


@pytest.mark.parametrize("wrong", [{"low": 0}, {"low": 3, "high": 2}, {"high": 1.5}, {"start": 9}, {"name": "a b"}])
def test_what_cannot_be_a_pool(ray, server, wrong):
    with pytest.raises(ConfigError):
        vagus.ActorPool(squares(), **{"name": "squares", "options": {"num_cpus": 0}, "server": server, **wrong})


@pytest.mark.parametrize("wrong", [0, 3, 1.0, True, "2", None])
def test_what_is_no_number_of_replicas(ray, server, wrong):
    with vagus.ActorPool(squares(), name="squares", low=1, high=2, options={"num_cpus": 0}, server=server) as pool:
        with pytest.raises(ConfigError, match="has 1 to 2 replicas"):
            pool.scale(wrong)
        assert len(pool) == 1
