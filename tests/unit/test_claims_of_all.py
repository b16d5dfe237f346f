"""One limit has one controller, whatever the resource and however its target is written; and no claim outlives its reason."""

from __future__ import annotations

import asyncio
import json
import math
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_actors_controller import NODE, WEB, Wants, group, quota, running, seat, steps, until
from test_claims import CORES, A, shared

from tests.fixtures.cgroup_kernel import CgroupKernel
from vagus.actors.limits import Limits
from vagus.actuators.auto import Auto
from vagus.actuators.hierarchy import Mount, group_path
from vagus.clock import NS
from vagus.controllers import claims
from vagus.controllers.doubts import doubts_of
from vagus.controllers.run import Planned
from vagus.errors import ActuateError
from vagus.model import Action, Field, Receipt, Sample, Stream, Target

__all__ = ["group"]


@pytest.mark.parametrize("resource", ["llc_ways", "net_bytes_s", "replicas", "io_read_bytes_s@8:0", "streams"])
def test_two_controllers_do_not_steer_one_limit_of_any_kind(tmp_path: Path, resource: str) -> None:
    one, two = shared(tmp_path, "one"), shared(tmp_path, "two")
    assert one.grant(A, resource, 3.0, 1.0, 0.1).value == 3.0
    assert two.grant(A, resource, 2.0, 3.0, 0.1).value is None
    one.settle({(A, resource): 3.0})
    assert "controller one steers" in two.grant(A, resource, 2.0, 3.0, 0.1).note
    one.settle({})
    assert two.grant(A, resource, 2.0, 3.0, 0.1).value == 2.0


def test_a_limit_without_a_value_is_held_all_the_same(tmp_path: Path) -> None:
    one, two = shared(tmp_path, "one"), shared(tmp_path, "two")
    one.settle({(A, CORES): math.nan, (A, "llc_ways"): math.inf})
    assert two.grant(A, CORES, 2.0, 3.0, 0.1).value is None
    assert two.trouble == ""


@pytest.mark.parametrize("name", ["/a", "a/", "//a", "./a"])
def test_one_group_has_one_name(tmp_path: Path, name: str) -> None:
    one, two = shared(tmp_path, "one"), shared(tmp_path, "two")
    assert one.grant(A, CORES, 1.0, 2.0, 0.1).value == 1.0
    assert two.grant(Target("cgroup", name), CORES, 0.5, 1.0, 0.1).value is None


async def test_disarmed_in_the_middle_of_a_step_it_holds_no_claim(tmp_path: Path, group: Path) -> None:
    place = seat(tmp_path, Wants(), armed=True)
    asked, go_on = threading.Event(), threading.Event()
    async with running(place) as actor:
        await until(lambda: actor._limits.held)
        whole = actor._claims.grant

        def slow(*args: Any, **how: Any) -> Any:
            asked.set()
            assert go_on.wait(10)
            return whole(*args, **how)

        actor._claims.grant = slow  # type: ignore[method-assign]
        actor._controller.wanted = 0.7  # type: ignore[attr-defined]
        await asyncio.to_thread(asked.wait, 10)
        await actor.arm(False)
        go_on.set()
        await steps(actor, 2)
        assert quota(group) == "200000"
        assert json.loads((place.folder / "claims.json").read_text()) == []


