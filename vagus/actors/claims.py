"""The claims of a node's controllers, in a file that they share: each is a process of its own.

The file is written anew under a lock beside it. A claim ends with the process that made it, whose limits its watchdog
restores.
"""

from __future__ import annotations

import fcntl
import math
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import msgspec

from vagus.controllers.claims import Claim, Claims, Granted
from vagus.model import Target

MAX_BYTES = 4 << 20


class _Entry(msgspec.Struct, frozen=True, array_like=True):
    claim: Claim
    pid: int
    started: str


class NodeClaims:
    """The claims of one controller among those of its node. A file that cannot be used grants everything, and says so
    in `trouble`: bounds and the kernel still hold."""

    def __init__(self, path: Path, owner: str, capacity: Mapping[str, float]) -> None:
        self.owner = owner
        self.trouble = ""
        self._path = path
        self._capacity = capacity
        self._pid = os.getpid()
        self._started = started(self._pid)

    def grant(
        self, target: Target, resource: str, wanted: float, current: float | None, least: float, *, take: bool = True
    ) -> Granted:
        """How much of `wanted` fits; claimed at once (if `take`), as nobody else may be given the same."""
        target = _one_name(target)
        with self._shared() as claims:
            granted = claims.grant(self.owner, target, resource, wanted, current, least)
            if take and granted.value is not None:
                # until it is settled the larger of both counts: the write may come, or fail
                claims.claim(Claim(self.owner, target, resource, max(granted.value, _figure(current))))
        return granted

    def settle(self, in_force: Mapping[tuple[Target, str], float | None]) -> None:
        """From now on this controller's claims are what is in force of it.

        Of resources that no capacity is known of, too: what two change, neither can restore.
        """
        with self._shared() as claims:
            claims.drop(self.owner)
            for (target, resource), value in in_force.items():
                claims.claim(Claim(self.owner, _one_name(target), resource, _figure(value)))

    @contextmanager
    def _shared(self) -> Iterator[Claims]:
        claims = Claims(self._capacity)
        try:
            lock = os.open(f"{self._path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self.trouble = f"cannot share {self._path}: {error.strerror}; what the node has is not shared out"
            yield claims
            return
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = self._read()
            for entry in entries:
                claims.claim(entry.claim)
            before = dict(claims.held)
            yield claims
            if claims.held != before:
                self._write(entries, claims)
        finally:
            os.close(lock)

    def _read(self) -> list[_Entry]:
        try:
            with open(self._path, "rb") as file:
                found = msgspec.json.decode(file.read(MAX_BYTES), type=list[_Entry])
        except FileNotFoundError:
            return []
        except (OSError, msgspec.DecodeError) as error:
            self.trouble = f"{self._path} is not readable ({error}): begun anew"
            return []
        alive = {pid: started(pid) for pid in {entry.pid for entry in found}}
        return [entry for entry in found if alive[entry.pid] == entry.started]

    def _write(self, entries: list[_Entry], claims: Claims) -> None:
        whose = {(e.claim.target, e.claim.resource): e for e in entries}
        kept = []
        for key, claim in claims.held.items():
            entry = whose.get(key)
            mine = entry is None or claim.owner == self.owner
            kept.append(_Entry(claim, self._pid, self._started) if mine or entry is None else entry)
        fresh = Path(f"{self._path}.new")
        try:
            fresh.write_bytes(msgspec.json.encode(kept))
            os.replace(fresh, self._path)
            self.trouble = ""
        except OSError as error:
            self.trouble = f"cannot write {self._path}: {error.strerror}; what the node has is not shared out"


def _figure(value: float | None) -> float:
    """A number that JSON has, 0 where there is none."""
    return value if value is not None and math.isfinite(value) else 0.0


def _one_name(target: Target) -> Target:
    """One target for all the names that it goes by."""
    name = target.name
    if target.kind == "cgroup":
        name = "/".join(part for part in PurePosixPath(name).parts if part.strip("/"))
    elif target.kind == "pid":
        name = name.partition(":")[0].lstrip("0")
    elif target.kind == "systemd" and "." not in name:
        name += ".service"
    return Target(target.kind, name)


def started(pid: int) -> str:
    """When a process began, in clock ticks since boot, as /proc says it; empty when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read(4096).rpartition(b")")[2].split()[19].decode()
    except (OSError, IndexError):
        return ""
