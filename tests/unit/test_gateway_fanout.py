"""Answers of many nodes become one; what did not answer is listed."""

import asyncio
import sys
from pathlib import Path

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import CPU, LINK, NOW_NS, MemoryBackend, serving

from vagus.errors import ConfigError, NoData, PeerUnreachable, StoreError
from vagus.gateway.fanout import gather, merge_inferences, merge_records, merge_sensors
from vagus.model import Event, Inference, SensorInfo, Status


def inference(subject, t_ns, status=Status.HEALTHY, observers=()):
    return Inference(subject, t_ns, status, {}, observers)


def test_newest_inference_wins_then_the_more_severe():
    merged = merge_inferences(
        [
            [inference("x", 1, Status.DEAD), inference("y", 5)],
            [inference("x", 2), inference("y", 5, Status.UNHEALTHY)],
            [],
        ]
    )
    assert [(i.subject, i.status) for i in merged] == [("x", Status.HEALTHY), ("y", Status.UNHEALTHY)]


def test_merging_inferences_does_not_depend_on_the_order_of_nodes():
    parts = [[inference("x", 3, observers=("a",))], [inference("x", 3, observers=("a", "b"))], [inference("x", 2)]]
    assert merge_inferences(parts) == merge_inferences(reversed(parts)) == parts[1]


def test_a_stream_known_twice_spans_both():
    merged = merge_sensors([[SensorInfo(CPU, 10, 20, 3)], [SensorInfo(CPU, 5, 15, 9, True), SensorInfo(LINK, 1, 2, 1)]])
    assert merged == [SensorInfo(CPU, 5, 20, 9, True), SensorInfo(LINK, 1, 2, 1)]


def test_records_newest_first_and_copies_once():
    one, two, three = (Event(t, "e", "a") for t in (1, 2, 3))
    assert merge_records([[three, one], [three, two]], 2) == [three, two]


async def test_nodes_that_do_not_answer_are_listed():
    gathered = await gather(MemoryBackend(("b", "c")), "status", (), "", 1.0)
    assert sorted(gathered.parts) == ["a", "b"]
    assert [(m.node, m.error) for m in gathered.missing] == [("c", "node c does not answer")]
    assert gathered.partial


async def test_a_node_that_hangs_costs_the_timeout_and_no_more():
    backend = MemoryBackend()
    backend.hang = True
    gathered = await gather(backend, "status", (), "", 0.05)
    assert [(m.node, m.error) for m in gathered.missing] == [("b", "no answer within 0.05 s")]
    pending = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await asyncio.gather(*pending, return_exceptions=True)
    assert all(task.done() for task in pending)


async def test_one_node_asked_for():
    backend = MemoryBackend(("b", "c"))
    assert list((await gather(backend, "status", (), "b", 1.0)).parts) == ["b"]
    with pytest.raises(PeerUnreachable, match="c does not answer"):
        await gather(backend, "status", (), "c", 1.0)
    with pytest.raises(NoData, match="known nodes: a, b, c"):
        await gather(backend, "status", (), "z", 1.0)


async def test_a_wrong_question_is_not_a_missing_node():
    with pytest.raises(ConfigError, match="selector"):
        await gather(MemoryBackend(), "query", ("{", 0, NOW_NS, 0), "", 1.0)


async def test_a_failing_store_here_leaves_the_others():
    backend = MemoryBackend()
    backend.broken = StoreError("disk full")
    gathered = await gather(backend, "query", ("*", 0, NOW_NS + 1, 0), "", 1.0)
    assert [m.error for m in gathered.missing] == ["disk full"]
    assert list(gathered.parts) == ["b"]


def test_partial_answers_say_so_over_http():
    with serving(MemoryBackend(("b", "c"))) as served:
        answer = served.ask("GET", "/v1/status")[2]
        assert answer["partial"] is True
        assert answer["missing"] == [{"node": "c", "error": "node c does not answer"}]
        headers = served.ask("GET", "/v1/query?selector=*&format=csv")[1]
        assert headers["X-Vagus-Partial"] == "true"
        assert msgspec.json.decode(headers["X-Vagus-Missing"])[0]["node"] == "c"
        assert "X-Vagus-Partial" not in served.ask("GET", "/v1/query?selector=*&format=csv&node=b")[1]
        assert served.ask("GET", "/v1/status?node=c")[0] == 503
