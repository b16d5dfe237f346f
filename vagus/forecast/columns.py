"""Arrays that have a column for each series, and grow, shrink, start anew and are saved together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError

Array: TypeAlias = npt.NDArray[Any]
Mask: TypeAlias = npt.NDArray[np.bool_]
Indices: TypeAlias = "int | slice | list[int] | npt.NDArray[np.integer[Any]] | Mask"


BLOCK_BYTES = (
    96 << 10
)  # of a temporary: it stays in the processor's cache, and is no mapping of its own (actors/heap.py)


def blocks(n: int, rows: int) -> Iterator[slice]:
    """Columns 0 to n in pieces of which `rows` float64 each are not more than 96 KiB."""
    step = max(1, BLOCK_BYTES // (8 * rows))
    for at in range(0, n, step):
        yield slice(at, min(n, at + step))


class Part(Protocol):
    """What has columns, `Columns` or not."""

    def resize(self, n: int) -> None: ...

    def reset(self, indices: Indices) -> None: ...

    def arrays(self) -> Mapping[str, Array]: ...

    def restore(self, arrays: Mapping[str, Array]) -> None: ...


class Columns:
    """Each keyword of `add` names an attribute, and holds its blank column: a number, or an array (its shape but for
    the series). What is done here is done to the parts too: attributes that are themselves `Columns`.

    The series are the last axis: what is done to all series walks through memory in order.
    """

    def __init__(self, n: int, **blank: Any) -> None:
        if n < 0:
            raise ConfigError(f"{n} series: the number of series cannot be negative")
        self.n = n
        self._blank: dict[str, Array] = {}
        self._parts: dict[str, Part] = {}
        self.add(**blank)

    def add(self, **blank: Any) -> None:
        """Further attributes: columns or parts."""
        for name, value in blank.items():
            if isinstance(value, Columns):
                self._parts[name] = value
                setattr(self, name, value)
            else:
                self._blank[name] = np.asarray(value)[..., np.newaxis]
                setattr(self, name, np.repeat(self._blank[name], self.n, axis=-1))

    def resize(self, n: int) -> None:
        """The first n series stay as they are; further ones start blank."""
        if n < 0:
            raise ConfigError(f"{n} series: the number of series cannot be negative")
        for name, column in self._blank.items():
            kept = getattr(self, name)[..., :n]
            more = np.repeat(column, n - kept.shape[-1], axis=-1)
            setattr(self, name, np.concatenate((kept, more), axis=-1))
        for part in self._parts.values():
            part.resize(n)
        self.n = n

    def reset(self, indices: Indices) -> None:
        """These series start anew."""
        if isinstance(indices, int):
            indices = [indices]
        for name, column in self._blank.items():
            getattr(self, name)[..., indices] = column
        for part in self._parts.values():
            part.reset(indices)

    def arrays(self) -> dict[str, Array]:
        """All state by attribute (`part.attribute` for the parts'); the arrays themselves, not copies."""
        found = {name: getattr(self, name) for name in self._blank}
        for of, part in self._parts.items():
            found.update({f"{of}.{name}": array for name, array in part.arrays().items()})
        return found

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """What `arrays` returned, of as many series. Raises ConfigError when names, shapes or types differ."""
        own: dict[str, Array] = {}
        of_parts: dict[str, dict[str, Array]] = {of: {} for of in self._parts}
        for name, array in arrays.items():
            of, _, rest = name.partition(".")
            if rest and of in of_parts:
                of_parts[of][rest] = array
            else:
                own[name] = array
        if set(own) != set(self._blank):
            raise ConfigError(f"saved state has {sorted(own)}, not {sorted(self._blank)}")
        for name, saved in own.items():
            now = getattr(self, name)
            if (saved.shape, saved.dtype) != (now.shape, now.dtype):
                raise ConfigError(
                    f"saved state: {name} is {saved.dtype}{saved.shape}, not {now.dtype}{now.shape} as needed"
                )
            now[...] = saved
        for of, part in self._parts.items():
            part.restore(of_parts[of])


class Ring(Columns):
    """The newest `size` values of each series; each series moves on by itself, for values may be missing."""

    newest: Array  # int64[n], the row that was written last
    rows: Array  # float64[size, n], NaN where nothing was written yet

    def __init__(self, n: int, size: int) -> None:
        super().__init__(n, newest=np.int64(size - 1), rows=np.full(size, np.nan))
        self.size = size

    def push(self, values: Array, present: Mask) -> None:
        """Writes where present; the oldest value of a full ring goes."""
        self.newest += present
        self.newest[self.newest == self.size] = 0
        at = self.newest * self.n + np.arange(self.n)
        flat = self.rows.reshape(-1)
        flat[at] = np.where(present, values, flat.take(at))

    def ago(self, steps: Array | int) -> Array:
        """The value so many pushes ago (0: the newest, below `size`) of each series, float64[n]; NaN if none."""
        row: Array = self.newest - steps
        row += self.size * (row < 0)
        found: Array = self.rows.reshape(-1).take(row * self.n + np.arange(self.n))
        return found

    def ordered(self, at: npt.NDArray[np.int64]) -> Array:
        """All values of the series `at`, newest first, float64[size, len(at)]; NaN where there are none."""
        row = self.newest[at] - np.arange(self.size)[:, np.newaxis]
        row += self.size * (row < 0)
        found: Array = self.rows.reshape(-1).take(row * self.n + at)
        return found
