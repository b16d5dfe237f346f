"""Who holds pages: the read transactions in LMDB's table of readers, of every process, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

_Slot = tuple[int, str, int]  # pid, thread, transaction


class Holder(NamedTuple):
    """One read transaction: whose, how long seen, and how many commits came after the state that it reads."""

    pid: int
    txn: int
    age_s: float
    behind: int

    @property
    def command(self) -> str:
        """The command line of its process, shortened; empty when that is gone or not ours to see."""
        return command_of(self.pid)


class Holders:
    """Ages of transactions: LMDB's table has no times, so they count from when one was first seen."""

    def __init__(self) -> None:
        self._since: dict[_Slot, int] = {}

    def look(self, table: str, last_txn: int, pin: tuple[int, int] | None, now_ns: int) -> list[Holder]:
        """table: as py-lmdb's `readers()` prints it; pin: (pid, transaction) that is not to be counted, once."""
        slots = _parse(table)
        if pin is not None:
            own = next((slot for slot in slots if (slot[0], slot[2]) == pin), None)
            if own is not None:
                slots.remove(own)
        self._since = {slot: self._since.get(slot, now_ns) for slot in slots}
        found = [
            Holder(pid, txn, (now_ns - since) / 1e9, max(last_txn - txn, 0))
            for (pid, _, txn), since in self._since.items()
        ]
        return sorted(found, key=lambda holder: -holder.age_s)


def _parse(table: str) -> list[_Slot]:
    slots = []
    for line in table.splitlines():
        words = line.split()
        if len(words) == 3 and words[0].isdigit() and words[2].isdigit():  # "-": a slot without a transaction
            slots.append((int(words[0]), words[1], int(words[2])))
    return slots


def command_of(pid: int, root: Path = Path("/")) -> str:
    """The command line of a process, its first 120 characters."""
    try:
        raw = (root / "proc" / str(pid) / "cmdline").read_bytes()
    except OSError:
        return ""
    return " ".join(raw.replace(b"\0", b" ").decode(errors="replace").split())[:120]
