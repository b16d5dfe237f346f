"""A terminal taken over and given back: keys one by one, the other screen, and signals as something to wait for."""

from __future__ import annotations

import io
import math
import os
import select
import signal
import sys
import termios
import time
from collections.abc import Callable, Sequence
from types import TracebackType

from rich.console import Console
from rich.text import Text

from vagus.cli.top.lines import PLAIN

ENTER = "\x1b[?1049h\x1b[?25l\x1b[2J"
LEAVE = "\x1b[?25h\x1b[?1049l"
HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
READ_BYTES = 4096
POLL_S = 0.2
LEAVE_S = 2.0


class Wake:
    """A pipe that signals and threads write to, so that a wait for keys ends."""

    def __enter__(self) -> Wake:
        self.fd, self._write = os.pipe()
        for fd in (self.fd, self._write):
            os.set_blocking(fd, False)
        self._before = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handlers = {n: signal.signal(n, lambda *_: None) for n in (signal.SIGWINCH, signal.SIGCONT)}
        return self

    def now(self) -> None:
        """From any thread."""
        try:
            os.write(self._write, b"\0")
        except OSError:  # full, so it wakes; or closed: nobody waits
            pass

    def wait(self, keys: int, timeout_s: float | None) -> tuple[bool, set[int]]:
        """Whether there are keys, and which signals came."""
        ready, _, _ = select.select([keys, self.fd], [], [], timeout_s)
        try:
            came = os.read(self.fd, READ_BYTES) if self.fd in ready else b""
        except BlockingIOError:
            came = b""
        return keys in ready, set(came) - {0}

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        write, self._write = self._write, -1  # a thread that wakes us now writes nowhere
        os.close(write)
        os.close(self.fd)


class Screen:
    """The terminal on standard input and output; in a `with`, which gives it back as it was whatever happens.

    ended: whether it is to end, so that a terminal that takes nothing any more (Ctrl-S, a line that is lost) is left.
    """

    def __init__(self, ended: Callable[[], bool] = lambda: False) -> None:
        self._ended = ended
        self.keys = sys.stdin.fileno()
        self._out = sys.stdout.fileno()
        self._encoding = sys.stdout.encoding or "ascii"
        self._unicode = "utf" in self._encoding.lower()
        self._shown: list[str] = []
        self._size = (0, 0)

    def __enter__(self) -> Screen:
        sys.stdout.flush()
        self._before = termios.tcgetattr(self.keys)
        self._raw = raw = [*self._before[:6], list(self._before[6])]
        raw[3] &= ~(termios.ICANON | termios.ECHO)
        none = os.fpathconf(self.keys, "PC_VDISABLE")
        for name in (termios.VSUSP, termios.VQUIT):  # Ctrl-Z would leave a shell on this screen
            raw[6][name] = bytes([none & 0xFF])
        raw[6][termios.VMIN], raw[6][termios.VTIME] = 1, 0
        try:
            self.take()
        except BaseException:
            self._leave()
            raise
        return self

    def take(self) -> None:
        """Takes the terminal over, also from a shell that had it while this program was stopped."""
        termios.tcsetattr(self.keys, termios.TCSANOW, self._raw)
        self._write(ENTER)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def _leave(self) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)  # not half of it
        try:
            termios.tcsetattr(self.keys, termios.TCSANOW, self._before)
            if self._ended():
                termios.tcflush(self._out, termios.TCOFLUSH)  # what it did not take
            self._write(LEAVE, LEAVE_S)
        except (termios.error, OSError):
            pass  # the terminal is gone
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def size(self) -> tuple[int, int]:
        """Columns and lines; 80 and 24 where the terminal does not know."""
        try:
            columns, lines = os.get_terminal_size(self._out)
        except OSError:  # it is gone
            columns, lines = 0, 0
        return columns or 80, lines or 24

    def read(self) -> bytes:
        """Bytes of keys; none when the terminal is gone."""
        try:
            return os.read(self.keys, READ_BYTES)
        except OSError:
            return b""

    def show(self, lines: Sequence[Text], size: tuple[int, int], anew: bool = False) -> None:
        """Writes the lines that differ from those that are shown; all of them when anew."""
        made = ansi(lines, size[0])
        written = []
        if anew or size != self._size:
            self._shown, self._size = [], size
            written.append("\x1b[2J")
        for at, line in enumerate(made):
            if at >= len(self._shown) or self._shown[at] != line:
                written.append(f"\x1b[{at + 1};1H\x1b[2K{line}")
        self._shown = made
        self._write("".join(written))

    def _write(self, drawn: str, within_s: float = math.inf) -> None:
        """Until all is written, it is to end, or so much time has passed: a signal ends a write in its midst."""
        data = (drawn if self._unicode else drawn.translate(PLAIN)).encode(self._encoding, "replace")
        until_s = time.monotonic() + within_s
        while data and not (within_s == math.inf and self._ended()):
            _, room, _ = select.select([], [self._out], [], POLL_S)
            if room:
                data = data[os.write(self._out, data) :]
            elif time.monotonic() > until_s:
                return


def ansi(lines: Sequence[Text], width: int) -> list[str]:
    """Each line with its colours, as far as the terminal (TERM, COLORTERM, NO_COLOR) has them."""
    to = Console(file=io.StringIO(), force_terminal=True, width=max(1, width), highlight=False, legacy_windows=False)
    found = []
    for line in lines:
        with to.capture() as captured:
            to.print(line, end="", soft_wrap=True)
        found.append(captured.get())
    return found
