"""A collector made of parts: one that fails keeps nothing from the others."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from vagus.collectors.files import KernelFile
from vagus.errors import CollectError
from vagus.model import Event, Sample


class Part(Protocol):
    """One source of a collector; `source` names it in errors."""

    source: str

    def read(self, t_ns: int) -> Iterable[Sample | Event]: ...

    def close(self) -> None: ...


class FilePart:
    """Base of the parts that read one file below the root."""

    def __init__(self, root: Path, path: str, whole: bool = False) -> None:
        self._file = KernelFile(root, path, whole)
        self.source = self._file.path

    def close(self) -> None:
        """Closes the file; a later read opens it again. Idempotent."""
        self._file.close()


class Every:
    """A part that is read once in `period_ns`, for what changes slowly. After an error it is tried at each tick."""

    def __init__(self, period_ns: int, part: Part) -> None:
        self.source = part.source
        self._period_ns = period_ns
        self._part = part
        self._due_ns = 0

    def read(self, t_ns: int) -> Iterable[Sample | Event]:
        """What the part gives, or nothing when it is not time yet."""
        if 0 < self._due_ns - t_ns <= self._period_ns:  # wall time may step back
            return ()
        found = list(self._part.read(t_ns))
        self._due_ns = t_ns + self._period_ns
        return found

    def close(self) -> None:
        """Closes the part."""
        self._part.close()


def read_parts(parts: Sequence[Part], t_ns: int) -> Iterator[Sample | Event]:
    """What every part gives, then one CollectError that names all that failed.

    This is the seam where content of an unexpected form (ValueError, IndexError, struct.error) becomes CollectError.
    """
    problems = []
    for part in parts:
        try:
            yield from part.read(t_ns)
        except CollectError as error:
            problems.append(str(error))
        except OSError as error:
            problems.append(f"{part.source}: {error.strerror or error}")
        except (ValueError, IndexError, struct.error) as error:
            problems.append(f"{part.source}: content of an unexpected form: {error}")
    if problems:
        raise CollectError("; ".join(problems))
