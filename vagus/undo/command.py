"""The step `run`: a command, for what belongs to another program, such as systemd's units.

path is what it changes (`systemd:nginx.service`), value a JSON list of its arguments. No shell, a bounded time, bounded
answers; a failure quotes what it said.
"""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import subprocess
from collections.abc import Sequence

from vagus.undo import Step

TIMEOUT_S = 8.0  # below the watchdog's patience
MAX_ARGUMENTS = 200
MAX_OUTPUT_BYTES = 1 << 20
_GONE = re.compile(r"Unit \S+ (not found|not loaded)")  # then what it would change is gone


def run(step: Step) -> None:
    """Performs the command. Raises OSError with its words."""
    output(arguments(step.value))


def arguments(value: str) -> list[str]:
    """The JSON list of a step. Raises OSError for anything else."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not (isinstance(found, list) and 0 < len(found) <= MAX_ARGUMENTS and all(isinstance(a, str) for a in found)):
        raise OSError(errno.EINVAL, f"a command is a JSON list of 1 to {MAX_ARGUMENTS} texts, not {value[:80]!r}")
    return found


def output(command: Sequence[str], timeout_s: float = TIMEOUT_S) -> str:
    """What the command prints. Raises OSError: it is missing, took too long, or failed, with what it said."""
    name = os.path.basename(command[0])
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C", "SYSTEMD_PAGER": "", "SYSTEMD_COLORS": "0"},
        )
    except FileNotFoundError as error:
        raise OSError(errno.ENOEXEC, f"the program {name} is missing") from error
    except ValueError as error:
        raise OSError(errno.EINVAL, f"{name}: {error}") from error
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise OSError(errno.ETIMEDOUT, f"{name} did not end within {timeout_s:g} s") from error
    if process.returncode:
        said = (err.strip() or out.strip())[-500:].decode("utf-8", "replace") or f"exit code {process.returncode}"
        raise OSError(errno.ENOENT if _GONE.search(said) else errno.EIO, f"{name}: {said}")
    return out[:MAX_OUTPUT_BYTES].decode("utf-8", "replace")
