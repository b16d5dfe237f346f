"""What a gateway and its workers say to each other: frames in pieces, too long, unread; connections with their bytes."""

import asyncio
import os
import socket

import pytest

from vagus.gateway import worker_wire as wire
from vagus.model import Ack, Decision, Reward


def pair(kind=socket.SOCK_STREAM):
    return socket.socketpair(socket.AF_UNIX, kind)


class End:
    """One end of a link: what it has heard, and whether the other is gone."""

    def __init__(self, one):
        self.heard = asyncio.Queue()
        self.lost = asyncio.Event()
        self.drained = asyncio.Event()
        self.link = wire.Link(one, self.heard.put_nowait, self.lost.set, self.drained.set)

    async def next(self):
        return await asyncio.wait_for(self.heard.get(), 5)


DECISION = Decision("id", 5, "g", "a", 0.5, 3, ("a", "b"), {"isp": "x", "n": 1, "load": 0.5})


async def test_records_arrive_as_they_were_sent():
    ours, theirs = pair()
    up, down = End(ours), End(theirs)
    for record in (wire.Decided((DECISION,)), wire.Rewarded(7, (Reward("id", 6, 1.5),)), wire.Ready(), wire.Stale()):
        up.link.send(record)
        assert wire.up(await down.next()) == record
    for record in (wire.Table(b"x"), wire.Answered(7, (Ack.ACCEPTED,)), wire.Stop(), wire.Live({"a": 1})):
        down.link.send(record)
        assert wire.down(await up.next()) == record
    down.link.close()
    await asyncio.wait_for(up.lost.wait(), 5)
    up.link.send(wire.Ready())  # to nobody
    assert not down.lost.is_set()


async def test_frames_come_in_pieces_and_several_at_once():
    ours, theirs = pair()
    end = End(ours)
    frames = b"".join(wire.LENGTH.pack(len(body)) + body for body in (b"one", b"", b"x" * 100))
    for at in range(len(frames)):
        theirs.send(frames[at : at + 1])
        await asyncio.sleep(0)
    assert [await end.next() for _ in range(3)] == [b"one", b"", b"x" * 100]
    theirs.send(wire.LENGTH.pack(wire.MAX_FRAME_BYTES + 1))
    await asyncio.wait_for(end.lost.wait(), 5)
    theirs.close()


async def test_what_nobody_reads_waits_and_goes_out_later():
    ours, theirs = pair()
    end = End(ours)
    sent = wire.Table(b"x" * (4 << 20))
    end.link.send(sent)
    end.link.send(wire.Stop())
    assert end.link.backlog > 1 << 20
    reader = End(theirs)
    assert wire.down(await reader.next()) == sent
    assert wire.down(await reader.next()) == wire.Stop()
    await asyncio.wait_for(end.drained.wait(), 5)
    assert end.link.backlog == 0
    end.link.close()
    reader.link.close()


@pytest.mark.parametrize("size", [0, 1, wire.PART_BYTES, wire.PART_BYTES + 1, 5 * wire.PART_BYTES])
async def test_a_connection_moves_with_what_was_read_of_it(size):
    ours, theirs = pair(socket.SOCK_SEQPACKET)
    arrived = asyncio.Queue()
    moved = wire.Moved(theirs, lambda one, data: arrived.put_nowait((one, data)))
    movers = wire.Movers(ours)
    client, served = socket.socketpair()
    data = os.urandom(size)
    assert movers.move(os.dup(served.fileno()), data)
    served.close()
    one, came = await asyncio.wait_for(arrived.get(), 5)
    assert came == data
    one.send(b"hello")
    assert client.recv(10) == b"hello"
    one.close()
    assert client.recv(10) == b""  # nobody else has it
    client.close()
    moved.close()
    ours.close()


async def test_many_connections_wait_until_they_are_taken_and_no_more_than_allowed(monkeypatch):
    monkeypatch.setattr(wire, "MAX_MOVING", 20)
    ours, theirs = pair(socket.SOCK_SEQPACKET)
    movers = wire.Movers(ours)
    pairs = [socket.socketpair() for _ in range(60)]
    taken = 0
    refused = []
    for _, served in pairs:
        descriptor = os.dup(served.fileno())
        if movers.move(descriptor, b"x" * (2 * wire.PART_BYTES)):
            taken += 1
        else:
            refused.append(descriptor)
    assert refused
    for descriptor in refused:
        os.close(descriptor)
    arrived = asyncio.Queue()
    moved = wire.Moved(theirs, lambda one, data: arrived.put_nowait((one, data)))
    for _ in range(taken):
        one, data = await asyncio.wait_for(arrived.get(), 5)
        assert len(data) == 2 * wire.PART_BYTES
        one.close()
    moved.close()
    ours.close()
    for one in pairs:
        for end in one:
            end.close()


async def test_half_a_connection_is_closed_with_the_worker():
    ours, theirs = pair(socket.SOCK_SEQPACKET)
    client, served = socket.socketpair()
    moved = wire.Moved(theirs, lambda *_: pytest.fail("not all has come"))
    socket.send_fds(ours, [(2).to_bytes(4, "big") + b"half"], [served.fileno()])
    served.close()
    ours.close()
    client.setblocking(False)
    assert await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 10), 5) == b""
    client.close()
    moved.close()
