"""Series as the body of a Prometheus remote write 1.0 request: protobuf WriteRequest, compressed with snappy.

https://prometheus.io/docs/specs/prw/remote_write_spec/. The three messages that it needs are written by hand: they are
a page of code less than a generated module, and need no protobuf library in the collector.

    WriteRequest { repeated TimeSeries timeseries = 1; }
    TimeSeries { repeated Label labels = 1; repeated Sample samples = 2; }
    Label { string name = 1; string value = 2; }    Sample { double value = 1; int64 timestamp = 2; }
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping

from vagus.store.batch import Batch
from vagus.store.prometheus import Names, Series, series_of

HEADERS: Mapping[str, str] = {
    "Content-Type": "application/x-protobuf",
    "Content-Encoding": "snappy",
    "X-Prometheus-Remote-Write-Version": "0.1.0",
}
_DOUBLE = struct.Struct("<d").pack


def requests(
    batches: Iterable[Batch], extra: Mapping[str, str] = {}, names: Names = "vagus", most_samples: int = 5000
) -> Iterator[tuple[bytes, int]]:
    """Bodies of at most about `most_samples` samples each, and how many are in them; `extra` labels are added.

    NaN (a missing value) is left out. Samples of one series stay in order, also from one body to the next.
    """
    import pyarrow as pa  # for its snappy; not before there is something to compress

    def body(parts: list[bytes]) -> bytes:
        return bytes(pa.compress(b"".join(parts), codec="snappy", asbytes=True))

    parts: list[bytes] = []
    count = 0
    for series in series_of(batches, names):
        for start in range(0, len(series.t_ns), most_samples):
            piece = slice(start, start + most_samples)
            encoded, samples = _time_series(series, piece, extra)
            if not samples:
                continue
            if count and count + samples > most_samples:
                yield body(parts), count
                parts, count = [], 0
            parts.append(_field(1, encoded))
            count += samples
    if count:
        yield body(parts), count


def _time_series(series: Series, piece: slice, extra: Mapping[str, str]) -> tuple[bytes, int]:
    labels = {**dict(series.labels), **extra, "__name__": series.name}
    out = [
        _field(1, _field(1, name.encode()) + _field(2, value.encode("utf-8", "replace")))
        for name, value in sorted(labels.items())
        if value  # an empty label is no label
    ]
    count = 0
    for t_ns, value in zip(series.t_ns[piece].tolist(), series.values[piece].tolist(), strict=True):
        if value == value:
            out.append(_field(2, b"\x09" + _DOUBLE(value) + b"\x10" + _varint(t_ns // 1_000_000)))
            count += 1
    return b"".join(out), count


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return bytes((number << 3 | 2,)) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
