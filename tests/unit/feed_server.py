"""A small real HTTP server for feeds: bodies by path, what was asked, and a path whose answer is given by hand."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

REPORT = (
    "Date: 1202486984.709880\nVMStat: 10 14 64 22320\nCPUUse: 60 100\nDNSFail: 0.0 -1.0\nRWFS: 221\n1minload: {load}\n"
)


class FeedServer:
    """`bodies` by path; a path that is not there is a 404. asked: the paths, in order; `more` is told of each."""

    def __init__(self) -> None:
        self.url = ""
        self.bodies: dict[str, bytes] = {
            f"/{name}": REPORT.format(load=load).encode() for name, load in (("a", 0.5), ("b", 7), ("c", 2.25))
        }
        self.bodies["/broken"] = REPORT.format(load="very").encode()
        self.asked: list[str] = []
        self.more = threading.Condition()

    def wait_for(self, count: int) -> None:
        """Returns when so many were asked."""
        with self.more:
            assert self.more.wait_for(lambda: len(self.asked) >= count, 20)


@contextmanager
def serve_feeds() -> Iterator[FeedServer]:
    """One on a free port of loopback."""
    served = FeedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = served.bodies.get(self.path)
            with served.more:
                served.asked.append(self.path)
                served.more.notify_all()
            with contextlib.suppress(ConnectionError):  # the client was stopped
                self.send_response(404 if body is None else 200)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
