"""An address that holds a secret, opened in a browser by way of one that is good once.

Every user of a machine may read the arguments of all programs, and a browser keeps its own for as long as it runs.
"""

from __future__ import annotations

import secrets
import threading
import webbrowser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAIT_S = 15.0


def open_in_browser(url: str, wait_s: float = WAIT_S) -> bool:
    """Whether a browser was started, and came for the address within `wait_s`."""
    path = f"/{secrets.token_urlsafe(16)}"
    asked, gone = threading.Lock(), threading.Event()

    class Once(BaseHTTPRequestHandler):
        timeout = 5.0

        def do_GET(self) -> None:
            if not secrets.compare_digest(self.path.encode(), path.encode()) or not asked.acquire(blocking=False):
                self.send_error(404)
                return
            self.send_response(303)
            self.send_header("Location", url)
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            gone.set()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing of it on the terminal."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Once) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        try:
            return webbrowser.open(f"http://127.0.0.1:{server.server_port}{path}") and gone.wait(wait_s)
        finally:
            server.shutdown()
