"""Traffic control on Debian's kernel (netem, fq_codel by default): test_traffic_real.py in an emulated machine."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIP = 77
MODULES = "veth ifb tun sch_htb sch_tbf sch_netem sch_ingress sch_fq_codel sch_fq sch_codel cls_u32 act_mirred"
# what differs by kernel; each takes seconds there
WHAT = "default or fair_queues or are_late or is_late or lost or beside or through_an_ifb or a_device_is_limited"


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(600)
def test_what_differs_by_kernel_passes_where_the_kernel_has_netem() -> None:
    # without plugins and settings: in the emulated machine every module costs
    command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--noconftest", "--color=no", "-rA"]
    command += ["-p", "no:cacheprovider", "--rootdir", str(ROOT), "tests/system/test_traffic_real.py"]
    command += ["-W", "ignore::pytest.PytestUnknownMarkWarning", "-k", WHAT]
    # the guest's kernel cannot load modules by itself: its own root folder has none
    script = f"PATH=$PATH:/usr/sbin:/sbin; for module in {MODULES}; do modprobe $module || exit 1; done; "
    script += "echo fq_codel > /proc/sys/net/core/default_qdisc; exec " + shlex.join(command)
    machine = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "500", "env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"]
    done = subprocess.run([*machine, "sh", "-c", script], cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-6000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    assert re.search(r"=+ \d+ passed, \d+ deselected", done.stdout), output  # none skipped
