"""Observers as processes of their own, for the benchmarks: `Node` starts one, and talks to it by lines of JSON.

    python -m benchmarks.health_nodes HOME NODE [SETTINGS]

Commands on its standard input: {"peers": {node: [host, port]}}, {"figures": true}, {"digest": "s*"} (of all
that it holds on such subjects), {"seen": true} (subjects whose
verdict changed, with CLOCK_MONOTONIC in ns, since the last time it was asked). It ends with its input.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
KEY = bytes(range(32))


class Node:
    """One observer process."""

    def __init__(self, home: Path | str, name: str, settings: Mapping[str, Any] | None = None) -> None:
        self.home, self.name = Path(home), name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.health_nodes", str(home), name, json.dumps(settings or {})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.pid = self._process.pid
        self.address: list[Any] = self._answer()["address"]

    def ask(self, command: str, value: Any = True) -> Any:
        """The process's answer to a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({command: value}) + "\n")
        self._process.stdin.flush()
        return self._answer()[command]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the observer {self.name} ended with code {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found

    def rss(self) -> tuple[int, int]:
        """Resident bytes in all, and of anonymous memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        found = dict(line.split(":", 1) for line in lines)
        return int(found["VmRSS"].split()[0]) << 10, int(found["RssAnon"].split()[0]) << 10

    def cpu_s(self) -> float:
        """Processor time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def kill(self, number: int) -> None:
        """Sends a signal."""
        os.kill(self.pid, number)

    def end(self, kill: bool = False) -> None:
        """Ends it: at its leisure, or at once. Idempotent."""
        if kill:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def nodes(home: Path | str, count: int, settings: Mapping[str, Any] | None = None) -> Iterator[list[Node]]:
    """`count` observers that know each other."""
    made: list[Node] = []
    try:
        for number in range(count):
            made.append(Node(home, f"n{number}", settings))
        introduce(made)
        yield made
    finally:
        for node in made:
            node.end(kill=True)


def introduce(made: list[Node]) -> None:
    """Tells all of all."""
    addresses = {node.name: node.address for node in made}
    for node in made:
        node.ask("peers", addresses)


def quietly() -> int:
    """Takes the processor before others of this machine, as if the core were quiet, where that is allowed.

    Children inherit it. Returns the niceness that the figures were measured at.
    """
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    return os.getpriority(os.PRIO_PROCESS, 0)


async def serve(home: str, name: str, settings: dict[str, Any]) -> None:
    """The process: an observer, and the commands."""
    from vagus.actors import heap
    from vagus.actors.base import Seat
    from vagus.actors.observer import ObserverActor
    from vagus.config import Config, HealthSettings, hash_text
    from vagus.model import Event

    links: Any = None
    config = Config(health=HealthSettings(**settings))
    actor = ObserverActor(Seat("observer", name, home, config, options={"key": KEY}), links)
    heap.return_large_blocks()  # as runtime/shell.py does
    await actor.begin()
    heap.settle()
    seen: list[tuple[str, int]] = []

    def note(event: Event) -> None:
        if len(seen) < 100_000:
            seen.append((str(event.fields["subject"]), time.monotonic_ns()))

    actor.subscribe(note)
    print(json.dumps({"address": await actor.address()}), flush=True)
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        for command, value in json.loads(line).items():
            answer: Any = True
            if command == "peers":
                await actor.set_peers({node: (host, port) for node, (host, port) in value.items()})
            elif command == "figures":
                answer = actor.figures()
            elif command == "statuses":
                answer = {i.subject: i.status.name for i in await actor.inferences()}
            elif command == "digest":
                views = await actor.panoramas(10_000)
                views = {subject: views[subject] for subject in views if fnmatchcase(subject, value)}
                held = sorted(
                    (r.subject, r.observer, r.origin, r.seq) for v in views.values() for rs in v.values() for r in rs
                )
                answer = f"{len(held)} {hash_text(repr(held)):x}"
            elif command == "seen":
                answer, seen[:] = list(seen), []
            print(json.dumps({command: answer}), flush=True)
    await actor.end()


if __name__ == "__main__":
    import uvloop

    uvloop.run(serve(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}))
