"""The lean front on real sockets: what it answers, what it leaves to aiohttp, and connections that misbehave."""

import asyncio
import json
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import msgpack
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend
from raw_http import ARMS, Talk, decide, request, talk

from vagus.clock import ManualClock
from vagus.config import AccessRule, ContextSettings
from vagus.errors import PeerUnreachable
from vagus.gateway import front_connection
from vagus.gateway.door import HostNames, Keys
from vagus.gateway.front_head import DECIDE, OTHER, UNKNOWN, UPDATE, Heads, hopeless
from vagus.gateway.server import Gateway
from vagus.model import Sample

LAST = request("/healthz", method="GET", more=[("Connection", "close")])
STATUS = request("/v1/status", method="GET")


@asynccontextmanager
async def serving(**settings):
    backend = settings.pop("backend", None) or MemoryBackend()
    gateway = Gateway(backend, token=TOKEN, **{"clock": ManualClock(NOW_NS), "timeout_s": 2.0, **settings})
    await gateway.start()
    try:
        yield gateway
    finally:
        await gateway.stop()


def statuses(answers):
    return [answer.status for answer in answers]


async def test_a_decision_and_its_outcome_without_aiohttp(monkeypatch):
    async with serving() as gateway, Talk(gateway.url) as talking:
        monkeypatch.setattr(front_connection.Connection, "theirs", lambda *_: pytest.fail("handed on"))
        monkeypatch.setattr("vagus.gateway.front_aiohttp.Shared.theirs", lambda *_: pytest.fail("handed on"))
        await talking.say(decide())
        (made,) = await talking.hear(1)
        assert (made.status, made.headers["content-type"], made.headers["server"]) == (200, "application/json", "vagus")
        assert made.json["decision"] in ARMS
        decision = gateway.site.backend.decisions[made.json["decision_id"]]
        assert (decision.features, decision.arms, decision.t_ns) == ({"isp": "x", "n": 3}, ARMS, NOW_NS)
        outcome = {"decision_id": decision.decision_id, "reward": 2.5}
        await talking.say(request("/v1/update", outcome))
        assert [a.json for a in await talking.hear(1)] == [{"results": ["ACCEPTED"]}]
        assert gateway.site.backend.rewards[decision.decision_id].reward == 2.5
        many = {"updates": [outcome, {"decision_id": "unknown", "reward": 1}]}
        await talking.say(request("/v1/update", many))
        assert [a.json for a in await talking.hear(1)] == [{"results": ["IGNORED", "FAILED"]}]
        await talking.say(request("/v1/update", {"decision_id": "unknown", "reward": 1}))
        (refused,) = await talking.hear(1)
        assert (refused.status, refused.json["error"]["where"]) == (404, "body.decision_id")
        several = {"requests": [{"arms": ["a"]}, {"arms": ["b"], "features": {"isp": "y"}}]}
        await talking.say(request(body=several))
        (answer,) = await talking.hear(1)
        assert [one["decision"] for one in answer.json["decisions"]] == ["a", "b"]
        assert gateway.site.requests == {
            ("POST", "/v1/decide", 200): 2,
            ("POST", "/v1/update", 200): 2,
            ("POST", "/v1/update", 404): 1,
        }


async def test_messagepack_is_understood():
    async with serving() as gateway:
        body = msgpack.packb({"arms": ["a"], "features": {"isp": "x", "load": 0.5}})
        packed = request(body=body, leave_out=["Content-Type"], more=[("Content-Type", "application/msgpack")])
        nan = msgpack.packb({"arms": ["a"], "features": {"load": float("nan")}})
        bad = request(body=nan, leave_out=["Content-Type"], more=[("Content-Type", "application/msgpack")])
        first, second, _ = await talk(gateway.url, [packed + bad + LAST])
        assert first.json["decision"] == "a"
        assert (second.status, second.json["error"]["where"]) == (422, "body.features.load")


async def test_pipelined_requests_are_answered_in_their_order():
    async with serving() as gateway:
        made = [decide([name]) for name in "abc"]
        outcome = request("/v1/update", {"decision_id": "unknown", "reward": 1})
        stream = [made[0], outcome, made[1], STATUS, request("/nowhere", method="GET"), made[2], outcome, LAST]
        found = await talk(gateway.url, [b"".join(stream)])
        assert statuses(found) == [200, 404, 200, 200, 404, 200, 404, 200]
        assert [found[at].json["decision"] for at in (0, 2, 5)] == ["a", "b", "c"]
        assert "nodes" in found[3].json
        assert gateway.site.requests["POST", "/v1/decide", 200] == 3


