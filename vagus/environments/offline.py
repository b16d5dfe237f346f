"""What was logged, as transitions to learn from: a node's store with its receipts, results of experiments, npz files.

A log says what every target used, how it was throttled, which limits were in force and how the objective was met, whoever
steered. A watcher (`LearnedLimits`) sees it as if it had been its own doing: off-policy learning needs no more.
"""

from __future__ import annotations

import bisect
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vagus.clock import NS
from vagus.config import ObjectiveSettings, seconds
from vagus.controllers.places import key_of
from vagus.environments import Seen
from vagus.environments.training import Rows, in_force_of
from vagus.errors import ConfigError, NoData, PolicyError, unreadable
from vagus.model import Receipt, Target
from vagus.policies.experience import Floats, width
from vagus.policies.learned import LearnedLimits
from vagus.selector import parse
from vagus.store.reader import Reader

PERIOD_S = 0.1  # of the kernel's quotas
MAX_FILE_BYTES = 1 << 30
MAX_RECEIPTS = 1_000_000
CORES = "cpu_cores"


def transitions(frames: Iterable[Seen], watcher: LearnedLimits) -> Rows:
    """What a log teaches, by model. watcher: with learn: learner. Frames without any target are left out."""
    watcher.begin()
    rows: Rows = {}
    for at, seen in enumerate(frames):
        watcher.in_force(in_force_of(seen))
        try:
            tuple(watcher.step(seen.signals, seen.objective, seen.now_s))
        except PolicyError:
            continue
        if at % 500 == 499:
            _gather(watcher, rows)
    _gather(watcher, rows)
    return rows


def _gather(watcher: LearnedLimits, rows: Rows) -> None:
    for key, found in watcher.drained().items():
        rows.setdefault(key, []).append(found)


# --- a node's store --------------------------------------------------------------------------------------------------


def of_store(
    reader: Reader, targets: Sequence[str], objective: ObjectiveSettings, start_ns: int, end_ns: int
) -> Iterator[Seen]:
    """What a controller of these targets saw, out of the node's archive: a frame for each of the collector's ticks.

    Limits are those of the receipts, and before the first receipt what the samples show. Raises NoData.
    """
    series = {target: _usage(reader, Target.parse(target), start_ns, end_ns) for target in targets}
    if not any(len(found[0]) for found in series.values()):
        raise NoData(
            f"the store has no samples of {', '.join(targets)} in that time; `vagus sensors 'cgroup.cpu'` lists what it has"
        )
    limits = _limits(reader, set(targets), start_ns, end_ns)
    named = {"latency_s": objective.latency, "rate_hz": objective.rate}
    named |= {f"mix_{at}": text for at, text in enumerate(objective.mix)}
    owed = {name: _values(reader, text, start_ns, end_ns) for name, text in named.items() if text}
    slo_s, max_age_ns = seconds(objective.slo) or math.nan, round(seconds(objective.max_age) * NS)
    frames: dict[int, dict[str, dict[str, float]]] = {}
    for target, (t_ns, columns) in series.items():
        for at in range(1, len(t_ns)):
            signals = _signals(t_ns, columns, at)
            limit = _at(limits.get(target), int(t_ns[at]), end_ns)
            if limit is not None:
                signals["limit_cores"] = signals["limit_cpu_cores"] = limit
            if signals["elapsed_s"] > 0:
                frames.setdefault(int(t_ns[at]), {})[target] = signals
    for t, signals_by_target in sorted(frames.items()):
        now = {name: _at(found, t, max_age_ns) for name, found in owed.items()}
        seen = {name: math.nan if value is None else value for name, value in now.items()}
        yield Seen(signals_by_target, {**seen, "slo_s": slo_s}, t / NS, math.nan, math.nan)


def _usage(reader: Reader, target: Target, start_ns: int, end_ns: int) -> tuple[Any, dict[str, Any]]:
    key = key_of(target)
    if key is None:
        raise ConfigError(f"{target}: only what has streams of its own can be learned of: cgroups, units, containers")
    for batch in reader.scan("cgroup.cpu", start_ns, end_ns):
        if batch.stream.labels.get(key[0], "").startswith(key[1]) and len(batch) > 1:
            names = [field.name for field in batch.stream.fields]
            return batch.t_ns, dict(zip(names, batch.columns, strict=True))
    return np.array([], np.int64), {}


def _signals(t_ns: Any, columns: Mapping[str, Any], at: int) -> dict[str, float]:
    elapsed_s = (int(t_ns[at]) - int(t_ns[at - 1])) / NS

    def change(name: str) -> float:
        if name not in columns:
            return math.nan
        return max(float(columns[name][at]) - float(columns[name][at - 1]), 0.0)

    limit = float(columns["limit_cores"][at]) if "limit_cores" in columns else math.nan
    usage = change("usage_us") / 1e6 / max(elapsed_s, 1e-9)
    return {
        "usage_cores": usage,
        "limit_cores": limit,
        "throttled_ratio": min(change("nr_throttled") / max(elapsed_s / PERIOD_S, 1.0), 1.0),
        "elapsed_s": elapsed_s,
        "memory_bytes": math.nan,
        "use_cpu_cores": usage,
        "limit_cpu_cores": limit,
    }


Line = tuple[list[int], list[float]]  # times and values, by time


def _limits(reader: Reader, targets: set[str], start_ns: int, end_ns: int) -> dict[str, Line]:
    found: dict[str, list[tuple[int, float]]] = {}
    for receipt in reader.records("receipt", Receipt, start_ns=start_ns, end_ns=end_ns, limit=MAX_RECEIPTS):
        target = str(receipt.target)
        if target in targets and receipt.resource == CORES and not receipt.error and not receipt.dry:
            found.setdefault(target, []).append((receipt.t_ns, math.nan if receipt.after is None else receipt.after))
    return {target: _line(pairs) for target, pairs in found.items()}


