"""Blame that passes a middleman: origins and sinks, in one process and in two, and what a store makes of it."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client import carried, indirection
from vagus.client.carried import HEADER, MAX_CARRIED, read_carried
from vagus.client.indirection import origin, sink
from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.model import Metric, Report, Status


class Process(Still):
    """A program on a node with a store: what it reports arrives there, and there it looks."""

    def __init__(self, store=None, looks=True):
        super().__init__()
        self.store = store if store is not None else LocalStore("n", Paper())
        self.looked = 0
        self.reporter.divert(self._send)
        if looks:
            self.reporter.looks = self._look

    def _send(self, reports):
        for report in reports:
            self.store.submit(report, time.time_ns() + 5 * NS)
        self.sent += reports

    def _look(self, observer, subject):
        self.looked += 1
        return self.store.view(observer, subject)

    def origin(self, subject="worker@3", **settings):
        return origin(subject, "job", observer="api@1", reporter=self.reporter, **settings)

    def sink(self, met, ok=True, **settings):
        return sink(met, ok, reporter=self.reporter, **settings)


@pytest.fixture
def api():
    return Process()


@pytest.fixture
def worker(api):
    return Process(api.store)


def verdict(process, subject="worker@3", later_s=5):
    process.store.tick(time.time_ns() + later_s * NS)
    found = process.store.inference(subject)
    return found and found.status


def test_the_public_names():
    assert (vagus.origin, vagus.sink) == (origin, sink)


# --- in one process --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "met", [lambda o: o, lambda o: o.key, lambda o: o.carry(), lambda o: {"Vagus-Origin": o.carry()[HEADER]}]
)
def test_met_in_time_it_is_healthy(api, met):
    sent = api.origin()
    assert api.sink(met(sent))
    assert not api.sink(sent)
    assert api.step(10.0) == [("worker@3", "job", "HEALTHY")]


def test_feature_13_not_met_the_far_side_is_pending_and_nobody_else(api):
    sent = api.origin()
    assert api.step(2.9) == []
    assert api.step(3.1) == [("worker@3", "job", "PENDING")]
    assert list(api.store.subjects()) == ["worker@3"]
    assert verdict(api) == Status.UNHEALTHY  # a PENDING that ages
    assert api.sink(sent.key)
    assert api.step(3.2) == [("worker@3", "job", "HEALTHY")]
    assert verdict(api) == Status.HEALTHY


def test_the_requests_own_id_is_the_key(api):
    api.origin(key="order-17")
    long = api.origin(key="x" * 500)
    assert len(long.key) <= carried.MAX_KEY
    assert api.sink("order-17")
    assert api.sink("x" * 500)
    assert not api.sink("order-18")
    assert api.step(10.0) == [("worker@3", "job", "HEALTHY")]


def test_sent_again_under_its_key_it_waits_since_the_first_time(api):
    first = api.origin(key="order-17")
    assert api.origin(key="order-17") is first
    other = api.origin("worker@4", key="order-17")
    assert other is not first
    assert api.step(4.0) == [("worker@4", "job", "PENDING")]


def test_the_far_side_fails(api):
    assert api.sink(api.origin(), ok=False)
    assert api.origin().fail(Status.DEAD)
    assert api.origin().drop()
    assert api.step(10.0) == [("worker@3", "job", "UNHEALTHY"), ("worker@3", "job", "DEAD")]


def test_one_lost_among_many_that_are_met(api):
    """What this process itself said of others says nothing of the one that is lost."""
    lost = api.origin()
    lost.carry()
    for _ in range(5):
        api.sink(api.origin())
        api.reporter.tracks["worker@3", "job", "api@1"].due = 0.0
    assert api.step(1.0) == [("worker@3", "job", "HEALTHY")]
    assert api.step(4.0) == [("worker@3", "job", "PENDING")]


def test_bounded(api, monkeypatch):
    monkeypatch.setattr(indirection, "MAX_WAITING", 10)
    for _ in range(10):
        api.origin("hung@1")
    extra = api.origin("late@1")
    assert api.step(4.0) == [("hung@1", "job", "PENDING")]
    assert api.sink(extra)
    assert api.step() == [("late@1", "job", "HEALTHY")]
    api.origin("later@1")
    assert ("later@1", "job", "PENDING") in api.step(4.0)
    assert len(indirection._crossings(api.reporter).open) == 10


def test_time_slept_is_not_the_far_sides(api):
    sent = api.origin()
    sent._call[0] -= 5.0
    sent._call[1] -= 5.0
    indirection._crossings(api.reporter).slept(5.0, time.perf_counter())
    assert api.step() == []
    assert api.step(3.1) == [("worker@3", "job", "PENDING")]


# --- in two processes ------------------------------------------------------------------------------------------------


def test_feature_13_a_sink_elsewhere_speaks_in_the_origins_name(api, worker):
    headers = api.origin().carry()
    assert worker.sink(headers)
    (report,) = worker.reports()
    assert (report.observer, report.subject) == ("api@1", "worker@3")
    assert report.contexts["job"].status == Status.HEALTHY
    assert api.step(4.0) == []  # it finds that out before it says anything
    assert api.looked == 1
    assert indirection._crossings(api.reporter).open == {}


def test_a_sink_elsewhere_clears_what_was_pending(api, worker):
    headers = api.origin().carry()
    assert api.step(4.0) == [("worker@3", "job", "PENDING")]
    assert verdict(api) == Status.UNHEALTHY  # a PENDING that ages
    assert worker.sink(headers)
    worker.reports()
    assert verdict(api) == Status.HEALTHY
    assert api.step(7.5) == [("worker@3", "job", "HEALTHY")]  # and it says no more that it is
    assert api.step(60.0) == []


def test_a_far_side_that_fails_is_said_by_the_sink(api, worker):
    headers = api.origin().carry()
    assert worker.sink(headers, ok=False)
    worker.reports()
    assert verdict(api) == Status.UNHEALTHY
    assert api.step(4.0) == []  # met, though not well


def test_many_met_elsewhere_are_looked_up_once(api, worker):
    carried = [api.origin().carry() for _ in range(50)]
    for headers in carried:
        assert worker.sink(headers)
    worker.reports(2.0)
    assert len(worker.store.view("api@1", "worker@3")) <= 2
    assert api.step(4.0) == []
    assert api.looked == 1


def test_the_last_one_is_met_within_the_sinks_own_rate_limit(api, worker):
    one, two = api.origin().carry(), api.origin().carry()
    worker.sink(one)
    assert len(worker.reports()) == 1
    worker.sink(two)
    assert worker.reports() == []
    assert len(worker.reports(1.1)) == 1
    assert api.step(4.0) == []


def test_hung_it_is_said_again_with_a_time_that_still_counts(api):
    api.origin().carry()
    begun_ns = time.time_ns()
    times = [report.t_ns for later_s in (4.0, 8.0, 20.0) for report in api.reports(later_s)]
    assert len(times) == 3
    assert times[0] <= begun_ns < times[1] <= times[2]


def test_without_anyone_to_ask_pending_is_as_old_as_the_request(worker):
    api = Process(worker.store, looks=False)
    headers = api.origin().carry()
    worker.sink(headers)
    worker.reports()
    (report,) = api.reports(4.0)
    assert report.contexts["job"].status == Status.PENDING
    assert verdict(api) == Status.HEALTHY  # what the sink said is newer, whenever the other comes


def test_clocks_that_differ(api, worker, monkeypatch):
    headers = api.origin().carry()
    real = time.time_ns
    monkeypatch.setattr(indirection.time, "time_ns", lambda: real() - 30 * NS)
    worker.sink(headers)
    (report,) = worker.reports()
    monkeypatch.undo()
    assert report.t_ns == read_carried(headers[HEADER], real()).sent_ns + 1
    assert api.step(4.0) == []


def test_asking_is_bounded(api):
    for number in range(50):
        api.origin(f"worker@{number}").carry()
    assert len(api.step(4.0)) == 50
    assert api.looked == indirection.MAX_LOOKS


def test_a_node_that_cannot_be_asked_is_left_alone_for_a_while(api):
    def broken(observer, subject):
        api.looked += 1
        raise OSError("gone")

    api.reporter.looks = broken
    api.origin().carry()
    api.origin("worker@4").carry()
    assert len(api.step(4.0)) == 2
    assert api.looked == 1
    assert api.reporter.counts()["failed"] == 1


# --- what comes from outside -----------------------------------------------------------------------------------------

GOOD = "1;k;5;api%401;worker%403;job"


def test_headers_are_bounded_and_printable(api):
    for name in ("x" * 200, "\U0001f600" * 200, "a;b=c, d\x7f", "äöü ß"):
        sent = origin(name, name, key=name, observer=name, reporter=api.reporter)
        ((header, value),) = sent.carry().items()
        assert header == HEADER
        assert len(value) <= MAX_CARRIED
        assert value.isascii()
        assert value.isprintable()
        assert " " not in value
        found = read_carried(value, time.time_ns())
        assert (found.key, found.sent_ns) == (sent.key, sent.sent_ns)
        assert (found.observer, found.subject, found.context) == (sent.observer, sent.subject, sent.context)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "2;k;5;a;b;c",
        "1;k;5;a;b",
        "1;k;5;a;b;c;d",
        "1;k;-5;a;b;c",
        "1;k;5.0;a;b;c",
        "1;k;;a;b;c",
        "1;k;²;a;b;c",
        "1;;5;a;b;c",
        "1;k;5;;b;c",
        "1;k;5;a;b%0A;c",
        "1;k;5;a;%FF;c",
        f"1;k;5;a;{'b' * 201};c",
        f"1;{'k' * 65};5;a;b;c",
        f"1;k;{9 * 10**18};a;b;c",
        GOOD + "\r\nX: y",
        GOOD + " ",
        "1" * 10_000,
    ],
)
def test_malformed_headers_say_nothing(worker, value):
    with pytest.raises(ConfigError, match=r"vagus-origin|must be"):
        read_carried(value, time.time_ns())
    assert worker.sink({HEADER: value}) is False
    assert worker.step(60.0) == []
    assert worker.reporter.counts()["failed"] == 1


@pytest.mark.parametrize("met", [{}, {"other": "x"}, {HEADER: 5}, {HEADER: None}, {5: 6}, None, 7, [], "", object()])
def test_what_is_no_header_at_all(worker, met):
    assert worker.sink(met) is False
    assert worker.step(60.0) == []


def test_a_sink_may_say_of_whom_others_headers_may_speak(worker):
    assert worker.sink({HEADER: GOOD}, subjects=("worker@*",))
    assert not worker.sink({HEADER: GOOD}, subjects=("db@*",))
    assert "not among" in worker.reporter.last_error


def test_another_process_headers_do_not_resolve_ours_by_a_guessed_key(api):
    ours = api.origin(key="k")
    assert api.sink({HEADER: GOOD})  # the same key, another request: said, but not ours
    assert not api.sink({HEADER: GOOD}, subjects=("none",))
    assert ours.clear()


def test_a_forked_child_meets_as_another_process():
    script = """
import os, time
import vagus
from vagus.client.reporter import REPORTER
sent = []
REPORTER.divert(sent.extend)
made = vagus.origin("w@3", "job")
carried, who = made.carry(), made.observer
if os.fork() == 0:
    REPORTER.divert(sent.extend)
    assert vagus.sink(made.key) is False
    assert vagus.sink(carried)
    assert REPORTER.flush(5)
    print([(r.observer == who, r.subject, m.status.name) for r in sent for m in r.contexts.values()], flush=True)
    os._exit(0)
os.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=20, check=True, env={**os.environ}
    )
    assert (done.stdout, done.stderr) == ("[(True, 'w@3', 'HEALTHY')]\n", "")


def test_reports_of_others_on_other_contexts_are_no_answer(api):
    api.origin().carry()
    now_ns = time.time_ns()
    for observer, context, status in (("api@1", "other", "h"), ("web@1", "job", "h"), ("api@1", "job", "p")):
        api.store.submit(Report(observer, "worker@3", now_ns, {context: Metric(Status.parse(status))}), now_ns)
    assert api.step(4.0) == [("worker@3", "job", "PENDING")]
