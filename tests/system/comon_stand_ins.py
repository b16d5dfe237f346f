"""Twelve stand-in nodes of CoMon, each a real server with a report and a slice dump of its own, and a list of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_server
from typing import NamedTuple

LOADS = (7.5, 0.25, 3.0, 12.0, 1.5, 0.75, 4.5, 9.0, 2.25, 0.5, 6.0, 5.25)  # of node0, node1 …
LOW_DISK, OFF_CLOCK = 9, 5  # the numbers of the nodes that have these


class StandIns(NamedTuple):
    """hosts: HOST:PORT of the twelve; silent: of one more that refuses; nodelist: a file with all, and a comment."""

    hosts: tuple[str, ...]
    silent: str
    nodelist: Path


def report(number: int) -> str:
    """What node NUMBER says of itself."""
    return (
        f"Date: 1202486984.709880\nName: node{number}\nUptime: 3600\nVMStat: {' '.join(['10'] * 16)}\nCPUUse: 60 100\n"
        f"1minload: {LOADS[number]}\n5minload: {LOADS[number]}\nMemSize: 2048\nFreeMem: 512\n"
        f"GbFree: {0.5 if number == LOW_DISK else 40}\nDrift: {90 if number == OFF_CLOCK else -0.01}\n"
        "DNSFail: 0.0 -1.0\nRWFS: 221\nLiveSlices: 2\n"
    )


def slices(number: int) -> str:
    """What runs on node NUMBER: comon everywhere, and a slice of its own."""
    own = f"   0    1    2    3    4   5  60.0  80.0 {number:4d}.0  3.0      7      9 slice{number}\n"
    comon = "   1    0    0    0    0   2  10.0  20.0  1.0  0.5      0      0 princeton_comon\n"
    return f"Start: 1177560002 Thu Apr 26 04:00:02 2007\nNode: node{number}\n{own}{comon}\n"


@contextmanager
def stand_ins(folder: Path) -> Iterator[StandIns]:
    """They answer on ports of loopback of their own; the list is written into the folder."""
    servers = [_server(number) for number in range(len(LOADS))]
    threads = [threading.Thread(target=one.serve_forever, kwargs={"poll_interval": 0.01}) for one in servers]
    for thread in threads:
        thread.start()
    with create_server(("127.0.0.1", 0)) as closed:
        silent = f"127.0.0.1:{closed.getsockname()[1]}"
    hosts = tuple(f"127.0.0.1:{one.server_address[1]}" for one in servers)
    nodelist = folder / "nodelist"
    nodelist.write_text("\n".join(["#planck227.test.ibbt.be", *hosts, silent]) + "\n")
    try:
        yield StandIns(hosts, silent, nodelist)
    finally:
        for server, thread in zip(servers, threads, strict=True):
            server.shutdown()
            thread.join()
            server.server_close()


def _server(number: int) -> ThreadingHTTPServer:
    bodies = {"/": report(number).encode(), "/slices": slices(number).encode()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            body = bodies.get(self.path, b"")
            self.send_response(200 if body else 404)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    return server
