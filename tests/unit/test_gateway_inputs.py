"""Acceptance 6 of the foundation: bad input gets a clear 4xx of one shape, and the server goes on answering."""

import json
import socket
import sys
from pathlib import Path

import msgpack
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, Served, serving

GOOD = {"observer": "api@1", "subject": "db@2", "contexts": {"read": ["UNHEALTHY", 30]}}
YEAR_9999_NS = 253_370_764_800 * 10**9


@pytest.fixture(scope="module")
def served():
    with serving(max_body_bytes=10_000) as running:
        yield running


def refused(served: Served, answer, status: int, code: str) -> dict:
    got, headers, body = answer
    assert headers["Content-Type"] == "application/json", body
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"code", "message", "where", "hint"}
    assert (got, error["code"]) == (status, code), error
    assert error["message"]
    assert "Traceback" not in str(body)
    alive = served.ask("POST", "/v1/report", GOOD)
    assert alive[0] == 200
    assert served.gateway.site.failures == 0
    return error


def test_no_token(served):
    answer = served.ask("GET", "/v1/status", token=None)
    assert "Bearer" in refused(served, answer, 401, "unauthorized")["hint"]
    assert answer[1]["WWW-Authenticate"].startswith("Bearer")


@pytest.mark.parametrize("token", ["wrong", TOKEN[:-1], TOKEN + "x", "ü" * 5])
def test_wrong_token(served, token):
    headers = {"Authorization": f"Bearer {token}".encode().decode("latin1")}
    refused(served, served.ask("GET", "/v1/status", token=None, headers=headers), 403, "forbidden")


def test_other_scheme_is_no_token(served):
    headers = {"Authorization": "Basic abc"}
    refused(served, served.ask("GET", "/v1/status", token=None, headers=headers), 401, "unauthorized")


def test_unknown_paths_tell_nothing_without_a_token(served):
    refused(served, served.ask("GET", "/nope", token=None), 401, "unauthorized")
    refused(served, served.ask("GET", "/nope"), 404, "not_found")


def test_wrong_method_names_the_right_ones(served):
    answer = served.ask("PUT", "/v1/report", GOOD)
    refused(served, answer, 405, "method_not_allowed")
    assert answer[1]["Allow"] == "POST"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"not json",
        b"\xff\xfe",
        b'{"observer": "\xff"}',
        b'{"observer": "\\ud800"}',
        b'{"observer": NaN}',
        b'{"observer": "a", "subject": "b", "contexts": {"c": ["HEALTHY", NaN]}}',
        b'{"observer": "a", "subject": "b", "contexts": {"c": ["HEALTHY", Infinity]}}',
    ],
)
def test_not_json(served, body):
    assert refused(served, served.ask("POST", "/v1/report", body), 400, "malformed")["where"] == "body"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"subject": None}, "body.subject"),
        ({"subject": 7}, "body.subject"),
        ({"subject": ""}, "body.subject"),
        ({"subject": "x" * 201}, "body.subject"),
        ({"subject": "line\nbreak"}, "body"),
        ({"contexts": {}}, "body.contexts"),
        ({"contexts": {"read": ["UNHEALTHY"]}}, "body.contexts[...]"),
        ({"contexts": {"read": ["UNHEALTHY", "30"]}}, "body.contexts[...][1]"),
        ({"contexts": {"read": ["SICK", 1]}}, "body"),
        ({"contexts": {"read": ["UNHEALTHY", 10**400]}}, "body.contexts[...][1]"),
        ({"contexts": {f"c{i}": ["HEALTHY", 0] for i in range(101)}}, "body.contexts"),
        ({"contexts": [1, 2]}, "body.contexts"),
        ({"extra": 1}, "body"),
        ({"t_ns": YEAR_9999_NS}, "body"),
        ({"t_ns": -1}, "body"),
        ({"t_ns": NOW_NS + 3601 * 10**9}, "body"),
        ({"t_ns": 1.5}, "body.t_ns"),
        ({"t_ns": "2026-01-01T00:00:00Z"}, "body.t_ns"),
    ],
)
def test_wrong_fields_are_named(served, change, where):
    before = len(served.backend.reports)
    error = refused(served, served.ask("POST", "/v1/report", {**GOOD, **change}), 422, "invalid")
    assert error["where"] == where
    assert len(served.backend.reports) == before + 1  # only the one that `refused` sends to see that it lives


