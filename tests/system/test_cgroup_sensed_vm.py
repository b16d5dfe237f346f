"""The cgroup collector on cgroup v2: the tests of test_cgroup_sensed.py and test_cgroup_net_real.py in an emulated machine. About half a minute."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIP = 77


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(400)
def test_the_real_tests_pass_on_cgroup_v2() -> None:
    with_veth = ["sh", "-c", 'PATH=$PATH:/usr/sbin:/sbin; modprobe veth; exec "$@"', "sh"]
    command = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "300", *with_veth]
    command += ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"]
    command += [sys.executable, "-W", "error", "-m", "pytest", "-c", "/dev/null", "--noconftest", "--color=no", "-rA"]
    command += ["-p", "no:cacheprovider", "--rootdir", str(ROOT), "tests/system/test_cgroup_sensed.py"]
    command += ["tests/system/test_cgroup_net_real.py"]
    command += ["-W", "ignore::pytest.PytestUnknownMarkWarning"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-3000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    assert re.search(r"=+ \d+ passed in ", done.stdout), output  # none skipped
