"""Who uses the cluster while `benchmarks.chaos` breaks it: writers, a server that a feed fetches from, and who watches.

Each is a thread that notes what it was told, and nothing else; a gateway that is gone is what is expected here.
"""

from __future__ import annotations

import http.server
import itertools
import json
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import msgspec

from benchmarks.chaos_judge import Changes
from benchmarks.chaos_ledger import BYTES, REPORT, SAMPLE, Key, Ledger
from benchmarks.limited_group import Group
from vagus.client.answers import Refusal
from vagus.client.connection import Connection
from vagus.errors import VagusError
from vagus.runtime.trial import Trial

SAMPLES, REPORTS = 10, 3  # in a request
WRITE_S, ITEMS_S, LOOK_S = 0.5, 2.0, 0.05
TIMEOUT_S = 5.0
NOT_TAKEN = ("malformed", "invalid", "refused")  # codes of a gateway's answers by which nothing is stored
FEED, KIND = "chaos", "chaos.sample"
MAX_ITEMS = 200  # of a node, each time it is asked
PAD_BYTES = 600


class Gates:
    """Connections to the gateways of a trial, each where it listens now."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        self._lock = threading.Lock()
        self._open: dict[str, Connection] = {}

    def at(self, node: str) -> Connection:
        """Raises PeerUnreachable while there is none."""
        url = str(self._trial.gateway(node)["url"])
        with self._lock:
            connection = self._open.get(node)
            if connection is None or connection.url != url.rstrip("/"):
                if connection is not None:
                    connection.close()
                connection = self._open[node] = Connection(url, self._trial.token(), timeout_s=TIMEOUT_S)
        return connection

    def get(self, node: str, path: str) -> Any:
        """An answer of a node's gateway. Raises VagusError."""
        return self.at(node).get(path)

    def close(self) -> None:
        """Closes them."""
        with self._lock:
            for connection in self._open.values():
                connection.close()


class Watcher(threading.Thread):
    """Does something again and again until `stop`; what it did not foresee is its `problem`, and ends it."""

    def __init__(self, name: str, every_s: float) -> None:
        super().__init__(name=name, daemon=True)
        self.problem = ""
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self.step()
            except Exception as error:  # told in the table: what it should have seen is not known
                self.problem = f"{self.name}: {type(error).__name__}: {error}"
                return

    def step(self) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        """Returns when it has ended."""
        self._ended.set()
        if self.ident is not None:
            self.join(2 * TIMEOUT_S + self._every_s)


class Writer(Watcher):
    """Sends samples and reports to one node's gateway; done: when how many were acknowledged."""

    def __init__(self, node: str, gates: Gates, ledger: Ledger) -> None:
        super().__init__(f"writer at {node}", WRITE_S)
        self.node = node
        self.done: list[tuple[float, int]] = []
        self._gates = gates
        self._ledger = ledger
        self._numbers = itertools.count()
        self._last_ns = 0

    def step(self) -> None:
        samples = {(self.node, next(self._numbers)): self._time_ns() for _ in range(SAMPLES)}
        self._send(SAMPLE, samples, "/v1/samples", {"samples": [_sample(*key, t_ns) for key, t_ns in samples.items()]})
        reports = {(self.node, next(self._numbers)): self._time_ns() for _ in range(REPORTS)}
        self._send(REPORT, reports, "/v1/report", {"reports": [_report(*key, t_ns) for key, t_ns in reports.items()]})

    def _time_ns(self) -> int:
        """Now, later than the one before: two samples of one time would be one."""
        self._last_ns = max(time.time_ns(), self._last_ns + 1)
        return self._last_ns

    def _send(self, kind: str, contents: dict[Any, int], path: str, body: dict[str, Any]) -> None:
        self._ledger.sending(kind, contents)
        try:
            answer, _ = self._gates.at(self.node).request("POST", path, body=msgspec.msgpack.encode(body))
            said = json.loads(answer)["results"]
        except VagusError as error:
            if isinstance(error.__cause__, Refusal) and error.__cause__.code in NOT_TAKEN:
                self._ledger.refused(kind, contents)
            return  # else it may be there or not
        keys = list(contents)
        accepted = [key for key, word in zip(keys, said, strict=True) if word == "ACCEPTED"]
        self._ledger.acknowledged(kind, accepted)
        self._ledger.refused(kind, set(keys) - set(accepted))
        self.done.append((time.monotonic(), len(accepted)))


