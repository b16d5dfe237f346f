"""What a reporter keeps of each thing that is observed, and of each call that is under way; and names of observers."""

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from vagus.model import MAX_NAME

K = TypeVar("K")
V = TypeVar("V")
HEALTHY_EVERY_S = 20.0
Call = list[Any]  # since when (perf_counter), when it is due to be said that it hangs, its track; True: it was said


class Track:
    """One (observer, subject, context): when HEALTHY is due next, and what has been averaged since."""

    __slots__ = ("after_ns", "context", "count", "due", "every_s", "observer", "subject", "told", "total_s", "ttl_ns")

    def __init__(self, observer: str, subject: str, context: str, every_s: float = HEALTHY_EVERY_S) -> None:
        self.observer = observer
        self.subject = subject
        self.context = context
        self.due = 0.0
        self.count = 0
        self.total_s = 0.0
        self.every_s = every_s
        self.ttl_ns = 0
        self.after_ns = 0  # HEALTHY is later than this, whatever this machine's clock says
        self.told: deque[int] | None = None  # times of what was sent last, PENDING left out, where somebody asks

    def forget(self, count: int) -> None:
        """What was averaged so far is from before something went wrong, and shall not be said after it; the next
        success passes at once. count: as it was before that was found, since what has ended meanwhile is newer."""
        self.count -= min(count, self.count)
        if not self.count:
            self.total_s = 0.0
        self.due = 0.0


def again(call: Call, now: float) -> None:
    """It was said that this call hangs: when to say so again, at growing distance."""
    call[1] = now + min(max(call[1] - call[0], 1.0), HEALTHY_EVERY_S)
    call[3:] = (True,)


def let_go(waiting: dict[K, V], call_of: Callable[[V], Call]) -> bool:
    """Makes room, if the oldest was said to hang; younger ones must have their time. Whether there is room."""
    try:
        key, oldest = next(iter(waiting.items()))
        if len(call_of(oldest)) > 3:
            del waiting[key]
            return True
    except (KeyError, RuntimeError, StopIteration):  # another thread was quicker
        return True
    return False


def postpone(calls: Iterable[Call], late_s: float, now: float) -> None:
    """The last `late_s` seconds do not count: this process slept."""
    for call in calls:
        slept_s = min(late_s, now - call[0])
        call[0] += slept_s
        call[1] += slept_s


def default_observer() -> str:
    """Who reports when nobody is named: `program:pid@host`."""
    program = os.path.basename(sys.argv[0] if sys.argv else "") or "python"
    return f"{_printable(program)[:80]}:{os.getpid()}@{os.uname().nodename}"[:MAX_NAME]


def name_of(value: Any) -> str:
    """Anything as a name: printable, of 1 to 200 characters."""
    try:
        return _printable(str(value)[:MAX_NAME]) or "?"
    except Exception:  # the value's own __str__
        return type(value).__name__[:MAX_NAME]


def _printable(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
