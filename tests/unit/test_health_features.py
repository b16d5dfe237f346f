"""Panorama's features and its reference implementation's defects, as far as the local store and gossip go.

The numbers are those of the list of features: 1 register, 2 submit, 3 handles, 4 watch, 5 reads, 6 inference, 8 restart,
13 what only the paper has. Propagation (7) is in tests/sim/test_gossip_interest.py.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec
import pytest

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.health.handles import MAX_HANDLES, Handle
from vagus.health.inbox import read_reports
from vagus.health.local import LocalStore
from vagus.health.strategy_majority import Majority
from vagus.health.strategy_paper import Paper
from vagus.model import Ack, Metric, Report, Status

H, P, U, NA = Status.HEALTHY, Status.PENDING, Status.UNHEALTHY, Status.NA
NOW = 1_700_000_000 * NS


def store(**options: Any) -> LocalStore:
    return LocalStore("n1", Paper(), rng=Random(1), **options)


def said(status: Status = U, *, t_ns: int = NOW, observer: str = "a", subject: str = "db", **more: int) -> Report:
    return Report(observer, subject, t_ns, {"read": Metric(status, 20)}, **more)


def theirs(seq: int = 1, **what: Any) -> Report:
    return msgspec.structs.replace(said(**what), origin="n2", seq=seq)


# --- 1 to 3: registration, submission, handles ---------------------------------------------------------------------


def test_feature_1_register_gives_the_same_pair_the_same_handle_and_watches_the_observer() -> None:
    local = store(interest="watched")
    handle = local.register("zk", "peer@1")
    assert local.register("zk", "peer@1") == handle
    assert 0 < handle < 1 << 53
    assert len({handle, local.register("zk", "peer@2"), local.register("hbase", "peer@1")}) == 3
    assert local.watching() == ("peer@1", "peer@2")
    assert local.merge(theirs(subject="peer@1"), NOW)[0] is Ack.ACCEPTED
    with pytest.raises(ConfigError, match="module"):
        local.register("", "peer@1")


def test_feature_2_submit_answers_accepted_ignored_or_failed_and_watches_the_subject() -> None:
    local = store(interest="watched")
    assert local.merge(theirs(), NOW)[0] is Ack.IGNORED, "nobody here cares yet"
    assert local.submit(said(), NOW)[0] is Ack.ACCEPTED
    assert local.merge(theirs(), NOW)[0] is Ack.ACCEPTED
    assert local.watching() == ("db",)
    assert local.submit(said(t_ns=NOW - 300 * NS), NOW)[0] is Ack.IGNORED
    assert local.submit(said(t_ns=0), NOW)[0] is Ack.FAILED


def test_feature_2_the_subject_filter_wins_over_local_reports_and_watching() -> None:
    local = store(subjects=("db*", "node:?"))
    assert local.submit(said(subject="web"), NOW)[0] is Ack.IGNORED
    assert local.counts["filtered"] == 1
    local.watch("web")
    assert local.merge(theirs(subject="web"), NOW)[0] is Ack.IGNORED
    assert local.submit(said(subject="db2"), NOW)[0] is Ack.ACCEPTED
    assert local.merge(theirs(subject="node:7"), NOW)[0] is Ack.ACCEPTED
    assert not local.wants("node:77")
    assert local.subjects().keys() == {"db2", "node:7"}


def test_feature_3_a_handle_survives_a_restart_and_is_never_given_to_another_observer() -> None:
    class Repeating(Random):
        def getrandbits(self, bits: int) -> int:
            return next(numbers)

    before = LocalStore("n1", Paper(), rng=Repeating())
    numbers = iter([7, 9, 7, 0, 9, 11])
    seven, nine = before.register("zk", "peer@1"), before.register("zk", "peer@2")
    assert (seven, nine) == (7, 9)
    assert before.unregister(nine)

    after = LocalStore("n1", Paper(), rng=Repeating())
    after.restore_handles(before.handles())
    assert after.submit(said(observer="peer@1"), NOW, seven)[0] is Ack.ACCEPTED
    assert after.watching() == ("db", "peer@1")
    assert after.submit(said(observer="peer@2"), NOW, nine)[0] is Ack.FAILED, "it was ended before the restart"
    assert after.register("zk", "peer@3") == 11, "neither one in use nor one of the past"
    assert after.register("zk", "peer@2") == nine, "its own it may have back"
    assert after.submit(said(observer="peer@2"), NOW, nine)[0] is Ack.ACCEPTED


def test_defect_any_name_was_accepted_under_anothers_handle_now_refused_with_a_reason() -> None:
    local = store()
    handle = local.register("zk", "peer@1")
    assert local.submit(said(observer="mallory"), NOW, handle)[0] is Ack.FAILED
    assert f"handle {handle} belongs to 'peer@1', not to 'mallory'" in local.last_refused
    assert local.submit(said(observer="mallory"), NOW, handle ^ 1)[0] is Ack.FAILED
    assert "not registered" in local.last_refused
    assert (len(local), local.counts["refused"]) == (0, 2)
    assert local.submit(said(observer="peer@1"), NOW, handle)[0] is Ack.ACCEPTED


def test_handles_are_bounded_and_malformed_ones_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.health.handles.MAX_HANDLES", 3)
    assert MAX_HANDLES == 10_000
    local = store()
    first = [local.register("m", f"o{n}") for n in range(3)]
    with pytest.raises(ConfigError, match="3 observers are registered"):
        local.register("m", "o3")
    for turn in range(10):
        assert local.unregister(first.pop(0))
        first.append(local.register("m", f"p{turn}"))
    assert len(local.handles()) <= 6, "of ended ones only the last are remembered"
    for wrong in (0, -1, 1 << 53):
        with pytest.raises(ConfigError, match="handle"):
            Handle(wrong, "m", "o")


def test_feature_13_unregister_ends_the_handle_and_the_watching() -> None:
    local = store(interest="watched")
    one, two = local.register("zk", "peer@1"), local.register("hbase", "peer@1")
    assert local.unregister(one)
    assert not local.unregister(one)
    assert not local.unregister(12345)
    assert local.submit(said(observer="peer@1"), NOW, one)[0] is Ack.FAILED
    assert local.wants("peer@1"), "the other module still observes under this name"
    local.unregister(two)
    assert not local.wants("peer@1")


# --- 4 to 6: watching, reading, inferring --------------------------------------------------------------------------


def test_feature_4_watch_and_unwatch_names_and_globs_and_unwatch_wipes() -> None:
    local = store(interest="watched", watch=("web*",))
    assert local.wants("web1")
    local.watch("db")
    assert local.merge(theirs(), NOW)[0] is Ack.ACCEPTED
    local.unwatch("db")
    assert (len(local), local.subjects(), local.inferences(), local.wants("db")) == (0, {}, [], False)
    local.submit(said(subject="web1"), NOW)
    local.submit(said(subject="web2"), NOW)
    local.unwatch("web1")
    assert (local.wants("web1"), local.wants("web2"), local.wants("web3")) == (False, True, True)
    local.unwatch("web*")
    assert not local.wants("web2")
    assert len(local) == 0
    local.watch("web*")
    assert local.wants("web1"), "watched again with all that match"
    with pytest.raises(ConfigError, match="subject"):
        local.watch("")


def test_feature_4_where_all_is_wanted_unwatch_stops_and_a_report_here_watches_again() -> None:
    local = store()
    local.unwatch("db*")
    assert (local.wants("db1"), local.wants("web")) == (False, True)
    local.submit(said(subject="db1"), NOW)
    assert (local.wants("db1"), local.wants("db2")) == (True, False)


def test_watch_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.health.interest.MAX_WATCHED", 3)
    local = store(interest="watched")
    for n in range(10):
        local.submit(said(subject=f"s{n}"), NOW)
        local.unwatch(f"u{n}")
    assert local.watching() == ("s7", "s8", "s9")
    assert not local.wants("s1")
    for n in range(3):
        local.watch(f"w{n}")
    with pytest.raises(ConfigError, match="3 subjects are watched"):
        local.watch("w3")
    assert len(local.interest.changes()) <= 3


def test_globs_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vagus.health.interest.MAX_GLOBS", 2)
    local = store(interest="watched")
    local.watch("a*")
    local.watch("b*")
    local.watch("a*")
    with pytest.raises(ConfigError, match="2 globs"):
        local.watch("c*")
    local.unwatch("d*")
    assert (local.wants("a1"), local.wants("b1")) == (True, False), "the one said longest ago has gone"


def test_an_unknown_interest_is_refused() -> None:
    with pytest.raises(ConfigError, match="all or watched"):
        store(interest="some")


def test_feature_5_reads() -> None:
    local = store()
    reports = [local.submit(said(t_ns=NOW + n, observer="ab"[n % 2]), NOW)[1] for n in range(24)]
    local.submit(said(H, subject="web", t_ns=NOW + 5), NOW)
    assert local.latest("db") == reports[-1]
    assert local.latest("nothing") is None
    assert local.view("a", "db") == tuple(reports[4::2])
    assert local.panorama("db") == {"a": tuple(reports[4::2]), "b": tuple(reports[5::2])}
    assert local.panoramas().keys() == {"db", "web"}
    assert local.panoramas(limit=1) == {"db": local.panorama("db")}
    assert local.subjects() == {"db": NOW + 23, "web": NOW + 5}
    assert [(one.subject, one.status, one.observers) for one in local.inferences()] == [
        ("db", U, ("a", "b")),
        ("web", H, ("a",)),
    ]
    inference = local.inference("db")
    assert inference is not None
    assert inference.reports == tuple(reports[4:])


def test_feature_6_many_reports_are_judged_once_when_told_to_and_again_when_they_expire() -> None:
    class Counting(Paper):
        calls = 0

        def infer(self, *args: Any) -> Any:
            self.calls += 1
            return super().infer(*args)

    strategy = Counting()
    local = LocalStore("n1", strategy, ttl_ns=10 * NS)
    for n in range(100):
        assert local.submit(said(subject=f"s{n % 2}", t_ns=NOW + n), NOW, judge=False)[2] is None
    assert strategy.calls == 0
    assert [change.subject for change in local.settle(NOW)] == ["s0", "s1"]
    assert strategy.calls == 2
    assert local.settle(NOW) == []
    local.merge(theirs(status=H, t_ns=NOW + 5 * NS, subject="s0", observer="b"), NOW + 5 * NS, judge=False)
    local.tick(NOW + 5 * NS)
    assert strategy.calls == 3
    assert [change.status for change in local.tick(NOW + 11 * NS)] == [H, NA], "s0 is left with one word, s1 with none"


# --- 8, 13: restart, times to live ---------------------------------------------------------------------------------


def test_feature_8_a_restarted_store_answers_as_before() -> None:
    options = {"interest": "watched", "watch": ("web",), "ttl_ns": 60 * NS}
    before, kept = store(**options), []
    handle = before.register("zk", "peer@1")
    for n in range(40):
        local = said(U if n % 3 else P, t_ns=NOW + n, subject=f"s{n % 3}", observer=f"o{n % 2}", ttl_ns=n % 2 * 30 * NS)
        kept.append(before.submit(local, NOW)[1])
        if before.merge(theirs(n + 1, t_ns=NOW + n, subject=f"s{n % 5}"), NOW)[0] is Ack.ACCEPTED:
            kept.append(theirs(n + 1, t_ns=NOW + n, subject=f"s{n % 5}"))
    after = store(**options)
    after.restore_handles(before.handles())
    Random(3).shuffle(kept)
    after.restore(kept, NOW + 40 * NS)
    before.tick(NOW + 40 * NS)
    assert after.subjects() == before.subjects()
    for subject in before.subjects():
        assert after.panorama(subject) == before.panorama(subject)
        was, now = before.inference(subject), after.inference(subject)
        assert was is not None
        assert now is not None
        assert msgspec.structs.replace(was, t_ns=0) == msgspec.structs.replace(now, t_ns=0)
    assert after.watching() == before.watching()
    assert after.register("zk", "peer@1") == handle
    used = {report.seq for report in kept if report.origin == "n1"}
    assert after.submit(said(t_ns=NOW + 40 * NS), NOW + 40 * NS)[1].seq > max(used)


def test_feature_13_a_report_may_say_for_how_long_it_counts() -> None:
    local = store(ttl_ns=100 * NS)
    brief = local.submit(said(U, ttl_ns=10 * NS, doubt=3), NOW)[1]
    assert (brief.ttl_ns, brief.doubt) == (10 * NS, 3), "kept as they came"
    long = local.submit(said(H, subject="web", ttl_ns=500 * NS), NOW)[1]
    assert local.tick(NOW + 9 * NS) == []
    (ended,) = local.tick(NOW + 10 * NS)
    assert (ended.subject, ended.status, ended.observers) == ("db", NA, ())
    assert (local.inference("db"), local.panorama("db"), local.latest("db")) == (None, {}, None)
    assert local.subjects() == {"web": NOW}
    assert local.tick(NOW + 99 * NS) == []
    assert local.view("a", "web") == (long,), "beyond the store's time to live"
    assert [change.subject for change in local.tick(NOW + 500 * NS)] == ["web"]
    assert len(local) == 0
    assert local.submit(said(ttl_ns=NS, t_ns=NOW - NS), NOW)[0] is Ack.IGNORED


def test_feature_13_a_brief_report_ends_under_the_others_of_its_view() -> None:
    local = store(ttl_ns=100 * NS)
    local.submit(said(H), NOW)
    local.submit(said(U, t_ns=NOW + 1, ttl_ns=5 * NS), NOW)
    assert local.inferences()[0].status == U
    (change,) = local.tick(NOW + 6 * NS)
    assert change.status == H
    assert [report.contexts["read"].status for report in local.view("a", "db")] == [H]


def test_feature_13_a_pending_that_ages_is_unhealthy() -> None:
    local = store(pending_ns=3 * NS)
    local.submit(said(P, ttl_ns=60 * NS), NOW)
    assert [change.status for change in local.tick(NOW + 3 * NS)] == [U]


# --- defects -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"observer":"a","subject":"db","t_ns":5,"contexts":{}}',
        b'{"observer":"a","subject":"db","contexts":{"read":"u"}}',
        msgspec.msgpack.encode(["a", "db", 5, {}]),
        msgspec.msgpack.encode(["a", "db"]),
        msgspec.msgpack.encode([]),
        b"\xc0",
    ],
)
def test_defect_a_report_with_nothing_in_it_or_no_time_crashed_now_a_clear_error(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"contexts|t_ns|not a report|0 reports|observer"):
        read_reports(data)


def test_defect_a_report_without_a_time_lost_the_server_now_nothing_is_lost() -> None:
    local = store()
    local.submit(said(), NOW)
    assert local.submit(said(t_ns=0), NOW)[0] is Ack.FAILED
    assert "has no time: set t_ns" in local.last_refused
    assert len(local) == 1
    assert local.submit(said(t_ns=NOW + 1), NOW)[0] is Ack.ACCEPTED


@pytest.mark.parametrize("strategy", [Paper, Majority])
def test_defect_inference_rewrote_stored_scores_now_replicas_agree(strategy: Any) -> None:
    stores = [LocalStore(node, strategy()) for node in ("n1", "n2")]
    reports = [theirs(n + 1, observer="abc"[n % 3], t_ns=NOW + n, status=(U, H)[n % 2]) for n in range(30)]
    for local, order in zip(stores, (reports, reports[::-1]), strict=True):
        for report in order:
            local.merge(report, NOW + 100)
    one, two = (local.inference("db") for local in stores)
    assert one == two
    assert one is not None
    assert all(report in reports for report in one.reports), "unchanged"


def test_defect_a_hung_reader_of_dropped_reports_costs_no_memory() -> None:
    local = store()
    for n in range(2000):
        local.submit(said(t_ns=NOW + n), NOW)
    assert local.dropped() == [], "nobody asked, nothing was collected"
    for n in range(2000, 2015):
        local.submit(said(t_ns=NOW + n), NOW)
    dropped = local.dropped()
    assert [(one.report.t_ns - NOW, one.superseded) for one in dropped] == [(n, True) for n in range(1990, 2005)]
    local.unwatch("db")
    assert [one.superseded for one in local.dropped()] == [False] * 10
    assert local.dropped() == []


def test_too_many_observers_the_longest_silent_goes_on_every_node() -> None:
    reports = [theirs(n + 1, observer=f"o{n}", t_ns=NOW + n) for n in range(20)]
    one, two = store(max_observers=5), store(max_observers=5)
    for report in reports:
        one.merge(report, NOW + 50)
    for report in reports[::-1]:
        two.merge(report, NOW + 50)
    assert one.panorama("db").keys() == two.panorama("db").keys() == {f"o{n}" for n in range(15, 20)}
    assert len(one) == len(two) == 5
