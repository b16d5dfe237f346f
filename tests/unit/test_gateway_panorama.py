"""What is behind the verdicts over HTTP: views, matrix, handles, the watch list, merged over nodes."""

import sys
from pathlib import Path

import msgpack
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, MemoryBackend, serving

from vagus.clock import NS
from vagus.config import AccessRule
from vagus.gateway.merged_views import merge_panoramas, merge_rows
from vagus.health.matrix import Cell, Overview, Row, unpacked
from vagus.model import Ack, Metric, Report, Status

H, P, U, D = Status.HEALTHY, Status.PENDING, Status.UNHEALTHY, Status.DEAD
MSGPACK = "application/msgpack"


def said(status=U, subject="db", observer="api", ago_s=0, origin="", seq=0):
    return Report(observer, subject, NOW_NS - ago_s * NS, {"read": Metric(status, 30.0)}, origin, seq)


@pytest.fixture
def served():
    """Node a has heard api, node b cache; both of them of web."""
    with serving(MemoryBackend(("b",))) as running:
        a, b = running.backend.stores["a"], running.backend.stores["b"]
        for report in (said(H, ago_s=2), said(U, ago_s=1)):
            a.submit(report, NOW_NS)
        b.submit(said(P, observer="web", ago_s=3), NOW_NS)
        b.submit(said(H, subject="cache", observer="web"), NOW_NS)
        yield running


def test_the_panorama_of_a_subject_is_merged_from_all_nodes_oldest_first(served):
    status, _, answer = served.ask("GET", "/v1/health/db/panorama")
    assert status == 200
    assert list(answer["panorama"]) == ["api", "web"]
    api, web = answer["panorama"].values()
    assert [report["contexts"]["read"]["status"] for report in api] == ["HEALTHY", "UNHEALTHY"]
    assert [(report["origin"], report["t_ns"]) for report in web] == [("b", NOW_NS - 3 * NS)]
    assert (answer["partial"], answer["missing"]) == (False, [])


def test_one_view_and_one_node(served):
    assert list(served.ask("GET", "/v1/health/db/panorama?observer=api")[2]["panorama"]) == ["api"]
    assert list(served.ask("GET", "/v1/health/db/panorama?node=b")[2]["panorama"]) == ["web"]
    status, _, answer = served.ask("GET", "/v1/health/db/panorama?observer=nobody")
    assert (status, answer["error"]["message"]) == (404, "'nobody' did not report on 'db'")
    assert served.ask("GET", "/v1/health/db/panorama?node=x")[0] == 404
    assert served.ask("GET", "/v1/health/unknown/panorama")[0] == 404


def test_a_node_that_does_not_answer_is_told():
    with serving(MemoryBackend(("b", "c"))) as served:
        served.backend.stores["a"].submit(said(), NOW_NS)
        for path in ("/v1/health/db/panorama", "/v1/panoramas", "/v1/subjects", "/v1/matrix"):
            answer = served.ask("GET", path)[2]
            assert (answer["partial"], [m["node"] for m in answer["missing"]]) == (True, ["c"]), path


@pytest.mark.parametrize(
    ("subject", "path"),
    [
        ("db/1", "db/1/panorama"),
        ("a/panorama", "a%2Fpanorama/panorama"),
        ("/", "%2F/panorama"),
        ("ü %", "%C3%BC%20%25/panorama"),
    ],
)
def test_subjects_with_slashes_have_panoramas(served, subject, path):
    served.backend.stores["a"].submit(said(subject=subject), NOW_NS)
    assert list(served.ask("GET", f"/v1/health/{path}")[2]["panorama"]) == ["api"]


def test_a_subject_that_ends_like_the_route_is_still_a_subject(served):
    served.ask("POST", "/v1/report", {"observer": "o", "subject": "a/panorama", "contexts": {"c": "u"}})
    answer = served.ask("GET", "/v1/health/a%2Fpanorama")[2]
    assert answer["inference"]["subject"] == "a/panorama"


def test_subjects_and_panoramas(served):
    subjects = served.ask("GET", "/v1/subjects")[2]["subjects"]
    assert subjects == [{"subject": "cache", "t_ns": NOW_NS}, {"subject": "db", "t_ns": NOW_NS - NS}]
    found = served.ask("GET", "/v1/panoramas")[2]["panoramas"]
    assert {subject: list(views) for subject, views in found.items()} == {"cache": ["web"], "db": ["api", "web"]}
    assert list(served.ask("GET", "/v1/panoramas?limit=1")[2]["panoramas"]) == ["cache"]
    assert served.ask("GET", "/v1/panoramas?limit=0")[0] == 422


