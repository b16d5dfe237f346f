"""Peers of the store on the same data: SQLite, and Prometheus' TSDB through Debian's promtool."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Table = tuple[Array, ...]
Series = tuple[str, Array, Array]
"""Labels as OpenMetrics has them, times in ns, values."""


def sqlite_rows(path: Path, tables: list[Table], t_ns: Array) -> dict[str, float]:
    """A row per tick and stream, as wide as the stream: kind to SQLite, whose row per sample costs 24.8 bytes."""
    fields = len(tables[0])
    samples = len(tables) * len(t_ns) * fields
    names = ",".join(f"f{i}" for i in range(fields))
    db = sqlite3.connect(path)
    db.executescript(
        f"PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; CREATE TABLE s(id, t, {names}, PRIMARY KEY(id, t)) WITHOUT ROWID"
    )
    marks = ",".join("?" * (fields + 2))
    wrote = 0.0
    for index, table in enumerate(tables):
        rows = list(zip([index] * len(t_ns), t_ns.tolist(), *(column.tolist() for column in table), strict=True))
        began = time.process_time()
        db.executemany(f"INSERT INTO s VALUES({marks})", rows)
        db.commit()
        wrote += time.process_time() - began
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    began = time.process_time()
    for index in range(len(tables)):
        np.array(db.execute(f"SELECT t, {names} FROM s WHERE id=? ORDER BY t", (index,)).fetchall())
    scanned = time.process_time() - began
    db.close()
    return {
        "samples": samples,
        "write_samples_s": samples / wrote,
        "scan_samples_s": samples / scanned,
        "bytes_per_sample": path.stat().st_size / samples,
    }


def prometheus_tables(folder: Path, tables: list[Table], t_ns: Array) -> dict[str, float | str]:
    """As `prometheus_tsdb`, of the bench's tables."""
    fields = range(len(tables[0]))
    return prometheus_tsdb(
        folder, {f"f{f}": [(f's="{s}"', t_ns, table[f]) for s, table in enumerate(tables)] for f in fields}
    )


def prometheus_tsdb(folder: Path, metrics: Mapping[str, Sequence[Series]]) -> dict[str, float | str]:
    """Blocks of Prometheus' TSDB, made from OpenMetrics text; its CPU includes reading the text.

    metrics: of each name its series. Times become milliseconds and values float64, as Prometheus has them.
    """
    promtool = shutil.which("promtool")
    if promtool is None:
        return {"note": "promtool is not here (Debian's package prometheus): not measured"}
    samples = 0
    text = folder / "samples.om"
    with text.open("w") as file:
        for name, series in metrics.items():
            file.write(f"# TYPE {name} gauge\n")
            for labels, t_ns, column in series:
                lines = zip(column.tolist(), t_ns.tolist(), strict=True)
                file.writelines(f"{name}{{{labels}}} {value!r} {at / 1e9:.3f}\n" for value, at in lines)
                samples += len(t_ns)
        file.write("# EOF\n")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    blocks = folder / "tsdb"
    command = [promtool, "tsdb", "create-blocks-from", "openmetrics", "--quiet", str(text), str(blocks)]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        stderr: bytes = getattr(error, "stderr", None) or b""
        return {"note": f"promtool failed: {stderr.decode(errors='replace')[-200:] or error}"}
    finally:
        text.unlink()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    sizes = {path: path.stat().st_size for path in blocks.rglob("*") if path.is_file()}
    chunks = sum(size for path, size in sizes.items() if path.parent.name == "chunks")
    shutil.rmtree(blocks)
    return {
        "samples": samples,
        "write_samples_s_with_text": samples / cpu_s,
        "chunk_bytes_per_sample": chunks / samples,
        "bytes_per_sample": sum(sizes.values()) / samples,
    }
