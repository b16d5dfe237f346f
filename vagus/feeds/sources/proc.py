"""Commands: `proc:uptime`, `proc:ping -c 2 host`. Split as a shell would, run without one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
from collections.abc import Sequence

from vagus.errors import ConfigError
from vagus.feeds import Fetched, Net
from vagus.feeds.location import printable

MAX_STDERR_BYTES = 4096
MAX_NOTE = 300


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

    async def fetch(self, location: str, timeout_s: float, max_bytes: int) -> Fetched:
        """Standard output; STATUS with an exit that is not good (the output is kept); the end of stderr is the note."""
        try:
            words = shlex.split(location.partition(":")[2])
        except ValueError as error:
            return Fetched(Net.FAILED, note=f"cannot split {location[:80]!r}: {error}")
        if not words:
            return Fetched(Net.FAILED, note="no command after proc:")
        creating = asyncio.ensure_future(
            asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, "LC_ALL": "C"},
            )
        )
        ended = False
        try:
            process = await asyncio.shield(creating)  # shielded: a child half made could not be killed
            fetched = await asyncio.wait_for(_run(process, max_bytes, self._good_exits), timeout_s)
            ended = fetched.net is not Net.TOO_LARGE
            return fetched
        except asyncio.TimeoutError:
            return Fetched(Net.TIMEOUT, note=f"{words[0][:80]} did not end within {timeout_s:g} s and was killed")
        except (OSError, ValueError) as error:
            ended = True
            return Fetched(Net.FAILED, note=f"cannot run {words[0][:80]!r}: {getattr(error, 'strerror', '') or error}")
        finally:
            if not ended:
                with contextlib.suppress(OSError, ValueError):
                    process = await creating
                    _kill(process)
                    await asyncio.shield(process.wait())

    async def close(self) -> None:
        """Nothing outlives a fetch."""


async def _run(process: asyncio.subprocess.Process, max_bytes: int, good_exits: frozenset[int]) -> Fetched:
    if process.stdout is None or process.stderr is None:  # both are pipes: never so
        return Fetched(Net.FAILED, note="no pipes")
    errors = asyncio.ensure_future(_tail(process.stderr))
    try:
        body = bytearray()
        while chunk := await process.stdout.read(1 << 16):
            body += chunk
            if len(body) > max_bytes:
                return Fetched(Net.TOO_LARGE, note=f"more than max_bytes={max_bytes} on standard output; killed")
        status = await process.wait()
        note = " ".join(printable((await errors).decode("utf-8", errors="replace")).split())[-MAX_NOTE:]
    finally:
        errors.cancel()
    if status not in good_exits:
        ending = f"exit status {status}" if status >= 0 else f"killed by signal {-status}"
        return Fetched(Net.STATUS, bytes(body), f"{ending}: {note}" if note else ending)
    return Fetched(Net.OK, bytes(body), note)


async def _tail(stream: asyncio.StreamReader) -> bytes:
    """The last bytes of a stream; all of it is read, so that the writer is never blocked."""
    end = b""
    while chunk := await stream.read(1 << 16):
        end = (end + chunk)[-MAX_STDERR_BYTES:]
    return end


def _kill(process: asyncio.subprocess.Process) -> None:
    # start_new_session made the child the leader of its own group: the group's id is the child's
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # a descendant that left the group may hold the pipes open: do not wait for it
    transport = getattr(process, "_transport", None)
    if transport is not None:
        transport.close()
