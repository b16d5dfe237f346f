"""Running collectors: each one's failure is a signal of its own and stops nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from vagus.clock import Clock, SystemClock
from vagus.collectors import COLLECTORS, Collector, Stateful
from vagus.config import CollectSettings
from vagus.errors import CollectError, VagusError
from vagus.model import Event, Field, Level, Sample, Stream

MAX_ERROR = 500

RUN_FIELDS = (
    Field("duration_s", unit="s"),
    Field("samples", dtype="u8"),
    Field("ok", dtype="u4"),
    Field("failures", dtype="u8", counter=True),
)


class _Run:
    """A collector with its own stream and what is known of its failures."""

    def __init__(self, name: str, collector: Collector, node: str) -> None:
        self.name = name
        self.collector = collector
        self.stateful = collector if isinstance(collector, Stateful) else None
        self.stream = Stream(node, "collector.run", RUN_FIELDS, {"collector": name})
        self.failures = 0
        self.error = ""


class Runner:
    """Calls collectors in turn and keeps what each gave before it failed. Never raises for a collector.

    Adds `collector.run{collector=}` (duration_s, samples, ok 0 or 1, failures since the start), and the events
    `collector.failed` and `collector.recovered` when that changes.
    """

    def __init__(self, collectors: Sequence[tuple[str, Collector]], node: str, clock: Clock | None = None) -> None:
        self._node = node
        self._clock = clock or SystemClock()
        self.current = ""  # the collector that is being called: who hangs, if the tick does not end
        self._runs = [_Run(name, collector, node) for name, collector in collectors]

    @classmethod
    def from_settings(cls, node: str, settings: CollectSettings, clock: Clock | None = None) -> Runner:
        """The collectors that the settings name; one that is unknown or cannot be made fails at every tick."""
        root = Path(settings.root)
        made: list[tuple[str, Collector]] = []
        for name in dict.fromkeys(settings.collectors):
            try:
                made.append((name, COLLECTORS.make(name, node, root, settings)))
            except Exception as error:
                made.append((name, _Unavailable(name, _text(error))))
        return cls(made, node, clock)

    def tick(self, t_ns: int) -> list[Sample | Event]:
        """All records of time `t_ns`."""
        records: list[Sample | Event] = []
        for run in self._runs:
            self.current = run.name
            begin = self._clock.monotonic_ns()
            before = len(records)
            error = ""
            try:
                for record in run.collector.collect(t_ns):
                    if type(record) is not Sample or len(record.values) != len(record.stream.fields):
                        _check(record)
                    records.append(record)
            except Exception as failure:
                error = _text(failure)
                run.failures += 1
            count = len(records) - before
            if bool(error) != bool(run.error):
                records.append(self._change(t_ns, run.name, error))
            run.error = error
            duration = (self._clock.monotonic_ns() - begin) // 1000 / 1e6  # finer would be noise, and take room
            records.append(Sample(run.stream, t_ns, (duration, count, 0 if error else 1, run.failures)))
        self.current = ""
        return records

    def _change(self, t_ns: int, name: str, error: str) -> Event:
        if error:
            fields = {"collector": name, "error": error}
            return Event(t_ns, "collector.failed", self._node, Level.ERROR, name, {**fields})
        return Event(t_ns, "collector.recovered", self._node, Level.INFO, name, {"collector": name})

    def restore(self, load: Callable[[str], bytes | None]) -> None:
        """Hands the collectors what `states` gave in an earlier life. Before the first tick."""
        for run in self._runs:
            if run.stateful is not None and (state := load(run.name)) is not None:
                try:
                    run.stateful.restore(state)
                except Exception as error:
                    run.error = _text(error)

    def states(self) -> dict[str, bytes]:
        """What the collectors want to find in another life, of those where it changed. After each tick."""
        found = {}
        for run in self._runs:
            if run.stateful is not None:
                try:
                    state = run.stateful.state()
                except Exception as error:
                    run.error = _text(error)
                    continue
                if state is not None:
                    found[run.name] = state
        return found

    def names(self) -> tuple[str, ...]:
        """The collectors' names, in their order."""
        return tuple(run.name for run in self._runs)

    def failing(self) -> dict[str, str]:
        """Collectors that failed at the last tick, with the error."""
        return {run.name: run.error for run in self._runs if run.error}

    def close(self) -> None:
        """Closes all collectors; one that cannot be closed keeps no other from it. Idempotent."""
        for run in self._runs:
            try:
                run.collector.close()
            except Exception as error:
                run.error = _text(error)


def _check(record: Sample | Event) -> None:
    if type(record) is Sample:
        if len(record.values) != len(record.stream.fields):
            raise CollectError(
                f"a sample of {record.stream.kind} has {len(record.values)} values for "
                f"{len(record.stream.fields)} fields; it and what would follow it are dropped"
            )
    elif type(record) is not Event:
        raise CollectError(f"collectors give Sample and Event, not {type(record).__name__}; the rest is dropped")


def _text(error: Exception) -> str:
    """The sentence of our own errors; the type too of any other, which is a mistake in a program."""
    own = isinstance(error, VagusError) and str(error)
    text = (str(error) if own else f"{type(error).__name__}: {error}")[:MAX_ERROR]
    return text.encode("utf-8", "replace").decode()  # it may quote a path that is no UTF-8


class _Unavailable:
    """Stands for a collector that could not be made, so that its absence is seen."""

    def __init__(self, name: str, error: str) -> None:
        self.name = name
        self._error = error

    def collect(self, t_ns: int) -> Iterable[Sample | Event]:
        raise CollectError(self._error)

    def close(self) -> None:
        """Nothing is open."""
