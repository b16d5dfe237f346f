"""What vagus does on another kernel (cgroup v2, netem, systemd) in one boot of an emulated machine: a test of each kind.

All tests of each kind, on both versions of cgroups, are the files test_*_vm.py marked `long`: `make long`.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_systemd_vm import SCRIPT as UNDER_SYSTEMD

ROOT = Path(__file__).parents[2]
SKIP = 77
MODULES = "veth ifb tun sch_htb sch_tbf sch_netem sch_ingress sch_fq_codel sch_fq sch_codel cls_u32 act_mirred"
TESTS = (
    "test_cgroup_real.py::test_every_limit_is_written_read_back_and_restored",
    "test_cgroup_real.py::test_above_memory_high_processes_are_slowed_down_not_ended",
    "test_cgroup_real.py::test_a_killed_controller_has_its_limit_restored[cgroup]",
    "test_cgroup_sensed.py",
    "test_probes_shaped.py::test_round_trips_over_netem",
    "test_traffic_real.py::test_packets_are_late_and_on_time_afterwards[False]",
    "test_traffic_real.py::test_the_kernels_default_comes_back[1]",
    "test_application_real.py::test_each_replica_is_in_its_group_and_controllers_limit_the_service",
)
UNITS = ("test_systemd_real.py::test_every_property_is_set_read_back_and_restored",)


def pytest_of(tests: tuple[str, ...]) -> str:
    # without plugins and settings: in the emulated machine every module costs
    command = ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", sys.executable, "-m", "pytest", "-c", "/dev/null"]
    command += ["--noconftest", "--color=no", "-rA", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "--durations=9"]
    command += ["-W", "ignore::pytest.PytestUnknownMarkWarning", *(f"tests/system/{test}" for test in tests)]
    return shlex.join(command)


@pytest.mark.vm
@pytest.mark.timeout(400)
def test_another_kernel_in_one_boot() -> None:
    systemd = next((p for p in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if Path(p).exists()), None)
    with_systemd = systemd is not None and all(map(shutil.which, ("systemctl", "systemd-run", "unshare", "nsenter")))
    script = f"PATH=$PATH:/usr/sbin:/sbin; for module in {MODULES}; do modprobe $module || exit 1; done; "
    script += f"echo fq_codel > /proc/sys/net/core/default_qdisc; cd {ROOT}; {pytest_of(TESTS)} || exit 1\n"
    if with_systemd:
        script += UNDER_SYSTEMD.format(root=ROOT, systemd=systemd, pytest=pytest_of(UNITS))
    machine = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "1100", "sh", "-c", script]
    done = subprocess.run(machine, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-6000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    passed = re.findall(r"=+ (\d+) passed in ", done.stdout)  # none skipped
    assert [int(count) >= 1 for count in passed] == [True] * (1 + with_systemd), output
    print(done.stdout)