def test_giving_up_cores_leaves_the_burst_that_is_ours_to_undo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both limits undo both files, and the journal has each undoing once."""
    kernel = CgroupKernel(tmp_path / "root", 1)
    kernel.install(monkeypatch)
    web = kernel.make("web")
    actuator = Auto(kernel.root)
    limits = Limits(actuator, tmp_path / "journal", 30.0)
    limits.allow()
    burst, cores = web / "cpu.cfs_burst_us", web / "cpu.cfs_quota_us"
    try:
        for resource, value in ((CORES, 2.0), ("cpu_burst_s", 0.05)):
            plan = actuator.plan(Action(WEB, resource, value))
            receipt = Receipt(0, "n", "c", "cgroup1", WEB, resource, None, value, None, False)
            assert limits.perform(Planned(Action(WEB, resource, value), plan, receipt), limits.permit).error == ""
        cores.write_text("150000\n")  # a stranger
        assert [drift.limited for drift in limits.drifted()] == [(WEB, CORES)]
        assert limits.give_up((WEB, CORES)) == ""
    finally:
        # the watchdog is a process of its own, and knows the files as they are
        limits.release("n", "c", 0)
    assert (burst.read_text().strip(), cores.read_text().strip()) == ("0", "150000")


def test_samples_of_the_future_prove_nothing(tmp_path: Path) -> None:
    """A clock that was set back, or one stream with a clock of its own."""
    stream = Stream(NODE, "host.load", (Field("load1"),))
    now_ns = 10**18
    ahead, old, fresh = (Sample(stream, now_ns + s * NS, (1.0,)) for s in (3600, -60, -1))
    assert [str(d) for d in doubts_of(NODE, now_ns, [ahead, fresh], [], 5.0)] == []
    assert "is 60.0 s old" in doubts_of(NODE, now_ns, [ahead, old], [], 5.0)[0]
    (doubt,) = doubts_of(NODE, now_ns, [ahead], [], 5.0)
    assert "the clock was set back" in doubt
    assert doubt.of == "sight"


def test_a_name_never_leads_out_of_the_tree(tmp_path: Path) -> None:
    mount = Mount(tmp_path / "cgroup", "/", 1, frozenset({"cpu"}), True)
    assert group_path(mount, "//etc") == group_path(mount, "/etc") == tmp_path / "cgroup/etc"


def test_a_grant_looks_at_each_claim_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compared with each other, a few thousand took minutes, under a lock that all controllers of the node share."""
    looks = 0
    whole = claims._below

    def below(target: Target, groups: Any) -> bool:
        nonlocal looks
        looks += 1
        return whole(target, groups)

    monkeypatch.setattr(claims, "_below", below)
    found = claims.Claims({CORES: 1e6})
    for number in range(300):
        for name in (f"shop/web-{number}", f"shop/web-{number}/a", f"job-{number}"):
            found.claim(claims.Claim("c", Target("cgroup", name), CORES, 1.0))
    assert found.grant("d", Target("cgroup", "job"), CORES, 1e6, 1.0, 0.1).value == 1e6 - 600
    assert found.grant("d", Target("cgroup", "shop"), CORES, 1e6, 1.0, 0.1).value == 1e6 - 300
    assert looks <= 2 * (900 + 1)


def test_what_could_not_be_given_up_is_given_up_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watchdog is killed between a drift and its giving up: its journal must not undo the stranger's limit."""
    kernel = CgroupKernel(tmp_path / "root", 1)
    kernel.install(monkeypatch)
    cores = kernel.make("web") / "cpu.cfs_quota_us"
    actuator = Auto(kernel.root)
    limits = Limits(actuator, tmp_path / "journal", 30.0)
    limits.allow()
    try:
        plan = actuator.plan(Action(WEB, CORES, 2.0))
        receipt = Receipt(0, "n", "c", "cgroup1", WEB, CORES, None, 2.0, None, False)
        assert limits.perform(Planned(Action(WEB, CORES, 2.0), plan, receipt), limits.permit).error == ""
        cores.write_text("150000\n")  # a stranger
        with monkeypatch.context() as away:
            away.setattr(limits._watchdog, "forget", refuses)
            assert "is gone" in limits.give_up((WEB, CORES))
        (drift,) = limits.drifted()  # so that the next step tries again
        assert limits.give_up(drift.limited) == ""
        assert limits.drifted() == []
    finally:
        limits.release("n", "c", 0)
    assert cores.read_text() == "150000\n"


def refuses(steps: Any) -> None:
    raise ActuateError("the watchdog is gone")
