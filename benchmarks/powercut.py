"""Power cuts: the writes of a real run, recorded by strace, replayed with those not yet synced dropped or reordered.

python -m benchmarks.powercut [--cuts 200] [--operations 150] [--seed 1] [--json]

The operations of benchmarks/crash.py run once under strace, which records every write, fdatasync, rename and creation
below the store's folder in their order. A power cut is any moment of that. What a disk then holds: of each file all
that was written before its last completed fdatasync, and of what came after any subset of 512-byte sectors, so also
later ones without earlier ones (the roots first, among others); of creations and renames those before the folder's
last fsync, and any number of the next ones. Each such disk is opened as after a reboot. Everything up to the last
sync that had returned must be there, nothing half, and `verify` must find nothing. For comparison: how many of these
disks LMDB's own structure check finds broken as they are.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

from benchmarks.crash import ROOT, T0, check, kind_of, perform
from vagus.clock import ManualClock
from vagus.errors import StoreError
from vagus.store import Store, environment
from vagus.store.checkpoint import _SLOT, _SLOT_BYTES, CHECKPOINT, DATA

CALLS = "openat,close,pwrite64,pwritev,write,writev,lseek,fdatasync,fsync,rename,unlink,unlinkat,mkdir,rmdir"
SECTOR = 512
_LINE = re.compile(r"\d+ +(\w+)\((.*)\) += (-?\d+)")
_UNFINISHED = re.compile(r"(\d+) +(.*) <unfinished \.\.\.>\n")
_RESUMED = re.compile(r"(\d+) +<\.\.\. \w+ resumed>(.*)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
_FD = re.compile(r"(\d+)<")


class File:
    """One file of the recording, whatever its name is; `syncs` are the moments when all before was on disk."""

    def __init__(self) -> None:
        self.writes: list[tuple[int, int, bytes]] = []  # moment, offset, bytes
        self.syncs: list[int] = []
        self.inode = 0


class Change(NamedTuple):
    """A change of the folder: `file` gets the name, or the name is gone."""

    moment: int
    name: str
    file: File | None


class Recording:
    """What strace saw below `root`; moments count its lines."""

    def __init__(self, log: Path, root: Path) -> None:
        self.root = str(root)
        self.changes: list[Change] = []
        self.folder_syncs: list[int] = []
        self.synced: list[tuple[int, int]] = []  # moment, operation
        self.begun: list[tuple[int, int]] = []
        self.length = 0
        self._names: dict[str, File] = {}
        self._open: dict[int, File | None] = {}  # None: a folder
        self._at: dict[int, int] = {}
        self._unfinished: dict[str, str] = {}
        with log.open() as lines:
            for self.length, line in enumerate(lines):
                self._take(self.length, line)
        self.files = {change.file for change in self.changes if change.file is not None}

    def _name(self, text: str) -> str | None:
        path = _bytes(text).decode(errors="replace")
        return os.path.relpath(path, self.root) if path.startswith(self.root) else None

    def _change(self, moment: int, name: str, file: File | None) -> None:
        self.changes.append(Change(moment, name, file))
        if file is None:
            self._names.pop(name, None)
        else:
            self._names[name] = file

    def _take(self, moment: int, line: str) -> None:
        begun, resumed = _UNFINISHED.match(line), _RESUMED.match(line)
        if begun:  # another thread's call came in between
            self._unfinished[begun[1]] = begun[2]
            return
        found = _LINE.match(f"{resumed[1]} {self._unfinished.pop(resumed[1])}{resumed[2]}" if resumed else line)
        if not found:
            return
        call, arguments, result = found[1], found[2], int(found[3])
        if result < 0:
            return
        if call in ("openat", "rename", "unlink"):
            names = [self._name(text) for text in _TEXT.findall(arguments)]
            if names[0] is None:
                return
            if call == "openat":
                self._opened(moment, names[0], arguments, result)
            elif call == "rename" and len(names) == 2 and names[1]:
                file = self._names[names[0]]
                self._change(moment, names[1], file)
                self._change(moment, names[0], None)
            else:
                self._change(moment, names[0], None)
            return
        fd_text = _FD.match(arguments)
        if not fd_text:
            return
        fd = int(fd_text[1])
        if call == "write" and fd == 1:
            self._marker(moment, _bytes(_TEXT.findall(arguments)[0]).decode())
        elif call == "close":
            self._open.pop(fd, None)
        elif fd in self._open:
            self._wrote(moment, call, fd, arguments, result)

    def _opened(self, moment: int, name: str, arguments: str, fd: int) -> None:
        if name not in self._names and "O_CREAT" not in arguments:  # there, but none of the files: a folder
            self._open[fd] = None
            return
        if name not in self._names:
            self._change(moment, name, File())
        self._open[fd] = self._names[name]
        self._at[fd] = 0

    def _wrote(self, moment: int, call: str, fd: int, arguments: str, result: int) -> None:
        file = self._open[fd]
        if file is None:
            if call == "fsync":
                self.folder_syncs.append(moment)
        elif call in ("fdatasync", "fsync"):
            file.syncs.append(moment)
        elif call == "lseek":
            self._at[fd] = result
        elif "write" in call:
            data = b"".join(map(_bytes, _TEXT.findall(arguments)))
            if len(data) != result:
                raise RuntimeError(f"{call} of {result} bytes was recorded with {len(data)}")
            offset = self._at[fd]
            if call.startswith("p"):
                offset = int(arguments.rsplit(",", 1)[1])
            else:
                self._at[fd] += result
            file.writes.append((moment, offset, data))

    def _marker(self, moment: int, text: str) -> None:
        word, _, number = text.strip().partition(" ")
        if word == "inode":
            self._names[DATA].inode = int(number)
        elif word == "synced":
            self.synced.append((moment, int(number)))
        elif word == "begin":
            self.begun.append((moment, int(number)))


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def record(folder: Path, seed: int, operations: int) -> Recording:
    """Runs the operations under strace, and reads what it saw. Raises FileNotFoundError without strace."""
    folder.mkdir(parents=True, exist_ok=True)
    log, root = folder / "strace", folder / "store"
    traced = [
        "strace",
        "-f",
        "-y",
        "-xx",
        "-s",
        str(1 << 26),
        "-e",
        f"trace={CALLS}",
        "-e",
        "signal=none",
        "-o",
        str(log),
    ]
    argv = [sys.executable, "-m", "benchmarks.powercut", "--work", str(root), str(seed), str(operations)]
    subprocess.run([*traced, *argv], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return Recording(log, root)


def work(path: Path, seed: int, operations: int) -> None:
    """What is recorded. `synced N`: all operations up to N are promised to survive a power cut."""
    clock = ManualClock(T0)
    path.mkdir()
    with Store.open(path, clock=clock) as store:
        told = 0
        for number in range(operations):
            if os.stat(path / DATA).st_ino != told:
                told = os.stat(path / DATA).st_ino
                os.write(1, b"inode %d\n" % told)
            os.write(1, b"begin %d\n" % number)
            perform(store, clock, seed, number)
            if kind_of(seed, number) == "sync":
                os.write(1, b"synced %d\n" % number)


def disk_after(recording: Recording, moment: int, rng: Random, folder: Path) -> None:
    """Writes into `folder` what a disk may hold when the power goes at `moment`."""
    certain = max((m for m in recording.folder_syncs if m <= moment), default=-1)
    changes = [change for change in recording.changes if change.moment <= moment]
    sure = sum(change.moment <= certain for change in changes)
    names: dict[str, File] = {}
    for change in changes[: rng.randint(sure, len(changes))]:
        if change.file is None:
            names.pop(change.name, None)
        else:
            names[change.name] = change.file
    folder.mkdir(parents=True)
    for name, file in names.items():
        if Path(name).name == "lock.mdb":
            continue  # says nothing after a reboot: nobody has it open
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(_content(file, moment, rng))
    if (folder / DATA).exists() and (folder / CHECKPOINT).exists():
        _renumber(folder, names[DATA].inode)


def _content(file: File, moment: int, rng: Random) -> bytes:
    synced = max((m for m in file.syncs if m <= moment), default=-1)
    kept = rng.choice((0.0, 0.1, 0.5, 0.9, 1.0))
    roots_first = rng.random() < 0.4
    content = bytearray()
    for when, offset, data in file.writes:
        if when > moment:
            break
        for start in range(0, len(data), SECTOR):
            at = offset + start
            lucky = when <= synced or (roots_first and at < 8192) or rng.random() < kept
            if lucky:
                part = data[start : start + SECTOR]
                content.extend(bytes(max(0, at + len(part) - len(content))))
                content[at : at + len(part)] = part
    return bytes(content)


def _renumber(folder: Path, recorded: int) -> None:
    """The checkpoint speaks of inodes (which are used again): that of the data file becomes that of this copy."""
    saved = bytearray((folder / CHECKPOINT).read_bytes())
    inode = (folder / DATA).stat().st_ino
    for place in range(0, len(saved), _SLOT_BYTES):
        slot = bytes(saved[place : place + _SLOT.size])
        if len(slot) < _SLOT.size or zlib.crc32(slot[:-4]) != int.from_bytes(slot[-4:], "little"):
            continue  # torn, and stays so
        owner = int.from_bytes(slot[8:16], "little")
        body = slot[:8] + (inode if owner == recorded else (1 << 63) + owner).to_bytes(8, "little") + slot[16:-4]
        saved[place : place + _SLOT.size] = body + zlib.crc32(body).to_bytes(4, "little")
    (folder / CHECKPOINT).write_bytes(saved)


def play(folder: Path, cuts: int, seed: int, operations: int) -> dict[str, Any]:
    """Records once, cuts the power `cuts` times; the figures of the table."""
    return {"operations": operations, **replay(record(folder, seed, operations), folder, cuts, seed)}


def replay(recording: Recording, folder: Path, cuts: int, seed: int, boot: bytes = b"another boot") -> dict[str, Any]:
    """Cuts the power `cuts` times, at moments since the store's first file. boot: b"" puts no synced root back."""
    rng = Random(seed)
    first = recording.changes[0].moment
    wrong: list[str] = []
    broken = recovered = 0
    module: Any = environment
    real, module.boot_id = module.boot_id, lambda: boot
    try:
        for cut in range(cuts):
            moment = rng.randrange(first, recording.length)
            disk = folder / "disk"
            shutil.rmtree(disk, ignore_errors=True)
            disk_after(recording, moment, rng, disk)
            broken += _is_broken(disk)
            last = max((number for when, number in recording.synced if when <= moment), default=-1)
            begun = max((number for when, number in recording.begun if when <= moment), default=-1)
            try:
                with Store.open(disk, clock=ManualClock(T0)) as store:
                    recovered += store.stats()["recovered"]
                    found, _ = check(store, seed, set(range(last + 1)), set(range(last + 1, begun + 1)))
            except StoreError as error:
                found = [f"not opened: {error}"]
            wrong += [f"cut {cut} at {moment}: {text}" for text in found]
    finally:
        module.boot_id = real
    return {
        "writes": sum(len(file.writes) for file in recording.files),
        "syncs": sum(len(file.syncs) for file in recording.files),
        "files_replaced": sum(c.name == DATA and c.file is not None for c in recording.changes) - 1,
        "cuts": cuts,
        "recovered": recovered,
        "broken_as_they_are": broken,
        "wrong": wrong,
    }


def _is_broken(disk: Path) -> bool:
    """Whether LMDB's pages, as they are, do not form a tree (py-lmdb 3 has the check)."""
    try:
        from lmdb.verify import verify
    except ImportError:
        return False
    walk: Any = verify
    try:
        return bool(walk(str(disk / DATA), subdir=False)) if (disk / DATA).exists() else False
    except Exception:
        return True


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=200)
    parser.add_argument("--operations", type=int, default=150)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(Path(options.work[0]), int(options.work[1]), int(options.work[2]))
        return 0
    if shutil.which("strace") is None:
        print("strace is missing: apt-get install strace", file=sys.stderr)
        return 2
    folder = Path(tempfile.mkdtemp(prefix="vagus-powercut-"))
    try:
        result = play(folder, options.cuts, options.seed, options.operations)
    finally:
        shutil.rmtree(folder)
    if options.json:
        print(json.dumps(result))
    else:
        for name, value in result.items():
            print(f"{name:<20}{len(value) if name == 'wrong' else value:>8}")
        for text in result["wrong"][:20]:
            print(f"  {text}")
    return 1 if result["wrong"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