def test_the_matrix_has_the_worst_subject_first_and_a_cell_for_each_view(served):
    answer = served.ask("GET", "/v1/matrix")[2]
    assert answer["observers"] == ["api", "web"]
    assert [(s["subject"], s["status"]) for s in answer["subjects"]] == [("db", "UNHEALTHY"), ("cache", "HEALTHY")]
    assert answer["subjects"][0]["contexts"]["read"]["accusers"] == ["api"]
    cells = {(cell["subject"], cell["observer"]): cell for cell in answer["cells"]}
    assert cells["db", "api"]["contexts"] == {"read": ["UNHEALTHY", 30.0]}
    assert (cells["db", "web"]["status"], cells["db", "web"]["t_ns"]) == ("PENDING", NOW_NS - 3 * NS)
    assert ("cache", "api") not in cells
    one = served.ask("GET", "/v1/matrix?limit=1")[2]
    assert ([s["subject"] for s in one["subjects"]], one["left_off"]) == (["db"], 1)
    assert [s["subject"] for s in served.ask("GET", "/v1/matrix?node=b")[2]["subjects"]] == ["db", "cache"]


def test_the_matrix_is_sent_again_only_when_it_changed(served):
    first = served.ask("GET", "/v1/matrix")
    have = {"If-None-Match": first[1]["ETag"]}
    status, headers, body = served.ask("GET", "/v1/matrix", headers=have)
    assert (status, body, headers["ETag"]) == (304, b"", first[1]["ETag"])
    assert served.ask("GET", "/v1/matrix?limit=1", headers=have)[0] == 200  # another question
    served.backend.stores["b"].submit(said(D, observer="web"), NOW_NS)
    changed = served.ask("GET", "/v1/matrix", headers=have)
    assert (changed[0], changed[2]["subjects"][0]["status"]) == (200, "DEAD")
    listed = {"If-None-Match": f'"other", W/{changed[1]["ETag"]}'}
    assert served.ask("GET", "/v1/matrix", headers=listed)[0] == 304


def test_equal_matrices_of_two_nodes_are_told_apart_when_one_changes(served):
    a, b = served.backend.stores["a"], served.backend.stores["b"]
    for store, other in ((a, b), (b, a)):
        for views in [other.panorama(subject) for subject in other.subjects()]:
            for report in (report for view in views.values() for report in view):
                store.merge(report, NOW_NS)
    before = served.ask("GET", "/v1/matrix")[2]
    assert served.ask("GET", "/v1/matrix")[2] == before
    b.submit(said(D, subject="cache", observer="new"), NOW_NS)
    assert served.ask("GET", "/v1/matrix")[2]["observers"] == ["api", "new", "web"]
    assert served.ask("GET", "/v1/matrix?node=a")[2]["observers"] == ["api", "web"]


def test_answers_in_messagepack(served):
    for path, name in (("/v1/matrix", "cells"), ("/v1/subjects", "subjects"), ("/v1/health/db/panorama", "panorama")):
        _, headers, body = served.ask("GET", path, headers={"Accept": MSGPACK})
        assert headers["Content-Type"] == MSGPACK
        assert msgpack.unpackb(body)[name]
    packed = msgpack.packb({"module": "m", "observer": "api"})
    sent = {"Accept": MSGPACK, "Content-Type": MSGPACK}
    assert msgpack.unpackb(served.ask("POST", "/v1/register", packed, headers=sent)[2])["handle"] > 0


def test_the_observer_says_who_it_is(served):
    assert served.ask("GET", "/v1/observer")[2]["observer"]["node"] == "a"
    assert served.ask("GET", "/v1/observer?node=b")[2]["observer"]["counts"] == {"reports": 2}


# --- handles and the watch list ------------------------------------------------------------------------------------


def test_a_handle_is_its_observers_alone(served):
    pair = {"module": "m", "observer": "api"}
    handle = served.ask("POST", "/v1/register", pair)[2]["handle"]
    assert served.ask("POST", "/v1/register", pair)[2] == {"handle": handle}
    assert handle != served.ask("POST", "/v1/register", {**pair, "observer": "web"})[2]["handle"]
    report = {"observer": "api", "subject": "disk", "contexts": {"io": "u"}, "handle": handle}
    many = {"reports": [report, {**report, "observer": "web"}, {**report, "observer": "web", "handle": 0}]}
    assert served.ask("POST", "/v1/report", report)[2]["results"] == ["ACCEPTED"]
    assert served.ask("POST", "/v1/report", many)[2]["results"] == ["ACCEPTED", "FAILED", "ACCEPTED"]
    assert served.ask("POST", "/v1/unregister", {"handle": handle})[2] == {"result": "ACCEPTED"}
    assert served.ask("POST", "/v1/unregister", {"handle": handle})[2] == {"result": "IGNORED"}
    assert served.ask("POST", "/v1/report", report)[2]["results"] == ["FAILED"]


