"""Stand-in for a sky survey: a catalogue, a spectrum and an image of each object over HTTP; runs a command meanwhile.

    python sky.py vagus feed run sloan.yaml --once

/catalogue.csv, /spectra/ID.json, /images/ID.pgm. Each tenth object has no image yet (404).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = 8472
SIDE = 32  # pixels


def catalogue(count: int) -> bytes:
    """Objects: id, where they are, redshift, kind."""
    chance = random.Random(7)
    lines = ["objid,ra,dec,redshift,kind"]
    for number in range(count):
        kind = chance.choice(("GALAXY", "STAR", "QSO"))
        redshift = 0.0 if kind == "STAR" else chance.uniform(0.02, 3.0)
        lines.append(
            f"{1000 + number},{chance.uniform(0, 360):.5f},{chance.uniform(-10, 70):.5f},{redshift:.4f},{kind}"
        )
    return ("\n".join(lines) + "\n").encode()


def image(objid: int) -> bytes:
    """A spot of light as a portable graymap: a line of text, then a byte for each pixel."""
    chance = random.Random(objid)
    width = chance.uniform(2, 8)
    middle = SIDE / 2
    pixels = bytes(
        min(255, int(240 * math.exp(-((x - middle) ** 2 + (y - middle) ** 2) / width**2) + chance.randrange(12)))
        for y in range(SIDE)
        for x in range(SIDE)
    )
    return f"P5 {SIDE} {SIDE} 255\n".encode() + pixels


def spectrum(objid: int) -> bytes:
    """Flux over wavelength."""
    chance = random.Random(objid + 1)
    flux = [round(chance.uniform(0.5, 2.0), 3) for _ in range(20)]
    return json.dumps({"objid": objid, "from_nm": 380, "step_nm": 27, "flux": flux}).encode()


def answer(path: str, count: int) -> tuple[int, bytes]:
    """Status and body."""
    if path == "/catalogue.csv":
        return 200, catalogue(count)
    _, _, rest = path.partition("/")
    folder, _, file = rest.partition("/")
    name, _, suffix = file.partition(".")
    if not name.isdigit() or not 1000 <= int(name) < 1000 + count:
        return 404, b""
    if (folder, suffix) == ("spectra", "json"):
        return 200, spectrum(int(name))
    if (folder, suffix) == ("images", "pgm") and int(name) % 10 != 9:
        return 200, image(int(name))
    return 404, b""


@contextlib.contextmanager
def serving(port: int = PORT, count: int = 50) -> Iterator[str]:
    """Serves on loopback; gives the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, body = answer(self.path, count)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def main() -> int:
    """The command's exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--count", type=int, default=50, help="objects")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    given = parser.parse_args()
    if not given.command:
        parser.error("which command is to run?")
    with serving(given.port, given.count):
        return subprocess.run(given.command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
