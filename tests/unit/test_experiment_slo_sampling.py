"""What is requested and used: read from groups on a kernel of regular files, replicas of a size included."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from tests.fixtures.cgroup_kernel import CgroupKernel
from tests.fixtures.deployments import until
from vagus.cli.application.groups import Groups as Made
from vagus.cli.experiment.slo_measure import judged, requested
from vagus.cli.experiment.slo_results import Injected, Sampled
from vagus.cli.experiment.slo_sampling import Groups, Sampler
from vagus.undo import perform

SERVICES = ["web", "db"]


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CgroupKernel:
    made = CgroupKernel(tmp_path, 1)
    made.install(monkeypatch)
    return made


def groups(kernel: CgroupKernel, replica_cores: float) -> tuple[Made, Groups]:
    made = Made("shop", replica_cores, kernel.root)
    for step in made.made(SERVICES):
        perform(step)
    return made, Groups({service: made.group(service) for service in SERVICES}, kernel.root)


def test_replicas_of_a_size_request_the_sum_of_all_and_an_unlimited_one_makes_it_unknown(kernel: CgroupKernel) -> None:
    made, found = groups(kernel, 0.3)
    for replica in range(3):
        made.admit("web", replica)
    assert found.read("web").limit_cores == pytest.approx(0.9)
    made.remove("web", 2)
    assert found.read("web").limit_cores == pytest.approx(0.6)
    kernel.write(made.folder("web", 1) / "cpu.cfs_quota_us", "-1")
    assert found.read("web").limit_cores == pytest.approx(0.3), "it was just made: nothing is in it"
    kernel.process(1234, "/")
    kernel.write(made.folder("web", 1) / "cgroup.procs", "1234")
    assert found.read("web").limit_cores is None
    kernel.write(made.folder("web") / "cpu.cfs_quota_us", "25000")
    assert found.read("web").limit_cores == 0.25, "what holds all of them is what counts"


def test_use_is_cpu_time_over_time(kernel: CgroupKernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.cli.experiment.slo_sampling.PERIOD_S", 0.02)
    _, found = groups(kernel, 0.0)
    begin_s, read = time.monotonic(), Groups.read

    def half(self: Groups, service: str):
        return read(self, service)._replace(cpu_s=0.5 * (time.monotonic() - begin_s) * (service == "web"))

    monkeypatch.setattr(Groups, "read", half)
    sampler = Sampler(found, lambda service: 1, begin_s)
    sampler.start()
    until(lambda: len(sampler._t_s) >= 5, "it samples")
    sampled = sampler.stop()
    row, lasted = sampled.used_cores["web"], sampled.t_s[-1] - sampled.t_s[0]
    summed = sum(c * (t - s) for c, s, t in zip(row[1:], sampled.t_s, sampled.t_s[1:], strict=False))
    assert summed / lasted == pytest.approx(0.5, rel=0.5)
    assert set(sampled.used_cores["db"]) == {0.0}
    assert set(sampled.limit_cores["web"]) == {None}


def sampled(limits: tuple[float, ...], throttled: tuple[float, ...] = (0.0,) * 4) -> Sampled:
    return Sampled(
        t_s=(-0.5, 0.0, 1.0, 3.0),
        limit_cores={"web": limits},
        used_cores={"web": (0.0,) * 4},
        throttled_ratio={"web": throttled},
        replicas={"web": (1,) * 4},
    )


def test_limits_count_for_as_long_as_they_were_in_force_in_the_measured_part() -> None:
    assert requested(sampled((9.0, 1.0, 2.0, 9.0)), 2.0) == pytest.approx(1.5)  # not what is before, nor behind
    assert requested(sampled((9.0, 1.0, 2.0, 4.0)), 4.0) == pytest.approx((1 + 2 * 2 + 4) / 4)


def test_throttling_of_before_an_injection_is_not_its_own() -> None:
    hit = Injected(type="cpu", service="web", intensity="", begin_s=0.9, end_s=3.5, why="done")
    over = [False] * 20
    early = judged(hit, over, sampled((1.0,) * 4, (0.0, 0.0, 0.9, 0.0)))  # a sample that tells of 0.5 to 1 s
    assert early == msgspec.structs.replace(hit, raised_s=None)
    assert judged(hit, over, sampled((1.0,) * 4, (0.0, 0.0, 0.0, 0.9))).detected_s == 3.0