async def test_more_pipelined_outcomes_than_may_wait():
    async with serving() as gateway:
        count = 3 * front_connection.MAX_WAITING
        outcomes = [request("/v1/update", {"decision_id": f"d{n}", "reward": 1}) for n in range(count)]
        found = await talk(gateway.url, [b"".join(outcomes) + LAST])
        assert statuses(found) == [404] * count + [200]
        assert [f"'d{n}'" in found[n].json["error"]["message"] for n in range(count)] == [True] * count


async def test_a_connection_goes_to_and_fro():
    async with serving() as gateway, Talk(gateway.url) as talking:
        for _ in range(3):
            await talking.say(decide())
            assert statuses(await talking.hear(1)) == [200]
            await talking.say(STATUS)
            assert "nodes" in (await talking.hear(1))[0].json
            report = {"observer": "o", "subject": "s", "contexts": {"c": "h"}}
            await talking.say(request("/v1/report", report))
            assert (await talking.hear(1))[0].json == {"results": ["ACCEPTED"]}
        await talking.say(decide() + LAST)
        assert statuses(await talking.rest()) == [200, 200]
        assert gateway.site.requests["POST", "/v1/decide", 200] == 4


def chunked(body, size=7):
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


async def test_chunked_bodies_and_what_comes_behind_them():
    async with serving() as gateway:
        body = json.dumps({"arms": ["a"]}).encode()
        head = request(body=b"", leave_out=["Content-Length"], more=[("Transfer-Encoding", "chunked")])
        found = await talk(gateway.url, [decide() + head + chunked(body) + decide(["b"]) + LAST])
        assert [answer.json.get("decision") for answer in found[1:3]] == ["a", "b"]
        assert len(found) == 4


async def test_expect_is_answered_before_the_body():
    async with serving() as gateway, Talk(gateway.url) as talking:
        whole = decide(["a"], more=[("Expect", "100-continue")])
        head, body = whole[: whole.index(b"\r\n\r\n") + 4], whole[whole.index(b"\r\n\r\n") + 4 :]
        await talking.say(head)
        assert statuses(await talking.hear(1)) == [100]
        await talking.say(body)
        assert (await talking.hear(1))[0].json["decision"] == "a"
        await talking.say(decide(["b"]))  # the front's again
        assert (await talking.hear(1))[0].json["decision"] == "b"
        await talking.say(decide(more=[("Expect", "a miracle")]) + LAST)
        assert statuses(await talking.rest()) == [417, 200]


async def test_requests_in_pieces_of_one_byte():
    async with serving() as gateway:
        whole = decide(["a"]) + request("/v1/update", {"decision_id": "u", "reward": 1}) + STATUS + decide(["b"]) + LAST
        found = await talk(gateway.url, [whole[at : at + 1] for at in range(len(whole))])
        assert statuses(found) == [200, 404, 200, 200, 200]


async def test_http_1_0_and_connection_close():
    async with serving() as gateway:
        (old,) = await talk(gateway.url, [decide(version="HTTP/1.0")])
        assert old.status == 200
        kept = [("Connection", "keep-alive")]
        first, second = await talk(gateway.url, [decide(version="HTTP/1.0", more=kept), LAST])
        assert first.headers["connection"] == "keep-alive"
        (last,) = await talk(gateway.url, [decide(more=[("Connection", "close")]) + decide()])
        assert last.headers["connection"] == "close"
        update = request("/v1/update", {"decision_id": "u", "reward": 1}, more=[("Connection", "Close")])
        first, second = await talk(gateway.url, [decide() + update + decide()])
        assert (first.status, second.status, second.headers["connection"]) == (200, 404, "close")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc",
        b"GET\r\n\r\n",
        b"POST /v1/decide HTTP/1.1\nHost: 127.0.0.1\n\n",
        b"POST /v1/decide HTTP/1.1\r\nHost 127.0.0.1\r\n\r\n",
        b"POST /v1/decide HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"POST /v1/decide HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /v1/decide HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
        b"POST /v1/decide HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\x00b\r\n\r\n",
        b"POST /v1/decide HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"y" * 9000 + b"\r\n\r\n",
        b"POST /v1/decide HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"A" * 9000,
    ],
)
async def test_malformed_requests_get_our_shape_of_error(sent):
    async with serving() as gateway:
        (answer,) = await talk(gateway.url, [sent])
        assert (answer.status, answer.json["error"]["code"]) == (400, "malformed")
        first, second = await talk(gateway.url, [decide() + sent])
        assert (first.status, second.status) == (200, 400)


