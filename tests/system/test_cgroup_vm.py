"""Every limit on Debian's kernel, in both cgroup versions: the tests of test_cgroup_real.py in an emulated machine.

One boot: version 1 with its controllers in hierarchies of their own, then version 2. About a minute and a half.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIP = 77
SCRIPT = """
cd {root}
for name in cpu,cpuacct memory cpuset blkio; do
  mkdir -p /run/one/$name; mount -t cgroup -o $name $name /run/one/$name || exit 3
done
echo version 1; {pytest} || exit 1
for name in cpu,cpuacct memory cpuset blkio; do umount /run/one/$name || exit 4; done
# the kernel gives controllers back when the last group has gone
for try in $(seq 100); do
  set -- $(cat /sys/fs/cgroup/cgroup.controllers); case " $* " in *" cpu "*" io "*" memory "*) break;; esac; sleep 0.1
done
echo version 2: $*; {pytest}
"""


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(1000)
def test_the_real_tests_pass_on_both_versions_with_all_controllers() -> None:
    # without plugins and settings: in the emulated machine every module costs
    command = [
        "env",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1",
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-c",
        "/dev/null",
    ]
    command += ["--noconftest", "--color=no", "-rA", "-p", "no:cacheprovider", "--rootdir", str(ROOT)]
    command += ["tests/system/test_cgroup_real.py", "-W", "ignore::pytest.PytestUnknownMarkWarning"]
    script = SCRIPT.format(root=ROOT, pytest=" ".join(command))
    machine = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "900", "sh", "-c", script]
    done = subprocess.run(machine, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-6000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    passed = re.findall(r"=+ (\d+) passed in ", done.stdout)  # none skipped
    assert len(passed) == 2, output