def test_a_handle_holds_at_its_node(served):
    handle = served.ask("POST", "/v1/register?node=b", {"module": "m", "observer": "api"})[2]["handle"]
    report = {"observer": "api", "subject": "disk", "contexts": {"io": "u"}, "handle": handle}
    assert served.ask("POST", "/v1/report", report)[2]["results"] == ["FAILED"]
    assert served.ask("POST", "/v1/report?node=b", report)[2]["results"] == ["ACCEPTED"]
    assert list(served.ask("GET", "/v1/health/disk/panorama?node=b")[2]["panorama"]) == ["api"]


def test_time_to_live_and_doubt_arrive(served):
    body = {"observer": "api", "subject": "x", "contexts": {"c": "u"}, "ttl_ns": 5 * NS, "doubt": 3}
    served.ask("POST", "/v1/report", body)
    (report,) = served.ask("GET", "/v1/health/x/panorama")[2]["panorama"]["api"]
    assert (report["ttl_ns"], report["doubt"]) == (5 * NS, 3)


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/register", {"module": "m"}, "body"),
        ("/v1/register", {"module": "m", "observer": ""}, "body.observer"),
        ("/v1/register", {"module": "m", "observer": "a\nb"}, "body.observer"),
        ("/v1/unregister", {"handle": 0}, "body.handle"),
        ("/v1/unregister", {"handle": 2**53}, "body.handle"),
        ("/v1/unregister", {"handle": "7"}, "body.handle"),
        ("/v1/watch", {"subject": "x" * 201}, "body.subject"),
        ("/v1/unwatch", {"subject": "x", "other": 1}, "body"),
        ("/v1/report", {"observer": "o", "subject": "s", "contexts": {"c": "u"}, "doubt": 9}, "body.doubt"),
        ("/v1/report", {"observer": "o", "subject": "s", "contexts": {"c": "u"}, "handle": -1}, "body.handle"),
        ("/v1/report", {"observer": "o", "subject": "s", "contexts": {"c": "u"}, "ttl_ns": -1}, "body.ttl_ns"),
        (
            "/v1/report",
            {"reports": [{"observer": "o", "subject": "s", "contexts": {"c": "u"}, "handle": n} for n in range(20)]},
            "body.reports",
        ),
    ],
)
def test_broken_bodies_say_where(served, path, body, where):
    status, _, answer = served.ask("POST", path, body)
    assert (status, answer["error"]["where"]) == (422, where)
    assert answer["error"]["message"]


def test_unknown_nodes_and_parameters(served):
    body = {"subject": "db"}
    assert served.ask("POST", "/v1/watch?node=x", body)[0] == 404
    assert served.ask("POST", "/v1/watch?typo=x", body)[0] == 422
    assert served.ask("POST", "/v1/report?typo=x", {"observer": "o", "subject": "s", "contexts": {"c": "u"}})[0] == 422
    assert served.ask("GET", "/v1/matrix?limit=100000")[0] == 422


def test_unwatch_forgets_and_watch_takes_again(served):
    assert served.ask("POST", "/v1/unwatch", {"subject": "db"})[2] == {"result": "ACCEPTED"}
    assert list(served.ask("GET", "/v1/health/db/panorama")[2]["panorama"]) == ["web"]  # b's own is still there
    store, other = served.backend.stores["a"], said(observer="far", origin="b", seq=9)
    assert store.merge(other, NOW_NS)[0] is Ack.IGNORED
    assert served.ask("POST", "/v1/watch", {"subject": "db"})[2] == {"result": "ACCEPTED"}
    assert store.merge(other, NOW_NS)[0] is Ack.ACCEPTED


# --- access --------------------------------------------------------------------------------------------------------

ALICE = "the-token-of-alice"


@pytest.fixture
def ruled():
    """Alice reads and sends db, at node a alone, and may act on nothing but db there."""
    rule = AccessRule(who=("token:alice",), nodes=("a",), read=("db",), send=("api",), act=("db",))
    with serving(MemoryBackend(("b",)), tokens={"alice": ALICE}, access=(rule,)) as running:
        for name, store in running.backend.stores.items():
            store.submit(said(observer=f"at-{name}"), NOW_NS)
            store.submit(said(subject="cache"), NOW_NS)
        yield running


