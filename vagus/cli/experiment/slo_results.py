"""What `vagus experiment slo` measured, as `results.json` in its folder: saved after each run, read by the report.

Times are seconds since the measured part of a run began: the warm-up before has negative ones. Cores are CPU cores.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from vagus.config import VariantSettings
from vagus.errors import ConfigError, StoreError

FILE = "results.json"
VERSION = 1
MAX_BYTES = 1 << 30
Cores = float | None  # None: no limit


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What all runs have in common. Two results can be joined when their plans are equal but for `seeds`."""

    application: str  # its name
    services: tuple[str, ...]  # the entry first
    fixed: tuple[str, ...]  # of these, those that cannot have a second replica
    requests: tuple[str, ...]  # types; the number in a log's `type` is the place in here
    slo_s: float
    rate_hz: float  # mean of the trace's slice, requests per second
    trace: str  # file name
    offset_s: float  # where the first seed's slice begins in it; seeds go on from there
    inject: str  # name of the campaign; empty: nothing is injected
    warm_s: float  # before the measured part, at the mean rate
    run_s: float  # the measured part
    given_up_s: float  # a request that took so long counts as failed
    window_s: float  # what a window's percentiles are of
    variants: tuple[VariantSettings, ...]
    files: dict[str, str] = {}  # digests of what else decides: app.yaml, and the files that variants name


class Injected(msgspec.Struct, frozen=True, kw_only=True):
    """An injection of a run, and what became of it. None: it did not happen (within the injection)."""

    type: str
    service: str
    intensity: str
    begin_s: float  # in force
    end_s: float
    why: str  # `done`, or why it ended, or did not begin
    detected_s: float | None = None  # first window over the SLO, or first excess of throttling
    detected_by: str = ""  # window, throttled
    mitigated_s: float | None = None  # first window within the SLO again, which stays so for 2 s; None: censored
    raised_s: float | None = None  # first raise of the service's limit (or of its replicas)


class Windows(msgspec.Struct, frozen=True, kw_only=True):
    """Columns, a row each half second: of the requests due in the last `window_s`, and of all that were due before and
    wait still; those that wait count with their age."""

    t_s: tuple[float, ...]
    p50_s: tuple[float | None, ...]  # None: there was no request
    p99_s: tuple[float | None, ...]
    rate_hz: tuple[float | None, ...]
    failed_ratio: tuple[float | None, ...]


class Sampled(msgspec.Struct, frozen=True, kw_only=True):
    """Columns, a row each half second, of the groups themselves; the inner ones have a column a service."""

    t_s: tuple[float, ...]
    limit_cores: dict[str, tuple[Cores, ...]]  # in force, of all replicas together; None: no limit
    used_cores: dict[str, tuple[float, ...]]  # since the sample before
    throttled_ratio: dict[str, tuple[float, ...]]  # throttled periods ÷ periods that passed since the sample before
    replicas: dict[str, tuple[int, ...]]


class Steps(msgspec.Struct, frozen=True, kw_only=True):
    """What a run's controller did, in the measured part. notes: what the guard said, and how often."""

    actions: int = 0  # limits that were changed
    held: int = 0  # wishes that the guard held
    changed: int = 0  # wishes that it changed
    shielded: int = 0  # limits whose wish the shield changed
    steered: int = 0  # limits that a policy asked for, all steps together
    own: int = 0  # of these, those in force as the policy wished them
    errors: int = 0  # writes that failed
    notes: dict[str, int] = {}
    rung: str = ""  # where the ladder stood at the end, when it was not `trust`

    @property
    def interventions(self) -> int:
        """Wishes that were not done as they came."""
        return self.held + self.changed + self.shielded

    @property
    def own_ratio(self) -> float | None:
        """The share of limits in force as the policy wished them; None where it steered nothing."""
        return self.own / self.steered if self.steered else None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One variant on one seed's slice. A violation: a request that took longer than the SLO, or failed."""

    variant: str
    seed: int
    begun: str  # RFC 3339
    error: str = ""  # why the run is not valid; its figures then are of what there was
    notes: tuple[str, ...] = ()  # what a reader should know, such as a controller that came late
    requests: int = 0
    failed: int = 0
    violations: int = 0
    windows_over_ratio: float | None = None  # windows whose P99 is over the SLO
    p50_s: float | None = None  # failed requests as given_up_s
    p99_s: float | None = None
    p999_s: float | None = None
    requested_cores: float | None = None  # mean of the sum of the limits in force; None: some had none
    used_cores: float | None = None
    machine_ratio: float | None = None  # how busy all processors of the machine were, everything included
    late_s: float | None = None  # 99th percentile of how late the load itself sent
    steps: Steps = Steps()
    injected: tuple[Injected, ...] = ()
    windows: Windows | None = None
    sampled: Sampled | None = None
    log: str = ""  # file in the folder, npz: scheduled_s, latency_s (inf: failed), type

    @property
    def violation_ratio(self) -> float | None:
        """The share of requests that were late or failed; None without requests."""
        return self.violations / self.requests if self.requests else None


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """`results.json`. machine: what it ran on; command: what makes it again."""

    version: int = VERSION
    plan: Plan
    seeds: tuple[int, ...]
    machine: dict[str, str] = {}
    command: str = ""
    runs: tuple[Run, ...] = ()

    def of(self, variant: str) -> list[Run]:
        """The runs of a variant that are valid, by seed."""
        return sorted((r for r in self.runs if r.variant == variant and not r.error), key=lambda run: run.seed)


def load(folder: Path) -> Results:
    """The results in a folder. Raises ConfigError when there are none, or what is there is none."""
    path = folder / FILE
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: larger than {MAX_BYTES >> 20} MiB; these are no results")
        found = msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as error:
        raise ConfigError(
            f"{path}: {error.strerror}; `vagus experiment slo -o {folder}` makes it, report and all"
        ) from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise ConfigError(f"{path}: not the results of an experiment: {error}") from error
    if found.version != VERSION:
        raise ConfigError(f"{path}: of version {found.version}; this vagus reads version {VERSION}: run it again")
    for run in found.runs:
        if not _even(run):
            raise ConfigError(
                f"{path}: not the results of an experiment: {run.variant}, seed {run.seed}: uneven columns"
            )
    if not (found.plan.slo_s > 0 and found.plan.run_s > 0 and found.plan.given_up_s > 0):
        raise ConfigError(f"{path}: not the results of an experiment: a span of time in its plan is not positive")
    return found


def _even(run: Run) -> bool:
    """Whether all columns that belong together are of one length."""
    windows, sampled = run.windows, run.sampled
    rows = [] if windows is None else [{len(column) for column in msgspec.structs.astuple(windows)}]
    if sampled is not None:
        columns = (sampled.limit_cores, sampled.used_cores, sampled.throttled_ratio, sampled.replicas)
        rows.append({len(sampled.t_s), *(len(column) for inner in columns for column in inner.values())})
    return all(len(lengths) == 1 for lengths in rows)


def save(folder: Path, results: Results) -> None:
    """Writes the results: whoever reads finds the old ones or the new ones. Raises StoreError."""
    path = folder / FILE
    part = path.with_suffix(".part")
    try:
        part.write_bytes(msgspec.json.encode(results))
        part.replace(path)
    except OSError as error:
        raise StoreError(f"{path} cannot be written: {error.strerror}") from error
