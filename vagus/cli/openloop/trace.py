"""Request-rate traces: a text file with a number a line, the requests per second of one second after the other."""

from __future__ import annotations

import math
from pathlib import Path

from vagus.errors import ConfigError, unreadable

MAX_BYTES = 16 << 20
MAX_TRACE_S = 7 * 86400
MAX_FOR_S = 86400.0
MAX_RATE_HZ = 100_000.0
MOST = 1e15  # of a number: what several add up to is still one


def read_trace(path: Path, offset_s: float, for_s: float, mean_hz: float) -> tuple[float, ...]:
    """The rates of `for_s` seconds from `offset_s` on, the last one perhaps of a part of a second; scaled to `mean_hz`.

    Behind its end a trace begins anew. Blank lines and what follows a `#` do not count. Raises ConfigError.
    """
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from error
    if len(content) > MAX_BYTES:
        raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB; a trace has a number a line")
    return slice_of(parse(content.decode("utf-8", "replace"), str(path)), offset_s, for_s, mean_hz, str(path))


def parse(text: str, origin: str) -> list[float]:
    """The numbers of a trace. Raises ConfigError, naming the line."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            rate = float(word)
        except ValueError:
            rate = math.nan
        if not 0 <= rate <= MOST:
            raise ConfigError(f"{origin}, line {number}: {word[:40]!r} is not a number of requests per second")
        found.append(rate)
        if len(found) > MAX_TRACE_S:
            raise ConfigError(f"{origin}, line {number}: a trace has at most {MAX_TRACE_S} seconds")
    if not found:
        raise ConfigError(f"{origin}: a trace without a number; it has a line for each second")
    return found


def slice_of(trace: list[float], offset_s: float, for_s: float, mean_hz: float, origin: str) -> tuple[float, ...]:
    """As `read_trace`, of numbers. A second of the answer begins where one of the trace does. Raises ConfigError."""
    if not (0 <= offset_s < math.inf and 0 < for_s <= MAX_FOR_S):
        raise ConfigError(f"{origin}: {for_s:g} s from {offset_s:g} s on; a load lasts 0 to {MAX_FOR_S:g} s")
    first = int(offset_s)
    chosen = [trace[(first + n) % len(trace)] for n in range(math.ceil(for_s))]
    whole = math.fsum(chosen[:-1]) + chosen[-1] * (for_s - len(chosen) + 1)
    if not whole > 0:
        raise ConfigError(f"{origin}: no requests within {for_s:g} s from {offset_s:g} s on")
    scaled = tuple(rate * mean_hz * for_s / whole for rate in chosen)
    if not (mean_hz > 0 and max(scaled) <= MAX_RATE_HZ):
        raise ConfigError(f"{origin}: {max(scaled):g} requests per second; 0 to {MAX_RATE_HZ:g} can be sent")
    return scaled
