"""Injections on cgroup v2 and with netem: tests of test_inject_real.py in an emulated machine. About two minutes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIP = 77
WHICH = "takes_its_share or packets_are_late or as_before_after_a_kill or (each_type_ends and memory)"


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(700)
def test_what_injections_do_on_cgroup_v2_and_with_netem() -> None:
    # without plugins and settings: in the emulated machine every module costs
    modules = "veth sch_htb sch_netem sch_ingress cls_u32 act_mirred ifb tun"
    script = f'PATH=$PATH:/usr/sbin:/sbin; for module in {modules}; do modprobe $module || exit 1; done; exec "$@"'
    command = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "1800", "sh", "-c", script, "sh"]
    command += [
        "env",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-c",
        "/dev/null",
        "--noconftest",
    ]
    command += ["--color=no", "-rA", "-p", "no:cacheprovider", "--rootdir", str(ROOT), "-k", WHICH]
    command += ["-W", "ignore::pytest.PytestUnknownMarkWarning", "tests/system/test_inject_real.py", "--durations=9"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-5000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    assert re.search(r"=+ \d+ passed, \d+ deselected in ", done.stdout), output  # none skipped
