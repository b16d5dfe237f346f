"""Files: `file:./nodelist`, `file:/proc/loadavg`, `file:///etc/hosts`."""

from __future__ import annotations

import asyncio
import os
import stat
from concurrent.futures import Future, ThreadPoolExecutor
from urllib.parse import unquote

from vagus.feeds import Fetched, Net

THREADS = 8


class FileSource:
    """Reads regular files (those of /proc and /sys are), in threads: a hung disk is a timeout, never a hung feed."""

    def __init__(self) -> None:
        self._hanging: dict[str, Future[Fetched]] = {}  # reads that were given up, and go on
        self._threads: ThreadPoolExecutor | None = None  # its own: a hung disk holds up files and nothing else

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        """The file's bytes; FAILED when it cannot be read or is a pipe, socket, device or folder."""
        path = location.partition(":")[2]
        if path.startswith("///"):
            path = unquote(path[2:])
        if self._threads is None:
            self._threads = ThreadPoolExecutor(THREADS, "files")
        if path in self._hanging:
            if not self._hanging[path].done():  # one more would hang too, and soon all threads
                return Fetched(Net.TIMEOUT, note=f"an earlier read of {path} still hangs"[:300])
            del self._hanging[path]
        reading = self._threads.submit(_read, path, max_bytes)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(reading), timeout_s)
        except asyncio.TimeoutError:
            self._hanging = {known: read for known, read in self._hanging.items() if not read.done()}
            if not reading.cancelled():
                self._hanging[path] = reading
            return Fetched(Net.TIMEOUT, note=f"{path} was not read within {timeout_s:g} s")

    async def close(self) -> None:
        """Lets the threads go; one that hangs ends with its read."""
        if self._threads is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._threads = None


def _read(path: str, max_bytes: int) -> Fetched:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        with open(handle, "rb") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return Fetched(Net.FAILED, note=f"{path} is not a regular file")
            body = file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        return Fetched(Net.FAILED, note=f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}"[:300])
    if len(body) > max_bytes:
        return Fetched(Net.TOO_LARGE, note=f"{path} has more than max_bytes={max_bytes}")
    return Fetched(Net.OK, body)
