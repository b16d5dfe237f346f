"""The front and aiohttp's route give the same answers to the same bytes, however these are cut into pieces."""

import asyncio
import itertools
import json
import sys
from pathlib import Path

import msgpack
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend
from raw_http import Talk, request, talk

from vagus.clock import ManualClock
from vagus.config import AccessRule
from vagus.gateway.server import Gateway
from vagus.model import Decision

QUICK = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
OTHER_TOKEN = "a-token-that-may-only-decide"
LAST = request("/healthz", method="GET", more=[("Connection", "close")])
KNOWN = "a-decision-of-before"

names = st.text(max_size=4) | st.sampled_from(["isp", "ü", "\x00", "x" * 201, "\udc80"])
scalars = (
    st.integers()
    | st.floats()
    | st.booleans()
    | st.none()
    | st.text(max_size=4)
    | st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, "y" * 500, "y" * 501, "\ud800", [1], {}])
)
features = st.dictionaries(names, scalars, max_size=3) | st.just({str(at): at for at in range(101)})
arms = st.lists(st.sampled_from(["a", "b", "c", "", "z" * 201, "\n", "ö"]), max_size=4) | st.just("a") | st.none()
plain = st.fixed_dictionaries(
    {"arms": st.sampled_from([["a"], ["a", "b"], ["ö"]])},
    optional={"features": st.dictionaries(st.sampled_from("xyz"), st.integers(0, 9) | st.text(max_size=4), max_size=3)},
)
one = plain | st.fixed_dictionaries({"arms": arms}, optional={"features": features, "more": st.just(1)})
decides = (
    one
    | st.fixed_dictionaries({"requests": st.lists(one, max_size=3)}, optional={"arms": arms, "features": features})
    | st.fixed_dictionaries({"requests": st.lists(plain, max_size=3)})
    | st.lists(st.integers(), max_size=2)
)
outcome = st.fixed_dictionaries(
    {"decision_id": st.sampled_from([KNOWN, "unknown", "", "x" * 201]) | st.text(max_size=3)},
    optional={"reward": st.floats() | st.integers(-5, 5) | st.just("1"), "more": st.just(1)},
)
updates = outcome | st.fixed_dictionaries(
    {"updates": st.lists(outcome, max_size=3)}, optional={"decision_id": st.just(KNOWN), "reward": st.just(1)}
)


@st.composite
def requests(draw, malformed=False):
    """A request whose end is where it says: of ours or not, good or with something odd; malformed: to aiohttp's parser."""
    path = draw(st.sampled_from(["/v1/decide"] * 4 + ["/v1/update"] * 3 + ["/v1/status", "/v1/decide?x=1", "/nowhere"]))
    value = draw(updates if path == "/v1/update" else decides)
    kind = draw(st.sampled_from(["json"] * 6 + ["msgpack", "bytes"]))
    if kind == "msgpack":
        try:
            body = msgpack.packb(value)
        except (OverflowError, UnicodeEncodeError, ValueError):
            body = b"\xc1"
    elif kind == "json":
        body = json.dumps(value).encode("utf-8", "surrogatepass")
    else:
        body = draw(
            st.binary(max_size=20) | st.sampled_from([b'{"arms":["a"]', b'{"arms":["a"]} ', b"[" * 5000, b"{}"])
        )
    media = draw(
        st.sampled_from([{"msgpack": "application/msgpack"}.get(kind, "application/json")] * 8)
        | st.sampled_from(["text/plain", "", "Application/JSON; charset=utf-8", "application/x-msgpack"])
    )
    headers = [
        ("Host", draw(st.sampled_from(["127.0.0.1"] * 8 + ["localhost:80", "[::1]:7", "evil.example", ""]))),
        ("Authorization", "Bearer " + draw(st.sampled_from([TOKEN] * 6 + [OTHER_TOKEN, "wrong", " " + TOKEN, ""]))),
        ("Content-Type", media),
    ]
    odd = st.sampled_from(
        [
            ("Content-Encoding", "gzip"),
            ("Content-Encoding", "identity"),
            ("Accept", "*/*"),
            ("X-Odd", "\xfc\t y"),
            ("Connection", "keep-alive"),
            ("Connection", "close"),
            ("Expect", "100-continue"),
            ("Sec-WebSocket-Protocol", f"bearer.{TOKEN}"),
        ]
    )
    headers += draw(st.lists(odd, max_size=1))
    if malformed and draw(st.booleans()):
        headers.append(draw(st.sampled_from([("authorization", "Basic eHg="), ("Content-Type", "a/b"), ("host", "x")])))
    left = draw(st.sampled_from([""] * 9 + ["Host"] * malformed + ["Authorization", "Content-Type"]))
    headers = [(name, value) for name, value in headers if name != left]
    method = draw(st.sampled_from(["POST"] * 9 + ["PUT", "GET", "DELETE"]))
    version = draw(st.sampled_from(["HTTP/1.1"] * 9 + ["HTTP/1.0"]))
    if draw(st.integers(0, 9)) == 0:
        sized = [("Transfer-Encoding", "chunked")]
        body = b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in (body[:3], body[3:]) if p) + b"0\r\n\r\n"
    else:
        sized = [("Content-Length", str(len(body)))]
    return request(
        path, body, method, version, None, [*headers, *sized], leave_out=["Host", "Content-Type", "Content-Length"]
    )


