"""The local observation store: acks, verdicts, expiry, bounds, restart."""

from __future__ import annotations

import pytest

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.health.local import VIEW, LocalStore
from vagus.health.strategy_paper import Paper
from vagus.model import Ack, Metric, Report, Status

H, P, U, NA = Status.HEALTHY, Status.PENDING, Status.UNHEALTHY, Status.NA
NOW = 1_700_000_000 * NS


def store(node: str = "n1", **bounds: int) -> LocalStore:
    return LocalStore(node, Paper(), **bounds)


def said(status: Status = U, *, t_ns: int = NOW, observer: str = "a", subject: str = "db", score: float = 20) -> Report:
    return Report(observer, subject, t_ns, {"read": Metric(status, score)})


def test_a_local_report_is_numbered_judged_and_readable() -> None:
    local = store()
    ack, report, change = local.submit(said(), NOW)
    assert (ack, report.origin, report.seq) == (Ack.ACCEPTED, "n1", NOW // 1000 + 1)
    assert change is not None
    assert (change.status, change.contexts["read"].accusers) == (U, ("a",))
    assert local.inferences() == [change]
    assert local.view("a", "db") == (report,)
    assert local.panorama("db") == {"a": (report,)}
    assert local.subjects() == {"db": NOW}
    inference = local.inference("db")
    assert inference is not None
    assert inference.reports == (report,)
    assert local.inference("other") is None
    assert local.view("b", "db") == ()
    second = local.submit(said(t_ns=NOW + 1), NOW)
    assert second[1].seq == report.seq + 1
    assert second[2] is None, "the verdict is the same"


def test_a_report_with_no_time_is_refused_with_a_reason_and_nothing_is_lost() -> None:
    local = store()
    local.submit(said(), NOW)
    assert local.submit(said(t_ns=0), NOW)[0] is Ack.FAILED
    assert "t_ns" in local.last_refused
    with pytest.raises(ConfigError, match="1 to 100 contexts"):
        Report("a", "db", NOW, {})
    assert local.submit(said(t_ns=NOW + 3600 * NS), NOW)[0] is Ack.FAILED
    assert "3600 s ahead" in local.last_refused
    assert (len(local), local.counts["refused"]) == (1, 2)


def test_a_report_that_fits_no_datagram_is_refused() -> None:
    local = store()
    huge = Report("a", "db", NOW, {f"{'é' * 190}{n}": Metric(U) for n in range(100)})
    assert local.submit(huge, NOW)[0] is Ack.FAILED
    assert "split" in local.last_refused
    many = Report("a", "db", NOW, {f"c{n}": Metric(U) for n in range(100)})
    assert local.submit(many, NOW)[0] is Ack.ACCEPTED


def test_a_report_past_its_time_to_live_is_ignored() -> None:
    local = store(ttl_ns=10 * NS)
    assert local.submit(said(t_ns=NOW - 10 * NS), NOW)[0] is Ack.IGNORED
    assert local.merge(Report("a", "db", NOW - 10 * NS, {"r": Metric(U)}, "n2", 1), NOW) == (Ack.IGNORED, None)
    assert local.counts["late"] == 2
    assert local.inferences() == []


def test_merging_twice_or_out_of_order_changes_nothing() -> None:
    reports = [Report("a", "db", NOW + n, {"r": Metric(U if n % 3 else H, n)}, "n2", n + 1) for n in range(15)]
    one, two = store(), store()
    for report in reports:
        one.merge(report, NOW + 20)
    for report in [*reversed(reports), *reports]:
        two.merge(report, NOW + 20)
    assert one.view("a", "db") == two.view("a", "db") == tuple(reports[-VIEW:])
    assert one.inference("db") == two.inference("db")
    assert two.merge(reports[-1], NOW + 20)[0] is Ack.IGNORED
    assert two.merge(said(), NOW)[0] is Ack.FAILED, "without origin and seq it is nobody's"


def test_expired_observations_change_the_verdict_and_then_the_subject_is_forgotten() -> None:
    local = store(ttl_ns=10 * NS)
    local.submit(said(U, observer="a"), NOW)
    local.submit(said(H, observer="b", t_ns=NOW + 5 * NS), NOW + 5 * NS)
    assert local.inferences()[0].status == U, "one of two is no majority"
    assert local.tick(NOW + 9 * NS) == []
    (change,) = local.tick(NOW + 10 * NS)
    assert (change.status, change.observers) == (H, ("b",))
    (last,) = local.tick(NOW + 15 * NS)
    assert (last.status, last.observers) == (NA, ())
    assert local.inferences() == []
    assert (len(local), local.subjects(), local.tick(NOW + 99 * NS)) == (0, {}, [])


def test_a_pending_ages_into_a_verdict() -> None:
    local = store(pending_ns=3 * NS)
    local.submit(said(P), NOW)
    assert local.tick(NOW + 2 * NS) == []
    (change,) = local.tick(NOW + 3 * NS)
    assert (change.status, change.contexts["read"].accusers) == (U, ("a",))


def test_memory_is_bounded_and_what_is_dropped_counted() -> None:
    local = store(max_subjects=3, max_observers=2)
    for n in range(10):
        local.submit(said(subject=f"s{n}"), NOW)
    assert sorted(local.subjects()) == ["s7", "s8", "s9"]
    for n in range(5):
        local.submit(said(subject="s9", observer=f"o{n}"), NOW)
    assert sorted(local.panorama("s9")) == ["o3", "o4"]
    assert (local.counts["evicted_subjects"], local.counts["evicted_observers"]) == (7, 4)
    small = store(max_reports=20)
    for n in range(100):
        small.submit(said(subject=f"s{n % 5}", t_ns=NOW + n), NOW)
    assert len(small) <= 20
    assert len(small) == sum(len(view) for s in small.subjects() for view in small.panorama(s).values())
    assert len(small.inferences()) == len(small.subjects())


def test_restore_brings_back_verdicts_and_numbers_go_on() -> None:
    before = store()
    kept = [before.submit(said(t_ns=NOW + n, subject=f"s{n % 3}"), NOW)[1] for n in range(9)]
    after = store()
    assert after.restore(kept, NOW) == 9
    assert [i.subject for i in after.inferences()] == ["s0", "s1", "s2"]
    assert after.inference("s1") == before.inference("s1")
    used = {report.seq for report in kept}
    assert after.submit(said(t_ns=NOW + 1), NOW - 3600 * NS)[0] is Ack.FAILED
    assert after.submit(said(t_ns=NOW - 3600 * NS), NOW - 3600 * NS)[1].seq not in used, "even with the clock set back"


def test_a_node_that_lost_its_disk_learns_its_numbers_from_its_peers() -> None:
    local = store("n1")
    local.merge(Report("a", "db", NOW, {"r": Metric(U)}, "n1", NOW), NOW)
    assert local.submit(said(), NOW)[1].seq > NOW


def test_unwatch_wipes_and_a_local_report_watches_again() -> None:
    local = store()
    local.submit(said(), NOW)
    local.unwatch("db")
    theirs = Report("z", "db", NOW, {"r": Metric(U)}, "n2", 1)
    assert (len(local), local.inferences(), local.merge(theirs, NOW)[0]) == (0, [], Ack.IGNORED)
    local.watch("db")
    assert local.merge(theirs, NOW)[0] is Ack.ACCEPTED
    local.unwatch("db")
    assert local.submit(said(), NOW)[0] is Ack.ACCEPTED
    assert local.merge(theirs, NOW)[0] is Ack.ACCEPTED


def test_bounds_must_be_positive() -> None:
    with pytest.raises(ConfigError, match="above 0"):
        store(max_subjects=0)
