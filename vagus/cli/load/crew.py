"""The workers of a load: processes of this machine, or tasks on the cluster's nodes; one coordinator adds up."""

from __future__ import annotations

import contextlib
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from vagus.cli.load.plan import Plan
from vagus.cli.load.tally import Tally
from vagus.errors import VagusError

WORK = "vagus.cli.load.worker:run"
END_S = 5.0


def here(plans: Sequence[Plan], lost: Callable[[str], None]) -> Iterator[Tally]:
    """Tallies of worker processes on this machine, as they come; `lost` is told of workers that end early."""
    came: queue.SimpleQueue[Tally | None] = queue.SimpleQueue()
    workers: list[subprocess.Popen[bytes]] = []
    followers: list[threading.Thread] = []
    stack = contextlib.ExitStack()
    try:
        for plan in plans:
            command = [sys.executable, "-m", "vagus.cli.load.worker"]
            words = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115  # a pipe could fill, and stop it
            worker = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=words, start_new_session=True
            )
            workers.append(worker)
            assert worker.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it is lost: its output says so
                worker.stdin.write(msgspec.msgpack.encode(plan))
                worker.stdin.close()
            followers.append(threading.Thread(target=_follow, args=(worker, words, came, lost), daemon=True))
            followers[-1].start()
        left = len(plans)
        while left:
            tally = came.get()
            if tally is None:
                left -= 1
            else:
                yield tally
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            try:
                worker.wait(END_S)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        for follower in followers:
            follower.join(END_S)
        for worker in workers:
            assert worker.stdout is not None
            worker.stdout.close()
        stack.close()


def _follow(
    worker: subprocess.Popen[bytes],
    words: IO[bytes],
    came: queue.SimpleQueue[Tally | None],
    lost: Callable[[str], None],
) -> None:
    assert worker.stdout is not None
    whole = False
    with contextlib.suppress(ValueError, OSError, msgspec.DecodeError):  # closed under us, or cut off
        for frame in _frames(worker.stdout):
            tally = msgspec.msgpack.decode(frame, type=Tally)
            whole = whole or bool(tally.workers)
            came.put(tally)
    if not whole:
        last: list[str] = []
        with contextlib.suppress(ValueError, OSError):
            words.seek(0)
            last = words.read(65536).decode("utf-8", "replace").strip().splitlines()
        lost(f"worker {worker.pid}: {last[-1] if last else 'ended'}")
    came.put(None)


def _frames(source: IO[bytes]) -> Iterator[bytes]:
    while len(size := source.read(4)) == 4:
        yield source.read(int.from_bytes(size, "big"))


def on_nodes(home: Path, plans: Mapping[str, Sequence[Plan]], lost: Callable[[str], None]) -> Iterator[Tally]:
    """Tallies of tasks at the nodes that the plans stand under. Raises VagusError."""
    from vagus.runtime.scatter import scatter

    packed = {node: [msgspec.msgpack.encode(plan) for plan in every] for node, every in plans.items()}
    results = scatter(home, WORK, packed)
    try:
        for node, result in results:
            if isinstance(result, Exception):
                lost(f"worker at {node}: {_first_line(result)}")
            else:
                yield msgspec.msgpack.decode(result, type=Tally)
    finally:
        results.close()  # type: ignore[attr-defined]


def _first_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return lines[-1] if not isinstance(error, VagusError) else lines[0]
