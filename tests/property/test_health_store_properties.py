"""Stores that took the same reports agree whatever the order, moment, times to live and interest; restored ones too."""

from __future__ import annotations

import random
from collections.abc import Iterable

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from vagus.clock import NS
from vagus.health.interest import Interest, Named
from vagus.health.local import LocalStore
from vagus.health.strategy_paper import Paper
from vagus.model import Inference, Metric, Report, Status

NOW = 1_700_000_000 * NS
TTL_NS = 100 * NS

made = st.lists(
    st.tuples(
        st.sampled_from("ab"),  # observer
        st.sampled_from(["s1", "s2"]),
        st.integers(0, 60),  # time
        st.sampled_from([0, 0, 5, 30]),  # time to live
        st.sampled_from([Status.HEALTHY, Status.PENDING, Status.UNHEALTHY]),
    ),
    min_size=1,
    max_size=40,
)


def reports_of(given: Iterable[tuple[str, str, int, int, Status]], origin: str = "n9") -> list[Report]:
    return [
        Report(o, s, NOW + t * NS, {"read": Metric(status, t)}, origin, n + 1, ttl * NS)
        for n, (o, s, t, ttl, status) in enumerate(given)
    ]


def verdicts(store: LocalStore) -> dict[str, Inference]:
    """Verdicts and evidence, without the moment of judging."""
    full = [store.inference(subject) for subject in store.subjects()]
    return {one.subject: msgspec.structs.replace(one, t_ns=0) for one in full if one is not None}


def size(store: LocalStore) -> int:
    return sum(len(list(store._views.reports(subject))) for subject in store._views)


@given(made, st.integers(0, 99), st.lists(st.integers(0, 59), max_size=3))
@settings(deadline=None, max_examples=80)
def test_order_and_moment_do_not_matter_with_times_to_live(said: list, seed: int, ticks: list[int]) -> None:
    """Within the store's time to live; a report's own may have ended long before another node hears of it."""
    reports, rng = reports_of(said), random.Random(seed)
    one, two = (LocalStore(node, Paper(), ttl_ns=TTL_NS) for node in ("n1", "n2"))
    for report in sorted(reports, key=lambda r: r.t_ns):
        one.merge(report, report.t_ns)
        one.tick(report.t_ns)
    late = reports + rng.choices(reports, k=3)
    rng.shuffle(late)
    for at, report in enumerate(late):
        two.merge(report, NOW + 60 * NS)
        if at in ticks:
            two.tick(NOW + 60 * NS)
    for now_s in (60, 80, 110, 159):
        for store in (one, two):
            store.tick(NOW + now_s * NS)
            assert len(store) == size(store)
        assert verdicts(one) == verdicts(two)
    for store in (one, two):
        store.tick(NOW + 160 * NS)
        assert (len(store), store.subjects(), list(store._views), store._due) == (0, {}, [], {})


@given(made, st.integers(0, 60), st.integers(0, 99), st.booleans())
@settings(deadline=None, max_examples=80)
def test_a_restored_store_is_as_before(said: list, now_s: int, seed: int, watched: bool) -> None:
    options = {"ttl_ns": TTL_NS, "interest": "watched" if watched else "all"}
    before, kept = LocalStore("n1", Paper(), **options), []
    for report in sorted(reports_of(said), key=lambda r: r.t_ns):
        if report.seq % 3:
            _, numbered, _ = before.submit(msgspec.structs.replace(report, origin="", seq=0), report.t_ns)
            kept.append(numbered)
        elif before.merge(report, report.t_ns)[0] == "ACCEPTED":
            kept.append(report)
    now_ns = NOW + (60 + now_s) * NS
    before.tick(now_ns)
    random.Random(seed).shuffle(kept)
    after = LocalStore("n1", Paper(), **options)
    after.restore(kept, now_ns)
    after.tick(now_ns)
    assert verdicts(after) == verdicts(before)
    assert after.watching() == before.watching()
    assert len(after) == size(after)


names = st.sampled_from(["a", "b", "ab", "a*", "?b", "*"])


@given(
    st.lists(st.tuples(st.sampled_from(["watch", "unwatch", "reported", "registered", "unregistered"]), names)),
    st.booleans(),
)
@settings(deadline=None, max_examples=40)
def test_interest_is_what_was_last_said_and_every_change_is_told(steps: list[tuple[str, str]], watched: bool) -> None:
    interest = Interest(mode="watched" if watched else "all")
    subjects = ["a", "b", "ab", "zz"]
    told = {subject: interest.wants(subject) for subject in subjects}
    for step, name in steps:
        if step in ("reported", "registered", "unregistered") and name not in subjects:
            continue
        getattr(interest, step)(name)
        for changed, wanted in interest.changes().items():
            for subject in filter(Named([changed]), subjects):
                told[subject] = wanted
        wants = {subject: interest.wants(subject) for subject in subjects}
        if step != "unregistered" and name in subjects:
            assert wants[name] is (step != "unwatch")
        assert wants == told
        if step == "unwatch":
            assert not any(wants[subject] for subject in filter(Named([name]), subjects))
        if step == "watch":
            assert all(wants[subject] for subject in filter(Named([name]), subjects))
        fresh = Interest(mode=interest.mode)
        fresh.__dict__.update({**interest.__dict__, "_cached": {}})
        assert wants == {subject: fresh.wants(subject) for subject in subjects}, "nothing stale is remembered"
