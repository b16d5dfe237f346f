"""The OpenAPI description against the server: the same routes, valid schemas, answers as described."""

import json
import sys
from pathlib import Path

import jsonschema
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from controlled import Controlled
from gateway_backend import NOW_NS, MemoryBackend, a_report, serving

from vagus.gateway.openapi import describe, described
from vagus.gateway.routes import ROUTES

DESCRIPTION = describe(ROUTES)
OPERATIONS = [(method, path) for path, item in DESCRIPTION["paths"].items() for method in item]
PUBLISHED = Path(__file__).parents[2] / "schemas" / "openapi.json"


@pytest.fixture(scope="module")
def served():
    backend = MemoryBackend(("b", "c"))
    backend.reports.append(a_report())
    backend.stores["a"].submit(a_report(), NOW_NS)
    backend.controlled["a"]["shop"] = shop = Controlled()
    shop.step()
    with serving(backend) as running:
        yield running


def validate(value, schema):
    root = {"components": DESCRIPTION["components"], **schema}
    jsonschema.Draft202012Validator(root).validate(value)


def test_the_table_names_each_operation_once():
    assert len({(route.method, route.path) for route in ROUTES}) == len(ROUTES)
    assert sorted((route.method.lower(), route.path) for route in ROUTES) == sorted(OPERATIONS)
    ids = [item["operationId"] for path in DESCRIPTION["paths"].values() for item in path.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_described_operation_exists(served, method, path):
    asked = path.replace("{subject}", "db@2")
    if asked in ("/v1/tail", "/v1/subscribe", "/v1/overview"):
        asked += "?selector=%7B"  # an endless answer otherwise
    status, _, answer = served.ask(method.upper(), asked)
    assert status not in (405, 500)
    assert status != 404 or answer["error"]["code"] != "not_found"
    assert str(status) in DESCRIPTION["paths"][path][method]["responses"]


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_every_operation_needs_a_token_unless_it_says_otherwise(served, method, path):
    status = served.ask(method.upper(), path.replace("{subject}", "x"), token=None)[0]
    public = {} in DESCRIPTION["paths"][path][method].get("security", [])
    assert (status == 200) if public else (status == 401)


def test_the_server_has_no_other_operations(served):
    for path in (*DESCRIPTION["paths"], "/", "/v1", "/v1/", "/v1/health/", "/openapi.yaml", "/metrics/", "/v1/spans"):
        for method in ("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"):
            if (method.lower(), path) not in OPERATIONS and "{" not in path:
                assert served.ask(method, path)[0] in (404, 405), (method, path)


@pytest.mark.parametrize(
    ("method", "path", "template", "body"),
    [
        ("get", "/healthz", "/healthz", None),
        ("get", "/v1/health", "/v1/health", None),
        ("get", "/v1/health/db@2", "/v1/health/{subject}", None),
        ("get", "/v1/sensors", "/v1/sensors", None),
        ("get", "/v1/directory?history=1", "/v1/directory", None),
        ("get", "/v1/path?from=a&to=127.0.0.1&history=1", "/v1/path", None),
        ("get", "/v1/status", "/v1/status", None),
        ("get", "/v1/feeds", "/v1/feeds", None),
        ("get", "/v1/state?controller=shop", "/v1/state", None),
        ("get", "/v1/feeds/comon/items?limit=3", "/v1/feeds/{feed}/items", None),
        ("get", "/v1/records?kind=receipt", "/v1/records", None),
        ("get", "/v1/query?selector=*", "/v1/query", None),
        ("get", "/v1/health/db@2/panorama", "/v1/health/{subject}/panorama", None),
        ("get", "/v1/panoramas?limit=5", "/v1/panoramas", None),
        ("get", "/v1/subjects", "/v1/subjects", None),
        ("get", "/v1/matrix", "/v1/matrix", None),
        ("get", "/v1/observer?node=b", "/v1/observer", None),
        ("post", "/v1/register", "/v1/register", {"module": "api", "observer": "api@1"}),
        ("post", "/v1/unregister?node=b", "/v1/unregister", {"handle": 7}),
        ("post", "/v1/watch", "/v1/watch", {"subject": "db@3"}),
        (
            "post",
            "/v1/action",
            "/v1/action",
            {
                "controller": "shop",
                "actions": [{"target": "cgroup:shop/web", "resource": "cpu_cores", "value": 0.5, "confidence": 1}],
            },
        ),
        ("post", "/v1/unwatch", "/v1/unwatch", {"subject": "db@3"}),
        ("post", "/v1/decide", "/v1/decide", {"arms": ["a"]}),
        (
            "post",
            "/v1/report",
            "/v1/report",
            {"observer": "a", "subject": "b", "contexts": {"c": ["h", 1]}, "doubt": 2},
        ),
        ("post", "/v1/update", "/v1/update", {"updates": [{"decision_id": "x", "reward": 1}]}),
    ],
)
def test_answers_and_bodies_are_as_described(served, method, path, template, body):
    status, _, answer = served.ask(method.upper(), path, body)
    operation = DESCRIPTION["paths"][template][method]
    assert status == 200
    validate(answer, operation["responses"]["200"]["content"]["application/json"]["schema"])
    if body is not None:
        validate(body, operation["requestBody"]["content"]["application/json"]["schema"])


def test_refusals_are_as_described(served):
    for method, path, template in (("get", "/v1/query", "/v1/query"), ("get", "/v1/health/x", "/v1/health/{subject}")):
        status, _, answer = served.ask(method.upper(), path)
        described_ = DESCRIPTION["paths"][template][method]["responses"][str(status)]
        validate(answer, described_["content"]["application/json"]["schema"])


def test_the_published_description_is_current(served):
    assert served.ask("GET", "/openapi.json", token=None)[2] == json.loads(described(ROUTES)) == DESCRIPTION
    assert json.loads(PUBLISHED.read_text()) == DESCRIPTION, (
        "run: python -m vagus.gateway.openapi > schemas/openapi.json"
    )


def test_schemathesis_reads_it():
    import schemathesis

    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    schema.validate()
    assert len(list(schema.get_all_operations())) == len(ROUTES)
