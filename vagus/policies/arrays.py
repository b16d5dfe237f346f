"""Named arrays as npz files, for checkpoints and weights: written whole or not at all, read with distrust.

What is read is a zip of stored (never compressed) members in numpy's format, float32 or bytes, and nothing else: no
pickle, no names that were not expected, no member larger than the file that holds it.
"""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from vagus.errors import ConfigError, unreadable

Arrays = Mapping[str, npt.NDArray[Any]]
MAX_HEADER = 4096  # bytes of a member's description
KINDS = (np.dtype("<f4"), np.dtype("u1"))
DAMAGE = (zipfile.BadZipFile, ValueError, EOFError, OSError, RuntimeError, KeyError, OverflowError, struct.error)


def packed(arrays: Arrays) -> bytes:
    """npz, as bytes."""
    file = io.BytesIO()
    _write(file, arrays)
    return file.getvalue()


def write(path: Path, arrays: Arrays) -> None:
    """npz, as a file that replaces what was there once it is on disk. Raises ConfigError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        try:
            with open(temporary, "wb") as file:
                _write(file, arrays)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # the new name, too
        finally:
            os.close(folder)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; choose another folder or make room") from error


def _write(file: BinaryIO, arrays: Arrays) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, version=(1, 0), allow_pickle=False)


def unpacked(data: bytes, what: str, limit: int, names: Collection[str], optional: Collection[str] = ()) -> Arrays:
    """The arrays in bytes of at most `limit`. Raises ConfigError, which begins with `what`."""
    if len(data) > limit:
        raise ConfigError(f"{what}: {len(data)} bytes; at most {limit}")
    return _read(io.BytesIO(data), len(data), what, names, optional)


def read(path: Path, limit: int, names: Collection[str], optional: Collection[str] = ()) -> Arrays:
    """The arrays in a file of at most `limit` bytes. Raises ConfigError, which begins with the path."""
    try:
        if not path.is_file():
            raise ConfigError(f"{path}: there is no such file; `vagus train` writes checkpoints")
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise ConfigError(f"{path}: {size} bytes; a checkpoint has at most {limit}")
            return _read(file, size, str(path), names, optional)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error


def _read(file: BinaryIO, size: int, what: str, names: Collection[str], optional: Collection[str]) -> Arrays:
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            found = [member.filename.removesuffix(".npy") for member in members]
            if len(set(found)) < len(found) or not set(names) <= set(found) <= {*names, *optional}:
                listed = ", ".join(found[:10])[:200]
                raise ConfigError(
                    f"{what}: no checkpoint of ours: it has {listed or 'nothing'}, not {', '.join(names)}"
                )
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ConfigError(
                    f"{what}: compressed; we neither write that nor read it: use the file as it was written"
                )
            if sum(member.file_size for member in members) > size:
                raise ConfigError(f"{what}: damaged: it claims to hold more than its {size} bytes")
            return {name: _array(archive.read(member)) for name, member in zip(found, members, strict=True)}
    except ConfigError:
        raise
    except DAMAGE as error:
        reason = str(error).partition("\n")[0][:200]
        raise ConfigError(f"{what}: damaged ({reason}); use an earlier checkpoint, or train anew") from error


def _array(member: bytes) -> npt.NDArray[Any]:
    file = io.BytesIO(member)
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError("an array of another version")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=MAX_HEADER)
    if dtype not in KINDS or fortran:
        raise ValueError(f"an array of {dtype}, not of float32 or bytes")
    rest = len(member) - file.tell()
    if len(shape) > 2 or any(length < 0 for length in shape) or math.prod(shape) * dtype.itemsize != rest:
        raise ValueError(f"{rest} bytes for an array of shape {shape}"[:200])
    array: npt.NDArray[Any] = np.frombuffer(member, dtype, offset=file.tell()).reshape(shape)
    if dtype != KINDS[1] and not np.isfinite(array).all():
        raise ValueError("numbers that are not finite")
    return array
