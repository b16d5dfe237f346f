"""Who may do what at a gateway: every route in the name of every role, tokens, and what never leaks."""

from __future__ import annotations

import hmac
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from controlled import Controlled
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, Served, serving
from test_gateway_access import BODIES, QUERIES, REPORT

from vagus.access import Access
from vagus.clock import ManualClock
from vagus.config import AccessRule, Config, decode
from vagus.errors import ConfigError, Rejected
from vagus.gateway import static
from vagus.gateway.backend import OBSERVER_METHODS, Backend
from vagus.gateway.inputs import MAX_ITEMS
from vagus.gateway.route import Route
from vagus.gateway.routes import HEALTH_ROUTES, ROUTES
from vagus.gateway.server import Gateway
from vagus.inputs.admission import Admission
from vagus.inputs.jaeger import write_jaeger
from vagus.model import Missing, NodeStatus, Span

PAGE = (Path(__file__).parents[2] / "docs/security.md").read_text()
TOKENS = {name: f"the-token-of-{name}" for name in ("grafana", "shop", "operator", "nobody")}
ROLE = {"read": "grafana", "send": "shop", "act": "operator"}
PYTHEAS = b"method=getDecision&payload=%7B%7D"
STREAMS = ("/v1/tail", "/v1/subscribe", "/v1/overview")  # they never end: see test_gateway_subscribe, _overview
NEEDING = [route for route in ROUTES if not route.public]


def rules_of_the_page() -> tuple[AccessRule, ...]:
    """The three roles as the page writes them."""
    (example,) = re.findall(r"```yaml\n(tokens: .*?)```", PAGE, re.S)
    return decode(example.encode(), Config, "docs/security.md").access


LOG = {"scopeLogs": [{"logRecords": [{"observedTimeUnixNano": str(NOW_NS), "body": {"stringValue": "x"}}]}]}
GAUGE = {"name": "my.gauge", "gauge": {"dataPoints": [{"timeUnixNano": str(NOW_NS), "asInt": "1"}]}}
SPAN = {"traceId": "ab" * 16, "spanId": "cd" * 8, "name": "x", "startTimeUnixNano": "1", "endTimeUnixNano": "2"}
ITEMS = {
    **BODIES,
    "/v1/metrics": {"resourceMetrics": [{"scopeMetrics": [{"metrics": [GAUGE]}]}]},
    "/v1/logs": {"resourceLogs": [LOG]},
    "/v1/traces": {"resourceSpans": [{"scopeSpans": [{"spans": [SPAN]}]}]},
    "/api/traces": write_jaeger([Span("ef" * 16, "1" * 16, "", "web", "web-1", "web/op", NOW_NS, NOW_NS + 1)]),
}


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """A node with something to refuse on every route, with the page's own rules."""
    backend = MemoryBackend()
    backend.controlled["a"]["shop"] = Controlled()
    backend.spans_of["a"].append(Span("a" * 32, "1" * 16, "", "web", "web-1", "web/op", NOW_NS, NOW_NS + 1, node="a"))
    backend.admission = Admission("a", Access(rules_of_the_page(), "a"), lambda kind: False)
    with serving(backend, tokens=TOKENS, access=rules_of_the_page()) as running:
        running.ask("POST", "/v1/report", REPORT, token=TOKENS["shop"])
        yield running


def ask(served: Served, route: Route, token: str | None) -> tuple[int, Any]:
    path = route.path.format(subject="db@2", feed="comon", trace_id="a" * 32) + QUERIES.get(route.path, "")
    if route.path == "/pytheas":
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        status, _, answer = served.ask("POST", path, PYTHEAS, token=token, headers=form)
    else:
        status, _, answer = served.ask(route.method, path, ITEMS.get(route.path), token=token)
    return status, answer


def name_of(route: Route) -> str:
    return f"{route.method} {route.path}"


# --- roles -----------------------------------------------------------------------------------------------------------


@pytest.mark.says("roles-public", "roles-read", "roles-read-named", "roles-send", "roles-send-named")
@pytest.mark.says("roles-act", "roles-act-named")
def test_the_pages_table_is_the_gateways() -> None:
    told: dict[str, tuple[str, str]] = {}
    for role, name, routes in re.findall(r"^\| (none|read|send|act)[^|]*\|([^|]*)\|([^|]*)\|$", PAGE, re.M):
        named = re.fullmatch(r" `([a-z]+)` ", name)
        for route in re.findall(r"`([^`]+)`", routes):
            assert route not in told, f"{route} stands twice"
            told[route] = (role, named[1] if named else "")
    assert told == {name_of(r): ("none" if r.public else r.verb, r.what) for r in ROUTES}
    assert {name_of(r) for r in HEALTH_ROUTES} <= set(told)


