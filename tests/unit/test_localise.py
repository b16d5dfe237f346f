"""Localisation: stretches of calls, the healthy reference, blame, labels, state, bounds."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest

from vagus.config.act import LocaliseSettings
from vagus.controllers.localise import Ranking, Suspect
from vagus.controllers.localise import features as features_module
from vagus.controllers.localise import localiser as localiser_module
from vagus.controllers.localise import reference as reference_module
from vagus.controllers.localise import svm as svm_module
from vagus.controllers.localise.features import Site, Sites, Window, components, extract, pearson
from vagus.controllers.localise.localiser import Localiser
from vagus.controllers.localise.ranking import rank
from vagus.controllers.localise.reference import Reference
from vagus.controllers.localise.signals import resource_of
from vagus.controllers.localise.svm import COLUMNS, LEAST, Svm, row_of
from vagus.model import Kind, Span
from vagus.traces import Graph
from vagus.traces.graph import build

MS, S = 10**6, 10**9
BASE = 1_700_000_000 * S


def span(name: str, parent: str, begin: float, end: float, component: str, kind: Kind = Kind.INTERNAL) -> Span:
    service = component.split("-")[0]
    at = BASE + int(begin * MS), BASE + int(end * MS)
    return Span("t", name, parent, service, component, f"/{name}", *at, kind)


def one(*spans: Span) -> Graph:
    (graph,) = build(spans)
    return graph


def stretches(graph: Graph) -> dict[tuple[str, str, str], float]:
    sites = Sites()
    request = extract(graph, sites)
    return {
        (sites.names[i].kind, sites.names[i].component, sites.names[i].operation): ns / MS
        for i, ns in zip(request.sites, request.took_ns, strict=True)
    }


def shop(n: int, rng: random.Random, slow: str = "", ms: float = 50.0, suffix: str = "1", kinds: bool = True) -> Graph:
    """web calls cart, then ads; cart asks db. slow: whose network, or `CPU web`, adds `ms`."""
    client, server = (Kind.CLIENT, Kind.SERVER) if kinds else (Kind.INTERNAL, Kind.INTERNAL)
    made: list[Span] = []
    trace, t = f"{n}", BASE + n * 100 * MS

    def took(mean: float) -> int:
        return int(mean * MS * rng.uniform(0.8, 1.2))

    def put(name: str, parent: str, component: str, kind: Kind, begin: int, end: int) -> None:
        service = component.split("-")[0]
        made.append(Span(trace, name, parent, service, component, f"/{name.split('.')[0]}", begin, end, kind))

    def call(name: str, parent: str, caller: str, now: int, work: float, then: str = "") -> int:
        callee = f"{name}-{suffix}"
        gap = took(1) + (int(ms * MS) if slow == name or slow == f"CPU {caller.split('-')[0]}" else 0)
        inside = begin = now + gap // 2
        if then:
            inside = call(then, f"{name}.s", callee, begin + took(0.2), 3)
        end = inside + took(work) + (int(ms * MS) if slow == f"own {name}" else 0)
        put(f"{name}.s", f"{name}.c", callee, server, begin, end)
        put(f"{name}.c", parent, caller, client, now, end + gap // 2)
        return end + gap // 2

    now = call("cart", "web", f"web-{suffix}", t + took(1), 4, "db")
    now = call("ads", "web", f"web-{suffix}", now + took(1), 2)
    put("web", "", f"web-{suffix}", server, t, now + took(1))
    (graph,) = build(made)
    return graph


def many(count: int, slow: str = "", seed: int = 1, first: int = 0, **more: object) -> list[Graph]:
    rng = random.Random(seed)
    return [shop(first + n, rng, slow, **more) for n in range(count)]  # type: ignore[arg-type]


def localiser(**settings: object) -> Localiser:
    return Localiser(LocaliseSettings(**{"window": "10s", "normal": "10m", "least": 10, **settings}))  # type: ignore[arg-type]


def judged(slow: str, **more: object) -> Ranking:
    made = localiser(normal_file="given")
    made.learn(many(100))
    made.add(many(60, slow, 2, **more), BASE)
    ranking = made.rank(BASE + 7 * S)
    assert ranking is not None
    return ranking


# --- stretches of calls --------------------------------------------------------------------------------------------


def test_own_time_gap_and_call() -> None:
    graph = one(
        span("r", "", 0, 100, "web-1"),
        span("c", "r", 10, 90, "web-1", Kind.CLIENT),
        span("s", "c", 40, 70, "db-1", Kind.SERVER),
    )
    assert stretches(graph) == {
        ("own", "web-1", "/r"): 20, ("gap", "db-1", "/c"): 50, ("call", "db-1", "/c"): 80, ("own", "db-1", "/s"): 30,
    }  # fmt: skip


def test_without_clients_time_beside_a_call_is_told_by_its_neighbours() -> None:
    graph = one(span("r", "", 0, 100, "web"), span("a", "r", 20, 40, "cart"), span("b", "r", 50, 70, "ads"))
    sites = Sites()
    request = extract(graph, sites)
    found = {sites.names[i].beside: ns / MS for i, ns in zip(request.sites, request.took_ns, strict=True)}
    cart, ads, nobody = ("cart", "cart"), ("ads", "ads"), ("", "")
    assert found == {(nobody, cart): 20, (cart, ads): 10, (ads, nobody): 30, (): 20}


def test_what_runs_in_the_background_is_left_out_and_overlaps_count_once() -> None:
    graph = one(
        span("r", "", 0, 100, "web"), span("a", "r", 10, 60, "web"), span("b", "r", 40, 80, "web"),
        span("z", "r", 90, 300, "web"),
    )  # fmt: skip
    assert stretches(graph)["own", "web", "/r"] == 30
    assert ("own", "web", "/z") not in stretches(graph)


def test_a_call_whose_server_is_lost_is_the_usual_callees() -> None:
    sites = Sites()
    whole = [
        span("r", "", 0, 100, "web"), span("c", "r", 10, 90, "web", Kind.CLIENT), span("s", "c", 20, 80, "db", Kind.SERVER),
    ]  # fmt: skip
    for _ in range(5):
        extract(one(*whole), sites)
    request = extract(one(*whole[:2]), sites)
    kinds = [sites.names[i].kind for i in request.sites]
    assert kinds == ["own", "call"]
    assert sites.names[request.sites[1]].component == "db"
    named = Span(
        "t", "c", "r", "web", "web", "get", BASE + MS, BASE + 9 * MS, Kind.CLIENT, attributes={"peer.service": "mail"}
    )
    assert ("call", "mail", "get") in stretches(one(whole[0], named))


def test_ids_in_operations_do_not_make_sites() -> None:
    sites = Sites()
    assert sites.plain("GET /orders/4711/items") == "GET /orders/#/items"
    assert sites.plain("/u/0af7651916cd43dd-8448-eb21") == "/u/#"
    assert sites.plain("op4711") == "op4711"


def test_sites_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "MAX_SITES", 100)
    sites = Sites()
    for i in range(1000):
        sites.index(Site("own", f"c{i}", "s", f"op{i}"))
    assert len(sites.names) == 201  # and what is left
    assert sites.crowded
    request = extract(one(span("r", "", 0, 5, "c7")), sites)
    fresh, (moved,) = sites.renewed([request])
    assert [fresh.names[i] for i in moved.sites] == [sites.names[i] for i in request.sites]
    assert len(fresh.names) == 1


def test_what_is_past_all_bounds_is_nobodys_who_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features_module, "MAX_SITES", 10)
    sites = Sites()
    for i in range(100):
        last = sites.index(Site("own", f"c{i}", "s", "op"))
    assert sites.names[last] == features_module.OTHERS
    assert sites.index(Site("own", "another", "s", "op")) == last


def test_ri_and_ci_of_the_path() -> None:
    sites = Sites()
    window = Window.of([extract(g, sites) for g in many(50, "own db", ms=0)])
    assert components(window, sites.names)["db-1"].requests == 50
    rng = random.Random(3)
    varied = [shop(n, rng, "own db", ms=rng.expovariate(1 / 50)) for n in range(100)]
    window = Window.of([extract(g, sites) for g in varied])
    found = components(window, sites.names)
    assert found["db-1"].ri > 0.95
    assert found["db-1"].ci > 3 > found["ads-1"].ci
    assert abs(found["ads-1"].ri) < 0.4
    assert pearson(window.latency_ns[:2], window.latency_ns[:2]) == 0.0


# --- the ranking ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kinds", [True, False])
@pytest.mark.parametrize(
    ("slow", "culprit"), [("db", "db-1"), ("ads", "ads-1"), ("own cart", "cart-1"), ("CPU web", "web-1")]
)
def test_the_culprit_is_first(slow: str, culprit: str, kinds: bool) -> None:
    ranking = judged(slow, kinds=kinds)
    assert ranking.suspects[0].component == culprit
    assert ranking.slow
    assert ranking.suspects[0].score > 0.5
    assert sum(s.score for s in ranking.suspects) == pytest.approx(1)


def test_the_evidence_says_where_the_time_goes() -> None:
    of = judged("db").suspects[0]
    assert of.features["excess_ms"] == pytest.approx(50, rel=0.05)
    assert of.features["gap_ms"] == pytest.approx(50, rel=0.05)
    assert of.resource == "", "of its processor nothing is known: it may have been late to begin"
    assert "50 of 60" not in of.says
    assert of.says.startswith("adds ")
    own = judged("own db").suspects[0]
    assert own.features["gap_ms"] == pytest.approx(0, abs=1)
    assert own.resource == ""


def test_pods_that_were_renamed_are_compared_with_their_service() -> None:
    ranking = judged("db", suffix="2")
    assert ranking.suspects[0].component == "db-2"
    assert ranking.suspects[1].score < 0.1


def test_a_service_that_the_healthy_period_lacks_is_judged_by_the_slowest_of_all() -> None:
    made = localiser(normal_file="given")
    made.learn([g for g in many(100) for g in [g]])
    graphs = many(50, "db", 2)
    renamed = [
        build([Span(s.trace_id, s.span_id, s.parent_id, s.service.replace("db", "new"), s.component.replace("db", "new"), s.operation, s.start_ns, s.end_ns, s.kind) for s in g.spans])[0]
        for g in graphs
    ]  # fmt: skip
    made.add(renamed, BASE)
    ranking = made.rank(BASE + 7 * S)
    assert ranking is not None
    assert ranking.suspects[0].component == "new-1"


def test_nothing_is_slow_where_nothing_changed() -> None:
    ranking = judged("")
    assert not ranking.slow
    assert ranking.normal_p50_ms == pytest.approx(ranking.latency_p50_ms, rel=0.15)
    assert all(s.features["excess_ms"] < 1 for s in ranking.suspects)


def test_nothing_is_said_to_be_as_usual_where_nobody_knows_what_is() -> None:
    made = localiser()
    alike = [Span(f"a{n}", "r", "", "web", "web-1", "/", BASE, BASE + MS) for n in range(30)]  # nothing correlates
    made.add(build(alike), BASE)
    ranking = made.rank(BASE + 4 * S)
    assert ranking is not None
    assert {s.says for s in ranking.suspects} == {"no healthy period to compare with"}


def test_signals_name_the_resource_and_break_ties() -> None:
    assert resource_of({"cpu": 3.0, "disk": 2.0, "nonsense": 9.0}, 1.0) == ("cpu", 3.0)
    assert resource_of({"cpu": 1.1}, 0.9) == ("network", 1.0)
    assert resource_of({"disk": 1.1}, 0.9) == ("", 1.0)
    assert resource_of({"cpu": math.nan}, 0.1) == ("", 1.0)
    made = localiser(normal_file="given")
    made.learn(many(100))
    made.add(many(60, "own db", 2), BASE)
    ranking = made.rank(BASE + 7 * S, {"db": {"memory_bandwidth": 4.0}})
    assert ranking is not None
    assert ranking.suspects[0].resource == "memory_bandwidth"
    assert ranking.suspects[0].features["signal_memory_bandwidth_ratio"] == 4.0
    assert "memory bandwidth" in ranking.suspects[0].says


def test_without_any_healthy_period_it_ranks_as_the_paper_does() -> None:
    sites = Sites()
    rng = random.Random(3)
    graphs = [shop(n, rng, "own db", ms=rng.expovariate(1 / 50)) for n in range(100)]
    suspects = rank(Window.of([extract(g, sites) for g in graphs]), sites.names, Reference())
    assert suspects[0].component == "db-1"
    assert suspects[0].says == "no healthy period to compare with"


# --- the reference -------------------------------------------------------------------------------------------------


def test_the_reference_comes_back_from_json_and_fades() -> None:
    sites = Sites()
    reference = Reference()
    reference.learn(Window.of([extract(g, sites) for g in many(50)]), sites.names)
    again = Reference()
    again.restore(json.loads(json.dumps(reference.state())))
    assert again.state() == reference.state()
    site = next(s for s in sites.names if s.kind == "gap" and s.component == "db-1")
    held = again.expected(site)
    assert held is not None
    assert held.mean_ns == pytest.approx(MS, rel=0.1)
    assert again.latency_ns(0.5) / MS == pytest.approx(16, rel=0.2)
    assert math.isnan(Reference().latency_ns(0.5))
    slow = Window.of([extract(g, sites) for g in many(50, "db", 3)])
    reference.learn(slow, sites.names, keep=0.0)
    now = reference.expected(site)
    assert now is not None
    assert now.mean_ns == pytest.approx(51 * MS, rel=0.05)
    for broken in (
        {},
        {"sites": [[1, 2, 3, 4]], "latencies": {}, "requests": 1},
        {"sites": 5, "latencies": {}, "requests": 0},
    ):
        with pytest.raises((KeyError, TypeError, ValueError)):
            again.restore(broken)


# --- online --------------------------------------------------------------------------------------------------------


def test_health_is_learned_only_while_nothing_is_slow() -> None:
    made = localiser(window="2s")
    for n in range(8):  # 16 s, healthy
        made.add(many(20, "", n, first=20 * n), BASE)
        ranking = made.rank(BASE + 2 * (n + 1) * S)
        assert ranking is not None
        assert not ranking.slow, n
    healthy = made.reference.requests
    for n in range(8, 14):
        made.add(many(20, "db", n, first=20 * n), BASE)
        ranking = made.rank(BASE + 2 * (n + 1) * S)
        assert ranking is not None
        assert ranking.slow
        assert ranking.suspects[0].component == "db-1"
    assert made.reference.requests <= healthy + 20
    assert made.requests <= 40


def test_what_was_slow_is_not_learned_when_it_leaves_a_window_that_is_healthy_again() -> None:
    made = localiser(window="4s")  # each request is in two windows
    for n in range(30):
        made.add(many(20, "db" if 10 <= n < 16 else "", n, first=20 * n), BASE)
        ranking = made.rank(BASE + 2 * (n + 1) * S)
        assert ranking is not None
    assert not ranking.slow
    assert ranking.normal_p99_ms < 40  # slow ones take more than 60


def test_a_request_of_a_clock_that_is_ahead_does_not_keep_others_from_being_learned() -> None:
    made = localiser(window="2s")
    made.add(build([Span("ahead", "r", "", "s", "c", "op", BASE + 3000 * S, BASE + 3001 * S)]), BASE)
    for n in range(8):
        made.add(many(20, "", n, first=20 * n), BASE)
        made.rank(BASE + 2 * (n + 1) * S)
    assert made.reference.requests > 100
    assert made.requests <= 41


def test_a_new_kind_of_request_is_not_slow_but_learned() -> None:
    made = localiser(window="2s")

    def export(n: int) -> Graph:
        begin = BASE + n * 100 * MS
        own = Span(f"e{n}", "r", "", "web", "web-1", "/export", begin, begin + 90 * MS, Kind.SERVER)
        call = Span(f"e{n}", "c", "r", "web", "web-1", "/dump", begin + MS, begin + 88 * MS, Kind.CLIENT)
        done = Span(f"e{n}", "s", "c", "db", "db-1", "/dump", begin + 2 * MS, begin + 87 * MS, Kind.SERVER)
        (graph,) = build([own, call, done])
        return graph

    for n in range(20):
        made.add(many(20, "", n, first=20 * n), BASE)
        if n >= 8:
            made.add([export(20 * n + i) for i in range(12)], BASE)
        ranking = made.rank(BASE + 2 * (n + 1) * S)
        assert ranking is not None
        assert not ranking.slow, n
    assert made.reference.requests_of("web /export") > 100


def test_too_few_requests_say_nothing() -> None:
    made = localiser()
    made.add(many(9), BASE)
    assert made.rank(BASE + 2 * S) is None


def test_a_request_that_comes_again_counts_once_and_one_without_its_begin_not_at_all() -> None:
    made = localiser()
    graphs = many(20)
    made.add(graphs, BASE)
    made.add(graphs, BASE)
    made.add(build(s for g in many(5, first=50) for s in g.spans if s.parent_id), BASE)
    assert made.requests == 20


def test_what_is_held_is_bounded_in_requests_and_in_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(localiser_module, "MAX_REQUESTS", 20)
    made = localiser()
    made.add(many(100), BASE)
    assert made.requests == 40
    ranking = made.rank(BASE + 10 * S)
    assert ranking is not None
    assert ranking.requests == 20
    monkeypatch.setattr(localiser_module, "MAX_STRETCHES", 100)
    made.add(many(1, first=100), BASE)
    assert 0 < made.requests < 20


def test_the_reference_and_the_labelled_rows_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference_module, "MAX_ROOTS", 5)
    monkeypatch.setattr(reference_module, "MAX_SITES", 7)
    sites, reference = Sites(), Reference()
    roots = [Span(f"t{n}", "r", "", "s", f"c{n}", f"op{n}", BASE, BASE + MS) for n in range(30)]
    reference.learn(Window.of([extract(graph, sites) for graph in build(roots)]), sites.names)
    assert (len(reference.state()["latencies"]), len(reference.state()["sites"])) == (5, 7)
    monkeypatch.setattr(svm_module, "KEPT", 20)
    svm = Svm()
    svm.learn([[float(n)] * len(COLUMNS) for n in range(100)], [n % 25 == 0 for n in range(100)])
    rows = svm.state()["rows"]
    assert (len(rows), sum(label for _, label in rows)) == (20, 4)  # what is rare stays


def test_a_first_window_that_breaks_the_objective_is_not_health() -> None:
    made = localiser(slo_ms=1.0)
    made.add(many(30), BASE)
    made.rank(BASE + 4 * S)
    assert made.reference.requests == 0


def test_an_objective_decides_what_is_slow() -> None:
    for slo_ms, slow in ((5.0, True), (500.0, False)):
        made = localiser(slo_ms=slo_ms)
        made.add(many(30), BASE)
        ranking = made.rank(BASE + 4 * S)
        assert ranking is not None
        assert ranking.slow is slow


def test_injections_train_the_svm_and_its_state_comes_back() -> None:
    made = localiser(window="2s", normal_file="given")
    made.learn(many(100))
    at = 0
    for slow in ("db", "", "own cart", "ads", "", "own db"):
        begin = at
        for _ in range(3):
            made.add(many(20, slow, at, first=20 * at), BASE)
            at += 1
            made.rank(BASE + 2 * at * S)
        if slow:
            culprit = slow.removeprefix("own ")
            assert made.label(culprit, "cpu", BASE + 2 * begin * S, BASE + 2 * at * S) > 0  # by the service's name
    assert made.label("nobody", "cpu", BASE, BASE + 2 * at * S) == 0
    made.add(many(20, "ads", 77, first=20 * at), BASE)
    ranking = made.rank(BASE + 2 * (at + 1) * S)
    assert ranking is not None
    chances = {s.component: s.probability for s in ranking.suspects}
    assert all(p is not None for p in chances.values())
    assert max(chances, key=lambda name: chances[name] or 0.0) == "ads-1"
    again = localiser(window="2s", normal_file="given")
    again.restore(json.loads(json.dumps(made.state())))
    again.add(many(20, "ads", 77, first=20 * at), BASE)
    same = again.rank(BASE + 2 * (at + 1) * S)
    assert same is not None
    best = max(same.suspects, key=lambda s: s.probability or 0.0)
    assert best.component == "ads-1"
    assert best.score == pytest.approx(ranking.suspects[0].score)


@pytest.mark.parametrize(("settings", "accepted"), [({"accept": "6s"}, True), ({"accept": 0}, False), ({}, False)])
def test_what_is_slow_for_good_is_the_new_normal_in_the_end(settings: dict[str, object], accepted: bool) -> None:
    made = localiser(window="2s", **settings)
    told = []
    for at in range(12):
        made.add(many(20, "db" if at >= 2 else "", at, first=20 * at), BASE)
        ranking = made.rank(BASE + 2 * (at + 1) * S)
        assert ranking is not None
        told.append(ranking.slow)
    assert told[:6] == [False, False, True, True, True, True]
    assert told[-1] is not accepted


def test_an_svm_that_was_restored_is_the_one_that_was_saved() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(400, len(COLUMNS)))
    critical = np.arange(400) % 50 == 0  # few, as they are
    rows[critical, 2] += 3
    one = Svm()
    for part in range(0, 400, 40):
        one.learn(rows[part : part + 40].tolist(), critical[part : part + 40].tolist())
    other = Svm()
    other.restore(json.loads(json.dumps(one.state())))
    asked = rng.normal(size=(50, len(COLUMNS))).tolist()
    assert other.probability(asked) == pytest.approx(one.probability(asked), abs=1e-12)
    for svm in (one, other):
        svm.learn(rows[:40].tolist(), critical[:40].tolist())
    assert other.probability(asked) == pytest.approx(one.probability(asked), abs=1e-9), "and goes on alike"
    broken = one.state()
    broken["weights"]["coef_"][0] = math.nan
    with pytest.raises(ValueError, match="coef_ of the model"):
        Svm().restore(broken)


def test_a_damaged_state_is_refused_whole() -> None:
    made = localiser()
    made.learn(many(20))
    good = made.state()
    for broken in ({}, {**good, "svm": {"columns": list(COLUMNS)}}, {**good, "learned_ns": "soon"}):
        with pytest.raises((KeyError, TypeError, ValueError)):
            made.restore(broken)
    assert made.state() == good


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("svm", "count", math.inf),
        ("svm", "seen", [math.inf, 1]),
        ("svm", "seen", [1]),
        ("svm", "spread", [-1.0] * len(COLUMNS)),
        ("svm", "mean", [math.nan] * len(COLUMNS)),
        ("reference", "requests", "nan"),
        ("reference", "latencies", []),
        ("reference", "latencies", {"web": [[1_000_000, 1.0]]}),
        ("reference", "latencies", {"web": [[1, -1.0], [2, 1.0]]}),
        ("reference", "latencies", {"web": [[1, math.nan]]}),
        ("reference", "sites", [[["own", "a", "a", "o", "", []], 10, 10**400, 1]]),
        ("reference", "sites", [[["own", "a", "a", "o", "", []], 10, 1.0, -1.0]]),
    ],
)
def test_a_state_of_right_shape_with_impossible_numbers_is_refused(part: str, name: str, value: object) -> None:
    made = localiser()
    made.learn(many(20))
    good = made.state()
    with pytest.raises((KeyError, TypeError, ValueError)):
        made.restore({**good, part: {**good[part], name: value}})
    assert made.state() == good


def test_the_svm_says_nothing_before_it_has_seen_both_and_refuses_what_is_no_number() -> None:
    svm = Svm()
    row = row_of(Suspect("c", 0.5, {"ri": 0.5, "ci": 2.0}), 10)
    assert len(row) == len(COLUMNS)
    svm.learn([row] * LEAST, [True] * LEAST)
    assert svm.probability([row]) == [None]
    with pytest.raises(ValueError, match="no number"):
        svm.learn([(math.nan,) * len(COLUMNS)], [True])
    other = Svm()
    other.restore({"columns": ["older"], "rows": []})
    assert not other.trained
