"""Files of tools: never half written, and none that grows without end."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from glob import escape
from pathlib import Path

ROTATE_BYTES = 16 << 20


def replace(path: Path, content: bytes) -> None:
    """Writes a file under a temporary name and gives it its own once it is on disk. Raises OSError."""
    replace_by(path, lambda temporary: temporary.write_bytes(content))


def replace_by(path: Path, make: Callable[[Path], object]) -> None:
    """As `replace`, of a file that `make` writes at the path that it is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{escape(path.name)}.*.new"):  # of a process that was killed
        if not Path("/proc", left.suffixes[-2][1:]).exists():
            left.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        make(temporary)
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)
        temporary.unlink(missing_ok=True)
        raise


def append(path: Path, lines: bytes, rotate_bytes: int = ROTATE_BYTES) -> None:
    """Adds whole lines to a file by one write; at `rotate_bytes` it becomes `NAME.1`, of which there is one.

    Raises OSError; what was written of the lines until then is taken back.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size + len(lines) > rotate_bytes:
        path.replace(path.with_name(path.name + ".1"))
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        write_whole(file, lines, os.fstat(file).st_size)
    finally:
        os.close(file)


def write_whole(file: int, content: bytes, at: int) -> None:
    """Writes at the end of a file, of which `at` bytes are good; a failure leaves these. Raises OSError."""
    view = memoryview(content)
    try:
        while view:
            view = view[os.write(file, view) :]
    except OSError as error:
        with suppress(OSError):
            error.filename = os.readlink(f"/proc/self/fd/{file}")  # else nobody knows which file had no room
            os.ftruncate(file, at)
        raise
