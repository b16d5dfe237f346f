"""GET /v1/state and POST /v1/action of a real gateway over a node in memory, and the client's methods."""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from controlled import DB, T_NS, WEB, Controlled
from gateway_backend import TOKEN, MemoryBackend, Served, serving

from vagus.client.connection import Connection
from vagus.config import AccessRule
from vagus.errors import ConfigError, NoData
from vagus.model import Action, Receipt
from vagus.policies import Wish

ASK = "/v1/state?controller=shop"


@pytest.fixture
def served() -> Iterator[Served]:
    with serving() as gateway:
        gateway.backend.controlled["a"]["shop"] = Controlled()
        yield gateway


def shop(served: Served, node: str = "a") -> Controlled:
    found: Controlled = served.backend.controlled[node]["shop"]
    return found


def step(served: Served, **how: Any) -> None:
    """A step of the controller, in the loop that those who wait are in."""

    async def stepped() -> None:
        shop(served).step(**how)

    served.call(stepped())


def act(served: Served, *actions: Any, status: int = 200, **more: Any) -> Any:
    found, _, answer = served.ask("POST", "/v1/action", {"controller": "shop", "actions": [*actions], **more})
    assert found == status, answer
    return answer if status == 200 else answer["error"]


def wish(value: Any = 0.7, target: str = str(WEB), resource: str = "cpu_cores", **more: Any) -> dict[str, Any]:
    return {"target": target, "resource": resource, "value": value, **more}


def receipt(after: float = 0.7, note: str = "", resource: str = "cpu_cores") -> Receipt:
    return Receipt(T_NS, "a", "shop", "cgroup1", WEB, resource, 0.5, 0.7, after, False, "why", note)


def test_the_state_before_and_after_a_step(served: Served) -> None:
    status, _, answer = served.ask("GET", ASK)
    assert status == 200
    assert (answer["t_ns"], answer["steerable"], answer["policy"]) == (0, True, "remote")
    assert answer["targets"] == {str(WEB): {}, str(DB): {}}
    assert answer["bounds"] == {"cpu_cores": [0.1, 2.0]}
    step(served, rung="hold")
    answer = served.ask("GET", ASK)[2]
    assert (answer["node"], answer["controller"], answer["t_ns"]) == ("a", "shop", T_NS + 1)
    assert (answer["armed"], answer["rung"]) == (True, "hold")
    assert answer["targets"][str(WEB)]["usage_cores"] == 0.2
    assert answer["targets"][str(DB)]["limit_cpu_cores"] is None, "NaN is null"
    assert answer["objective"] == {"latency_s": None, "slo_s": 0.2}
    assert answer["limits"] == {str(WEB): {"cpu_cores": 0.5}, str(DB): {"cpu_cores": None}}
    lengths = {len(vector) for vector in answer["vectors"].values()}
    assert set(answer["vectors"]) == {str(WEB), str(DB)}
    assert len(lengths) == 1
    assert lengths.pop() > 5


def test_what_a_step_did_is_in_the_state(served: Served) -> None:
    step(served, receipts=[receipt(0.7)])
    assert served.ask("GET", ASK)[2]["limits"][str(WEB)] == {"cpu_cores": 0.7}
    failed = msgspec.structs.replace(receipt(0.9), error="refused")
    would = msgspec.structs.replace(receipt(0.9), dry=True)
    step(served, receipts=[failed, would])
    assert served.ask("GET", ASK)[2]["limits"][str(WEB)] == {"cpu_cores": 0.5}


def test_waiting_for_another_state(served: Served) -> None:
    step(served)
    timer = threading.Timer(0.05, step, (served,))
    timer.start()
    assert served.ask("GET", f"{ASK}&after={T_NS + 1}")[2]["t_ns"] == T_NS + 2
    timer.join()
    assert served.ask("GET", f"{ASK}&after={T_NS + 1}")[2]["t_ns"] == T_NS + 2, "it is another one already"


def test_a_wish_is_taken_for_the_next_step(served: Served) -> None:
    answer = act(served, wish(reason="because", confidence=0.9))
    assert (answer["accepted"], answer["done"], answer["receipts"], answer["t_ns"]) == (1, False, [], 0)
    (standing,) = shop(served).controller.policy.step({str(WEB): {"usage_cores": 0.1}}, {}, 0.0)
    assert standing == Wish(str(WEB), "cpu_cores", 0.7, "because", 0.9)


