"""Files of measured throughput, `seconds Mbps` a line, as traces: each file an arm, in bins of a second as published.

The form is that of the Norway 3G and FCC sets as Pensieve (SIGCOMM'17) and others give them out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from vagus.controllers.decide.trace import MAX_ARMS, MAX_NAME, GroupTrace, Trace
from vagus.errors import ConfigError, unreadable
from vagus.policies.bank import Floats

MAX_BYTES = 16 << 20
MAX_SECONDS = 1_000_000
MAX_MBPS = 1e9


def read_throughputs(paths: Sequence[Path], arms: int = 0) -> tuple[list[Trace], list[Path]]:
    """Traces of so many consecutive files each (0: one of all), in Mbps, as long as the shortest file of each.

    Also the files left over. Raises ConfigError: a file that cannot be read, or none that makes a whole trace.
    """
    width = arms or len(paths)
    if not 2 <= width <= MAX_ARMS:
        raise ConfigError(f"{width} files as arms of one group; 2 to {MAX_ARMS} are needed to decide between")
    if len(paths) < width:
        raise ConfigError(f"{len(paths)} files are fewer than the {width} arms of one group")
    whole = len(paths) // width * width
    return [_trace(paths[at : at + width]) for at in range(0, whole, width)], list(paths[whole:])


def _trace(paths: Sequence[Path]) -> Trace:
    names = tuple(path.name[:MAX_NAME] for path in paths)
    if len(set(names)) < len(names):
        twice = next(name for at, name in enumerate(names) if name in names[:at])
        raise ConfigError(f"two files are called {twice!r}; files are arms, which need names of their own")
    columns = [read_bins(path) for path in paths]
    seconds = min(map(len, columns))
    values = np.stack([column[:seconds] for column in columns], axis=1)
    return Trace(f"{names[0]}..{names[-1]}", names, (GroupTrace("", np.arange(seconds, dtype=np.float64), values),))


def read_bins(path: Path) -> Floats:
    """Mean Mbps of each second from the first line on; a second without a line goes on as the one before it.

    Raises ConfigError, with the line.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        text = raw.decode()
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text: {error.reason} at byte {error.start}") from error
    if len(raw) > MAX_BYTES:
        raise ConfigError(f"{path}: more than {MAX_BYTES >> 20} MiB; give a part of it")
    rows: list[tuple[float, float]] = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split()
        if not cells:
            continue
        where = f"{path}: line {number}"
        if len(cells) != 2:
            raise ConfigError(f"{where}: {len(cells)} words, where `seconds Mbps` are two")
        t_s, mbps = (_number(where, *each) for each in zip(("seconds", "Mbps"), cells, strict=True))
        if not 0.0 <= mbps <= MAX_MBPS:
            raise ConfigError(f"{where}: {cells[1][:50]} Mbps; it must be from 0 to {MAX_MBPS:g}")
        if rows and not rows[-1][0] <= t_s <= rows[0][0] + MAX_SECONDS:
            raise ConfigError(
                f"{where}: {cells[0][:50]} s, after {rows[-1][0]:g} s; times must not fall, nor span over {MAX_SECONDS} s"
            )
        rows.append((t_s, mbps))
    if not rows:
        raise ConfigError(f"{path}: is empty; `seconds Mbps` are needed on each line")
    table = np.array(rows)
    second = (table[:, 0] - table[0, 0]).astype(np.int64)
    count = np.bincount(second)
    total = np.bincount(second, table[:, 1])
    latest = np.maximum.accumulate(np.where(count > 0, np.arange(len(count)), 0))
    bins: Floats = (total / np.maximum(count, 1))[latest]
    return bins


def _number(where: str, what: str, cell: str) -> float:
    try:
        value = float(cell)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"{where}: {what} is {cell[:50]!r}, which is not a finite number")
    return value
