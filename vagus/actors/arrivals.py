"""In which order a node's archive took in samples and events: a position in it is exact where times are not.

Samples may come late, clocks may step, and what is committed is told a moment later. So each flush of the collector is
an *arrival* with a number that only grows, and a reader's position names the next item of an arrival. Arrivals say
which rows came in, not their values: those are in the archive. The newest are kept in the archive itself, in slots
that are written again in turn, so that a position outlives the process that gave it.
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec

from vagus.errors import ConfigError
from vagus.model import MAX_T_NS

MAX_ARRIVALS = 20_000
MAX_ROWS = 250_000  # of all arrivals in memory: about 10 MB
SLOTS = 256
SLOT_ARRIVALS = 64
SLOT_BYTES = 4096
VERSION = 1
_ZLIB = 0x78  # no array of MessagePack begins so


class Position(NamedTuple):
    """The next item: number `place` of arrival `seq` in the `life`-th opening of the archive that is called `archive`.

    While the past is still being read, `past_ns` is where that stands, and `skip` how many items of that very time are
    done; -1: the past is behind. `t_ns` is the time of the last item, for when all else is forgotten.
    """

    archive: str
    life: int
    seq: int
    place: int = 0
    past_ns: int = -1
    skip: int = 0
    t_ns: int = 0

    @property
    def key(self) -> tuple[int, int, int]:
        """What orders positions of one archive."""
        return self.life, self.seq, self.place

    def __str__(self) -> str:
        if self.past_ns < 0:
            return f"{self.archive}.{self.life:x}.{self.seq:x}.{self.place:x}.{self.t_ns:x}"
        return f"{self.archive}.{self.life:x}.{self.seq:x}.{self.place:x}@{self.past_ns:x}.{self.skip:x}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The position that `str` made. Raises ConfigError."""
        front, past, behind = text.partition("@")
        try:
            if len(text) > 120:
                raise ValueError
            archive, *numbers = front.split(".")
            if past:
                life, seq, place = (int(n, 16) for n in numbers)
                past_ns, skip = (int(n, 16) for n in behind.split("."))
                made = cls(archive, life, seq, place, past_ns, skip, past_ns)
            else:
                life, seq, place, t_ns = (int(n, 16) for n in numbers)
                made = cls(archive, life, seq, place, t_ns=t_ns)
        except ValueError:
            raise ConfigError(f"{text[:80]!r} is no position of a subscription: send one back as it came") from None
        if not archive.isalnum() or min(made.key) < 0 or not (-1 <= made.past_ns <= MAX_T_NS and made.skip >= 0):
            raise ConfigError(f"{text[:80]!r} is no position of a subscription: send one back as it came")
        return made


def stream_number(key: str) -> int:
    """48 bits that stand for a stream's key: the same in every life, whatever ids the archive gives."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=6).digest(), "big")


class Arrival(NamedTuple):
    """What one flush brought: rows (a stream number each, and one time for all or a time each), then events' times."""

    life: int
    seq: int
    streams: tuple[int, ...]
    times: int | tuple[int, ...]
    events: tuple[int, ...] = ()

    @property
    def size(self) -> int:
        """How many items."""
        return len(self.streams) + len(self.events)

    def rows(self) -> Iterator[tuple[int, int]]:
        """(stream number, t_ns) of each row, in order."""
        if isinstance(self.times, int):
            time = self.times
            return ((stream, time) for stream in self.streams)
        return zip(self.streams, self.times, strict=True)

    def span(self) -> tuple[int, int]:
        """Least and greatest time."""
        rows = (self.times,) if isinstance(self.times, int) else self.times
        every = (*(rows if self.streams else ()), *self.events)
        return (min(every), max(every)) if every else (0, -1)


