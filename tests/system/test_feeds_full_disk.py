"""A disk that is really full under the archive of feeds: it is told, items still come, and it goes on once there is room."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PATIENCE

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="mounting a tmpfs needs root"),
    pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed"),
]

FULL = """
import asyncio, json, os, sys
from vagus.actors.feed_archive import FeedArchive
from vagus.actors.feed_runner import FeedRunner
from vagus.clock import ManualClock
from vagus.feeds import Fetched, Net, Raw
from vagus.feeds.engine import Engine
from vagus.feeds.feed import all_, base
from vagus.feeds.when import every
from vagus.store import Store

disk = sys.argv[1]

class Source:
    async def fetch(self, location, timeout_s, max_bytes):
        return Fetched(Net.OK, os.urandom(20_000))
    async def close(self):
        pass

async def main():
    clock, told, items = ManualClock(), [], []
    archive = FeedArchive(disk + "/a", clock=clock, failed=lambda where, error: told.append(str(error)))
    await archive.open()
    feed = base(all_("http://a/", "http://b/"), every("10s", timeout="5s"), "text")
    runner = FeedRunner(
        Engine({"f": feed}, now_ns=clock.time_ns()), {("", "http"): Source()}, archive, clock=clock,
        emit=lambda emit: items.append(emit), failed=lambda where, error: told.append(str(error)),
    )
    async def ticks(count):
        begun = len(items)
        for _ in range(count):
            clock.advance(10.0)
            runner.tick()
            await runner.idle()
        return len(items) - begun
    def stored():
        return len({(raw.meta.location, raw.meta.due_ns) for raw in archive.read("f")})
    out = {"good": await ticks(5), "told_good": len(told), "stored_good": stored()}
    filler = os.open(disk + "/filler", os.O_WRONLY | os.O_CREAT)
    try:
        while os.write(filler, bytes(4096)):
            pass
    except OSError:
        os.close(filler)
    out["full"] = await ticks(30)
    figures = runner.figures()
    out["claimed_full"], out["stored_full"], out["told"] = figures["archived"], stored(), told[-1] if told else ""
    out["unarchived"] = figures["unarchived"]
    os.unlink(disk + "/filler")
    told.clear()
    out["after"], out["told_after"] = await ticks(5), len(told)
    out["claimed"], out["stored"] = runner.figures()["archived"], stored()
    await runner.stop()
    await archive.close()
    print(json.dumps(out))

asyncio.run(main())
"""


def test_items_come_and_nothing_is_claimed_that_is_not_there(tmp_path: Path) -> None:
    script = 'mount -t tmpfs -o size=8m none "$1" && exec "$2" -c "$3" "$1"'
    argv = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), sys.executable, FULL]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=60 * PATIENCE, check=False)
    if "mount:" in result.stderr:
        pytest.skip(f"no tmpfs can be mounted here: {result.stderr.strip()[:100]}")
    found = json.loads(result.stdout or result.stderr)
    assert (found["good"], found["told_good"], found["stored_good"]) == (10, 0, 10)
    assert found["full"] == 60
    assert "the disk is full" in found["told"]
    assert found["unarchived"] > 0
    assert found["claimed_full"] <= found["stored_full"]
    assert (found["after"], found["told_after"]) == (10, 0)
    assert found["claimed"] <= found["stored"]
