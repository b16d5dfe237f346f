"""A test that ends its process: the summary says of what, and where its threads were (tests/conftest.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = """
import ctypes, os, signal
def test_fine():
    pass
def test_crashes():
    {}
"""


def summary_of(folder: Path, end: str) -> str:
    (folder / "tests").mkdir()
    (folder / "tests/test_it.py").write_text(TESTS.format(end))
    (folder / "tests/pytest.ini").write_text("[pytest]\n")
    # a place of its own: in the common one pytest removes what earlier runs left, which took it up to two minutes
    given = [
        "-n",
        "1",
        "-p",
        "conftest",
        "-p",
        "no:cacheprovider",
        f"--basetemp={folder / 'its'}",
        str(folder / "tests"),
    ]
    tests = str(Path(__file__).parents[1])
    code = f"import sys; sys.path.insert(0, {tests!r}); import pytest; sys.exit(pytest.main({given!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_a_crash_tells_its_stacks(tmp_path: Path) -> None:
    told = summary_of(tmp_path, "ctypes.string_at(0)")
    assert "gw0 ended, exit status -11" in told
    assert "Segmentation fault" in told
    assert 'test_it.py", line 6 in test_crashes' in told
    assert "1 passed" in told


def test_a_kill_tells_that_it_was_one(tmp_path: Path) -> None:
    assert "gw0 ended, exit status -9" in summary_of(tmp_path, "os.kill(os.getpid(), signal.SIGKILL)")
