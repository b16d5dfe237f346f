"""Which tunables the services of this machine announced (see vagus.client.tunable_server), read from files: a service
that hangs holds nobody up. What was not touched within its lease is not there."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec

from vagus.errors import VagusError

MAX_FILE_BYTES = 1 << 20
MAX_FILES = 1000
MAX_LEASE_S = 3600.0
Word = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$(?!\n)")]
Text = Annotated[str, msgspec.Meta(max_length=4096)]


class Announced(msgspec.Struct, frozen=True, kw_only=True):
    """One tunable: bounds in `unit`; behind a unix socket, or an HTTP endpoint. expires_s: seconds since the epoch."""

    service: Word
    instance: Word
    name: Word
    low: float
    high: float
    unit: Annotated[str, msgspec.Meta(max_length=40)] = ""
    whole: bool = False
    endpoint: Text = ""
    token_file: Text = ""
    ca_file: Text = ""
    socket: Text = ""
    renewed_s: float = 0.0
    expires_s: float = 0.0

    @property
    def target(self) -> str:
        """What a controller names: `tunable:SERVICE/INSTANCE`."""
        return f"tunable:{self.service}/{self.instance}"


class _File(msgspec.Struct, frozen=True, kw_only=True):
    tunables: tuple[Announced, ...]
    socket: Text = ""
    lease_s: Annotated[float, msgspec.Meta(gt=0, le=MAX_LEASE_S)] = 30.0


def announced(folder: Path, now_s: float | None = None) -> list[Announced]:
    """Every tunable whose lease runs, by service, instance and name. What is no announcement of this user's is skipped.

    Raises nothing of ours: without a folder there are none.
    """
    now_s = time.time() if now_s is None else now_s
    found = [one for path in _files(folder) for one in _read(path, now_s)]
    return sorted(found, key=lambda one: (one.service, one.instance, one.name))


def _files(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            for number, entry in enumerate(entries):
                if number >= 2 * MAX_FILES:
                    return
                if entry.name.endswith(".json"):
                    yield Path(entry.path)
    except OSError:
        return


def _read(path: Path, now_s: float) -> list[Announced]:
    try:
        with open(path, "rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != os.geteuid():  # what it names would be reached with our rights
                return []
            data = file.read(MAX_FILE_BYTES + 1)
        told = msgspec.json.decode(data, type=_File) if len(data) <= MAX_FILE_BYTES else _File(tunables=())
    except (OSError, ValueError, VagusError, RecursionError):  # gone, half of another program's, of a newer version
        return []
    expires_s = status.st_mtime + told.lease_s
    if expires_s <= now_s:
        return []
    times = {"renewed_s": status.st_mtime, "expires_s": expires_s}
    return [
        msgspec.structs.replace(one, socket=told.socket, **times)
        for one in told.tunables
        if one.low <= one.high and (one.endpoint or told.socket)
    ]