def test_waiting_for_the_receipts(served: Served) -> None:
    told = receipt(0.6, "at most 20% at once, towards 0.7")
    others = [receipt(0.1, resource="llc_ways"), msgspec.structs.replace(told, target=DB)]

    async def steps() -> None:
        while shop(served).controller.policy.told == 0:
            await asyncio.sleep(0.005)
        shop(served).step(receipts=[told, *others], limit=0.6)

    stepping = threading.Thread(target=served.call, args=(steps(),))
    stepping.start()
    answer = act(served, wish(), wait=True)
    stepping.join()
    assert (answer["done"], answer["t_ns"]) == (True, T_NS + 1)
    assert answer["limits"] == {str(WEB): {"cpu_cores": 0.6, "llc_ways": 0.1}}
    assert [(r["target"], r["resource"], r["after"], r["note"]) for r in answer["receipts"]] == [
        (str(WEB), "cpu_cores", 0.6, told.note)
    ], "those of what was wished"


def test_waiting_ends_although_no_step_comes() -> None:
    with serving(timeout_s=0.2) as served:
        served.backend.controlled["a"]["shop"] = Controlled()
        assert act(served, wish(), wait=True)["done"] is False
        assert served.ask("GET", f"{ASK}&after=5")[2]["t_ns"] == 0
        step(served)
        assert served.ask("GET", f"{ASK}&after={T_NS + 1}")[2]["t_ns"] == T_NS + 1


@pytest.mark.parametrize(
    ("item", "where"),
    [
        (wish(0), "body.actions[0].value"),
        (wish(-1), "body.actions[0].value"),
        (wish("x"), "body.actions[0].value"),
        (wish(None), "body.actions[0].value"),
        (wish(target="nonsense"), "body.actions[0].target"),
        (wish(target="x" * 5000), "body.actions[0].target"),
        (wish(resource=""), "body.actions[0].resource"),
        (wish(confidence=2), "body.actions[0].confidence"),
        (wish(reason="x" * 401), "body.actions[0].reason"),
        (wish(more=1), "body.actions[0]"),
        (7, "body.actions[0]"),
        (wish(target="cgroup:other"), "body"),
        (wish(resource="memory_bytes"), "body"),
    ],
)
def test_what_is_wrong_is_refused_and_told_where(served: Served, item: Any, where: str) -> None:
    error = act(served, item, status=422)
    assert error["where"] == where
    assert shop(served).controller.policy.told == 0


def test_sizes_are_bounded_and_numbers_are_numbers(served: Served) -> None:
    assert act(served, *[wish()] * 1001, status=422)["where"] == "body.actions"
    assert act(served, *[wish()] * 1000)["accepted"] == 1000
    packed = {"Content-Type": "application/msgpack"}
    for value in (math.nan, math.inf):
        body = msgspec.msgpack.encode({"controller": "shop", "actions": [wish(value)]})
        assert served.ask("POST", "/v1/action", body, headers=packed)[0] == 422
    body = (
        b'{"controller": "shop", "actions": [{"target": "cgroup:shop/web", "resource": "cpu_cores", "value": 1e999}]}'
    )
    assert served.ask("POST", "/v1/action", body)[0] in (400, 422)
    for query in ("", "?controller=", "?controller=shop&x=1", "?controller=shop&after=-1", "?controller=shop&after=x"):
        assert served.ask("GET", f"/v1/state{query}")[0] == 422
    assert served.ask("POST", "/v1/action?x=1", {"controller": "shop", "actions": []})[0] == 422


def test_another_policy_answers_state_and_takes_no_actions(served: Served) -> None:
    served.backend.controlled["a"]["shop"] = Controlled(policy="throttle")
    step(served)
    answer = served.ask("GET", ASK)[2]
    assert (answer["policy"], answer["steerable"]) == ("throttle", False)
    assert answer["targets"]
    error = act(served, wish(), status=422)
    assert "policy is 'throttle'" in error["message"]
    assert "policy: remote" in error["message"]


