"""Random bodies and parameters, well-formed by the OpenAPI description and not: never a defect, always one shape."""

import http.client
import json
import sys
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, serving

from vagus.gateway.openapi import describe
from vagus.gateway.routes import ROUTES

DESCRIPTION = describe(ROUTES)
OPERATIONS = [
    (method, path, operation)
    for path, item in DESCRIPTION["paths"].items()
    for method, operation in item.items()
    if path not in ("/v1/tail", "/v1/subscribe", "/v1/overview")
]
BODIES = (
    *("/v1/report", "/v1/decide", "/v1/update", "/v1/samples", "/v1/events", "/v1/metrics", "/v1/logs"),
    *("/v1/register", "/v1/unregister", "/v1/watch", "/v1/unwatch", "/v1/traces", "/api/traces"),
)
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
)
statuses = st.sampled_from(["HEALTHY", "u", "dd", "SICK", "", "Pending"]) | st.text(max_size=5)
contexts = st.dictionaries(
    st.text(max_size=8),
    st.tuples(statuses, st.floats())
    | st.fixed_dictionaries({"status": statuses}, optional={"score": st.floats()})
    | anything,
    max_size=3,
)
report = st.fixed_dictionaries(
    {"observer": st.text(max_size=8), "subject": st.text(max_size=8), "contexts": contexts},
    optional={
        **dict.fromkeys(("t_ns", "ttl_ns", "doubt", "handle"), st.integers() | anything),
        "other": anything,
    },
)
decide = st.fixed_dictionaries(
    {"arms": st.lists(st.text(max_size=5), max_size=4) | anything},
    optional={"features": st.dictionaries(st.text(max_size=5), scalars, max_size=4) | anything},
)
update = st.fixed_dictionaries({"decision_id": st.text(max_size=8), "reward": st.floats() | anything})
sample = st.fixed_dictionaries(
    {
        "kind": st.text(max_size=8) | st.just("app.q"),
        "values": st.dictionaries(st.text(max_size=5), scalars, max_size=3),
    },
    optional={
        "labels": st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3) | anything,
        "t_ns": st.integers() | anything,
        "counters": st.lists(st.text(max_size=5), max_size=2) | anything,
    },
)
event = st.fixed_dictionaries(
    {"event": st.text(max_size=8)},
    optional={"level": st.text(max_size=5), "t_ns": st.integers(), "fields": anything, "source": st.text(max_size=9)},
)
value = st.dictionaries(
    st.sampled_from(["stringValue", "intValue", "doubleValue", "kvlistValue"]), anything, max_size=2
)
attributes = st.lists(st.fixed_dictionaries({"key": st.text(max_size=5), "value": value}), max_size=2)
point = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(("timeUnixNano", "asInt", "asDouble", "count", "sum", "flags"), scalars),
        "attributes": attributes,
        "bucketCounts": st.lists(scalars, max_size=3),
        "explicitBounds": st.lists(st.floats(), max_size=3),
    },
)
data = st.fixed_dictionaries(
    {"dataPoints": st.lists(point, max_size=3)}, optional={"aggregationTemporality": st.integers(0, 2)}
)
metric = st.fixed_dictionaries(
    {"name": st.text(max_size=5)}, optional=dict.fromkeys(("gauge", "sum", "histogram", "summary"), data)
)
line = st.fixed_dictionaries({}, optional={"body": value, "attributes": attributes, "traceId": scalars})
otlp = st.fixed_dictionaries(
    {},
    optional={
        "resourceMetrics": st.lists(
            st.fixed_dictionaries(
                {
                    "scopeMetrics": st.just([])
                    | st.tuples(st.fixed_dictionaries({"metrics": st.lists(metric, max_size=2)}))
                }
            ),
            max_size=2,
        ),
        "resourceLogs": st.lists(
            st.fixed_dictionaries(
                {"scopeLogs": st.tuples(st.fixed_dictionaries({"logRecords": st.lists(line, max_size=2)}))}
            ),
            max_size=2,
        ),
    },
)
spans = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            **dict.fromkeys(("traceId", "spanId", "parentSpanId", "traceID", "spanID", "name"), st.text(max_size=32)),
            **dict.fromkeys(("startTimeUnixNano", "endTimeUnixNano", "startTime", "duration", "kind"), scalars),
            "attributes": attributes,
            "tags": anything,
        },
    ),
    max_size=2,
)
traced = st.fixed_dictionaries(
    {},
    optional={
        "resourceSpans": st.tuples(
            st.fixed_dictionaries({"scopeSpans": st.tuples(st.fixed_dictionaries({"spans": spans}))})
        ),
        "data": st.tuples(st.fixed_dictionaries({"spans": spans})) | anything,
    },
)
bodies = st.one_of(
    traced,
    sample,
    event,
    otlp,
    st.fixed_dictionaries({"samples": st.lists(sample, max_size=3)}),
    st.fixed_dictionaries({"events": st.lists(event, max_size=3)}),
    report,
    decide,
    update,
    st.fixed_dictionaries({"reports": st.lists(report, max_size=3) | anything}),
    st.fixed_dictionaries({"updates": st.lists(update, max_size=3) | anything}),
    st.fixed_dictionaries({"module": st.text(max_size=8), "observer": st.text(max_size=8) | anything}),
    st.fixed_dictionaries({"handle": st.integers() | anything}),
    st.fixed_dictionaries({"subject": st.text(max_size=8) | anything}),
    anything,
)