@pytest.mark.parametrize("missing", ["observer", "subject", "contexts"])
def test_missing_fields(served, missing):
    body = {name: value for name, value in GOOD.items() if name != missing}
    assert missing in refused(served, served.ask("POST", "/v1/report", body), 422, "invalid")["message"]


def test_one_bad_report_refuses_the_batch_and_is_named(served):
    before = len(served.backend.reports)
    bad = {**GOOD, "t_ns": YEAR_9999_NS}
    error = refused(served, served.ask("POST", "/v1/report", {"reports": [GOOD, bad]}), 422, "invalid")
    assert error["where"] == "body.reports[1]"
    assert len(served.backend.reports) == before + 1


@pytest.mark.says("limit-body")
def test_huge_body_is_refused_before_it_is_read(served):
    error = refused(served, served.ask("POST", "/v1/report", b" " * 2_000_000), 413, "too_large")
    assert "10000" in error["message"]


@pytest.mark.says("limit-body")
def test_huge_chunked_body(served):
    def pieces():
        yield from [b" " * 5000] * 10

    connection_headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    import http.client

    connection = http.client.HTTPConnection(served.address, timeout=5)
    connection.request("POST", "/v1/report", pieces(), connection_headers, encode_chunked=True)
    response = connection.getresponse()
    answer = response.status, response.headers, json.loads(response.read())
    connection.close()
    refused(served, answer, 413, "too_large")


@pytest.mark.parametrize("depth", [900, 5000])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'{"reports":['])
def test_deep_nesting(served, depth, opening):
    body = opening * min(depth, 9900 // len(opening))
    status = served.ask("POST", "/v1/report", body)[0]
    assert status in (400, 422)
    assert served.gateway.site.failures == 0


@pytest.mark.parametrize(
    ("content_type", "status"),
    [("text/plain", 415), ("application/x-www-form-urlencoded", 415), ("application/json; charset=utf-8", 200)],
)
def test_content_type(served, content_type, status):
    answer = served.ask("POST", "/v1/report", GOOD, headers={"Content-Type": content_type})
    assert answer[0] == status
    if status == 415:
        assert "application/json" in refused(served, answer, 415, "content_type")["hint"]


def test_compressed_bodies_are_refused(served):
    answer = served.ask("POST", "/v1/report", b"\x1f\x8b" + b"\0" * 50, headers={"Content-Encoding": "gzip"})
    refused(served, answer, 415, "encoding")


def packed(served, body):
    return served.ask("POST", "/v1/report", body, headers={"Content-Type": "application/msgpack"})


def test_msgpack_is_understood(served):
    status, _, answer = packed(served, msgpack.packb({"reports": [GOOD, {**GOOD, "contexts": {"read": "dd"}}]}))
    assert (status, answer) == (200, {"results": ["ACCEPTED", "ACCEPTED"]})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        b"\xdd\xff\xff\xff\xff",  # an array that claims 4 thousand million items
        b"\x91" * 9000,
        b"\xd6\xff1234",  # an extension type
        b"\x81\x01\x02",  # a map with a number as key
        b"\x81\xa1\xff\x01",  # text that is not UTF-8
        msgpack.packb(GOOD) + b"\0",
    ],
)
def test_bad_msgpack(served, body):
    refused(served, packed(served, body), 400, "malformed")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_nan_in_msgpack(served, number):
    contexts = {"read": ["HEALTHY", number]}
    refused(served, packed(served, msgpack.packb({**GOOD, "contexts": contexts})), 422, "invalid")
    for path, body, where in (
        ("/v1/update", {"decision_id": "x", "reward": number}, "body.reward"),
        ("/v1/decide", {"arms": ["a"], "features": {"load": number}}, "body.features.load"),
    ):
        answer = served.ask("POST", path, msgpack.packb(body), headers={"Content-Type": "application/msgpack"})
        assert refused(served, answer, 422, "invalid")["where"] == where