@pytest.mark.parametrize(
    ("sent", "status", "where"),
    [
        (decide(token=None), 401, "header Authorization"),
        (decide(token="x" * 20), 403, "header Authorization"),
        (decide(leave_out=["Host"], more=[("Host", "evil.example")]), 421, "header Host"),
        (decide(leave_out=["Content-Type"]), 415, "header Content-Type"),
        (decide(more=[("Content-Encoding", "gzip")]), 415, "header Content-Encoding"),
        (decide([]), 422, "body.arms"),
        (decide(["a", "a"]), 422, "body"),
        (request(body=b"{"), 400, "body"),
        (request(body={"arms": ["a"], "featurs": {}}), 422, "body"),
        (request(body={"arms": ["a"], "features": {"x": None}}), 422, "body.features[...]"),
        (request(body={"requests": []}), 422, "body.requests"),
        (request(body={"requests": [{"arms": ["a"]}, {"arms": ["b", "b"]}]}), 422, "body.requests[1]"),
        (request("/v1/update", {"decision_id": "", "reward": 1}), 422, "body.decision_id"),
        (request("/v1/update", {"updates": []}), 422, "body.updates"),
        (request("/v1/decide", method="GET"), 405, "request"),
    ],
)
async def test_refusals_are_those_of_the_route_and_the_connection_goes_on(sent, status, where):
    async with serving() as gateway:
        first, refused, third, _ = await talk(gateway.url, [decide() + sent + decide() + LAST])
        assert (first.status, third.status) == (200, 200)
        assert (refused.status, refused.json["error"]["where"]) == (status, where)
        assert len(gateway.site.backend.decisions) == 2
        assert gateway.site.failures == 0


async def test_a_body_beyond_the_limit_is_refused_before_it_has_come():
    async with serving(max_body_bytes=2000) as gateway:
        head = request(body=b"x" * 2001)[:-2001]
        (answer,) = await talk(gateway.url, [head + b"x" * 10])
        assert (answer.status, answer.json["error"]["code"]) == (413, "too_large")
        first, second = await talk(gateway.url, [request(body=b"x" * 2000) + LAST])
        assert (first.status, second.status) == (400, 200)


async def test_access_rules_hold_and_refusals_are_told():
    rule = AccessRule(who=("token:asks",), act=("decide",))
    tokens = {"asks": "a-token-of-one-who-asks", "reads": "a-token-of-one-who-reads"}
    async with serving(access=(rule,), tokens=tokens) as gateway:
        good = decide(token=tokens["asks"])
        found = await talk(gateway.url, [good + decide(token=tokens["reads"]) + good + decide() + LAST])
        assert statuses(found[:4]) == [200, 403, 200, 403]
        assert {event.fields["who"] for event in gateway.site.backend.refusals} == {"token:reads", "token:cluster"}


async def test_live_numbers_are_features_of_decisions():
    backend = MemoryBackend()
    sample = (await backend.latest(["host.cpu"]))[0]

    async def latest(selectors):
        return [Sample(sample.stream, NOW_NS, (0.25, 7))]

    backend.latest = latest
    async with serving(backend=backend, context={"load": ContextSettings(series="host.cpu.user")}) as gateway:
        body = {"arms": ["a"], "features": {"isp": "x"}}
        first, second, third, _ = await talk(
            gateway.url,
            [
                request(body=body) + request(body=body),
                request(body={"arms": ["a"], "features": {"load.user": 9}}) + LAST,
            ],
        )
        assert first.json["context"] == second.json["context"]
        assert all(name.startswith("load") for name in first.json["context"])
        assert first.json["context"]
        assert gateway.site.backend.decisions[second.json["decision_id"]].features.items() > {"isp": "x"}.items()
        assert "load.user" not in third.json["context"]


async def test_a_learner_that_is_away_is_told_as_the_route_tells_it():
    backend = MemoryBackend()

    async def away(rewards):
        raise PeerUnreachable("the learner is away")

    backend.reward = away
    update = request("/v1/update", {"decision_id": "u", "reward": 1})
    for lean in (True, False):
        async with serving(backend=backend, lean=lean) as gateway:
            first, second = await talk(gateway.url, [update + LAST])
            assert (first.status, first.json["error"]["code"], second.status) == (503, "unreachable", 200)


