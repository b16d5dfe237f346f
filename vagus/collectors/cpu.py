"""/proc/stat: where processor time went, per machine and per core, and the kernel's counts since boot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from vagus.collectors.parts import FilePart
from vagus.collectors.table import check_range
from vagus.errors import CollectError
from vagus.model import Field, Sample, Stream

STATES = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal", "guest", "guest_nice")
STATE_FIELDS = tuple(Field(name, unit="ratio") for name in STATES)
STEPS = 10_000
_NONE = (0,) * len(STATES)
_MISSING = (math.nan,) * len(STATES)

COUNT_FIELDS = (
    Field("ctxt", dtype="u8", counter=True),
    Field("intr", dtype="u8", counter=True),
    Field("softirq", dtype="u8", counter=True),
    Field("processes", dtype="u8", counter=True),
    Field("procs_running", dtype="u8"),
    Field("procs_blocked", dtype="u8"),
    Field("btime", unit="s", dtype="u8"),
)
_COUNTS = tuple(field.name.encode() for field in COUNT_FIELDS)


def shares(now: Sequence[int], before: Sequence[int]) -> tuple[float, ...]:
    """The ratio of the interval spent in each of the ten states; the first eight sum to 1 (guest is part of user).

    In steps of 1/10000: the kernel's own are coarser (a hundred a second and core), and decimals take a fifth of the
    room. What rounding leaves goes to the largest. A single counter that goes back (iowait does) counts as 0; when the sum goes back, the counters began anew.
    NaN when no tick passed.
    """
    if sum(now[:8]) < sum(before[:8]):
        before = _NONE
    spent = [a - b if a > b else 0 for a, b in zip(now, before, strict=True)]
    total = sum(spent[:8])
    if not total:
        return _MISSING
    scale = STEPS / total
    parts = [int(s * scale + 0.5) for s in spent]
    eight = parts[:8]
    parts[eight.index(max(eight))] += STEPS - sum(eight)
    return tuple([part / STEPS for part in parts])


class Stat(FilePart):
    """`host.cpu`, `host.core{core=}`, `host.stat`. The first reading tells of the time since boot."""

    def __init__(self, node: str, root: Path) -> None:
        super().__init__(root, "proc/stat", whole=True)
        self._node = node
        self._count_stream = Stream(node, "host.stat", COUNT_FIELDS)
        self._streams: dict[bytes, Stream] = {}
        self._before: dict[bytes, Sequence[int]] = {}  # cores that are offline keep theirs

    def read(self, t_ns: int) -> Iterator[Sample]:
        """One sample each for the machine, every core that is online, and the counts."""
        counts: dict[bytes, int] = {}
        for line in self._file.read().split(b"\n"):
            if line.startswith(b"cpu"):
                yield self._cpu(line, t_ns)
            elif line:
                name, number = line.split(None, 2)[:2]  # intr and softirq go on with a number per source
                counts[name] = int(number)
        missing = [name.decode() for name in _COUNTS if name not in counts and name != b"softirq"]
        if missing:
            raise CollectError(f"{self.source}: no line {', '.join(missing)}: it is truncated")
        values = tuple([counts.get(name, 0) for name in _COUNTS])
        check_range(values)
        yield Sample(self._count_stream, t_ns, values)

    def _cpu(self, line: bytes, t_ns: int) -> Sample:
        name, *numbers = line.split()
        now = list(map(int, numbers[:10]))
        if len(now) < 4:
            raise CollectError(f"{self.source}: {line[:80]!r} has fewer than the four states of every kernel")
        check_range(now)
        now += [0] * (10 - len(now))  # kernels before 2.6.33 know fewer states
        stream = self._streams.get(name)
        if stream is None:
            core = name[3:].decode()
            labels = {"core": core} if core else {}
            stream = Stream(self._node, "host.core" if core else "host.cpu", STATE_FIELDS, labels)
            self._streams[name] = stream
        values = shares(now, self._before.get(name, _NONE))
        self._before[name] = now
        return Sample(stream, t_ns, values)