class Journal:
    """The writer's side: numbers each flush and keeps the newest in slots. `load` and `save` are the store's.

    archive: a name for a new archive; one that is there keeps its own. `begun` is the newest number given out: of
    what a reader can see in the archive, nothing is newer. `committed` is the newest that is in it whole; it is exact
    for who holds `lock`, which the writer holds from `enter` to the end of the flush.
    """

    def __init__(self, load: Callable[[str], bytes | None], save: Callable[[str, bytes], None], archive: str) -> None:
        self._save = save
        known = _decode(load("arrivals"), _Opened)
        self.archive, life, self._slots = (known.archive, known.life, known.slots) if known else (archive, 0, 0)
        self.life = life + 1
        self.begun = self.committed = (self.life, 0)
        self.lock = threading.Lock()
        self.before = sorted(  # what earlier lives left
            arrival for slot in range(SLOTS) for arrival in _unpack(load(f"arrivals:{slot}")) if arrival.life <= life
        )
        self.complete = self._slots < SLOTS  # whether `before` reaches back to the first arrival of all
        self._shapes: dict[tuple[int, ...], int] = {}
        self._entries: list[tuple[int, int, int | list[int], tuple[int, ...]]] = []
        self._size = SLOT_BYTES
        self._new_slot()

    def enter(self, streams: Sequence[int], times: Sequence[int], events: Sequence[int]) -> Arrival:
        """Numbers what the next flush brings, and saves that with it; to be called before the rows are appended."""
        self.begun = (self.life, self.begun[1] + 1)
        one = bool(times) and times.count(times[0]) == len(times)
        arrival = Arrival(self.life, self.begun[1], tuple(streams), times[0] if one else tuple(times), tuple(events))
        if len(self._entries) >= SLOT_ARRIVALS or self._size >= SLOT_BYTES:
            self._new_slot()
        shape = self._shapes.setdefault(arrival.streams, len(self._shapes))
        packed = times[0] if one else [t - (times[n - 1] if n else 0) for n, t in enumerate(times)]
        self._entries.append((arrival.seq, shape, packed, arrival.events))
        content = msgspec.msgpack.encode(_Slot(VERSION, self.life, list(self._shapes), self._entries))
        self._size = len(content)
        self._save(
            f"arrivals:{(self._slots - 1) % SLOTS}", zlib.compress(content, 1) if len(content) > SLOT_BYTES else content
        )
        return arrival

    def _new_slot(self) -> None:
        self._slots += 1
        self._shapes, self._entries, self._size = {}, [], 0
        self._save("arrivals", msgspec.msgpack.encode(_Opened(VERSION, self.archive, self.life, self._slots)))


class _Opened(msgspec.Struct, array_like=True):
    version: int
    archive: str
    life: int
    slots: int  # used so far, those written again included


class _Slot(msgspec.Struct, array_like=True):
    version: int
    life: int
    shapes: list[tuple[int, ...]]
    entries: list[tuple[int, int, int | list[int], tuple[int, ...]]]  # seq, shape, one time or all as differences


def _decode(content: bytes | None, kind: type[_Opened]) -> _Opened | None:
    try:
        return msgspec.msgpack.decode(content, type=kind) if content else None
    except msgspec.DecodeError:
        return None  # a new archive, to its readers


def _unpack(content: bytes | None) -> list[Arrival]:
    if not content:
        return []
    try:
        slot = msgspec.msgpack.decode(zlib.decompress(content) if content[0] == _ZLIB else content, type=_Slot)
        if slot.version != VERSION:
            return []
        return [
            Arrival(
                slot.life,
                seq,
                slot.shapes[shape],
                packed if isinstance(packed, int) else (*accumulate(packed),),
                events,
            )
            for seq, shape, packed, events in slot.entries
        ]
    except (msgspec.DecodeError, zlib.error, IndexError):
        return []  # who stands there is told of a gap


class Arrivals:
    """The readers' side: the newest arrivals in order, bounded. `complete`: none was ever dropped."""

    def __init__(self, archive: str, life: int, before: Iterable[Arrival] = (), complete: bool = True) -> None:
        self.archive = archive
        self.published = (life, 0)  # the newest that was added
        self._complete = complete
        self._list: list[Arrival] = []
        self._rows = 0
        self._shapes: dict[tuple[int, ...], tuple[int, ...]] = {}
        for arrival in before:
            self._append(arrival)

    def add(self, arrival: Arrival) -> Arrival:
        """Takes in the next one; returns it, with what it shares with others shared."""
        self.published = (arrival.life, arrival.seq)
        return self._append(arrival)

    def _append(self, arrival: Arrival) -> Arrival:
        if len(self._shapes) > 1000:
            self._shapes.clear()
        shared = self._shapes.setdefault(arrival.streams, arrival.streams)
        if shared is not arrival.streams:
            arrival = arrival._replace(streams=shared)
        self._list.append(arrival)
        self._rows += _weight(arrival)
        if len(self._list) > MAX_ARRIVALS or self._rows > MAX_ROWS:
            gone = max(1, len(self._list) // 10)  # many at once: taking from the front of a list is slow
            self._rows -= sum(map(_weight, self._list[:gone]))
            del self._list[:gone]
            self._complete = False
        return arrival

    def newest(self) -> Position:
        """Where the next arrival will be."""
        life, seq = self.published
        return Position(self.archive, life, seq + 1)

    def covers(self, position: Position) -> bool:
        """Whether everything after `position` is known."""
        if position.archive != self.archive or position.key > self.newest().key:
            return False
        if self._complete or position.key[:2] == self.newest().key[:2]:
            return True
        return bool(self._list) and position.key[:2] >= self._list[0][:2]

    def after(self, position: Position) -> Sequence[Arrival]:
        """The arrivals from that of `position` on."""
        return self._list[bisect_left(self._list, position.key[:2]) :]


def _weight(arrival: Arrival) -> int:
    return 1 + (0 if isinstance(arrival.times, int) else len(arrival.times)) + len(arrival.events)
