"""The decision client against real sockets: whatever the servers do, an arm of those given, in bounded time."""

import asyncio
import json
import os
import sys
import threading
from collections import Counter
from fractions import Fraction
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import decide_server as servers
from decide_server import answer, good, hang, serving
from gateway_backend import TOKEN
from gateway_backend import serving as gateway

import vagus
from vagus.client.connection import Connection
from vagus.client.decisions import Decisions
from vagus.client.local_arm import LocalArm, is_local
from vagus.controllers.decide.ids import Ids
from vagus.controllers.decide.plan import prefix_of
from vagus.errors import ConfigError, PeerUnreachable

ARMS = ("a", "b", "c")
QUICK = {"timeout_s": 0.04, "rng": Random(3)}
STUBBORN = {"timeout_s": 0.04, "deadline_s": 10.0, "tries": 200, "rng": Random(3)}
"""Finds the one that is well, also on a busy machine."""
PATIENT = {"timeout_s": 10.0, "rng": Random(3)}


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    """The courier's pauses, as far as they only keep a busy service from being asked too often."""
    monkeypatch.setattr("vagus.client.background.TICK_S", 0.02)
    monkeypatch.setattr("vagus.client.courier.FIRST_WAIT_S", 0.02)
    monkeypatch.setattr("vagus.client.attempts.FIRST_LOOK_S", 0.02)


def client(*urls, **options):
    return Decisions([getattr(url, "url", url) for url in urls], "t", **options)


def dead():
    return f"http://127.0.0.1:{servers.unused_port()}"


def test_an_answer_has_all_that_the_gateway_said_and_the_connection_is_kept():
    with serving(good) as [server], client(server, **PATIENT) as decisions:
        for _ in range(3):
            made = decisions.decide({"city": "Bern", "n": 1.5}, ["a", "b"])
        assert (made.arm, made.propensity, made.group, made.version) == ("b", 0.25, "g", 7)
        assert (made.arms, made.features) == (("a", "b"), {"city": "Bern", "n": 1.5})
        assert not is_local(made)
        assert server.asked[0] == ("/v1/decide", {"features": {"city": "Bern", "n": 1.5}, "arms": ["a", "b"]})
        assert decisions.update(made, 1) == "ACCEPTED"
        assert decisions.update("?", 1.0) == "FAILED"
        assert server.connections == 1
        assert decisions.counts()["answered"] == 3
        assert decisions.counts()["updated"] == 2
        assert decisions.counts()["retried"] == decisions.counts()["defaulted"] == 0


