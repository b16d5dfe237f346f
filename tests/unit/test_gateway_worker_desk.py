"""Answers of a worker leave after the decisions in them, however slow the collector is to take these."""

import asyncio
import socket

from vagus.gateway import worker_wire as wire
from vagus.gateway.worker import Collector, Desk
from vagus.model import Decision


class Client:
    """A connection's transport."""

    def __init__(self):
        self.answers = []
        self.reads = True

    def write(self, answer):
        self.answers.append(answer)

    def pause_reading(self):
        self.reads = False

    def resume_reading(self):
        self.reads = True

    def is_closing(self):
        return False


async def test_no_answer_leaves_before_its_decision_has():
    ours, theirs = socket.socketpair()
    drained = asyncio.Event()
    setup = wire.Setup("n1", (("", "t" * 16),), (), (), 1 << 20, False, "", ())
    link = wire.Link(ours, lambda body: None, lambda: None, lambda: (desk.drained(), drained.set()))
    node = Collector(setup, link)
    desk, client = Desk(node, None), Client()
    sent = 0
    while client.reads:  # the collector reads nothing: soon there is no room for what was decided
        node.decided(Decision(f"{sent}", 1, "g" * 400, "a", 0.5, 0))
        desk.write(client, b"answer")
        sent += 1
        await asyncio.sleep(0)
    written = len(client.answers)
    assert written < sent
    heard = []
    reader = wire.Link(theirs, lambda body: heard.extend(wire.up(body).decisions), lambda: None)
    assert written <= len(heard) + theirs.recv(1 << 22, socket.MSG_PEEK).count(b"g" * 400), "these are on their way"
    await asyncio.wait_for(drained.wait(), 5)
    assert len(client.answers) == sent
    assert client.reads
    for end in (link, reader):
        end.close()
