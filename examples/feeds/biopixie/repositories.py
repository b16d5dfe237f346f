"""Stand-in for bioPixie's repositories, each with its own habits; runs a command while they are there.

    python repositories.py vagus feed run biopixie.yaml --once

/geo/expression.csv.gz      a large dump that never changes: an ETag, so that asking again costs a 304
/physical/interactions.csv  a new release every few times; Last-Modified
/curated/pairs.tsv          answers 500; /mirror/pairs.tsv has the same
/binding/sites.csv.bz2      each second time cut off in the middle
"""

from __future__ import annotations

import argparse
import bz2
import contextlib
import email.utils
import gzip
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8471
RELEASE = 3  # times that a release is asked for before the next one is there
T0_S = 1_790_000_000


def rows(seed: int, count: int, sep: str, *columns: str) -> bytes:
    """A table of gene pairs with a number each."""
    chance = random.Random(seed)
    lines = [sep.join(("gene_a", "gene_b", *columns))]
    for _ in range(count):
        one, other = chance.sample(range(60), 2)
        lines.append(sep.join((f"YAL{one:03}W", f"YAL{other:03}W", *(f"{chance.uniform(-1, 1):.4f}" for _ in columns))))
    return ("\n".join(lines) + "\n").encode()


class Repositories:
    """What was asked for, and how it was answered."""

    def __init__(self, count: int) -> None:
        self.expression = gzip.compress(rows(1, count, ",", "correlation"), mtime=0)
        self.asked: Counter[str] = Counter()
        self.lock = threading.Lock()

    def answer(self, path: str, conditions: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        """Status, headers, body."""
        with self.lock:
            time = self.asked[path]
            self.asked[path] += 1
        if path == "/geo/expression.csv.gz":
            tag = {"ETag": '"platform-1"'}
            return (304, tag, b"") if conditions.get("If-None-Match") == tag["ETag"] else (200, tag, self.expression)
        if path == "/physical/interactions.csv":
            release = time // RELEASE
            changed = {"Last-Modified": email.utils.formatdate(T0_S + release * 2_600_000, usegmt=True)}
            if conditions.get("If-Modified-Since") == changed["Last-Modified"]:
                return 304, changed, b""
            return 200, changed, rows(100 + release, 300, ",", "score")
        if path == "/mirror/pairs.tsv":
            return 200, {}, rows(2, 200, "\t", "confidence")
        if path == "/binding/sites.csv.bz2":
            body = bz2.compress(rows(3, 150, ";", "affinity"))
            return 200, {}, body if time % 2 else body[: len(body) // 2]
        return 500 if path.startswith("/curated/") else 404, {}, b""


@contextlib.contextmanager
def serving(port: int = PORT, count: int = 20_000) -> Iterator[Repositories]:
    """Runs them on loopback. count: rows of the large dump."""
    repositories = Repositories(count)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, headers, body = repositories.answer(self.path, dict(self.headers.items()))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield repositories
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--rows", type=int, default=20_000, help="of the large dump")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("which command is to run?")
    with serving(given.port, given.rows) as repositories:
        status = subprocess.run(given.command, check=False).returncode
        print("asked:", *(f"{path} {count}" for path, count in sorted(repositories.asked.items())), file=sys.stderr)
        return status


if __name__ == "__main__":
    sys.exit(main())
