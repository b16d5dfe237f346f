"""Fetches what only a signed link with an end of its validity gives, as object stores have them."""

import base64
import hashlib
import http.client
import time

import vagus
from benchmarks.gray.clients.loop import Step, forever
from benchmarks.gray.servers import SIGNING_KEY

VALID_S = 300


def signed(path: str) -> str:
    ends = int(time.time()) + VALID_S
    digest = hashlib.md5(f"{ends}{path} {SIGNING_KEY}".encode()).digest()
    return f"{path}?md5={base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}&expires={ends}"


def connect(name: str, host: str, port: int) -> Step:
    connection = http.client.HTTPConnection(host, port)

    @vagus.observe(f"nginx@{name}", "signed")
    def step() -> None:
        connection.request("GET", signed("/signed/page"))
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise OSError(f"status {answer.status}")

    return step


if __name__ == "__main__":
    forever(connect)