@pytest.mark.says("roles-read", "roles-read-named", "roles-send", "roles-send-named", "roles-act", "roles-act-named")
@pytest.mark.parametrize("route", [r for r in NEEDING if r.path not in STREAMS and r.path != "/v1/ws"], ids=name_of)
def test_a_route_is_open_to_its_role_alone(served: Served, route: Route) -> None:
    for role, who in {**ROLE, "none": "nobody"}.items():
        status, answer = ask(served, route, TOKENS[who])
        if role == route.verb or (route.path == "/pytheas" and role == "send"):
            assert status not in (401, 403), (role, answer)
            assert not rejected(answer), (role, answer)
        else:  # of batches of spans and OTLP each item is refused by itself
            refused = status == 403 or (status == 422 and answer["error"]["code"] == "refused")
            assert refused or rejected(answer), (role, status, answer)


def rejected(answer: Any) -> int:
    """How many items of a batch of OTLP were refused."""
    told = answer.get("partialSuccess", {}) if isinstance(answer, dict) else {}
    return sum(int(told.get(f"rejected{what}", 0)) for what in ("DataPoints", "LogRecords", "Spans"))


@pytest.mark.says("token-needed", "token-wrong")
@pytest.mark.parametrize("route", NEEDING, ids=name_of)
def test_no_route_answers_without_a_token_or_to_a_wrong_one(served: Served, route: Route) -> None:
    status, answer = ask(served, route, None)
    assert (status, answer["error"]["code"]) == (401, "unauthorized")
    for wrong in ("x" * len(TOKEN), TOKEN[:-1], TOKEN + "x", TOKEN.upper()):
        status, answer = ask(served, route, wrong)
        assert (status, answer["error"]["code"]) == (403, "forbidden"), wrong
    assert ask(served, route, "")[0] == 401


@pytest.mark.says("token-needed")
def test_what_needs_no_token_is_the_page_and_the_word_that_it_lives() -> None:
    assert [r.path for r in ROUTES if r.public and r.path.partition("/")[2].partition("/")[0] not in PUBLIC] == []
    assert {r.method for r in ROUTES if r.public} == {"GET"}


PUBLIC = {"", "home", "healthz", "openapi.json", "health", "feeds"}


@pytest.mark.says("no-administration")
def test_no_route_reaches_further_than_to_reports_decisions_and_wishes() -> None:
    changing = {r.path for r in ROUTES if r.method != "GET"}
    telling = {f"/v1/{what}" for what in ("samples", "events", "metrics", "logs", "traces", "report", "update")}
    watching = {f"/v1/{what}" for what in ("register", "unregister", "watch", "unwatch")}
    assert changing == telling | watching | {"/api/traces", "/v1/decide", "/pytheas", "/v1/action"}
    asked = {name for name in vars(Backend) if not name.startswith("_")} | set(OBSERVER_METHODS)
    for word in (
        "arm",
        "spawn",
        "stop",
        "start",
        "kill",
        "config",
        "set",
        "remove",
        "restart",
        "run",
        "write",
        "submit",
    ):
        assert not [name for name in asked if word in re.split("[^a-z]", name)], word


# --- tokens ----------------------------------------------------------------------------------------------------------


