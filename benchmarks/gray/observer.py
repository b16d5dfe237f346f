"""A node's observer as a process: the actor as it is, its settings the default ones, what it concludes a line each.

    python -m benchmarks.gray.observer '{"node": "n1", "home": ..., "strategy": "paper", "peers": {"n1": ADDRESS}}'

Prints {"t": monotonic seconds, "node", "subject", "status", "contexts": {context: [status, [accuser]]}}.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from vagus.actors.base import Seat
from vagus.actors.observer import ObserverActor
from vagus.config import Config, GatewaySettings, HealthSettings, node_folder
from vagus.errors import PeerUnreachable
from vagus.model import Inference, Status

PORT = 7070
KEY = bytes(range(32))


class NoLinks:
    """There is no other actor on these nodes."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        raise PeerUnreachable(actor)

    def nodes(self) -> tuple[str, ...]:
        return ()


async def serve(node: str, home: str, strategy: str, peers: dict[str, str]) -> None:
    """Until the process is ended."""
    config = Config(gateway=GatewaySettings(bind="node"), health=HealthSettings(strategy=strategy, port=PORT))
    options = {"key": KEY, "address": peers[node], "peers": {name: (address, PORT) for name, address in peers.items()}}
    actor = ObserverActor(Seat("observer", node, home, config, options=options), NoLinks())
    await actor.begin()
    folder = node_folder(Path(home), node)
    (folder / "token").write_text("none")
    # how programs find the node; there is no gateway, and none is needed
    found = {"url": "http://127.0.0.1:9", "token_file": str(folder / "token"), "node": node, "pid": os.getpid()}
    (folder / "gateway.json").write_text(json.dumps(found))

    def tell(inference: Inference, was: Status) -> None:
        contexts = {name: [found.status.name, found.accusers] for name, found in inference.contexts.items()}
        said = {"t": time.monotonic(), "node": node, "subject": inference.subject, "status": inference.status.name}
        print(json.dumps({**said, "contexts": contexts}), flush=True)

    actor.verdicts.changed.append(tell)
    print(json.dumps({"ready": node}), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(**json.loads(sys.argv[1])))