BROKEN = {
    "hangs": hang,
    "resets in the middle of its answer": servers.reset,
    "closes": servers.close,
    "trickles": servers.trickle,
    "speaks something else": servers.says(b"220 mail ESMTP\r\n\r\n"),
    "answers endlessly": servers.says(b"x" * 100_000),
    "has no length": servers.says(b"HTTP/1.1 200 OK\r\n\r\n"),
    "has two lengths": servers.says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    "is chunked": servers.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}"),
    "is huge": servers.says(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n"),
    "says more than announced": servers.says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{}{}"),
    "is no JSON": servers.says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{]"),
    "is another JSON": servers.says(answer({"decision": "a"})),
    "is overloaded": servers.says(answer({}, 503)),
    "is a proxy's page": servers.says(b"HTTP/1.1 404 No\r\nContent-Length: 6\r\n\r\n<html>"),
    "names an arm of its own": servers.says(answer({**servers.one({"arms": ["zzz"]})})),
    "has no propensity": servers.says(answer({**servers.one({"arms": ["a"]}), "propensity": 0})),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_server_that_is_broken_costs_only_the_default(how):
    with serving(BROKEN[how]) as [server], client(server, default="b", **QUICK) as decisions:
        made = decisions.decide({"x": 1}, ARMS)
        assert (made.arm, made.propensity, made.version, made.arms) == ("b", 1.0, 0, ARMS)
        assert is_local(made)
        assert decisions.counts()["defaulted"] == 1
        assert "http://127.0.0.1" in decisions.last_error
        assert decisions.update(made, 1.0) == "LOCAL"
        assert server.paths("/v1/update") == []


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_server_costs_nothing_where_another_is_well(how):
    with serving(BROKEN[how], good) as both, client(*both, **STUBBORN) as decisions:
        for _ in range(5):
            made = decisions.decide({"x": 1}, ARMS)
            assert (made.arm, made.version) == ("c", 7)
        assert decisions.counts()["defaulted"] == 0
        assert len(both[1].paths("/v1/decide")) >= 5


def test_an_answer_in_many_pieces_is_one():
    with serving(servers.in_pieces) as [server], client(server, **PATIENT) as decisions:
        assert decisions.decide({}, ARMS).arm == "c"


def test_refused_connections_cost_the_default_and_then_nothing():
    with client(dead(), dead(), **QUICK) as decisions:
        drawn = Counter(decisions.decide({}, ARMS).arm for _ in range(300))
        assert set(drawn) == set(ARMS)
        assert min(drawn.values()) > 60
        assert decisions.counts()["defaulted"] == 300
        assert decisions.counts()["retried"] <= 10


def test_one_of_two_addresses_is_dead():
    with serving(good) as [server], client(dead(), server, **PATIENT) as decisions:
        for _ in range(10):
            assert decisions.decide({}, ARMS).version == 7
        assert decisions.counts()["retried"] == 1


def test_a_server_that_was_gone_is_used_again_and_outcomes_that_waited_are_told():
    first = servers.Server(good)
    with client(first, **PATIENT) as decisions:
        made = decisions.decide({}, ARMS)
        first.stop()
        assert is_local(decisions.decide({}, ARMS))
        assert decisions.update(made, 0.5) == "QUEUED"
        assert decisions.update("d-?", 0.5) == "QUEUED"
        assert not decisions.flush(10)
        second = servers.Server(good, first.port)
        try:
            second.wait_for(1, "/v1/update")  # by itself: nobody asked
            assert second.paths("/v1/update")[0][1]["updates"] == [
                {"decision_id": "d-1", "reward": 0.5},
                {"decision_id": "d-?", "reward": 0.5},
            ]
            assert not is_local(decisions.decide({}, ARMS))
            assert decisions.flush(10)
            counts = decisions.counts()
            assert (counts["queued"], counts["updated"], counts["unknown"], counts["dropped"]) == (0, 2, 1, 0)
        finally:
            second.stop()


def test_an_earlier_address_is_used_again_when_it_is_back():
    port = servers.unused_port()
    with serving(good) as [later], client(f"http://127.0.0.1:{port}", later, **PATIENT) as decisions:
        decisions.decide({}, ARMS)
        earlier = servers.Server(good, port)
        try:
            earlier.wait_for(1, "/healthz?scope=node")
            assert decisions.flush(10)
            decisions.decide({}, ARMS)
            assert len(earlier.paths("/v1/decide")) == 1
        finally:
            earlier.stop()


def test_a_kept_connection_that_the_server_closed_is_replaced():
    def once(server, connection, path, document):
        good(server, connection, path, document)
        connection.shutdown(2)

    with serving(once) as [server], client(server, **PATIENT) as decisions:
        for _ in range(5):
            assert not is_local(decisions.decide({}, ARMS))
        assert decisions.counts()["retried"] == 0


def test_outcomes_that_nobody_takes_are_bounded_and_counted():
    with client(dead(), max_queued=10, **QUICK) as decisions:
        decisions.decide({}, ARMS)
        for n in range(25):
            assert decisions.update(f"d-{n}", 1.0) == "QUEUED"
        decisions.flush(10)
        assert (decisions.counts()["queued"], decisions.counts()["dropped"]) == (10, 15)


def test_a_node_that_is_away_holds_up_only_what_it_decided_itself():
    """A gateway answers 503 for a batch in which one outcome belongs to a node that does not answer."""
    lost, kept = Ids(prefix_of("n1")), Ids(prefix_of("n2"))

    def without_n1(server, connection, path, document):
        away = any(u["decision_id"].startswith(prefix_of("n1")) for u in document.get("updates", ()))
        connection.sendall(answer({}, 503) if away else servers.right(path, document))

    with serving(without_n1) as [server], client(server, **PATIENT) as decisions:
        assert decisions.update(lost.more(), 1.0) == "QUEUED"
        assert decisions.update(kept.more(), 1.0) == "ACCEPTED"
        for _ in range(50):
            decisions.update(lost.more(), 1.0, wait=False)
            decisions.update(kept.more(), 1.0, wait=False)
        assert not decisions.flush(10)
        counts = decisions.counts()
        assert (counts["updated"], counts["queued"], counts["dropped"]) == (51, 51, 0)
        assert decisions.update(kept.more(), 1.0) == "ACCEPTED"


def test_outcomes_that_are_refused_are_dropped_and_not_sent_for_ever():
    refusal = answer({"error": {"code": "invalid", "message": "no", "where": "body", "hint": ""}}, 422)

    def refusing(server, connection, path, document):
        connection.sendall(refusal if path == "/v1/update" else servers.right(path, document))

    with serving(refusing) as [server], client(server, **PATIENT) as decisions:
        assert decisions.update("d-1", 1.0, wait=False) == "QUEUED"
        assert decisions.flush(10)
        assert decisions.counts()["dropped"] == 1
        assert decisions.update("d-1", 1.0) == "FAILED"
        assert "no" in decisions.last_error


def test_an_outcome_that_is_refused_does_not_cost_those_that_travel_with_it():
    refusal = answer({"error": {"code": "invalid", "message": "no", "where": "body", "hint": ""}}, 422)

    def picky(server, connection, path, document):
        bad = any("bad" in one["decision_id"] for one in document["updates"])
        connection.sendall(refusal if bad else servers.right(path, document))

    with serving(picky) as [server], client(server, **PATIENT) as decisions:
        for n in range(300):
            decisions.update({70: "bad", 71: "\ud800"}.get(n, f"d{n}"), 1.0, wait=False)
        assert decisions.flush(10)
        counts = decisions.counts()
        assert (counts["updated"], counts["dropped"], counts["queued"]) == (298, 2, 0)
        assert len(server.asked) < 60
        assert decisions.update("\ud800", 1.0) == "FAILED"


@pytest.mark.parametrize("how", ["answers 503", "hangs"])
def test_a_learner_that_is_away_does_not_cost_decisions(how):
    back = threading.Event()

    def half(server, connection, path, document):
        if path == "/v1/update" and not back.is_set():
            if how == "hangs":
                server.ended.wait(60)
            connection.sendall(answer({}, 503))
        else:
            good(server, connection, path, document)

    with serving(half) as [server], client(server, timeout_s=0.04, deadline_s=10, tries=2, rng=Random(1)) as decisions:
        for n in range(5):
            assert not is_local(decisions.decide({}, ARMS))
            assert decisions.update(f"d-{n}", 1.0) == "QUEUED"
        back.set()
        assert decisions.flush(10)
        assert (decisions.counts()["defaulted"], decisions.counts()["updated"]) == (0, 5)


def test_many_at_once_travel_together_and_come_back_in_order():
    with serving(good) as [server], client(server, **PATIENT) as decisions:
        wanted = [({"n": n}, [f"x{n}", f"y{n}"]) for n in range(2300)]
        made = decisions.decide_many(wanted)
        assert [one.arm for one in made] == [f"y{n}" for n in range(2300)]
        assert [one.features["n"] for one in made] == list(range(2300))
        assert [len(document["requests"]) for _, document in server.asked] == [1000, 1000, 300]
        assert decisions.decide_many([]) == []


def test_one_of_many_that_is_refused_does_not_cost_the_others_theirs():
    refusal = answer({"error": {"code": "invalid", "message": "bad", "where": "body", "hint": ""}}, 422)

    def picky(server, connection, path, document):
        asked = document.get("requests", [document])
        bad = any("bad" in request["features"] for request in asked)
        connection.sendall(refusal if bad else servers.right(path, document))

    with serving(picky) as [server], client(server, default="a", **PATIENT) as decisions:
        made = decisions.decide_many([({}, ARMS), ({"bad": 1}, ARMS), ({}, ARMS)])
        assert [one.arm for one in made] == ["c", "a", "c"]
        counts = decisions.counts()
        assert (counts["answered"], counts["defaulted"], counts["refused"]) == (2, 1, 1)


def test_a_wrong_number_of_decisions_is_garbage():
    short = servers.says(answer({"decisions": [servers.one({"arms": ARMS})]}))
    with serving(short) as [server], client(server, **QUICK) as decisions:
        assert all(is_local(one) for one in decisions.decide_many([({}, ARMS)] * 2))


def test_features_that_cannot_be_sent_cost_the_default():
    endless = {}
    endless["x"] = endless
    with serving(good) as [server], client(server, default="a", **PATIENT) as decisions:
        wrong = [{"x": object()}, endless, {"x": "\ud800"}, {(1, 2): 3}, None, "abc", [1]]
        for features in wrong:
            assert decisions.decide(features, ARMS).arm == "a"
        assert decisions.counts()["refused"] == len(wrong)
        assert server.asked == []


def test_only_arms_that_are_none_are_the_callers_error():
    with client(dead(), **QUICK) as decisions:
        for arms in ((), "abc", [1], [None], None, 5):
            with pytest.raises(ConfigError, match="arms must be"):
                decisions.decide({}, arms)
        for reward in (float("nan"), None, "1", 10**400, 1j):
            assert decisions.update("d", reward) == "FAILED"
        for decision in (None, 5, b"d", ""):
            assert decisions.update(decision, 1.0) == "FAILED"
        assert decisions.update("d", Fraction(1, 2)) == "QUEUED"


def test_strict_raises_what_went_wrong():
    with client(dead(), strict=True, **QUICK) as decisions:
        with pytest.raises(PeerUnreachable, match=r"127\.0\.0\.1"):
            decisions.decide({}, ARMS)
        with pytest.raises(ConfigError, match="finite"):
            decisions.update("d", float("inf"))
    with gateway() as served, Decisions(served.url, "wrong", strict=True, **PATIENT) as decisions:  # noqa: SIM117
        with pytest.raises(ConfigError, match="token"):
            decisions.decide({}, ARMS)


def test_settings_that_make_no_sense_are_refused():
    wrong = [
        {"timeout_s": 0},
        {"deadline_s": float("inf")},
        {"tries": 0},
        {"max_queued": -1},
        {"default": 7},
    ]
    for options in wrong:
        with pytest.raises(ConfigError):
            client(dead(), **options)
    for url in ("ftp://x", "http://", "http://127.0.0.1:99999", "nonsense"):
        with pytest.raises(ConfigError):
            client(url)
    with pytest.raises(ConfigError, match="token"):
        Decisions([dead()], "bad\ntoken")


def test_the_default_may_be_a_function_and_its_mistakes_cost_nothing():
    def broken(features, arms):
        raise RuntimeError("no")

    rng = Random(1)
    for default in (broken, "zzz", lambda features, arms: "zzz", lambda features, arms: None):
        made = LocalArm(default, rng).decide({}, ARMS, 1)
        assert made.arm in ARMS
        assert made.propensity == pytest.approx(1 / 3)
    made = LocalArm(lambda features, arms: arms[features["n"]], rng).decide({"n": 1}, ARMS, 1)
    assert (made.arm, made.propensity) == ("b", 1.0)
    assert LocalArm(None, rng).decide({}, ("a", "a"), 1).propensity == 1.0
    assert LocalArm(None, rng).decide({}, ("", "a"), 1).propensity == 0.5


def test_many_threads_at_once():
    with serving(good) as [server], client(server, **PATIENT) as decisions:
        wrong = []

        def ask(number):
            for n in range(20):
                made = decisions.decide({}, [f"{number}", f"{number}.{n}"])
                if made.arm != f"{number}.{n}" or decisions.update(made, 1.0) != "ACCEPTED":
                    wrong.append(made)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert wrong == []
        assert decisions.counts()["answered"] == decisions.counts()["updated"] == 160
        assert server.connections <= 8


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_connections_and_draws_of_its_own():
    with serving(good) as [server], client(server, timeout_s=10.0) as decisions:
        decisions.decide({}, ARMS)
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.write(write, decisions.decide({}, ARMS).arm.encode())
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        os.close(write)
        assert os.read(read, 10) == b"c"
        os.close(read)
        assert not is_local(decisions.decide({}, ARMS))
        assert server.connections == 2


def test_gateways_of_this_machine_are_found_and_found_again(tmp_path, monkeypatch):
    monkeypatch.delenv("VAGUS_URL", raising=False)
    monkeypatch.delenv("VAGUS_TOKEN", raising=False)

    def announce(node, url):
        folder = tmp_path / "later" / node
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "token").write_text("t")
        entry = {"url": url, "token_file": "token", "node": node, "pid": os.getpid()}
        (folder / "gateway.json").write_text(json.dumps(entry))

    with serving(good, good) as [one, two], vagus.decisions(home=tmp_path, **PATIENT) as decisions:
        assert is_local(decisions.decide({}, ARMS))
        assert "vagus up" in decisions.last_error or "looked for" in decisions.last_error
        announce("n1", one.url)
        announce("n2", two.url)
        (tmp_path / "later").rename(tmp_path / "nodes")  # both at once: it looks again by itself
        decisions.flush(10)
        assert sorted(decisions.urls) == sorted([one.url, two.url])
        assert not is_local(decisions.decide({}, ARMS))


