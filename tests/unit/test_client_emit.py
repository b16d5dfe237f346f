"""`vagus.event`, `action`, `sample`, `counter`, `heartbeat`, and logging as NetLogger lines."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, MemoryBackend, serving

import vagus
from vagus.client import emit
from vagus.client.emit import action
from vagus.client.emitter import MAX_COUNTERS, QUEUE, Emitter
from vagus.client.endpoint import Endpoint
from vagus.client.reporter import Reporter
from vagus.client.transport import Parcels
from vagus.errors import PeerUnreachable
from vagus.inputs.lines import read_line
from vagus.inputs.native import Parcel, read_parcel
from vagus.model import Level, Status


class Sent:
    """An emitter whose bodies stay here."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.away = False
        self.emitter = Emitter(self._send)

    def _send(self, bodies: list[dict[str, Any]]) -> None:
        if self.away:
            raise PeerUnreachable("the node is away")
        self.bodies += bodies

    def take(self) -> list[dict[str, Any]]:
        assert self.emitter.flush(5.0)
        bodies, self.bodies = self.bodies, []
        return bodies


@pytest.fixture
def sent(monkeypatch):
    found = Sent()
    monkeypatch.setattr(emit, "EMITTER", found.emitter)
    yield found
    found.emitter.close()


def test_an_event_is_what_the_node_takes(sent):
    vagus.event("order.paid", level="Warning", guid="g", sum=1.5, n=2**64, who=Path("/x"), new=True)
    (body,) = sent.take()
    assert (body["event"], body["level"]) == ("order.paid", "warning")
    assert body["fields"] == {"guid": "g", "sum": 1.5, "n": str(2**64), "who": "/x", "new": True}
    (event,) = read_parcel(msgspec.msgpack.encode({"events": [body]}), "n1", 0)[1]
    assert (event.node, event.level, event.fields["n"]) == ("n1", Level.WARNING, str(2**64))


def test_whatever_is_said_can_be_taken(sent):
    vagus.event("", level="odd")
    vagus.event("a\nb" * 300, **{"x" * 300: "y" * 100_000, "bad": "\ud800", "none": None, "nan": float("nan")})
    vagus.event("many", **{f"f{i}": i for i in range(500)})
    vagus.sample("app.q", {"queue": "x" * 1000}, depth=3, missing=None)
    vagus.sample("not a kind", depth=3)
    vagus.sample("app.q", depth="three")
    vagus.sample("app.q")
    bodies = sent.take()
    assert len(bodies) == 4
    assert sent.emitter.failed == 3
    assert "fields" in sent.emitter.last_error
    for body in bodies:
        read_parcel(msgspec.msgpack.encode({"samples" if "kind" in body else "events": [body]}), "n1", 0)


def test_an_action_has_a_start_and_an_end(sent):
    with action("transfer", emitter=sent.emitter, file="a") as a:
        a.note(bytes=7)
    with pytest.raises(KeyError), action("transfer", emitter=sent.emitter, guid="mine"):
        raise KeyError("gone")
    start, end, _, failed = sent.take()
    assert [b["event"] for b in (start, end)] == ["transfer.start", "transfer.end"]
    assert start["fields"] == {"guid": a.guid, "file": "a"}
    assert len(a.guid) == 32
    assert end["fields"]["duration_s"] >= 0
    assert {k: end["fields"][k] for k in ("guid", "file", "status", "bytes")} == {
        "guid": a.guid,
        "file": "a",
        "status": 0,
        "bytes": 7,
    }
    assert (failed["level"], failed["fields"]["status"], failed["fields"]["guid"]) == ("error", -1, "mine")
    assert failed["fields"]["error"] == "KeyError: 'gone'"


async def test_functions_are_actions_of_their_own(sent):
    @action("work", emitter=sent.emitter, step=1)
    def work(n: int) -> int:
        return n + 1

    @action("wait", emitter=sent.emitter)
    async def wait() -> str:
        await asyncio.sleep(0)
        return "done"

    assert (work(1), work(2), await asyncio.gather(wait(), wait())) == (2, 3, ["done", "done"])
    bodies = sent.take()
    assert len({b["fields"]["guid"] for b in bodies}) == 4
    assert [b["event"] for b in bodies].count("wait.end") == 2
    assert work.__name__ == "work"