@pytest.mark.parametrize(
    ("path", "where"),
    [
        ("/v1/query", "query"),
        ("/v1/query?selector=", "query.selector"),
        ("/v1/query?selector=%7B", "query.selector"),
        ("/v1/query?selector=host.cpu%7Ba%3D~%22(a*)*%22%7D", "query.selector"),
        ("/v1/query?selector=*&since=soon", "query.since"),
        ("/v1/query?selector=*&since=5m&start=0", "query.since"),
        ("/v1/query?selector=*&start=9999-01-01T00:00:00Z", "query.start"),
        ("/v1/query?selector=*&end=9999-12-31T23:59:59Z", "query.end"),
        (f"/v1/query?selector=*&end={NOW_NS + 3601 * 10**9}", "query.end"),
        ("/v1/query?selector=*&start=1969-12-31T23:59:59Z", "query.start"),
        ("/v1/query?selector=*&start=2023-11-14T00:00:00", "query.start"),
        ("/v1/query?selector=*&start=2023-02-30T00:00:00Z", "query.start"),
        (f"/v1/query?selector=*&start={NOW_NS}&end={NOW_NS}", "query.start"),
        ("/v1/query?selector=*&limit=-1", "query.limit"),
        ("/v1/query?selector=*&limit=NaN", "query.limit"),
        ("/v1/query?selector=*&format=xml", "query.format"),
        ("/v1/query?selector=*&selector=a", "query.selector"),
        ("/v1/query?selector=*&sinse=5m", "query"),
        ("/v1/health?status=SICK", "query.status"),
        ("/v1/records?kind=nothing", "query.kind"),
        ("/v1/records", "query"),
        ("/v1/tail?selector=%7B", "query.selector"),
    ],
)
def test_bad_parameters_are_named(served, path, where):
    assert refused(served, served.ask("GET", path), 422, "invalid")["where"] == where


@pytest.mark.parametrize(
    "path", ["/v1/health/nobody", "/v1/query?selector=*&node=z", "/v1/status?node=z", "/v1/tail?node=z"]
)
def test_unknown_subject_or_node(served, path):
    error = refused(served, served.ask("GET", path), 404, "no_data")
    assert error["hint"] or "known nodes: a, b" in error["message"]


def test_unknown_decision(served):
    body = {"decision_id": "nobody's", "reward": 1}
    assert refused(served, served.ask("POST", "/v1/update", body), 404, "no_data")["where"] == "body.decision_id"


@pytest.mark.parametrize("arms", [[], ["a", "a"], [""], ["x" * 201], "abc", [f"a{i}" for i in range(1001)]])
def test_bad_arms(served, arms):
    assert refused(served, served.ask("POST", "/v1/decide", {"arms": arms}), 422, "invalid")


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "10.0.0.1", "[::2]:1"])
@pytest.mark.says("host-check")
def test_names_of_others_are_refused(served, host):
    refused(served, served.ask("GET", "/healthz", headers={"Host": host}), 421, "host")


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:1", "127.0.0.1:7117", "127.9.9.9", "[::1]:7117", "localhost."]
)
def test_loopback_names_are_accepted(served, host):
    assert served.ask("GET", "/healthz", headers={"Host": host})[0] == 200


def raw(served, request: bytes) -> bytes:
    host, _, port = served.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=5) as sock:
        sock.sendall(request)
        sock.settimeout(5)
        answer = b""
        while chunk := sock.recv(65536):
            answer += chunk
        return answer


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),  # TLS spoken to a plain port
        (b"GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nBad Header: x\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 20_000 + b"\r\n\r\n", 400),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (
            b"POST /v1/report HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            400,
        ),
        (b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", 400),  # no Host
    ],
)
def test_what_is_not_http_gets_the_same_shape(served, request_bytes, status, caplog):
    head, _, body = raw(served, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith((f"HTTP/1.1 {status} ".encode(), f"HTTP/1.0 {status} ".encode())), head
    assert set(json.loads(body)["error"]) == {"code", "message", "where", "hint"}
    assert served.ask("GET", "/healthz")[0] == 200


def test_expect_continue(served):
    body = json.dumps(GOOD).encode()
    head = f"POST /v1/report HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nExpect: 100-continue\r\n\r\n"
    answer = raw(served, head.encode() + body)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert answer.endswith(b'{"results":["ACCEPTED"]}')


def test_expect_is_not_answered_to_strangers(served):
    head = b"POST /v1/report HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n"
    assert raw(served, head).startswith(b"HTTP/1.1 401 ")


def test_a_defect_is_counted_and_tells_the_client_nothing(caplog):
    with serving() as served:
        served.backend.broken = RuntimeError("secret detail")
        status, _, answer = served.ask("POST", "/v1/report", GOOD)
        assert (status, answer["error"]["code"]) == (500, "internal")
        assert "secret" not in str(answer)
        assert served.gateway.site.failures == 1
        assert "secret detail" in served.gateway.site.last_failure
        served.backend.broken = None
        assert served.ask("POST", "/v1/report", GOOD)[0] == 200