def test_a_real_gateway_and_the_connection_agree():
    with gateway() as served, Decisions(served.url, TOKEN, **PATIENT) as decisions:
        made = decisions.decide({"city": "Bern"}, ARMS)
        assert made.arm in ARMS
        assert not is_local(made)
        assert decisions.update(made, 0.5) == "ACCEPTED"
        with Connection(served.url, TOKEN) as connection:
            other = connection.decide({"city": "Bern"}, ARMS)
            assert (other.group, other.arms, other.features) == (made.group, made.arms, made.features)


# --- asyncio -----------------------------------------------------------------------------------------------------


async def test_asyncio_has_the_same(tmp_path):
    broken = [servers.reset, servers.trickle, servers.says(b"220 mail\r\n\r\n")]
    for behave in broken:
        with serving(behave, good) as both:
            urls = [server.url for server in both]
            async with vagus.aio_decisions(urls, "t", **STUBBORN) as decisions:
                made = await asyncio.gather(*(decisions.decide({"n": n}, ARMS) for n in range(10)))
                assert {one.arm for one in made} == {"c"}
                assert await decisions.update(made[0], 1.0) == "ACCEPTED"
                assert [one.arm for one in await decisions.decide_many([({}, ARMS)] * 3)] == ["c"] * 3
                assert decisions.counts()["defaulted"] == 0


async def test_asyncio_keeps_connections_and_replaces_those_that_ended():
    def twice(server, connection, path, document):
        good(server, connection, path, document)
        if len(server.asked) % 3 == 0:
            connection.shutdown(2)
        through.release()

    through = threading.Semaphore(0)
    with serving(twice) as [server]:
        async with vagus.aio_decisions(server.url, "t", **PATIENT) as decisions:
            for _ in range(9):
                assert not is_local(await decisions.decide({}, ARMS))
                assert await asyncio.to_thread(through.acquire, timeout=20)  # what was asked before its end would count
            assert server.connections == 3
            assert decisions.counts()["retried"] == 0


async def test_asyncio_defaults_when_nobody_answers():
    with serving(hang) as [server]:
        async with vagus.aio_decisions(server.url, "t", default="b", **QUICK) as decisions:
            made = await decisions.decide({}, ARMS)
            assert (made.arm, made.propensity) == ("b", 1.0)
            assert await decisions.update(made, 1.0) == "LOCAL"
            assert await decisions.update("d-1", 1.0) == "QUEUED"
            assert "answer" in decisions.last_error
            assert await decisions.update("d-1", float("nan")) == "FAILED"
        with pytest.raises(ConfigError):
            await decisions.decide({}, [])
