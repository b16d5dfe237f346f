"""Keeps things in memcached, over four connections."""

from pymemcache.client.base import Client

import vagus
from benchmarks.gray.clients.loop import Step, forever


def connect(name: str, host: str, port: int) -> Step:
    client = Client((host, port))

    @vagus.observe(f"memcached@{name}", "cache")
    def step() -> None:
        client.set("greeting", "hello")
        client.get("greeting")

    return step


if __name__ == "__main__":
    forever(connect, threads=4)
