"""Pytheas' published form: what its players send, and values that its own parser would have broken."""

import sys
from pathlib import Path
from urllib.parse import urlencode

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, serving

from vagus.config import AccessRule
from vagus.controllers.decide.records import Row, TableUpdate
from vagus.errors import ConfigError
from vagus.gateway.pytheas import FEATURES, WAIT_NS, Asks, Sessions, Tells, read_form

SESSION = (
    *("1470000000000", "0.1", "2400", "1.5", "7922", "Pitts:burgh; ü", "US", "a&b=c", "PA", "x+y"),
    *("vod", "%41", "flash", "800", "cdn1"),
)


def form(method, *values):
    return urlencode({"method": method, "payload": "\t".join(values)}).encode()


@pytest.fixture
def served():
    with serving() as running:
        yield running


def ask(served, body, **more):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    status, answered, text = served.ask("POST", "/pytheas", body, headers=headers, **more)
    return status, (text.decode() if isinstance(text, bytes) else text), answered


def test_a_request_and_its_update(served):
    status, decision, headers = ask(served, form("request", *SESSION, "cdn:1;a", "cdn 2"))
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert decision in ("cdn:1;a", "cdn 2")
    (made,) = served.backend.decisions.values()
    assert (made.arm, made.propensity, made.arms) == (decision, 0.5, ("cdn:1;a", "cdn 2"))
    assert made.features == dict(zip(FEATURES, SESSION, strict=True))
    for _ in range(2):  # said again: the same
        assert ask(served, form("update", *SESSION, decision, "12.5"))[:2] == (200, "")
    assert [(r.decision_id, r.reward) for r in served.backend.rewards.values()] == [(made.decision_id, -12.5)]
    assert len(served.backend.decisions) == 1


def test_sessions_that_look_alike_are_told_apart_by_their_order(served):
    for _ in range(3):
        ask(served, form("request", *SESSION, "a"))
    for cost in ("1", "2", "3"):
        ask(served, form("update", *SESSION, "a", cost))
    assert [r.reward for r in served.backend.rewards.values()] == [-1.0, -2.0, -3.0]
    assert list(served.backend.rewards) == list(served.backend.decisions)


def test_an_update_without_its_request_is_not_lost(served):
    assert ask(served, form("update", *SESSION, "a", "5"))[0] == 200
    assert ask(served, form("update", *SESSION, "a", "5"))[0] == 200
    (made,) = served.backend.decisions.values()
    assert (made.arms, made.propensity, made.arm) == (("a",), 1.0, "a")
    assert served.backend.rewards[made.decision_id].reward == -5.0


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "form"),
        (b"\xff", "percent-encoded"),
        (b"method=request&payload=%ff", "percent-encoded"),
        (b"method=request", "payload"),
        (b"method=remove&payload=x", "method"),
        (b"method=request&payload=x&payload=y", "twice"),
        (b"method=request&payload=x&more=y", "more"),
        (b"&".join(b"a%d=1" % n for n in range(12)), "form"),
        (form("request", *SESSION), "a decision at least"),
        (form("request", *SESSION[:9]), "not 9 values"),
        (form("request", *SESSION, "a", "a"), "listed twice"),
        (form("request", *SESSION, ""), "arm"),
        (form("request", *SESSION, *map(str, range(1001))), "1001 arms"),
        (form("request", *SESSION[:14], "x" * 501, "a"), "501 characters"),
        (form("update", *SESSION, "a"), "its cost"),
        (form("update", *SESSION, "a", "1", "2"), "its cost"),
        (form("update", *SESSION, "a", "cheap"), "not a number"),
        (form("update", *SESSION, "a", "nan"), "finite"),
        (form("update", *SESSION, "", "1"), "arm"),
    ],
)
def test_broken_forms_say_what_is_wrong(served, body, said):
    status, answer, _ = ask(served, body)
    assert (status, answer["error"]["code"]) == (422, "invalid")
    assert said in answer["error"]["message"]
    assert not served.backend.rewards


