"""Fetches pages over HTTP connections that it keeps open, four of them."""

import http.client

import vagus
from benchmarks.gray.clients.loop import Step, forever


def connect(name: str, host: str, port: int) -> Step:
    connection = http.client.HTTPConnection(host, port)

    @vagus.observe(f"nginx@{name}", "page")
    def step() -> None:
        connection.request("GET", "/pages/page")
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")

    return step


if __name__ == "__main__":
    forever(connect, threads=4)
