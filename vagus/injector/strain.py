"""The frame of a process that strains: `python -m vagus.injector.strain KIND JSON`; see `vagus.injector` for its ways.

Three things end it, whatever becomes of the others: whoever journalled it, the end of its standard input (a thread
waits for that), and an alarm of the kernel's at its deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

STRAINS = {
    "cpu": "vagus.injector.strain_cpu:strain",
    "memory": "vagus.injector.strain_memory:strain",
    "llc": "vagus.injector.strain_llc:strain",
    "disk": "vagus.injector.strain_disk:strain",
    "load": "vagus.injector.strain_load:strain",
    "delay": "vagus.injector.strain_delay:strain",
    "relay": "vagus.injector.strain_relay:strain",
}
PREPARE_S = 150.0  # more than `session.BEGIN_TIMEOUT_S`: that one tells what was wrong
GRACE_S = 2.0
TELL_S = 0.2
MAX_S = 7 * 86400.0


def command(kind: str, duration_s: float, **settings: Any) -> tuple[str, ...]:
    """The argument list that starts a strain of this kind."""
    told = json.dumps({"duration_s": duration_s, **settings}, separators=(",", ":"))
    return (sys.executable, "-m", "vagus.injector.strain", kind, told)


class Line:
    """The line to whoever started this process: waits for the word, tells what is done, ends the process with it."""

    def __init__(self, duration_s: float) -> None:
        self._duration_s = min(duration_s, MAX_S)
        self._told = 0.0
        self.began = 0.0
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends us, also when Python is stuck
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for whoever started us, who ends us then
        signal.setitimer(signal.ITIMER_REAL, self._duration_s + PREPARE_S)

    def wait(self) -> None:
        """Until the word comes; without it the process ends here."""
        self._write({"ready": True})
        if not os.read(0, 1):
            os._exit(0)
        threading.Thread(target=self._follow, name="lifeline", daemon=True).start()

    def _follow(self) -> None:
        while True:
            try:
                if os.read(0, 4096):
                    continue
            except OSError:
                pass
            os._exit(0)

    def begun(self) -> None:
        """It is in force from now on."""
        os.set_blocking(1, False)  # nobody who does not listen may hold it up
        self.began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, self._duration_s + GRACE_S)
        self._write({"begun": True})

    @property
    def age_s(self) -> float:
        """For how long it is in force."""
        return time.monotonic() - self.began

    def due(self) -> bool:
        """Whether figures are to be told."""
        now = time.monotonic()
        if now - self._told < TELL_S:
            return False
        self._told = now
        return True

    def tell(self, **figures: float) -> None:
        """What it does, over all of the time that it is in force."""
        self._write(figures)

    def _write(self, said: dict[str, Any]) -> None:
        with contextlib.suppress(BlockingIOError):
            try:
                os.write(1, json.dumps(said, separators=(",", ":")).encode() + b"\n")
            except BrokenPipeError:
                os._exit(0)


def main(argv: list[str]) -> int:
    """Waits for the word, strains. The result of a strain that ends by itself is an error."""
    kind, told = argv
    settings = json.loads(told)
    line = Line(float(settings.pop("duration_s")))
    module, _, function = STRAINS[kind].partition(":")
    strain: Callable[..., None] = getattr(import_module(module), function)
    line.wait()
    try:
        strain(line, **settings)
    except (OSError, MemoryError, ValueError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
