"""While a worker is not there, the gateway serves in its place, on the same port."""

import asyncio
import errno
import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import TOKEN, MemoryBackend
from raw_http import Talk, decide

from vagus.gateway import workers
from vagus.gateway.server import Gateway


async def test_no_connection_waits_for_a_process(monkeypatch):
    monkeypatch.setattr(workers.sys, "executable", shutil.which("false"))  # dies at once, again and again
    gateway = Gateway(MemoryBackend(), token=TOKEN, processes=3)
    await gateway.start()
    try:
        for _ in range(20):  # the kernel spreads them over the three
            async with Talk(gateway.url) as talking:
                await talking.say(decide())
                (made,) = await talking.hear(1)
                assert made.status == 200
        assert gateway.workers.pids == []
    finally:
        await gateway.stop()


async def test_without_descriptors_it_tries_again(monkeypatch):
    monkeypatch.setattr(workers.sys, "executable", shutil.which("false"))
    monkeypatch.setattr(workers, "RETRY_S", 0.01)
    refused = asyncio.Event()
    gateway = Gateway(MemoryBackend(), token=TOKEN, processes=2)
    await gateway.start()
    (one,) = gateway.workers._workers[:1]
    (other,) = gateway.workers._workers[1:]
    real = (one.listening, other.listening)

    class Full:
        def __init__(self, socket):
            self.fileno, self.close = socket.fileno, socket.close

        def accept(self):
            refused.set()
            raise OSError(errno.EMFILE, "too many open files")

    one.listening, other.listening = map(Full, real)
    try:
        async with Talk(gateway.url) as talking:
            await talking.say(decide())
            await asyncio.wait_for(refused.wait(), 5)
            one.listening, other.listening = real
            (made,) = await talking.hear(1)
            assert made.status == 200
    finally:
        await gateway.stop()