def test_the_node_is_found(served: Served) -> None:
    backend = served.backend
    assert served.ask("GET", f"{ASK}&node=b")[0] == 404
    assert served.ask("GET", f"{ASK}&node=nowhere")[0] == 404
    status, _, answer = served.ask("GET", "/v1/state?controller=other")
    assert status == 404
    assert "there are: shop" in answer["error"]["message"]
    backend.controlled["b"]["shop"] = Controlled(node="b")
    assert served.ask("GET", ASK)[2]["node"] == "a", "this node's own comes first"
    assert served.ask("GET", f"{ASK}&node=b")[2]["node"] == "b"
    assert act(served, wish(), node="b")["node"] == "b"
    del backend.controlled["a"]["shop"]
    assert served.ask("GET", ASK)[2]["node"] == "b"
    assert shop(served, "b").controller.policy.told == 1
    assert act(served)["node"] == "b"


def test_several_elsewhere_must_be_named() -> None:
    class Three(MemoryBackend):
        async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
            return await super().ask("b", method, args)

    backend = Three(("b", "d"))
    backend.controlled["b"]["shop"] = Controlled(node="b")
    with serving(backend) as served:
        status, _, answer = served.ask("GET", ASK)
        assert status == 422
        assert answer["error"]["hint"] == "it runs at b, d"
        assert served.ask("GET", f"{ASK}&node=d")[0] == 200


def test_access_rules(tmp_path: Path) -> None:
    rules = (
        AccessRule(who=("token:reader",), read=("controller:shop",)),
        AccessRule(who=("token:agent",), read=("controller:*",), act=("cgroup:shop/w*",)),
    )
    with serving(tokens={"reader": "r" * 20, "agent": "g" * 20}, access=rules) as served:
        served.backend.controlled["a"]["shop"] = Controlled()
        body = {"controller": "shop", "actions": [wish()]}
        assert served.ask("GET", ASK, token="r" * 20)[0] == 200
        assert served.ask("POST", "/v1/action", body, token="r" * 20)[0] == 403
        assert served.ask("POST", "/v1/action", body, token="g" * 20)[0] == 200
        both = {"controller": "shop", "actions": [wish(), wish(target=str(DB))]}
        status, _, answer = served.ask("POST", "/v1/action", both, token="g" * 20)
        assert (status, answer["error"]["code"]) == (403, "refused")
        assert str(DB) in answer["error"]["message"]
        nothing = {"controller": "shop", "actions": []}
        assert served.ask("POST", "/v1/action", nothing, token="g" * 20)[0] == 403
        assert shop(served).controller.policy.told == 1
        served.backend.controlled["a"]["secret"] = Controlled()
        assert "secret" not in str(served.ask("GET", "/v1/state?controller=x", token="r" * 20)[2])
        assert served.ask("GET", "/v1/state?controller=secret", token="r" * 20)[0] == 403


def test_the_client(served: Served) -> None:
    step(served)
    with Connection(served.url, TOKEN, timeout_s=5.0) as client:
        state = client.state("shop")
        assert state.targets[str(WEB)]["usage_cores"] == 0.2
        assert math.isnan(state.objective["latency_s"])
        assert state.bounds == {"cpu_cores": (0.1, 2.0)}
        timer = threading.Timer(0.05, step, (served,))
        timer.start()
        assert client.state("shop", after_ns=state.t_ns).t_ns == T_NS + 2
        timer.join()
        done = client.act("shop", [Action(WEB, "cpu_cores", 0.8, "mine")], wait=False)
        assert (done.accepted, done.done) == (1, False)
        timer = threading.Timer(0.05, step, (served,), {"receipts": [receipt(0.8)]})
        timer.start()
        done = client.act("shop", [Wish(str(WEB), "cpu_cores", 0.8)])
        timer.join()
        assert (done.done, done.receipts[0].after, done.receipts[0].target) == (True, 0.8, WEB)
        with pytest.raises(ConfigError, match="cgroup:other"):
            client.act("shop", [Wish("cgroup:other", "cpu_cores", 0.8)])
        with pytest.raises(NoData, match="there are: shop"):
            client.state("other")