def _values(reader: Reader, text: str, start_ns: int, end_ns: int) -> Line:
    for batch in reader.scan(parse(text), start_ns, end_ns):
        if len(batch):
            return batch.t_ns.tolist(), batch.values[:, 0].tolist()
    return [], []


def _line(pairs: list[tuple[int, float]]) -> Line:
    pairs.sort()
    return [t for t, _ in pairs], [value for _, value in pairs]


def _at(line: Line | None, t_ns: int, max_age_ns: int) -> float | None:
    """The newest value at a time; None when there is none, or it is older."""
    if line is None:
        return None
    place = bisect.bisect_right(line[0], t_ns) - 1
    return line[1][place] if place >= 0 and t_ns - line[0][place] <= max_age_ns else None


# --- results of `vagus experiment slo` -------------------------------------------------------------------------------


class _Windows(msgspec.Struct):
    t_s: list[float]
    p99_s: list[float | None]
    rate_hz: list[float | None]


class _Sampled(msgspec.Struct):
    t_s: list[float]
    limit_cores: dict[str, list[float | None]]
    used_cores: dict[str, list[float]]
    throttled_ratio: dict[str, list[float]]


class _Run(msgspec.Struct):
    variant: str
    error: str = ""
    windows: _Windows | None = None
    sampled: _Sampled | None = None


class _Plan(msgspec.Struct):
    slo_s: float


class _Results(msgspec.Struct):
    plan: _Plan
    runs: list[_Run] = []


def of_results(file: Path, step_s: float = 1.0) -> list[list[Seen]]:
    """The valid runs of a results.json, each as frames of `step_s`. Raises ConfigError."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
        results = msgspec.json.decode(file.read_bytes(), type=_Results)
    except OSError as error:
        raise ConfigError(unreadable(file, error)) from error
    except msgspec.DecodeError as error:
        raise ConfigError(f"{file} is no results.json of `vagus experiment slo`: {error}") from error
    return [
        list(_frames(run.sampled, run.windows, results.plan.slo_s, step_s, str(file)))
        for run in results.runs
        if not run.error and run.sampled is not None and run.windows is not None
    ]


def _frames(sampled: _Sampled, windows: _Windows, slo_s: float, step_s: float, origin: str) -> Iterator[Seen]:
    columns = [c for kind in (sampled.limit_cores, sampled.used_cores, sampled.throttled_ratio) for c in kind.values()]
    if any(len(column) != len(sampled.t_s) for column in columns):
        raise ConfigError(f"{origin}: the columns of a run are not of one length")
    begin = 0
    while begin < len(sampled.t_s):
        end = bisect.bisect_left(sampled.t_s, sampled.t_s[begin] + step_s - 1e-3, begin + 1)
        signals = {}
        for service in sampled.used_cores.keys() & sampled.limit_cores.keys() & sampled.throttled_ratio.keys():
            limit = sampled.limit_cores[service][end - 1]
            usage = float(np.mean(sampled.used_cores[service][begin:end]))
            signals[service] = {
                "usage_cores": usage,
                "limit_cores": math.nan if limit is None else limit,
                "throttled_ratio": float(np.mean(sampled.throttled_ratio[service][begin:end])),
                "elapsed_s": step_s,
                "memory_bytes": math.nan,
                "use_cpu_cores": usage,
                "limit_cpu_cores": math.nan if limit is None else limit,
            }
        t_s = sampled.t_s[end - 1]
        place = bisect.bisect_right(windows.t_s, t_s + 1e-3) - 1
        latency, rate = (windows.p99_s[place], windows.rate_hz[place]) if place >= 0 else (None, None)
        objective = {"latency_s": _known(latency), "slo_s": slo_s, "rate_hz": _known(rate)}
        yield Seen(dict(sorted(signals.items())), objective, t_s, math.nan, math.nan)
        begin = end


def _known(value: float | None) -> float:
    return math.nan if value is None else value


# --- npz -------------------------------------------------------------------------------------------------------------


def save_rows(file: Path, rows: Rows, state_dim: int, action_dim: int) -> None:
    """Transitions of all models together as npz, atomically: rows, float32, and their two dimensions. Raises OSError."""
    together = [r for found in rows.values() for r in found]
    empty = np.empty((0, width(state_dim, action_dim)), np.float32)
    fresh = file.with_name(f".{file.name}.{os.getpid()}.npz")
    try:
        np.savez(fresh, rows=np.concatenate([empty, *together]), dims=np.array([state_dim, action_dim]))
        os.replace(fresh, file)
    finally:
        fresh.unlink(missing_ok=True)


def load_rows(file: Path, state_dim: int, action_dim: int) -> Floats:
    """What `save_rows` wrote. Raises ConfigError, also where they are of other states or actions."""
    try:
        if file.stat().st_size > MAX_FILE_BYTES:
            raise ConfigError(f"{file}: larger than {MAX_FILE_BYTES} bytes")
        with np.load(file, allow_pickle=False) as archive:
            rows, dims = archive["rows"], archive["dims"].tolist()
    except OSError as error:
        raise ConfigError(unreadable(file, error)) from error
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ConfigError(f"{file} holds no transitions: {error}") from error
    if dims != [state_dim, action_dim]:
        raise ConfigError(f"{file}: transitions of {dims} states and actions; the policy has {[state_dim, action_dim]}")
    if rows.ndim != 2 or rows.shape[1] != width(state_dim, action_dim) or not np.isfinite(rows).all():
        raise ConfigError(f"{file}: transitions of a wrong shape, or not finite")
    found: Floats = rows.astype(np.float32)
    return found
