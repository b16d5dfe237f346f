"""Stores and reads files over HTTP (WebDAV)."""

import http.client
import os

import vagus
from benchmarks.gray.clients.loop import Step, forever


def connect(name: str, host: str, port: int) -> Step:
    connection = http.client.HTTPConnection(host, port)
    reading, writing = (vagus.observe(f"nginx@{name}", context) for context in ("read", "store"))
    path = f"/files/{os.uname().nodename}"

    def ask(method: str, path: str, body: bytes | None = None) -> None:
        connection.request(method, path, body)
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 400:
            raise OSError(f"{method} {path}: status {answer.status}")

    def step() -> None:
        with writing:
            ask("PUT", path, b"y" * 2000)
        with reading:
            ask("GET", "/files/page")

    return step


if __name__ == "__main__":
    forever(connect)
