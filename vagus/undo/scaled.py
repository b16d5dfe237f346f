"""A step that changes nothing: it waits until a command says that a service has so many replicas.

path is `replicas:SERVICE`; value is JSON: get (argument list), is (the number), within_s, timeout_s (of the command).
"""

from __future__ import annotations

import errno
import json
import time
from collections.abc import Sequence
from typing import Any

from vagus.errors import Rejected
from vagus.undo import Step
from vagus.undo.command import output

_DIGITS = 9
_PAUSE_S = 0.05
_MAX_PAUSE_S = 1.0


def scaled(step: Step) -> None:
    """Raises OSError, Rejected with what the command says instead."""
    try:
        told: dict[str, Any] = json.loads(step.value)
        get, wanted = [str(argument) for argument in told["get"]], int(told["is"])
        within_s, timeout_s = float(told["within_s"]), float(told["timeout_s"])
    except (ValueError, TypeError, KeyError) as error:
        raise Rejected(step.path, step.value[:200], f"the step is malformed: {error}") from error
    deadline, pause_s = time.monotonic() + within_s, _PAUSE_S
    while True:
        found = count(get, timeout_s)
        if found == wanted:
            return
        if time.monotonic() >= deadline:
            raise Rejected(step.path, str(wanted), f"after {within_s:g} s there are {found}, says {get[0]}")
        time.sleep(min(pause_s, max(0.0, deadline - time.monotonic())))
        pause_s = min(2 * pause_s, _MAX_PAUSE_S)


def count(argv: Sequence[str], timeout_s: float) -> int:
    """The whole number that a command prints. Raises OSError with the command's own words."""
    text = output(argv, timeout_s).strip()
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise OSError(errno.EINVAL, f"{argv[0]} printed {text[:80]!r}, not one whole number")
    return int(text)
