"""A process that sends a load: `python -m vagus.cli.openloop PLAN.json`. See the package for what it prints."""

from __future__ import annotations

import asyncio
import gc
import queue
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from vagus.cli.openloop.log import Log, write_log
from vagus.cli.openloop.plan import Plan, read_plan
from vagus.cli.openloop.sender import Sender
from vagus.cli.openloop.windows import Window, field_of
from vagus.errors import VagusError


def main(path: str) -> int:
    """The exit status: 0, or 1 after an error, which one line on standard error says."""
    try:
        perform(read_plan(Path(path)))
    except VagusError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def perform(plan: Plan) -> None:
    """Sends it, and writes its log. Raises VagusError."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a connection for each request on its way
    told: queue.SimpleQueue[Any] = queue.SimpleQueue()
    sample = _sampler(plan) if plan.sample else None

    def tell(window: Window) -> None:
        told.put(window)
        if sample is not None:
            sample(window)

    sender = Sender(plan, tell)
    printing = threading.Thread(target=_print, args=(told, sender.stop), daemon=True)
    printing.start()
    gc.collect()
    gc.freeze()  # what is there stays: later collections are short
    cpu_s = time.process_time()
    _run(sender, told)
    cpu_s = time.process_time() - cpu_s
    log, unknown = _log(sender)
    if plan.log:
        write_log(Path(plan.log), log)
    late = log.late_s[~np.isnan(log.late_s)]
    told.put(
        {
            "ended": {
                "requests": len(log.type),
                "failed": int(np.isinf(log.latency_s).sum()),
                "failures": dict(sender.failures.most_common()),
                "unknown": unknown,  # on their way when it was interrupted
                "interrupted": sender.stopped,
                "late_p99_s": float(np.quantile(late, 0.99, method="inverted_cdf")) if len(late) else 0.0,
                "cpu_s": cpu_s,
                "problem": sender.endpoints.problem,
                "log": plan.log,
            }
        }
    )
    told.put(None)
    printing.join(5.0)


def _run(sender: Sender, told: queue.SimpleQueue[Any]) -> None:
    import uvloop

    async def run() -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, sender.stop)
        sender.endpoints.look()
        begin_ns = sender.begin()
        told.put({"begun": {"begin_ns": begin_ns, "requests": len(sender.tally.due_s)}})
        await sender.run()

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(run())
    finally:
        loop.close()


def _log(sender: Sender) -> tuple[Log, int]:
    """The log of what was due until the end, without what was on its way when it was interrupted; how many these are."""
    tally, plan = sender.tally, sender.plan
    known = np.flatnonzero(~np.isnan(tally.latency_s[: sender.sent]))
    log = Log(tally.due_s[known], tally.latency_s[known], tally.late_s[known], tally.types[known], tally.names, plan)
    return log, sender.sent - len(known)


def _print(told: queue.SimpleQueue[Any], stop: Any) -> None:
    """Lines from a thread of their own: a reader who is slow, or gone, must not hold requests up."""
    try:
        while (line := told.get()) is not None:
            sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
            sys.stdout.buffer.flush()
    except OSError:  # nobody reads any longer: who started this is gone
        stop()


def _sampler(plan: Plan) -> Any:
    import vagus

    def sample(window: Window) -> None:
        types = {f"{field_of(name)}_hz": hz for name, hz in window.types_hz.items()}
        vagus.sample(
            "ingress",
            {"app": plan.name},
            p50_s=window.p50_s,
            p99_s=window.p99_s,
            rate_hz=window.rate_hz,
            failed_ratio=window.failed_ratio,
            **types,
        )

    return sample


if __name__ == "__main__":
    if len(sys.argv) != 2:
        print("usage: python -m vagus.cli.openloop PLAN.json", file=sys.stderr)
        sys.exit(2)
    sys.exit(main(sys.argv[1]))
