"""A small real service of the demo: burns CPU per request, calls the next one, and says what it observes of it.

python -m vagus.cli.demo.service NAME WORK_MS [NEXT_URL]      prints its port on the first line
"""

from __future__ import annotations

import ctypes
import http.client
import os
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from vagus.client.observe import observe

PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """The kernel ends this process when its parent is gone: nothing of the demo outlives it."""
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def burn(work_s: float) -> None:
    """Uses so many seconds of this thread's CPU time."""
    until = time.thread_time() + work_s
    while time.thread_time() < until:
        pass


def call(url: str, timeout_s: float = 5.0) -> int:
    """GET; the status. Raises OSError or http.client.HTTPException."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def serve(name: str, work_s: float, next_url: str) -> None:
    """Serves on a free port of loopback until it is ended."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            burn(work_s)
            status = 200
            if next_url:
                try:
                    with observe("demo:db", context="call", observer=f"demo:{name}"):
                        call(next_url)
                except (OSError, http.client.HTTPException):
                    status = 502
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    server.serve_forever()


if __name__ == "__main__":
    die_with_parent()
    if sys.argv[1] == "hog":
        while True:
            burn(60.0)
    serve(sys.argv[1], float(sys.argv[2]) / 1000, sys.argv[3] if len(sys.argv) > 3 else "")
