"""Commands: `proc:uptime`, `proc:ping -c 2 host`. Split as a shell would, run without one."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from vagus.errors import ConfigError
from vagus.feeds import Fetched, Net
from vagus.feeds.sources.proc_run import Command

THREADS = 64  # commands at once; the runner starts fewer
LEFT_S = 1.0  # what hangs where nothing can kill it is left behind after this


class ProcSource:
    """Runs a command in its own session, with LC_ALL=C and no standard input; kills no more than its process group.

    A group that outlives its time, its byte limit, or a cancelled fetch is killed whole; SIGKILL, since what is hung
    rarely listens. What a command leaves in the background after it ended well is let be.

    good_exits: exit statuses that are no failure: `ping` ends with 1 where nothing answers, `grep` where nothing is
    found. Raises ConfigError for what is none.
    """

    def __init__(self, good_exits: Sequence[int] = (0,)) -> None:
        if isinstance(good_exits, (str, bytes)) or not all(
            isinstance(status, int) and 0 <= status <= 255 for status in good_exits
        ):
            raise ConfigError(f"source proc: good_exits is a list of numbers from 0 to 255, not {good_exits!r}"[:200])
        self._good_exits = frozenset(good_exits)
        self._threads: ThreadPoolExecutor | None = None

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        """Standard output; STATUS with an exit that is not good (the output is kept); the end of stderr is the note."""
        try:
            words = shlex.split(location.partition(":")[2])
        except ValueError as error:
            return Fetched(Net.FAILED, note=f"cannot split {location[:80]!r}: {error}")
        if not words:
            return Fetched(Net.FAILED, note="no command after proc:")
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "proc")
        command = Command(words, time.monotonic() + timeout_s, max_bytes, self._good_exits)
        ending = asyncio.get_running_loop().run_in_executor(self._threads, command.run)
        try:
            fetched = await asyncio.wait_for(asyncio.shield(ending), timeout_s + LEFT_S)
        except asyncio.TimeoutError:
            command.cancel()
            return _late(words[0], timeout_s)
        except asyncio.CancelledError:
            command.cancel()
            await asyncio.wait([ending], timeout=LEFT_S)
            raise
        return fetched if fetched.net is not Net.TIMEOUT else _late(words[0], timeout_s)

    async def close(self) -> None:
        """Nothing outlives a fetch."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None


def _late(name: str, timeout_s: float) -> Fetched:
    return Fetched(Net.TIMEOUT, note=f"{name[:80]} did not end within {timeout_s:g} s and was killed")