async def test_a_defect_is_counted_and_says_nothing_of_itself():
    backend = MemoryBackend()

    def broken(*_):
        raise RuntimeError("secret")

    backend.table.decide = broken
    async with serving(backend=backend) as gateway:
        first, second = await talk(gateway.url, [decide() + LAST])
        assert (first.status, first.json["error"]["code"], second.status) == (500, "internal", 200)
        assert b"secret" not in first.body
        assert (gateway.site.failures, gateway.site.requests["POST", "/v1/decide", 500]) == (1, 1)


# --- time ------------------------------------------------------------------------------------------------------------


async def ticks(gateway, count):
    """As if so many seconds passed for the front."""
    front = gateway._front
    for _ in range(count):
        front._sweeper.cancel()
        front._sweep()
        await asyncio.sleep(0)


async def test_a_head_that_dribbles_in_is_given_up():
    async with serving() as gateway, Talk(gateway.url) as talking:
        await talking.say(decide()[:20])
        for _ in range(9):
            await ticks(gateway, 1)
            await talking.say(b"x")
        await ticks(gateway, 2)
        (answer,) = await talking.rest()
        assert (answer.status, answer.json["error"]["where"], answer.headers["connection"]) == (408, "request", "close")


async def test_a_body_that_does_not_come_is_given_up():
    async with serving() as gateway, Talk(gateway.url) as talking:
        await talking.say(decide() + decide()[:-5])
        await ticks(gateway, 9)
        await talking.say(b"x")
        await ticks(gateway, 2)
        first, answer = await talking.rest()
        assert (first.status, answer.status, answer.json["error"]["where"]) == (200, 408, "body")
        assert gateway.site.requests["POST", "/v1/decide", 408] == 1


async def test_a_connection_that_asks_nothing_is_closed_and_one_that_asks_is_not():
    async with serving() as gateway, Talk(gateway.url) as silent, Talk(gateway.url) as busy:
        await busy.say(STATUS)
        await busy.hear(1)
        await silent.say(b"")
        for _ in range(8):
            await ticks(gateway, 10)
            await busy.say(decide())
            await busy.hear(1)
        assert await silent.rest() == []
        await busy.say(LAST)
        assert statuses(await busy.rest()) == [200]


async def test_who_does_not_read_answers_is_not_read_any_further():
    async with serving() as gateway, Talk(gateway.url) as talking:
        many = decide() * 200
        sent = 0
        loop = asyncio.get_running_loop()
        while True:  # until nobody takes any more
            try:
                await asyncio.wait_for(loop.sock_sendall(talking.socket, many), 0.3)
            except asyncio.TimeoutError:
                break
            sent += 200
        (connection,) = gateway._front.connections
        assert connection.transport.get_write_buffer_size() < 4 << 20
        drawn = gateway.site.requests["POST", "/v1/decide", 200]
        assert drawn <= sent + 400
        await ticks(gateway, 77)
        await asyncio.sleep(0)
        assert not gateway._front.connections


# --- the end ---------------------------------------------------------------------------------------------------------


class Slow(MemoryBackend):
    """Answers outcomes when it is told to."""

    def __init__(self):
        super().__init__()
        self.asked = asyncio.Event()
        self.may = asyncio.Event()

    async def reward(self, rewards):
        self.asked.set()
        await self.may.wait()
        return await super().reward(rewards)


async def test_stopping_answers_what_was_begun_and_then_closes():
    backend = Slow()
    async with serving(backend=backend) as gateway, Talk(gateway.url) as asks, Talk(gateway.url) as idle:
        await idle.say(decide())
        await idle.hear(1)
        await asks.say(request("/v1/update", {"decision_id": "u", "reward": 1}) + decide()[:-5])
        await backend.asked.wait()
        stopping = asyncio.create_task(gateway.stop())
        assert await idle.rest() == []
        await asks.say(decide()[-5:])
        backend.may.set()
        first, second = await asks.rest()
        assert (first.status, second.status, second.headers["connection"]) == (404, 200, "close")
        await stopping
        with pytest.raises(ConnectionRefusedError):
            async with Talk(gateway.url):
                pass


async def test_stopping_does_not_wait_for_what_never_comes():
    async with serving() as gateway, Talk(gateway.url) as half:
        await half.say(decide()[:-5])
        await gateway.stop()
        assert await half.rest() == []


async def test_who_has_said_all_still_gets_the_answer():
    backend = Slow()
    async with serving(backend=backend) as gateway, Talk(gateway.url) as asks:
        await asks.say(request("/v1/update", {"decision_id": "u", "reward": 1}))
        await backend.asked.wait()
        asks.socket.shutdown(1)
        await asks.say(b"")
        backend.may.set()
        assert statuses(await asks.rest()) == [404]