def _sample(writer: str, number: int, t_ns: int) -> dict[str, Any]:
    return {"kind": KIND, "labels": {"writer": writer}, "values": {"number": float(number)}, "t_ns": t_ns}


def _report(writer: str, number: int, t_ns: int) -> dict[str, Any]:
    contexts = {"chaos": ("HEALTHY", float(number))}
    return {"observer": f"chaos@{writer}", "subject": f"chaos-{writer}", "contexts": contexts, "t_ns": t_ns}


# --- a feed ----------------------------------------------------------------------------------------------------------


def body_of(place: str, number: int) -> bytes:
    """The answer number so-and-so of the server, at one of its places: known to whoever knows these two."""
    pad = Random(f"{place} {number}").randbytes(PAD_BYTES).hex()
    return json.dumps({"place": place, "number": number, "pad": pad}).encode()


def checksum(body: bytes) -> int:
    return zlib.crc32(body)


class Bodies(http.server.ThreadingHTTPServer):
    """Serves another body each time it is asked; use it in a `with`."""

    daemon_threads = True

    def __init__(self, places: int) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.numbers = itertools.count()
        self.locations = tuple(f"http://127.0.0.1:{self.server_address[1]}/p{n}" for n in range(places))
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), name="bodies", daemon=True)

    def __enter__(self) -> Bodies:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join(10.0)
        self.server_close()

    def handle_error(self, *_: object) -> None:
        """Who asked was killed."""


class _Answering(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bodies

    def do_GET(self) -> None:
        body = body_of(self.path, next(self.server.numbers))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Nothing is logged."""


class Items(Watcher):
    """Notes the items that gateways show: an item is handed on once its bytes are archived, and so acknowledged."""

    def __init__(self, nodes: Sequence[str], gates: Gates, ledger: Ledger) -> None:
        super().__init__("items", ITEMS_S)
        self._nodes = nodes
        self._gates = gates
        self._ledger = ledger
        self._known: set[Key] = set()

    def step(self) -> None:
        for node in self._nodes:
            try:
                shown = self._gates.get(node, f"/v1/feeds/{FEED}/items?node={node}&limit={MAX_ITEMS}")["items"]
            except VagusError:
                continue
            new = {key: content for key, content in map(fetched, shown) if content is not None}
            new = {key: content for key, content in new.items() if key not in self._known}
            self._known |= new.keys()
            self._ledger.sending(BYTES, new)
            self._ledger.acknowledged(BYTES, new)


def fetched(item: dict[str, Any]) -> tuple[Key, int | None]:
    """What names the archived bytes of an item, and the checksum of these; None where nothing was fetched."""
    meta, value = item["meta"], item["value"]
    key = (meta["location"], meta["due_ns"])
    if meta["net"] != "ok" or value is None:
        return key, None
    body = body_of(value["place"], value["number"])
    return key, checksum(body) if json.loads(body) == value else 0


# --- limits ----------------------------------------------------------------------------------------------------------


class Limits(Watcher):
    """Looks at limits, twenty times a second. now: seconds since the run began."""

    def __init__(self, groups: dict[str, Group], now: Callable[[], float]) -> None:
        super().__init__("limits", LOOK_S)
        self.changes = {node: Changes(node, group.original.strip()) for node, group in groups.items()}
        self._groups = groups
        self._now = now

    def step(self) -> None:
        for node, group in self._groups.items():
            value = group.file.read_text().strip()
            self.changes[node].saw(self._now(), value)

    def in_force(self, node: str) -> bool:
        """Whether a limit of that node holds now."""
        changes = self.changes.get(node)
        return changes is not None and changes.values[-1:] not in ([], [changes.original])
