"""systemd's units under a real systemd: it runs as process 1 of a namespace in the emulated machine. About a minute."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIP = 77
# It believes to be in a container; that its root is a chroot it is told to overlook. It gets the whole cgroup tree.
SCRIPT = """
cd {root}
mkdir -p /run/systemd/system
printf '[Unit]\\nDefaultDependencies=no\\n' > /run/systemd/system/vagus-lab.target
export SYSTEMD_IGNORE_CHROOT=1
container=vagus unshare --pid --fork --mount-proc {systemd} --system --unit=vagus-lab.target --log-target=console \
  --show-status=no </dev/null >/run/systemd.log 2>&1 &
parent=$!
for try in $(seq 200); do
  boss=$(tr -d ' ' < /proc/$parent/task/$parent/children)
  [ -n "$boss" ] && nsenter -t $boss -p -m -r systemctl show -p Version >/dev/null 2>&1 && break; sleep 0.2
done
nsenter -t $boss -p -m -r sh -c 'cd {root} && {pytest}'
result=$?
[ $result = 0 ] || tail -c 3000 /run/systemd.log
exit $result
"""


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(700)
def test_units_of_a_real_systemd() -> None:
    systemd = next((p for p in ("/lib/systemd/systemd", "/usr/lib/systemd/systemd") if Path(p).exists()), None)
    if systemd is None or not all(map(shutil.which, ("systemctl", "systemd-run", "unshare", "nsenter"))):
        pytest.skip("systemd is missing: apt-get install systemd")
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
    command += ["tests/system/test_systemd_real.py", "-W", "ignore::pytest.PytestUnknownMarkWarning"]
    script = SCRIPT.format(root=ROOT, systemd=systemd, pytest=" ".join(command))
    machine = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "600", "sh", "-c", script]
    done = subprocess.run(machine, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-6000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    assert re.search(r"=+ \d+ passed in ", done.stdout), output  # none skipped