def test_what_may_not_be_read_is_left_out_and_named(ruled):
    answer = ruled.ask("GET", "/v1/matrix", token=ALICE)[2]
    assert ([s["subject"] for s in answer["subjects"]], answer["observers"]) == (["db"], ["at-a"])
    assert answer["refused"] == ["cache", "db"]
    assert [s["subject"] for s in ruled.ask("GET", "/v1/subjects", token=ALICE)[2]["subjects"]] == ["db"]
    assert list(ruled.ask("GET", "/v1/panoramas", token=ALICE)[2]["panoramas"]) == ["db"]
    assert list(ruled.ask("GET", "/v1/health/db/panorama", token=ALICE)[2]["panorama"]) == ["at-a"]
    assert ruled.ask("GET", "/v1/health/cache/panorama", token=ALICE)[0] == 403
    assert ruled.ask("GET", "/v1/health/db/panorama?node=b", token=ALICE)[0] == 403


def test_an_etag_of_another_principal_is_no_key(ruled):
    tag = ruled.ask("GET", "/v1/matrix", token=ALICE)[1]["ETag"]
    assert ruled.ask("GET", "/v1/matrix", headers={"If-None-Match": tag})[0] == 403


def test_registration_needs_to_send_as_the_observer_and_watching_to_act(ruled):
    def ask(path, body):
        return ruled.ask("POST", path, body, token=ALICE)[0]

    assert ask("/v1/register", {"module": "m", "observer": "api"}) == 200
    assert ask("/v1/register", {"module": "m", "observer": "web"}) == 403
    assert ask("/v1/register?node=b", {"module": "m", "observer": "api"}) == 403
    foreign = ruled.backend.stores["a"].register("m", "web")
    assert ask("/v1/unregister", {"handle": foreign}) == 403
    assert ask("/v1/unregister", {"handle": ruled.backend.stores["a"].register("m", "api")}) == 200
    assert ask("/v1/watch", {"subject": "db"}) == 200
    assert ask("/v1/unwatch", {"subject": "cache"}) == 403
    assert ask("/v1/unwatch", {"subject": "d*"}) == 403
    assert ask("/v1/watch?node=b", {"subject": "db"}) == 403
    assert ask("/v1/report?node=b", {"observer": "api", "subject": "db", "contexts": {"c": "u"}}) == 403


@pytest.mark.parametrize(("act", "status"), [("*", 200), ("?*", 200), ("?", 403), ("??", 403), ("d*", 403)])
def test_a_pattern_of_subjects_needs_a_rule_for_all_of_them(act, status):
    rule = AccessRule(who=("token:alice",), act=(act,))
    with serving(tokens={"alice": ALICE}, access=(rule,)) as served:
        for pattern in ("*", "d*", "?"):
            assert served.ask("POST", "/v1/unwatch", {"subject": pattern}, token=ALICE)[0] == status, pattern


# --- merging, without a server ---------------------------------------------------------------------------------------


def test_merged_views_do_not_depend_on_the_order_of_the_nodes():
    one = {"api": [said(H, ago_s=9, origin="a", seq=1), said(U, ago_s=1, origin="a", seq=2)]}
    two = {"api": [said(H, ago_s=9, origin="a", seq=1), said(P, ago_s=5, origin="b", seq=1)], "web": [said()]}
    assert merge_panoramas([one, two]) == merge_panoramas([two, one])
    assert [(r.origin, r.seq) for r in merge_panoramas([one, two])["api"]] == [("a", 1), ("b", 1), ("a", 2)]
    many = {"api": [said(ago_s=100 - n, origin="a", seq=n) for n in range(1, 13)]}
    assert [r.seq for r in merge_panoramas([many])["api"]] == list(range(3, 13))


def test_of_two_cells_the_newer_counts_and_of_two_verdicts_the_newer():
    old = Row("db", 1, D, {}, (Cell("api", 1, D, {}), Cell("web", 9, H, {})))
    new = Row("db", 2, H, {}, (Cell("api", 5, H, {}), Cell("web", 3, U, {})))
    for parts in ([[old], [new]], [[new], [old]]):
        (row,) = merge_rows(parts)
        assert (row.status, {cell.observer: cell.status for cell in row.cells}) == (H, {"api": H, "web": H})


def test_an_overview_is_packed_once_and_follows_every_change(served):
    store, overview = served.backend.stores["a"], Overview()
    tag, body = overview.packed(store, 10)
    assert overview.packed(store, 10, (tag,)) == (tag, b"")
    assert [row.subject for row in unpacked(body).rows] == ["db"]
    store.submit(said(D), NOW_NS)
    after, body = overview.packed(store, 10, (tag,))
    assert after != tag
    assert unpacked(body).rows[0].cells[0].status == D
    store.unwatch("db")
    assert unpacked(overview.packed(store, 10)[1]).rows == ()
