"""What the social network costs: CPU time of each service for each type of request, and latencies without limits.

python measure.py [--requests 400] [--rate 45] [--seconds 60] [-o demands.json]

Deploys it, asks one type of request after the other at a steady rate that disturbs nobody, and divides what each
service used, less what it uses when nobody asks. Then asks all types at --rate, with exponential arrivals, latency
counted from when a request was due.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp

from vagus.cli.application import Deployment, load
from vagus.cli.openloop.contents import Contents

HERE = Path(__file__).parent
IDLE_S = 5.0
WARM = 60  # requests of each type, not counted


class Asker:
    """Asks the entry of a deployment, open loop."""

    def __init__(self, app: Deployment, seed: int) -> None:
        self.requests = app.settings.requests
        self._url = app.urls(app.settings.entry)[0]
        self._contents = Contents(self.requests, app.settings.users, seed)
        self._rng = random.Random(seed)
        self.latencies_s: list[float] = []
        self.failed = 0

    async def ask(self, types: Sequence[int], rate: float) -> None:
        """These types in order, at so many a second; returns when all are answered."""
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            due_s, under_way = time.monotonic(), []
            for number in types:
                due_s += self._rng.expovariate(rate)
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
                under_way.append(asyncio.ensure_future(self._one(session, number, due_s)))
            await asyncio.gather(*under_way)

    async def _one(self, session: aiohttp.ClientSession, number: int, due_s: float) -> None:
        method, path, body = self._contents.next(number)
        try:
            async with session.request(method.decode(), self._url + path.decode(), data=body or None) as answer:
                await answer.read()
                good = answer.status == 200
        except (aiohttp.ClientError, asyncio.TimeoutError):
            good = False
        if good:
            self.latencies_s.append(time.monotonic() - due_s)
        else:
            self.failed += 1


async def demands(app: Deployment, count: int, rate: float) -> dict[str, dict[str, float]]:
    """CPU milliseconds by service and type."""
    found: dict[str, dict[str, float]] = {service: {} for service in app.usage()}
    before = app.usage()
    await asyncio.sleep(IDLE_S)
    idle = {service: (used - before[service]) / IDLE_S for service, used in app.usage().items()}
    for number, request in enumerate(app.settings.requests):
        asker = Asker(app, number)
        await asker.ask([number] * WARM, rate)
        await asyncio.sleep(0.5)  # what was done in the background
        before, begun_s = app.usage(), time.monotonic()
        await asker.ask([number] * count, rate)
        await asyncio.sleep(0.5)
        took_s = time.monotonic() - begun_s
        for service, used in app.usage().items():
            own_s = max(0.0, used - before[service] - idle[service] * took_s)
            found[service][request.name] = round(own_s / count * 1e3, 3)
        if asker.failed:
            raise SystemExit(f"{asker.failed} of {count} requests of type {request.name} failed")
    return found


def quantile(sorted_s: Sequence[float], share: float) -> float:
    return sorted_s[min(len(sorted_s) - 1, int(share * len(sorted_s)))]


async def loaded(app: Deployment, rate: float, for_s: float) -> None:
    """Prints latencies and cores at this rate, with the mix of app.yaml."""
    weights = [request.weight for request in app.settings.requests]
    types = random.Random(0).choices(range(len(weights)), weights, k=round(rate * for_s))
    asker = Asker(app, 99)
    before, begun_s = app.usage(), time.monotonic()
    await asker.ask(types, rate)
    took_s = time.monotonic() - begun_s
    cores = {service: (used - before[service]) / took_s for service, used in app.usage().items()}
    found = sorted(asker.latencies_s)
    told = ", ".join(f"P{100 * q:g} {1e3 * quantile(found, q):.1f} ms" for q in (0.5, 0.9, 0.99, 0.999))
    print(f"\n{len(types)} requests at {rate:g}/s: {told}; {asker.failed} failed")
    print(f"cores: {sum(cores.values()):.3f} in all; " + ", ".join(f"{name} {c:.3f}" for name, c in cores.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", type=Path, default=HERE / "app.yaml")
    parser.add_argument("--requests", type=int, default=400, help="of each type")
    parser.add_argument("--steady", type=float, default=25.0, help="requests a second of one type")
    parser.add_argument("--rate", type=float, default=45.0, help="requests a second of all types")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("-o", "--output", type=Path, help="write the demands there: {service: {type: cpu_ms}}")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="social-") as run,
        Deployment(load(options.app), options.app.parent, Path(run)) as app,
    ):
        found = asyncio.run(demands(app, options.requests, options.steady))
        types = [request.name for request in app.settings.requests]
        print("CPU ms".ljust(16) + "".join(f"{name:>10}" for name in types))
        for service, row in found.items():
            print(service.ljust(16) + "".join(f"{row[name]:10.2f}" for name in types))
        print("all".ljust(16) + "".join(f"{sum(row[name] for row in found.values()):10.2f}" for name in types))
        if options.seconds:
            asyncio.run(loaded(app, options.rate, options.seconds))
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
