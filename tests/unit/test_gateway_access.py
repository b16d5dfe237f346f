"""Principals at the door: their tokens, the rules at every route, filtered answers, refusals as events."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from controlled import Controlled
from gateway_backend import TOKEN, MemoryBackend, serving

from vagus.config import AccessRule, read_token
from vagus.errors import ConfigError
from vagus.gateway.routes import ROUTES
from vagus.gateway.server import Gateway

ALICE, BOB = "the-token-of-alice", "bob-has-this-token"
TOKENS = {"alice": ALICE, "bob": BOB}
RULES = (
    AccessRule(who=("token:alice",), read=("host.*", "status"), send=("db@*",)),
    AccessRule(who=("token:bob",), nodes=("b",), read=("*",), act=("decide",)),
)
REPORT = {"observer": "api@1", "subject": "db@2", "contexts": {"read": "h"}}
ASKED = {"arms": ["x"], "features": {}}


@pytest.fixture
def served():
    with serving(MemoryBackend(("b",)), tokens=TOKENS, access=RULES) as running:
        yield running


@pytest.mark.says("open-without-rules", "principals")
def test_without_rules_every_token_may_do_everything():
    with serving(tokens=TOKENS) as served:
        for token in (TOKEN, ALICE, BOB):
            assert served.ask("GET", "/v1/status", token=token)[0] == 200
            assert served.ask("POST", "/v1/report", REPORT, token=token)[0] == 200
        assert served.ask("GET", "/v1/status", token="nobody-has-this-token")[0] == 403
        told = [(e.event, e.fields["what"]) for e in served.backend.refusals]
        assert told == [("access.refused", "a wrong token")]


@pytest.mark.says("closed-with-rules")
def test_with_rules_what_none_allows_is_refused_and_told(served):
    for token, method, path, body in (
        (TOKEN, "GET", "/v1/status", None),  # the cluster's own token needs a rule too
        (TOKEN, "GET", "/v1/query?selector=*", None),
        (ALICE, "POST", "/v1/decide", ASKED),
        (ALICE, "GET", "/metrics", None),
        (BOB, "POST", "/v1/decide", ASKED),  # allowed at another node only
        (ALICE, "POST", "/v1/report", {**REPORT, "subject": "cache@1"}),
    ):
        status, _, answer = served.ask(method, path, body, token=token)
        assert (status, answer["error"]["code"]) == (403, "refused"), (method, path)
        assert "may not" in answer["error"]["message"]
    assert len(served.backend.refusals) >= 6
    assert {e.level.value for e in served.backend.refusals} == {"warning"}
    assert not served.backend.decisions
    assert not served.backend.reports


def test_what_a_rule_allows_is_done(served):
    assert served.ask("GET", "/v1/status", token=ALICE)[0] == 200
    assert served.ask("POST", "/v1/report", REPORT, token=ALICE)[0] == 200
    assert served.backend.reports


@pytest.mark.says("answers-filtered")
def test_answers_hold_only_what_may_be_read_and_name_the_rest(served):
    status, headers, answer = served.ask("GET", "/v1/query?selector=*", token=ALICE)
    assert status == 200
    assert [b["stream"]["kind"] for b in answer["batches"]] == ["host.cpu"]
    assert answer["refused"] == ["net.link"]
    assert headers["X-Vagus-Refused"] == '["net.link"]'
    listed = served.ask("GET", "/v1/sensors", token=BOB)[2]
    assert {s["stream"]["node"] for s in listed["sensors"]} == {"b"}


@pytest.mark.says("rules-of-nodes")
def test_a_rule_of_one_node_shows_no_status_and_traces_no_path_of_another():
    rule = AccessRule(who=("token:alice",), nodes=("a",), read=("status", "path", "host.*", "net.*"))
    with serving(MemoryBackend(("b",)), tokens=TOKENS, access=(rule,)) as served:
        answer = served.ask("GET", "/v1/status", token=ALICE)[2]
        assert ([n["node"] for n in answer["nodes"]], answer["refused"]) == (["a"], ["status"])
        groups = served.ask("GET", "/v1/sd", token=ALICE)[2]
        assert [g["labels"]["__meta_vagus_node"] for g in groups] == ["a"]
        assert served.ask("GET", "/v1/status?node=b", token=ALICE)[0] == 403
        assert served.ask("GET", "/v1/path?from=b&to=10.0.0.9", token=ALICE)[0] == 403
        assert {e.fields["what"] for e in served.backend.refusals} >= {"status", "path"}


def test_a_report_in_a_batch_that_is_refused_refuses_the_batch(served):
    body = {"reports": [REPORT, {**REPORT, "subject": "cache@1"}]}
    assert served.ask("POST", "/v1/report", body, token=ALICE)[0] == 403
    assert not served.backend.reports


SAMPLES = {"samples": [{"kind": "app.queue", "values": {"depth": 3}}]}
EVENTS = {"events": [{"event": "app.start"}]}
BODIES = {
    "/v1/action": {
        "controller": "shop",
        "actions": [{"target": "cgroup:shop/web", "resource": "cpu_cores", "value": 1}],
    },
    "/v1/report": REPORT,
    "/v1/decide": ASKED,
    "/v1/update": {"decision_id": "x", "reward": 1},
    "/v1/samples": SAMPLES,
    "/v1/events": EVENTS,
    "/v1/metrics": {"resourceMetrics": []},
    "/v1/logs": {"resourceLogs": []},
    "/v1/traces": {"resourceSpans": []},
    "/api/traces": {"data": []},
    "/v1/register": {"module": "m", "observer": "api@1"},
    "/v1/unregister": {"handle": 7},
    "/v1/watch": {"subject": "db@2"},
    "/v1/unwatch": {"subject": "db@2"},
}
QUERIES = {
    "/v1/query": "?selector=*",
    "/v1/records": "?kind=event",
    "/v1/path": "?from=a&to=b",
    "/v1/state": "?controller=shop",
}
LISTS = ("traces", "records", "sensors", "inferences", "batches", "entries", "partialSuccess")
STREAMING = {"/v1/tail", "/v1/subscribe", "/v1/overview", "/v1/ws"}  # see test_gateway_subscribe, _overview


def test_every_route_asks_the_rules(served):
    """A principal without any rule gets nothing from any route that is not public."""
    served.ask("POST", "/v1/report", REPORT, token=ALICE)  # so that there is a verdict to refuse
    served.backend.controlled["a"]["shop"] = Controlled()
    for route in ROUTES:
        if route.public or route.path in STREAMING:
            continue
        path = route.path.replace("{subject}", "db@2").replace("{feed}", "comon").replace(
            "{trace_id}", "a" * 32
        ) + QUERIES.get(route.path, "")
        status, _, answer = served.ask(route.method, path, BODIES.get(route.path), token=TOKEN)
        empty = status == 404 or (status == 200 and not any(answer.get(name) for name in LISTS))
        assert status == 403 or empty, (route.method, route.path, status, answer)


@pytest.mark.parametrize("tokens", [{"a": TOKEN}, {"a": "short"}, {"a": ALICE, "b": ALICE}, {"a": "with spaces in it"}])
@pytest.mark.says("token-weak")
def test_bad_tokens_are_refused_at_start(tokens):
    with pytest.raises(ConfigError, match="token"):
        Gateway(MemoryBackend(), token=TOKEN, tokens=tokens)


@pytest.mark.says("own-token-files")
def test_a_token_file_must_be_there_and_private(tmp_path):
    path = tmp_path / "alice"
    with pytest.raises(ConfigError, match="alice"):
        read_token("alice", str(path))
    path.write_text(ALICE + "\n")
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token("alice", str(path))
    path.chmod(0o600)
    assert read_token("alice", str(path)) == ALICE
