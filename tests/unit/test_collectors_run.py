"""The runner: failures become signals."""

import pytest

from vagus.clock import ManualClock
from vagus.collectors.run import Runner
from vagus.config import CollectSettings
from vagus.errors import CollectError
from vagus.model import Event, Field, Level, Sample, Stream

T = 1_700_000_000 * 10**9
STREAM = Stream("n", "test.kind", (Field("a"), Field("b")))


class Scripted:
    """Gives what it is told; an exception is raised where it stands."""

    name = "scripted"

    def __init__(self, *items, clock=None):
        self.items = list(items)
        self.closed = 0
        self.clock = clock

    def collect(self, t_ns):
        if self.clock:
            self.clock.advance(0.25)
        for item in self.items:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self):
        self.closed += 1


def runs(records):
    return {
        r.stream.labels["collector"]: dict(zip([f.name for f in r.stream.fields], r.values, strict=True))
        for r in records
        if isinstance(r, Sample) and r.stream.kind == "collector.run"
    }


def events(records):
    return [(r.event, r.fields.get("error", "")) for r in records if isinstance(r, Event)]


def test_what_a_good_collector_gives():
    clock = ManualClock()
    sample = Sample(STREAM, T, (1.0, 2.0))
    records = Runner([("good", Scripted(sample, clock=clock))], "n", clock).tick(T)
    assert records[0] is sample
    assert runs(records) == {"good": {"duration_s": 0.25, "samples": 1, "ok": 1, "failures": 0}}
    assert events(records) == []


def test_a_failure_is_told_once_and_so_is_the_recovery():
    bad = Scripted(Sample(STREAM, T, (1.0, 2.0)), CollectError("the source is gone"))
    good = Scripted(Sample(STREAM, T, (3.0, 4.0)))
    runner = Runner([("bad", bad), ("good", good)], "n")
    first = runner.tick(T)
    assert events(first) == [("collector.failed", "the source is gone")]
    assert next(r for r in first if isinstance(r, Event)).level is Level.ERROR
    assert [r.values for r in first if isinstance(r, Sample) and r.stream is STREAM] == [(1.0, 2.0), (3.0, 4.0)]
    assert runner.failing() == {"bad": "the source is gone"}
    bad.items[1] = CollectError("gone for another reason")
    second = runner.tick(T + 1)
    assert events(second) == []
    assert runs(second)["bad"] | {"duration_s": 0} == {"duration_s": 0, "samples": 1, "ok": 0, "failures": 2}
    assert runner.failing() == {"bad": "gone for another reason"}
    bad.items.pop()
    third = runner.tick(T + 2)
    assert events(third) == [("collector.recovered", "")]
    assert runs(third)["bad"]["failures"] == 2
    assert runner.failing() == {}
    assert events(runner.tick(T + 3)) == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(5, "Input/output error"), "OSError: [Errno 5] Input/output error"),
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
        (RecursionError(), "RecursionError: "),
        (CollectError("x" * 10_000), "x" * 500),
        (CollectError(""), "CollectError: "),
    ],
)
def test_any_exception_is_caught_and_bounded(error, text):
    runner = Runner([("bad", Scripted(error))], "n")
    assert events(runner.tick(T)) == [("collector.failed", text)]


@pytest.mark.parametrize("record", [None, {"a": 1}, Sample(STREAM, T, (1.0,)), Sample(STREAM, T, (1.0, 2.0, 3.0))])
def test_records_that_are_none(record):
    good = Sample(STREAM, T, (1.0, 2.0))
    runner = Runner([("odd", Scripted(good, record, good))], "n")
    records = runner.tick(T)
    assert runs(records)["odd"]["samples"] == 1
    assert runs(records)["odd"]["ok"] == 0
    assert record not in records


def test_collect_that_gives_nothing_iterable():
    class Wrong(Scripted):
        def collect(self, t_ns):
            return None

    assert "TypeError" in events(Runner([("wrong", Wrong())], "n").tick(T))[0][1]


def test_from_settings_with_unknown_names(tmp_path):
    settings = CollectSettings(collectors=("host", "no-such", "pressure", "host"), root=str(tmp_path))
    runner = Runner.from_settings("n", settings)
    records = runner.tick(T)
    assert list(runs(records)) == ["host", "no-such", "pressure"]
    assert "there are:" in runner.failing()["no-such"]
    assert "proc/stat" in runner.failing()["host"]
    runner.close()


def test_a_collector_that_cannot_be_made(monkeypatch):
    from vagus.collectors import COLLECTORS

    def broken(name, *args):
        raise RuntimeError("no such device")

    monkeypatch.setattr(COLLECTORS, "make", broken)
    runner = Runner.from_settings("n", CollectSettings(collectors=("host",)))
    assert events(runner.tick(T)) == [("collector.failed", "RuntimeError: no such device")]


def test_this_machine_gives_four_hundred_series():
    runner = Runner.from_settings("n", CollectSettings(collectors=("host", "network")))
    records = runner.tick(T)
    assert runner.failing() == {}
    assert sum(len(r.values) for r in records if isinstance(r, Sample)) >= 400
    runner.close()


def test_close_reaches_all():
    class Stuck(Scripted):
        def close(self):
            raise OSError(9, "Bad file descriptor")

    last = Scripted()
    runner = Runner([("stuck", Stuck()), ("last", last)], "n")
    runner.close()
    runner.close()
    assert last.closed == 2
