"""Applications in control groups on Debian's kernel, version 1 and 2: the tests of test_application_real.py, one boot."""

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
mkdir -p /run/one/cpu; mount -t cgroup -o cpu,cpuacct cpu /run/one/cpu || exit 3
echo version 1; {pytest} || exit 1
umount /run/one/cpu || exit 4
# the kernel gives controllers back when the last group has gone
for try in $(seq 100); do
  set -- $(cat /sys/fs/cgroup/cgroup.controllers); case " $* " in *" cpu "*) break;; esac; sleep 0.1
done
echo version 2: $*; {pytest}
"""


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(1000)
def test_applications_in_both_versions() -> None:
    # without plugins and settings: in the emulated machine every module costs
    command = ["env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1", sys.executable, "-W", "error", "-m", "pytest"]
    command += ["-c", "/dev/null", "--noconftest", "--color=no", "-rA", "-p", "no:cacheprovider"]
    command += ["--rootdir", str(ROOT), "-W", "ignore::pytest.PytestUnknownMarkWarning"]
    command += ["tests/system/test_application_real.py"]
    script = SCRIPT.format(root=ROOT, pytest=" ".join(command))
    machine = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "900", "sh", "-c", script]
    done = subprocess.run(machine, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-6000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    passed = re.findall(r"=+ (\d+) passed in ", done.stdout)  # none skipped
    assert len(passed) == 2, output
