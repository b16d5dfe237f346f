"""Keeps sessions in Redis."""

import redis

import vagus
from benchmarks.gray.clients.loop import Step, forever


def connect(name: str, host: str, port: int) -> Step:
    client = redis.Redis(host, port)

    @vagus.observe(f"redis@{name}", "session")
    def step() -> None:
        client.set("session:1", "somebody", ex=60)
        client.get("session:1")

    return step


if __name__ == "__main__":
    forever(connect)
