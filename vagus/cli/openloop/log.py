"""The log of a load: every request, as a compressed file of arrays (npz)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from vagus.cli.openloop.plan import Plan
from vagus.errors import ConfigError, StoreError, unreadable

MAX_BYTES = 1 << 30
_COLUMNS = ("scheduled_s", "latency_s", "late_s", "type")

Floats = npt.NDArray[np.float64]


class Log(NamedTuple):
    """The requests of a load in the order in which they were due.

    scheduled_s: (n,) float64, since the measured part began; latency_s: (n,) float64 from then on, infinite where it
    failed; late_s: (n,) float64, how late it was sent, NaN where it was not; type: (n,) place in `names`.
    """

    scheduled_s: Floats
    latency_s: Floats
    late_s: Floats
    type: npt.NDArray[np.int64]
    names: tuple[str, ...]
    plan: Plan


def write_log(path: Path, log: Log) -> None:
    """Writes it; whoever reads finds all of it or nothing. Raises StoreError."""
    packed = io.BytesIO()
    np.savez_compressed(
        packed,
        scheduled_s=log.scheduled_s,
        latency_s=log.latency_s,
        late_s=log.late_s.astype(np.float32),
        type=log.type.astype(np.uint8),
        names=np.array(log.names),
        plan=np.frombuffer(msgspec.json.encode(log.plan), np.uint8),
    )
    part = path.with_name(path.name + ".part")
    try:
        part.write_bytes(packed.getvalue())
        part.replace(path)
    except OSError as error:
        raise StoreError(f"the log {path} cannot be written: {error.strerror}") from error


def read_log(path: Path) -> Log:
    """A log from its file. Raises ConfigError."""
    try:
        with zipfile.ZipFile(path) as packed:  # what it says of its size is looked at before anything is unpacked
            size = sum(entry.file_size for entry in packed.infolist())
        if size > MAX_BYTES:
            raise ConfigError(f"{path}: {size} bytes unpacked; a log has at most {MAX_BYTES}")
        with np.load(path, allow_pickle=False) as arrays:
            columns = [arrays[name] for name in _COLUMNS]
            names = tuple(str(name) for name in arrays["names"])
            plan = msgspec.json.decode(arrays["plan"].tobytes(), type=Plan)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    except ConfigError:
        raise
    except (
        Exception
    ) as error:  # zipfile and numpy have a dozen ways to say that a file is not theirs, MemoryError among them
        raise ConfigError(f"{path}: not the log of a load: {type(error).__name__}: {error}"[:1000]) from error
    if any(c.ndim != 1 or c.shape != columns[0].shape or c.dtype.kind not in "fiu" for c in columns):
        raise ConfigError(f"{path}: not the log of a load: its columns are not of one length")
    scheduled, latency, late = (column.astype(np.float64) for column in columns[:3])
    type_ = columns[3].astype(np.int64)
    if len(type_) and not 0 <= type_.min() <= type_.max() < len(names):
        raise ConfigError(f"{path}: not the log of a load: it has types without a name")
    return Log(scheduled, latency, late, type_, names, plan)