@pytest.fixture(scope="module")
def served():
    with serving() as running:
        yield running


class Kept:
    """One kept-alive connection, so that the only cost of an example is the gateway's."""

    def __init__(self, served):
        self.connection = http.client.HTTPConnection(served.address, timeout=5)

    def ask(self, method, path, body=None, content_type="application/json"):
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return response.status, response.headers["Content-Type"], response.read()


@pytest.fixture(scope="module")
def kept(served):
    asker = Kept(served)
    yield asker
    asker.connection.close()


def check(answer, served):
    status, content_type, body = answer
    if status >= 400:
        assert status < 500, body
        assert content_type == "application/json"
        assert set(json.loads(body)["error"]) == {"code", "message", "where", "hint"}
    assert served.gateway.site.failures == 0, served.gateway.site.last_failure


@settings(QUICK, max_examples=50)
@given(path=st.sampled_from(BODIES), body=bodies)
def test_random_values_as_json(served, kept, path, body):
    check(kept.ask("POST", path, json.dumps(body).encode()), served)


@settings(QUICK, max_examples=40)
@given(path=st.sampled_from(BODIES), body=bodies)
def test_random_values_as_msgpack(served, kept, path, body):
    try:
        packed = msgpack.packb(body)
    except (OverflowError, UnicodeEncodeError):
        packed = b"\xc1"
    check(kept.ask("POST", path, packed, "application/msgpack"), served)


@settings(QUICK, max_examples=40)
@given(path=st.sampled_from(BODIES), body=st.binary(max_size=60), packed=st.booleans())
def test_random_bytes(served, kept, path, body, packed):
    check(kept.ask("POST", path, body, "application/msgpack" if packed else "application/json"), served)


@settings(QUICK, max_examples=40)
@given(data=st.data())
def test_random_parameters(served, kept, data):
    from urllib.parse import quote, urlencode

    method, path, operation = data.draw(st.sampled_from([o for o in OPERATIONS if o[0] == "get"]))
    values = st.text(max_size=20) | st.sampled_from(["*", "5m", "0", "1", "a", "json", "event", "9999-01-01T00:00:00Z"])
    given = {
        p["name"]: data.draw(values) for p in operation["parameters"] if p["in"] == "query" and data.draw(st.booleans())
    }
    path = path.replace("{trace_id}", quote(data.draw(st.text(min_size=1, max_size=20)), safe=""))
    path = path.replace("{subject}", quote(data.draw(st.text(min_size=1, max_size=20)), safe=""))
    check(kept.ask(method.upper(), f"{path}?{urlencode(given, errors='replace')}"), served)


@pytest.mark.system  # seconds, most of them for its strategies
def test_schemathesis_finds_nothing(served):
    import schemathesis

    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    asker = Kept(served)
    asked = 0
    posts = [result.ok() for result in schema.get_all_operations() if result.ok().method == "post"]
    for operation in posts:
        known = tuple(operation.definition.raw["responses"])

        @settings(QUICK, max_examples=12)
        @given(case=operation.as_strategy())
        def run(case):
            nonlocal asked
            asked += 1
            body = json.dumps(case.body).encode() if case.media_type == "application/json" else msgpack.packb(case.body)
            status, _, answer = asker.ask("POST", case.path, body, case.media_type)
            assert str(status) in known, answer  # noqa: B023  # called within the iteration that defines it
            check((status, "application/json", answer), served)

        run()
    asker.connection.close()
    assert asked >= 30
