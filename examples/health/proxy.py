"""Full indirection through an HTTP proxy: one that looks at the client alone would blame the proxy for what hangs
behind it. The header of `carry` travels with the request, and the backend meets it.

python examples/health/proxy.py [--dry-run]        then: vagus health backend@2
"""

from __future__ import annotations

import asyncio

import aiohttp
import said
from aiohttp import web

import vagus

PATIENCE = aiohttp.ClientTimeout(total=0.8)


async def serve(handler: web.RequestHandler) -> tuple[web.ServerRunner, str]:
    runner = web.ServerRunner(web.Server(handler), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner, "http://{}:{}".format(*runner.addresses[0])


async def well(request: web.BaseRequest) -> web.Response:
    answer = web.Response(text="42")
    vagus.sink(request.headers, subjects=("backend@*",))  # it can answer: the request is met
    return answer


async def hangs(request: web.BaseRequest) -> web.Response:
    await asyncio.sleep(3600)
    return web.Response()


async def main() -> None:
    said.begin()
    (one, url_one), (two, url_two) = await serve(well), await serve(hangs)
    backends = {"backend@1": url_one, "backend@2": url_two}

    async def forward(request: web.BaseRequest) -> web.Response:
        target = backends[request.path.strip("/")]
        try:
            async with (
                aiohttp.ClientSession(timeout=PATIENCE) as out,
                out.get(target, headers=request.headers) as answer,
            ):
                return web.Response(text=await answer.text(), status=answer.status)
        except asyncio.TimeoutError:
            return web.Response(status=504)

    proxy, url = await serve(forward)
    async with aiohttp.ClientSession() as session:
        for name in backends:
            sent = vagus.origin(name, "get", observer="api", expire_s=0.3)
            async with session.get(f"{url}/{name}", headers=sent.carry()) as response:
                print(name, "through the proxy:", response.status, await response.text())
    for runner in (proxy, one, two):
        await runner.cleanup()
    said.end()


if __name__ == "__main__":
    asyncio.run(main())
