"""What a writer does about readers that hold pages: it tells, and before the file outgrows its limit it moves on.

A read transaction that lasts keeps LMDB from using again any page freed since. One that is older than STALE_S is told
as the event `store.reader_stale`. When the file has grown past EVICT x the configured bytes while somebody holds
pages, the store is rewritten into a new file (handover.py) and the holder left with the old one: event
`store.reader_evicted`. Where the disk has no room for that, writes are refused from REFUSE x on, until the holder ends.
"""

from __future__ import annotations

from pathlib import Path

from vagus.clock import NS, Clock
from vagus.errors import StoreError
from vagus.model import Event, Level
from vagus.store import retention
from vagus.store.environment import Environment
from vagus.store.holders import Holder

STALE_S = 10.0
HELD_S = 1.0
EVICT, REFUSE = 1.2, 1.25
LOOK_NS = NS // 4


class Upkeep:
    """Looks at the readers of one environment for its writer.

    limit_bytes: what retention was last told to keep (0: not told); refusal: why nothing more may be written, or "".
    """

    def __init__(self, env: Environment, clock: Clock) -> None:
        self._env = env
        self._clock = clock
        self._node = node_of(env.path)
        self._told: set[tuple[int, int]] = set()
        self._looked_ns = -LOOK_NS
        self.limit_bytes = 0
        self.refusal = ""

    def is_due(self) -> bool:
        """Whether the file is so large that a look is due before the next sync. Cheap: asked at each flush."""
        if not self.limit_bytes or self._env.file_bytes() <= EVICT * self.limit_bytes:
            return False
        return self._clock.monotonic_ns() - self._looked_ns >= LOOK_NS

    def look(self) -> tuple[list[Event], list[Holder]]:
        """Events about readers that became stale, and those that must be left behind now."""
        now = self._looked_ns = self._clock.monotonic_ns()
        holders = self._env.holders(now)
        stale = [h for h in holders if h.age_s >= STALE_S]
        events = [
            self._event("store.reader_stale", holder) for holder in stale if (holder.pid, holder.txn) not in self._told
        ]
        self._told = {(holder.pid, holder.txn) for holder in stale}
        held = [holder for holder in holders if holder.age_s >= HELD_S and holder.behind]
        if not held or not self.limit_bytes or self._env.file_bytes() <= EVICT * self.limit_bytes:
            self.refusal = ""
            return events, []
        return events, held

    def evict(self, held: list[Holder]) -> list[Event]:
        """Rewrites the store, for the holder of its lock; the events about it. Without room: `refusal`."""
        events = [self._event("store.reader_evicted", holder) for holder in held]
        retention.drop_to(self._env, self.limit_bytes)
        before = self._env.file_bytes()
        try:
            self._env.replace()
        except StoreError as error:
            if before > REFUSE * self.limit_bytes and not self.refusal:
                worst = held[0]
                self.refusal = (
                    f"{self._env.path}: process {worst.pid} ({worst.command or 'unknown'}) has been reading one state for "
                    f"{worst.age_s:.0f} s, so that no freed page can be used, and the file has {before >> 20} MiB where "
                    f"store.retain_bytes allows {self.limit_bytes >> 20} MiB; nothing more is written: end or resume that "
                    f"process. ({error})"
                )
                return [self._event("store.refusing", worst)]
            return []
        self.refusal = ""
        return events

    def _event(self, name: str, holder: Holder) -> Event:
        fields: dict[str, str | int | float | bool] = {
            "store": self._env.path.name,
            "pid": holder.pid,
            "command": holder.command,
            "age_s": round(holder.age_s, 1),
            "commits_behind": holder.behind,
            "held_bytes": max(self._env.file_bytes() - self._env.usage()["used_bytes"], 0),  # at most
        }
        return Event(self._clock.time_ns(), name, self._node, Level.WARNING, "store", fields)


def node_of(path: Path) -> str:
    """The node of a store at `…/nodes/NODE/store/ROLE`; empty for one elsewhere."""
    return path.parent.parent.name if path.parent.name == "store" else ""