@pytest.fixture(scope="module")
def loop():
    made = asyncio.new_event_loop()
    yield made
    made.close()


@pytest.fixture(scope="module")
def gateways(loop):
    """The front's, and one of aiohttp alone; both with rules under which a second token may only decide."""
    rules = (
        AccessRule(who=("token:cluster",), act=("*",), send=("*",), read=("*",)),
        AccessRule(who=("token:decides",), act=("decide",)),
    )

    async def start(lean):
        backend = MemoryBackend()
        gateway = Gateway(
            *(backend,),
            token=TOKEN,
            tokens={"decides": OTHER_TOKEN},
            access=rules,
            clock=ManualClock(NOW_NS),
            lean=lean,
        )
        await gateway.start()
        return gateway

    made = [loop.run_until_complete(start(lean)) for lean in (True, False)]
    yield made
    for gateway in made:
        loop.run_until_complete(gateway.stop())


def forget(gateway):
    backend = gateway.site.backend
    backend.decisions = {KNOWN: Decision(KNOWN, NOW_NS, "", "a", 1.0, 0)}
    backend.rewards = {}
    gateway.site.requests.clear()


def what_matters(answers):
    """Without what is random, or of the moment."""
    found = []
    for answer in answers:
        headers = {name: value for name, value in answer.headers.items() if name != "date"}
        body = answer.body
        if answer.status == 200 and b'"decision_id"' in body:
            made = json.loads(body)
            for one in made.get("decisions", [made]):
                assert len(one.pop("decision_id")) >= 32
                one.pop("decision")
            body = made
            headers.pop("content-length")
        found.append((answer.status, headers, body))
    return found


def until_last(sent):
    """As far as the first request after which the connection is closed: aiohttp refuses one that others follow."""
    for at, one in enumerate(sent):
        head = one.partition(b"\r\n\r\n")[0]
        if b"Connection: close" in head or (b"HTTP/1.0" in head and b"keep-alive" not in head):
            return sent[: at + 1]
    return sent


def early_end(ours, theirs):
    """Where one refused, and closed, since the rest of the body was still to come: what follows has no answer then."""
    for at, ((status, headers, _), (_, others, _)) in enumerate(zip(ours, theirs, strict=False)):
        if status >= 400 and headers.get("connection") != others.get("connection"):
            return at
    return None


def kept(gateway):
    backend = gateway.site.backend
    decisions = [
        (made.group, made.propensity, made.arms, made.features) for made in backend.decisions.values() if made.arms
    ]
    return repr(decisions), {name: reward.reward for name, reward in backend.rewards.items()}


async def one_by_one(url, sent):
    """The answers to requests of which each waits for the answer to the one before.

    aiohttp alone drops what it has parsed when something malformed comes in the same read; the front does not.
    """
    found = []
    async with Talk(url) as talking:
        for one in sent:
            await talking.say(one)
            while True:
                try:
                    found += await talking.hear(1)
                except (AssertionError, ConnectionResetError):
                    return found
                if found[-1].status >= 200:
                    break
    return found


@QUICK
@given(
    sent=st.lists(requests(), min_size=1, max_size=4) | requests(malformed=True).map(lambda one: [one]),
    cuts=st.lists(st.floats(0, 1), max_size=4),
)
def test_the_same_bytes_get_the_same_answers(loop, gateways, sent, cuts):
    sent = until_last([*sent, LAST])
    whole = b"".join(sent)
    at = sorted({0, len(whole), *(round(cut * len(whole)) for cut in cuts)})
    pieces = [whole[first:last] for first, last in itertools.pairwise(at)]
    found = []
    for gateway, talking in zip(
        gateways, (talk(gateways[0].url, pieces), one_by_one(gateways[1].url, sent)), strict=True
    ):
        forget(gateway)
        answers = loop.run_until_complete(talking)
        found.append((what_matters(answers), kept(gateway), dict(gateway.site.requests)))
        assert gateway.site.failures == 0, gateway.site.last_failure
    early = early_end(*(answers for answers, _, _ in found))
    if early is None:
        assert found[0] == found[1]
        return
    ours, theirs = ([(status, body) for status, _, body in answers[: early + 1]] for answers, _, _ in found)
    assert ours == theirs


@QUICK
@given(garbage=st.binary(max_size=40) | st.text("\r\n GETPOS/:1HTP.", max_size=60).map(str.encode), good=st.booleans())
def test_garbage_is_refused_alike(loop, gateways, garbage, good):
    """With an end that aiohttp calls malformed, whatever comes before it."""
    sent = [request(body={"arms": ["a"]})] * good + [garbage + b"\x00\r\n\r\n\x00\r\n\r\n"]
    found = []
    for gateway, talking in zip(
        gateways, (talk(gateways[0].url, [b"".join(sent)]), one_by_one(gateways[1].url, sent)), strict=True
    ):
        forget(gateway)
        answers = loop.run_until_complete(talking)
        found.append([(status, body) for status, _, body in what_matters(answers)])
    assert found[0] == found[1]
    assert found[0][-1][0] == 400