def test_counters_send_their_totals(sent):
    requests = vagus.counter("app.requests", "1", method="GET")
    assert vagus.counter("app.requests", "1", method="GET") is requests
    threads = [threading.Thread(target=lambda: [requests.add() for _ in range(1000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    requests.add(-5)
    last = sent.take()[-1]
    assert (last["kind"], last["labels"], last["values"]) == ("app.requests", {"method": "GET"}, {"total": 4000})
    (sample,) = read_parcel(msgspec.msgpack.encode({"samples": [last]}), "n1", 0)[0]
    assert (sample.stream.fields[0].counter, sample.stream.fields[0].dtype, sample.values) == (True, "u8", (4000,))
    assert sent.take() == []  # not grown
    sent.emitter.counters.update({("x", ((str(i), ""),)): requests for i in range(MAX_COUNTERS)})
    vagus.counter("app.more").add()
    assert sent.emitter.dropped == 1


def test_a_heartbeat_is_a_count_and_a_report(sent, monkeypatch):
    reports = []
    reporter = Reporter(reports.extend)
    monkeypatch.setattr(emit, "REPORTER", reporter)
    for _ in range(3):
        vagus.heartbeat("db")
    assert reporter.flush(5.0)
    assert [(r.subject, r.contexts["heartbeat"].status) for r in reports] == [("service:db", Status.HEALTHY)]
    (body,) = [b for b in sent.take() if b["values"]["total"] == 3]
    assert body["kind"] == "service.heartbeat"
    assert body["labels"]["service"] == "db"
    assert str(os.getpid()) in body["labels"]["instance"]
    monkeypatch.setattr(emit, "MAX_COUNTERS", 10)
    for service in (["no", "name"], None, *range(30)):
        vagus.heartbeat(service)
    assert len(emit._beats) <= 10
    reporter.close()


def test_while_the_node_is_away_the_newest_are_kept(sent):
    sent.away = True
    for i in range(3):
        vagus.event("e", i=i)
    assert sent.emitter.flush(5.0)
    assert sent.emitter.failed == 3
    sent.away = False
    vagus.event("e", i=3)
    assert [b["fields"]["i"] for b in sent.take()] == [0, 1, 2, 3]
    sent.away = True
    vagus.event("old")
    assert sent.emitter.flush(5.0)
    sent.emitter._unsent[0]["t_ns"] -= 61 * 10**9
    assert sent.emitter.flush(5.0)
    assert (sent.emitter._unsent, sent.emitter.dropped) == ([], 1)


def test_the_queue_is_bounded(sent):
    sent.emitter.running = True  # no thread: nothing is taken away
    for i in range(QUEUE + 10):
        vagus.event("e", i=i)
    assert (len(sent.emitter._queue), sent.emitter.dropped) == (QUEUE, 10)
    sent.emitter.running = False
    sent.emitter._queue.clear()


def test_a_forked_child_begins_anew(sent):
    vagus.event("parent")
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        sent.emitter._reset()  # which EMITTER's own hook does
        sent.bodies = []
        vagus.event("child")
        sent.emitter.flush(5.0)
        os.write(write, ",".join(b["event"] for b in sent.bodies).encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"child"
    os.close(read)
    os.close(write)


def test_parcels_go_to_the_gateway_where_there_is_no_socket(tmp_path):
    with serving(MemoryBackend(())) as served:
        parcels = Parcels(lambda: Endpoint(served.url, TOKEN))
        bodies = [
            {"event": "e", "t_ns": NOW_NS, "level": "info", "source": "s", "fields": {}},
            {"kind": "app.q", "t_ns": NOW_NS, "labels": {}, "values": {"depth": 1.0}},
        ]
        parcels.send(bodies * 60)
        parcels.close()
        records = [record for _, record in served.backend.taken]
        assert len(records) == 120
    packed = Parcels(lambda: Endpoint("", "")).pack(bodies)
    assert len(msgspec.msgpack.decode(packed, type=Parcel).samples) == 1


def test_logging_as_netlogger_lines(tmp_path):
    path = tmp_path / "app.log"
    handler = vagus.NetLoggerHandler(path)
    logger = logging.Logger("shop.cart")
    logger.addHandler(handler)
    logger.warning('two "words" = %d', 7, extra={"guid": "g", "n": 3, "ok": True, "prog": "x", "a b": 1})
    try:
        raise ValueError("no")
    except ValueError:
        logger.exception("it broke", extra={"event": "shop.pay.end"})
    handler.close()
    first, second = (read_line(line) for line in path.read_bytes().splitlines())
    assert (first.event, first.level, first.node) == ("shop.cart", Level.WARNING, socket.gethostname())
    assert first.fields == {"msg": 'two "words" = 7', "guid": "g", "n": 3, "ok": True}
    assert (second.event, second.level, second.fields["error"]) == ("shop.pay.end", Level.ERROR, "ValueError: no")


def test_logging_to_the_node(sent):
    logger = logging.Logger("shop.cart")
    logger.addHandler(vagus.NetLoggerHandler())
    logger.critical("two = %d", 7, extra={"n": 3})
    (body,) = sent.take()
    assert (body["event"], body["level"], body["fields"]) == ("shop.cart", "fatal", {"msg": "two = 7", "n": 3})


def test_logging_by_udp(monkeypatch):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        handler = vagus.NetLoggerHandler(sock.getsockname())
        logger = logging.Logger("x")
        logger.addHandler(handler)
        logger.error("hello")
        assert read_line(sock.recv(1000)).fields == {"msg": "hello"}
        failed = []
        monkeypatch.setattr(handler, "handleError", failed.append)
        logger.error("%d", "no number")
        assert len(failed) == 1
        handler.close()