def test_other_types_and_other_people_are_refused():
    rule = AccessRule(who=("token:asks",), act=("decide",))
    with serving(access=(rule,), tokens={"asks": "a-token-of-one-who-asks"}) as served:
        token = "a-token-of-one-who-asks"
        assert ask(served, form("request", *SESSION, "a"), token=token)[0] == 200
        assert ask(served, form("update", *SESSION, "a", "1"), token=token)[0] == 403
        assert ask(served, form("request", *SESSION, "a"))[0] == 403
        assert served.ask("POST", "/pytheas", form("request", *SESSION, "a"), token=token)[0] == 415


def test_what_is_remembered_is_bounded_by_number_and_age():
    sessions = Sessions(most=10, wait_ns=100)
    for at in range(50):
        sessions.decided(((), str(at)), f"id{at}", at)
        sessions.joined(((), str(at)), f"id{at}", 1.0, at)
    assert len(sessions) == 20
    assert sessions.told(((), "0"), 1.0, 50) is None
    assert sessions.told(((), "49"), 1.0, 50) == "id49"
    assert sessions.told(((), "48"), 1.0, 149) is None  # too old, and what it was told with it
    assert sessions.told(((), "never"), 1.0, 50) is None


def test_forms_are_read_as_they_were_meant():
    assert read_form(form("request", *SESSION, "a", "b") + b"%0A") == Asks(SESSION, ("a", "b"))
    assert read_form(form("update", *SESSION, "a", "1e3")) == Tells(SESSION, "a", 1000.0)
    with pytest.raises(ConfigError):
        read_form(b"method=request&payload")
    assert WAIT_NS > NOW_NS / 10**9


# --- what the table holds --------------------------------------------------------------------------------------------


def test_groups_and_what_they_are_drawn_from(served):
    assert served.ask("GET", "/v1/decide/groups")[2] == {"version": 0, "grouping": 0, "count": 0, "groups": []}
    rows = {f"as{n}:x/y": Row(("a", "b"), (1.0, 3.0)) for n in range(5)} | {"": Row(("a",), (1.0,))}

    async def apply():
        served.backend.table.apply(TableUpdate(7, 0, None, rows))

    served.call(apply())
    found = served.ask("GET", "/v1/decide/groups?prefix=as&limit=2")[2]
    assert (found["version"], found["count"]) == (7, 5)
    assert found["groups"] == [{"group": "as0:x/y", "arms": 2}, {"group": "as1:x/y", "arms": 2}]
    shown = served.ask("GET", "/v1/decide/table?group=as3%3Ax%2Fy")[2]
    assert (shown["group"], shown["version"], shown["arms"]) == ("as3:x/y", 7, {"a": 0.25, "b": 0.75})
    assert served.ask("GET", "/v1/decide/table?group=")[2]["arms"] == {"a": 1.0}
    status, _, answer = served.ask("GET", "/v1/decide/table?group=nobody")
    assert (status, answer["error"]["code"]) == (404, "no_data")
    assert served.ask("GET", "/v1/decide/table")[0] == 422
    assert served.ask("GET", "/v1/decide/groups?limit=0")[0] == 422


def test_several_requests_at_once(served):
    several = {"requests": [{"arms": ["a"], "features": {"n": at}} for at in range(1000)]}
    status, _, answer = served.ask("POST", "/v1/decide", several)
    assert (status, len(answer["decisions"])) == (200, 1000)
    made = [served.backend.decisions[one["decision_id"]] for one in answer["decisions"]]
    assert [one.features["n"] for one in made] == list(range(1000))
    served.backend.decisions.clear()
    several["requests"][500]["arms"] = ["a", "a"]
    status, _, answer = served.ask("POST", "/v1/decide", several)
    assert (status, answer["error"]["where"]) == (422, "body.requests[500]")
    assert served.backend.decisions == {}  # none was made
    several["requests"].append({"arms": ["a"]})
    assert served.ask("POST", "/v1/decide", several)[0] == 422
