"""Round trips over netem's delay, in an emulated machine whose kernel has netem. About half a minute."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SKIP = 77


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(400)
def test_round_trips_over_netem_in_the_emulated_machine() -> None:
    # without plugins and settings: in the emulated machine every module costs
    pytest_command = [sys.executable, "-m", "pytest", "-c", "/dev/null", "--noconftest", "--color=no", "-rA"]
    pytest_command += ["-p", "no:cacheprovider", "--rootdir", str(ROOT), "tests/system/test_probes_shaped.py"]
    pytest_command += ["-k", "netem", "-W", "ignore::pytest.PytestUnknownMarkWarning"]
    # the guest's kernel cannot load modules by itself: its own root folder has none
    script = "PATH=$PATH:/usr/sbin:/sbin; for module in veth sch_netem; do modprobe $module || exit 1; done; exec "
    command = [str(ROOT / "tests/lab/kernel-vm"), "--timeout", "300", "env", "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1"]
    command += ["sh", "-c", script + shlex.join(pytest_command)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode == SKIP:
        pytest.skip(done.stderr.strip()[-300:])
    output = done.stdout[-3000:] + done.stderr[-1000:]
    assert done.returncode == 0, output
    assert re.search(r"=+ 1 passed, \d+ deselected", done.stdout), output  # not skipped