async def test_who_goes_away_leaves_nothing():
    backend = Slow()
    async with serving(backend=backend) as gateway:
        async with Talk(gateway.url) as asks:
            await asks.say(request("/v1/update", {"decision_id": "u", "reward": 1}) + STATUS + decide()[:9])
            await backend.asked.wait()
        backend.may.set()
        while gateway._front.connections:
            await asyncio.sleep(0)
        assert gateway.site.failures == 0


@pytest.mark.parametrize("lean", [True, False])
@pytest.mark.parametrize("reward", ["1e101", "-1e101", "1e999"])
async def test_a_reward_that_nothing_can_learn_from_is_no_unknown_decision(lean, reward):
    async with serving(lean=lean) as gateway, Talk(gateway.url) as talking:
        await talking.say(decide())
        (made,) = await talking.hear(1)
        body = f'{{"decision_id": "{made.json["decision_id"]}", "reward": {reward}}}'.encode()
        await talking.say(request("/v1/update", body))
        (refused,) = await talking.hear(1)
        assert (refused.status, refused.json["error"]["where"]) == (422, "body.reward")
        assert gateway.site.backend.rewards == {}


@pytest.mark.parametrize(
    ("host", "good"),
    [
        ("[::1]", True),
        ("[::1]:80", True),
        ("localhost.:80", True),
        ("[::1]evil.example", False),
        ("[::1].evil.example:80", False),
        ("127.0.0.1.evil.example", False),
        ("127.0.0.1:80@evil.example", False),
    ],
)
def test_hosts_are_names_of_this_gateway_and_nothing_behind_them(host, good):
    assert HostNames(set()).allowed(host) is good


# --- heads -----------------------------------------------------------------------------------------------------------


def heads(rules=(), most=1000):
    return Heads(Keys("a", ManualClock(NOW_NS), TOKEN, rules=rules), HostNames({"gate.example"}), most)


def head_of(whole):
    return whole.partition(b"\r\n\r\n")[0]


def test_heads_of_the_plainest_form_are_read():
    read = heads().read
    assert read(head_of(decide())).kind == DECIDE
    assert read(head_of(request("/v1/update", {}))) == (UPDATE, 2, False, False, -1)
    assert read(head_of(STATUS)) == (OTHER, 0, False, False, -1)
    odd = head_of(decide()).replace(b"Host: ", b"hOST:\t  ").replace(b"Bearer ", b"bEARER ")
    assert read(odd).kind == DECIDE
    assert read(head_of(decide()).replace(b"127.0.0.1", b"gate.example:80")).kind == DECIDE
    utf8 = head_of(decide()).replace(b"/json", b"/JSON; charset=utf-8")
    assert read(utf8).kind == DECIDE


@pytest.mark.parametrize(
    ("more", "kind"),
    [
        (("Transfer-Encoding", "chunked"), UNKNOWN),
        (("Upgrade", "websocket"), UNKNOWN),
        (("Connection", "upgrade"), UNKNOWN),
        (("Content-Length", "3"), UNKNOWN),
        (("X", "a\r\n folded"), UNKNOWN),
        (("X ", "a"), UNKNOWN),
        (("X", "y" * 8000), UNKNOWN),
        (("Host", "127.0.0.1"), OTHER),
        (("Authorization", "Bearer"), OTHER),
        (("Expect", "100-continue"), OTHER),
        (("Content-Encoding", "br"), OTHER),
        (("X-Trace", "1"), DECIDE),
    ],
)
def test_heads_with_something_special_are_somebody_elses(more, kind):
    known = heads()
    assert known.read(head_of(decide(more=[more]))).kind == kind
    assert bool(known.known) is (kind == DECIDE)


def test_what_is_remembered_is_bounded_and_only_what_is_allowed():
    known = heads(most=50)
    for at in range(5000):
        known.read(head_of(decide(more=[("X-Trace", str(at))])))
    assert known.known == {}  # its body is too long
    known = heads()
    for at in range(5000):
        known.read(head_of(decide(more=[("X-Trace", str(at))])))
    assert 0 < len(known.known) <= 2048


def test_beginnings():
    whole = decide()
    head = head_of(whole)
    assert not any(hopeless(head[:at]) for at in range(1, len(head)))
    for begun in (b"\x16", b"post ", b"POST /\n", b"\r\n", b"A" * 8, b"GET " + b"x" * 9000):
        assert hopeless(begun), begun
