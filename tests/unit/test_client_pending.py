"""The pending tracker, and what a program says outright."""

import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from client_reporter import Still

import vagus
from vagus.client import indirection
from vagus.client import reporter as reporter_module
from vagus.client.inform import inform, inform_self
from vagus.client.pending import Pending
from vagus.client.track import default_observer
from vagus.model import Status


@pytest.fixture
def still():
    return Still()


def waiting(still, subject="db@2", **settings):
    return Pending(subject, "commit", reporter=still.reporter, **settings)


def said(*statuses, subject="db@2", context="commit"):
    return [(subject, context, status) for status in statuses]


def test_the_public_names():
    assert vagus.pending is Pending
    assert vagus.inform is inform


def test_feature_12_pending_is_submitted_only_when_unresolved_after_expire(still):
    one = waiting(still)
    assert still.step(2.9) == []
    assert still.step(3.1) == said("PENDING")
    assert still.step(3.2) == []
    assert one.clear()
    assert still.step() == said("HEALTHY")
    assert still.reporter.waiting == {}


def test_feature_12_clear_in_time_is_healthy_and_rate_limited(still):
    for _ in range(100):
        assert waiting(still).clear()
    assert still.step() == said("HEALTHY")
    assert still.step(10.0) == []
    assert still.step(21.0) == said("HEALTHY")  # the mean of the other 99


def test_feature_12_clear_fail_is_unhealthy_or_worse(still):
    assert waiting(still).fail()
    assert waiting(still).fail(Status.DEAD)
    assert still.step() == said("UNHEALTHY", "DEAD")


def test_resolved_once(still):
    one = waiting(still)
    assert [one.clear(), one.fail(), one.clear(), one.drop()] == [True, False, False, False]
    assert still.step() == said("HEALTHY")


def test_as_a_context_manager(still):
    with waiting(still):
        pass
    with pytest.raises(OSError), waiting(still):
        raise OSError
    with pytest.raises(KeyboardInterrupt), waiting(still):
        raise KeyboardInterrupt
    assert still.step() == said("HEALTHY", "UNHEALTHY")
    assert still.reporter.waiting == {}


def test_expire_is_given(still):
    waiting(still, expire_s=0.5)
    waiting(still, subject="db@3", expire_s=None)
    assert still.step(1.0) == said("PENDING")
    assert still.step(1e6) == said("PENDING")


def test_bounded_without_losing_who_hangs(still, monkeypatch):
    monkeypatch.setattr(reporter_module, "MAX_WAITING", 10)
    hung = [waiting(still, subject="hung@1") for _ in range(10)]
    late = waiting(still, subject="late@1")  # full, and all may still be answered: not looked after
    assert len(still.reporter.waiting) == 10
    assert still.step(4.0) == said("PENDING", subject="hung@1")
    assert late.clear()
    assert still.step() == said("HEALTHY", subject="late@1")
    later = waiting(still, subject="later@1")  # those that were said make room
    assert len(still.reporter.waiting) == 10
    assert still.step(4.0) == said("PENDING", subject="later@1")
    assert hung[0].clear()
    assert later.clear()
    assert still.reporter.counts()["dropped"] == 2


def test_cleared_in_another_thread(still):
    one = waiting(still)
    thread = threading.Thread(target=one.clear)
    thread.start()
    thread.join(5)
    assert still.step(10.0) == said("HEALTHY")


def test_a_call_that_ends_while_we_look_has_ended_later(still):
    """The race between the thread that finds a call overdue and the one that ends it: the newest word is the end's."""
    one = waiting(still)
    put = still.reporter.put

    def put_late(track, status, *args, **kwargs):
        if status == Status.PENDING:
            one.clear()
        put(track, status, *args, **kwargs)

    still.reporter.put = put_late
    reports = still.reports(4.0) + still.reports(4.3)
    times = {m.status: r.t_ns for r in reports for m in r.contexts.values()}
    assert times[Status.PENDING] < times[Status.HEALTHY]


# --- inform ----------------------------------------------------------------------------------------------------------


def test_feature_12_inform_says_it(still):
    inform("db@2", "lag", "UNHEALTHY", 12.5, observer="me", ttl_s=60, reporter=still.reporter)
    (report,) = still.reports()
    assert (report.observer, report.subject, report.ttl_ns) == ("me", "db@2", 60 * 10**9)
    assert report.contexts == {"lag": vagus.model.Metric(Status.UNHEALTHY, 12.5)}


def test_feature_12_only_healthy_is_rate_limited(still):
    for score in range(1, 4):
        inform("db@2", "lag", "h", score, reporter=still.reporter)
    assert [m.score for r in still.reports() for m in r.contexts.values()] == [1.0]
    assert [m.score for r in still.reports(21.0) for m in r.contexts.values()] == [2.5]
    for _ in range(3):
        inform("db@2", "lag", Status.MAYBE_UNHEALTHY, reporter=still.reporter)
        assert still.step() == said("MAYBE_UNHEALTHY", context="lag")
    inform("db@2", "lag", Status.HEALTHY, reporter=still.reporter)
    assert still.step() == said("HEALTHY", context="lag")  # recovery passes at once


def test_feature_12_inform_self(still):
    inform_self("queue", "m", 7, reporter=still.reporter)
    inform_self("queue", "m", 7, name="api@1", reporter=still.reporter)
    one, two = still.reports()
    assert one.observer == one.subject == default_observer()
    assert two.observer == two.subject == "api@1"


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "fine"},
        {"status": None},
        {"score": float("nan")},
        {"score": "x"},
        {"ttl_s": -1},
        {"ttl_s": "soon"},
        {"ttl_s": 5e9},
        {"ttl_s": "200000w"},
    ],
)
def test_what_cannot_be_said_is_counted_not_raised(still, wrong):
    given = {"status": "UNHEALTHY", "score": 1.0, **wrong}
    inform("db@2", "lag", reporter=still.reporter, **given)
    assert still.step() == []
    assert still.reporter.counts()["failed"] == 1
    assert still.reporter.last_error


def test_room_is_the_same_for_origins():
    assert indirection.MAX_WAITING == reporter_module.MAX_WAITING
