"""The watchdog's journal: how to undo every limit in force, on disk before the limit is.

JSON lines in DIR/journal.jsonl, each with a version; `lock` beside it is held by whoever may write. The first original
value of a file wins. A torn last line (power cut while appending) is no entry, since nothing was acknowledged.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from vagus.errors import ActuateError
from vagus.undo import Step, outlives_boot, undo
from vagus.watchdog.entries import Entries

VERSION = 1
MAX_BYTES = 4 << 20
COMPACT_BYTES = 1 << 18
MAX_STEPS = 10_000
NAME = "journal.jsonl"
_LOG_LINES = 20
_MOVES = ("drain", "return")


class Restored(msgspec.Struct, frozen=True):
    """What a restore did. busy: a live watchdog holds the journal and will see to it itself; notes are for people."""

    undone: int = 0
    failures: tuple[str, ...] = ()
    busy: bool = False
    notes: tuple[str, ...] = ()


class Journal:
    """The undo steps of one controller, exclusively locked while open. Raises ActuateError (locked, unreadable).

    boot_id tells this boot's entries from those of an earlier one: limits end with the boot, and after it process and
    group names may mean something else, so such entries are dropped, not performed; but for pods and replicas.
    """

    def __init__(self, folder: Path, boot_id: str | None = None, wait_s: float = 0.0) -> None:
        self.folder = folder
        self.boot_id = _boot_id() if boot_id is None else boot_id
        self.notes: list[str] = []
        self._entries = Entries()
        self._log: list[dict[str, Any]] = []  # what was restored lately
        self._file = -1
        self._torn = False  # an append failed half-way: the next one writes the journal anew
        self._whole_bytes = 0  # of the journal when it was last written anew
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ActuateError(f"cannot open the watchdog's journal in {folder}: {error.strerror}") from error
        try:
            self._take_lock(wait_s)
            self._read()
            with contextlib.suppress(ActuateError):  # on a full disk what is in force is undone all the same
                self._rewrite()
        except BaseException:
            self.close()
            raise

    # --- entries ---------------------------------------------------------------------------------------------------

    def steps(self) -> list[Step]:
        """All undo steps in the order in which to perform them: the newest plan's first."""
        return self._entries.steps()

    def add(self, steps: Sequence[Step]) -> list[Step]:
        """Keeps those steps whose change is not journalled yet, on disk when this returns; returns them."""
        new, held = self._entries.new(steps), len(self.steps())
        if held + len(new) > MAX_STEPS:
            raise ActuateError(f"{self.folder} holds {held} undo steps; restore before limiting more")
        if new:
            self._entries.add(new)
            try:
                self._append({"kind": "undo", "steps": [msgspec.to_builtins(s) for s in new]})
            except ActuateError:
                self._entries.drop(step.key for step in new)  # not on disk: not journalled
                raise
        return new

    def forget(self, steps: Sequence[Step]) -> None:
        """Drops these entries: what they would undo was undone."""
        self._entries.drop(step.key for step in steps)
        self._append({"kind": "forget", "steps": [msgspec.to_builtins(s) for s in steps]})

    def restore(self, why: str, keep: bool = False) -> Restored:
        """Undoes everything, records that, and keeps what could not be undone for the next try.

        keep: keeps it all, as whoever set the limits may be about to write once more.
        """
        steps = self.steps()
        failed = undo(steps)
        failures = tuple(f"{step.op} {step.path} {step.part or step.value}: {reason}"[:500] for step, reason in failed)
        if steps:
            kept = {step.key for step, _ in failed} if not keep else {step.key for step in steps}
            for plan in self._entries.plans:
                if any(step.key in kept for step in plan):  # others may enter a group that cannot be removed yet
                    kept |= {step.key for step in plan if step.op in _MOVES}
            self._entries.drop({step.key for step in steps} - kept)
            self._log.append(
                {"kind": "restored", "why": why, "undone": len(steps) - len(failed), "failures": list(failures)[:50]}
            )
        if steps:
            try:
                self._rewrite()
            except ActuateError as error:  # a full disk: undone it is, and once more is no harm
                self.notes.append(f"{error}; what was undone is undone once more by the next")
        return Restored(len(steps) - len(failed), failures, notes=tuple(self.notes))

    def close(self) -> None:
        """Gives up the lock. Idempotent."""
        for fd in (self._file, self._lock):
            if fd >= 0:
                os.close(fd)
        self._file = self._lock = -1

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- disk ------------------------------------------------------------------------------------------------------

    def _take_lock(self, wait_s: float) -> None:
        deadline = time.monotonic() + wait_s
        while True:
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    owner = os.pread(self._lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
                    raise Locked(f"{self.folder} is held by the live watchdog {owner}, which will restore it") from None
            time.sleep(0.02)
        with contextlib.suppress(OSError):  # for people only; a disk may be full
            os.ftruncate(self._lock, 0)
            os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _read(self) -> None:
        path = self.folder / NAME
        try:
            with open(path, "rb") as file:
                owner = os.fstat(file.fileno()).st_uid
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return
        except OSError as error:
            raise ActuateError(f"cannot read {path}: {error.strerror}") from error
        if len(data) > MAX_BYTES:
            raise ActuateError(f"{path} is larger than {MAX_BYTES} bytes: not ours; look at it and move it away")
        if owner != os.geteuid():  # its steps would be performed with our rights
            raise ActuateError(f"{path} belongs to user {owner}, not to {os.geteuid()}: restore as that user")
        boot = self.boot_id
        lines = data.split(b"\n")
        torn = lines.pop()  # what follows the last newline was never acknowledged
        if torn:
            self.notes.append(f"{path}: dropped a torn last line of {len(torn)} bytes")
        for number, line in enumerate(lines, 1):
            try:
                entry = json.loads(line)
                if entry["v"] > VERSION:
                    raise ActuateError(f"{path} line {number}: version {entry['v']} is of a newer vagus; use that one")
                boot = entry.get("boot", boot)
                self._take(entry)
            except (ValueError, KeyError, TypeError) as error:
                self.notes.append(f"{path} line {number} is damaged and was skipped: {error}"[:300])
        lost = [step for step in self.steps() if boot != self.boot_id and not outlives_boot(step)]
        if lost:
            self.notes.append(f"{path}: dropped {len(lost)} undo steps of an earlier boot: its limits are gone")
            self._entries.drop(step.key for step in lost)

    def _take(self, entry: dict[str, Any]) -> None:
        if entry["kind"] == "undo":
            self._entries.add(msgspec.convert(entry["steps"], list[Step]))
        elif entry["kind"] == "forget":
            self._entries.drop(step.key for step in msgspec.convert(entry["steps"], list[Step]))
        elif entry["kind"] == "restored":
            self._log.append(entry)

    def _line(self, entry: dict[str, Any]) -> bytes:
        stamped = {"v": VERSION, "t_ns": time.time_ns(), "pid": os.getpid(), "boot": self.boot_id, **entry}
        return json.dumps(stamped, separators=(",", ":")).encode() + b"\n"

    def _append(self, entry: dict[str, Any]) -> None:
        try:
            line = self._line(entry)
            size = 0 if self._torn else os.fstat(self._file).st_size + len(line)
            if self._torn or size > max(COMPACT_BYTES, min(2 * self._whole_bytes, MAX_BYTES)):
                self._rewrite()  # includes the entry, as memory does already
                return
            self._torn = True
            _write(self._file, line)
            os.fsync(self._file)
            self._torn = False
        except OSError as error:
            raise ActuateError(f"cannot journal to {self.folder / NAME}: {error.strerror}") from error

    def _rewrite(self) -> None:
        """The journal anew, with only what is in force and what was restored lately."""
        self._log = self._log[-_LOG_LINES:]
        lines = [self._line(entry) for entry in self._log]
        lines += [
            self._line({"kind": "undo", "steps": [msgspec.to_builtins(s) for s in p]}) for p in self._entries.plans
        ]
        whole = b"".join(lines)
        if len(whole) > MAX_BYTES:  # more than is read again
            raise ActuateError(f"{self.folder} holds {len(whole)} bytes of undo steps; restore before limiting more")
        path, fresh = self.folder / NAME, self.folder / f"{NAME}.new"
        self._torn = True  # until all is in its place: the open file may be one that nobody reads
        try:
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
            if self._file >= 0:
                os.close(self._file)
            self._file = fd
            _write(fd, whole)
            os.fsync(fd)
            os.replace(fresh, path)
            _sync_folder(self.folder)
            self._torn, self._whole_bytes = False, len(whole)
        except OSError as error:
            raise ActuateError(f"cannot write {path}: {error.strerror}") from error


class Locked(ActuateError):
    """A live watchdog holds the journal."""


def recover(folder: Path, wait_s: float = 0.0, why: str = "recovered") -> Restored:
    """Undoes what the journal in `folder` says is in force. Idempotent, and safe beside a live watchdog: then busy.

    wait_s: how long to wait for a watchdog that is about to end. Raises ActuateError when the journal is unreadable.
    """
    if not (folder / NAME).exists():
        return Restored()
    try:
        with Journal(folder, wait_s=wait_s) as journal:
            return journal.restore(why)
    except Locked as error:
        return Restored(busy=True, notes=(str(error),))


def restore(folder: Path, wait_s: float = 10.0) -> list[str]:
    """`recover` for `vagus down` and `vagus up`: returns only what went wrong, for people; raises nothing of ours."""
    try:
        done = recover(folder, wait_s)
    except ActuateError as error:
        return [str(error)]
    return [*done.failures, *(done.notes if done.busy else ())]


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _write(fd: int, data: bytes) -> None:
    """All of it: a full disk takes a part, and says so at the next try only. Raises OSError."""
    while data:
        data = data[os.write(fd, data) :]


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