@pytest.mark.says("token-constant-time")
def test_a_token_is_compared_with_every_one_in_constant_time(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def counting(one: bytes, other: bytes) -> bool:
        compared.append((one, other))
        return original(one, other)

    original = hmac.compare_digest
    monkeypatch.setattr("vagus.gateway.door.hmac.compare_digest", counting)
    for given in (TOKENS["grafana"], "not-a-token-of-this-cluster"):
        compared.clear()
        served.gateway.site.door.holder(given)
        assert [known for _, known in compared] == [t.encode() for t in (TOKEN, *TOKENS.values())]
        assert {one for one, _ in compared} == {given.encode()}


@pytest.mark.says("token-not-shown")
def test_a_token_never_comes_back(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secrets = [TOKEN, *TOKENS.values(), "a-mistyped-token-of-somebody"]
    said = []
    for token in secrets:
        for method, path, body in (
            ("GET", "/v1/status", None),
            ("GET", "/healthz", None),
            ("GET", "/metrics", None),
            ("GET", "/v1/nothing", None),
            ("PUT", "/v1/report", None),
            ("POST", "/v1/report", b"{"),
            ("POST", "/v1/decide", b"{"),
            ("POST", "/v1/update", {"decision_id": "x", "reward": 1}),
            ("GET", "/v1/query?selector=%7B", None),
        ):
            _, headers, answer = served.ask(method, path, body, token=token)
            said.append(f"{dict(headers)} {answer}")
    said += [repr(event) for event in served.backend.refusals]
    said += [record.getMessage() + str(record.exc_info) for record in caplog.records]
    said.append(served.gateway.site.last_failure)
    assert served.backend.refusals
    for token in secrets:
        assert not [text for text in said if token in text]
    with pytest.raises(ConfigError) as refused:
        Gateway(MemoryBackend(), token="short-one")
    assert "short-one" not in str(refused.value)


@pytest.mark.says("token-weak", "limit-tokens")
def test_too_many_or_too_short_tokens_are_refused_at_start() -> None:
    many = {f"p{n}": f"a-token-of-number-{n:04}" for n in range(100)}
    with pytest.raises(ConfigError, match="at most 100"):
        Gateway(MemoryBackend(), token=TOKEN, tokens=many)
    Gateway(MemoryBackend(), token=TOKEN, tokens=dict(list(many.items())[:99]))
    with pytest.raises(ConfigError, match="at least 16"):
        Gateway(MemoryBackend(), token="x" * 15)


@pytest.mark.says("tokens-plain")
def test_a_token_is_good_for_ever_and_travels_as_it_is() -> None:
    clock = ManualClock(NOW_NS)
    with serving(clock=clock) as served:
        assert served.url.startswith("http://127.0.0.1:")
        clock.advance(10 * 365 * 86400)
        assert served.ask("GET", "/v1/status")[0] == 200


@pytest.mark.says("rotate-old-refused")
def test_another_token_is_refused_once_it_is_replaced() -> None:
    with serving() as served:
        served.gateway.site.door.__init__(served.backend.node, ManualClock(), "a-new-token-of-the-cluster")  # type: ignore[misc]
        assert served.ask("GET", "/v1/status", token=TOKEN)[0] == 403
        assert served.ask("GET", "/v1/status", token="a-new-token-of-the-cluster")[0] == 200


# --- what is open ----------------------------------------------------------------------------------------------------


@pytest.mark.says("healthz-says-little")
def test_healthz_names_nothing_to_strangers() -> None:
    backend = MemoryBackend()

    async def ill() -> NodeStatus:
        raise Rejected("/secret/path", "1", "boom")

    backend.status = ill  # type: ignore[method-assign]
    with serving(backend) as served:
        _, _, answer = served.ask("GET", "/healthz", token=None)
        assert set(answer) == {"status", "node", "version"}
        assert "details" in served.ask("GET", "/healthz")[2]

    async def incomplete() -> NodeStatus:
        lost = Missing("node:a-hidden-name", "node", "dead", NOW_NS, "a-hidden-name", "at a-hidden-name", "start it")
        return NodeStatus("a", NOW_NS, missing=(lost,))

    backend.status = incomplete  # type: ignore[method-assign]
    with serving(backend) as served:
        status, _, answer = served.ask("GET", "/healthz", token=None)
        assert (status, len(answer["missing"])) == (503, 1)
        assert "a-hidden-name" not in str(answer)
        assert "a-hidden-name" in str(served.ask("GET", "/healthz")[2])


@pytest.mark.says("pages-static", "no-html")
def test_pages_cannot_turn_names_into_html() -> None:
    for rule in (
        "default-src 'none'",
        "script-src 'self'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ):
        assert rule in static.POLICY
    for path in static.FOLDER.iterdir():
        if path.suffix in (".js", ".html"):
            text = path.read_text()
            for way in (
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "new Function",
                "<script>",
            ):
                assert way not in text, (path.name, way)


# --- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.says("limit-body")
def test_a_body_of_more_than_the_default_is_refused() -> None:
    most = Config().gateway.max_body_bytes
    with serving(max_body_bytes=most) as served:
        for path in ("/v1/report", "/v1/decide", "/v1/samples"):
            status, _, answer = served.ask("POST", path, headers={"Content-Length": str(most + 1)}, body=b"")
            assert (status, answer["error"]["code"]) == (413, "too_large"), path


@pytest.mark.says("limit-head")
@pytest.mark.parametrize("path", ["/v1/status", "/v1/decide"])
def test_a_line_of_a_head_is_bounded(served: Served, path: str) -> None:
    method = "POST" if path == "/v1/decide" else "GET"
    for long in ({"X-Long": "x" * 9000}, {"x" * 9000: "1"}):
        status, _, answer = served.ask(method, path, token=TOKEN, headers=long)
        assert (status, answer["error"]["code"]) == (400, "malformed")
    assert served.ask(method, path, token=TOKEN, headers={"X-Long": "x" * 7000})[0] != 400


@pytest.mark.says("limit-items")
def test_items_of_a_body_are_bounded() -> None:
    item = {
        "/v1/report": ("reports", REPORT),
        "/v1/samples": ("samples", {"kind": "app.queue", "values": {"depth": 3}}),
        "/v1/events": ("events", {"event": "app.start"}),
        "/v1/decide": ("requests", {"arms": ["x"]}),
        "/v1/update": ("updates", {"decision_id": "x", "reward": 1}),
        "/v1/action": ("actions", {"target": "cgroup:x", "resource": "cpu_cores", "value": 1}),
    }
    with serving(max_body_bytes=1 << 20) as served:
        for path, (name, one) in item.items():
            more = {"controller": "shop"} if path == "/v1/action" else {}
            status, _, answer = served.ask("POST", path, {name: [one] * (MAX_ITEMS + 1), **more})
            assert (status, answer["error"]["where"]) == (422, f"body.{name}"), (path, answer)


@pytest.mark.says("roles-read")
def test_the_example_of_the_page_is_yaml_with_three_roles_and_the_cluster() -> None:
    rules = rules_of_the_page()
    assert [(rule.who[0], bool(rule.read), bool(rule.send), bool(rule.act)) for rule in rules] == [
        ("token:grafana", True, False, False),
        ("token:shop", False, True, False),
        ("token:operator", False, False, True),
        ("token:cluster", True, True, True),
    ]
