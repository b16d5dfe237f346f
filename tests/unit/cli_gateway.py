"""A small real HTTP server that answers the `vagus` command with canned records, as a gateway would."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec
import numpy as np
from click.testing import CliRunner, Result

from vagus.cli import cli
from vagus.model import (
    ActorStatus,
    Event,
    Field,
    Inference,
    Level,
    Metric,
    NodeStatus,
    Receipt,
    Report,
    SensorInfo,
    Status,
    Stream,
    Target,
    Verdict,
    to_builtins,
)
from vagus.store import export
from vagus.store.batch import Batch

NS = 10**9
NOW_NS = time.time_ns()
CPU = Stream("a", "host.cpu", (Field("user", "ratio"), Field("idle", "ratio")))
LINK = Stream("a", "net.link", (Field("rx_bytes", "bytes", "u8", True),), {"dev": "eth0"})
BAD = Inference(
    "db@2",
    NOW_NS - 3 * NS,
    Status.UNHEALTHY,
    {"read": Verdict(Status.UNHEALTHY, 30.0, ("api@1", "api@2")), "write": Verdict(Status.HEALTHY, 100.0)},
    ("api@1", "api@2"),
    reports=(Report("api@1", "db@2", NOW_NS - 3 * NS, {"read": Metric(Status.UNHEALTHY, 30.0)}),),
)
GOOD = Inference("api@1", NOW_NS, Status.HEALTHY, {"self": Verdict(Status.HEALTHY, 1.0)}, ("api@1",))
RECEIPT = Receipt(
    NOW_NS - 2 * NS, "a", "throttle", "dry", Target("pid", "4711"), "cpu_cores", 2.0, 1.0, 1.5, True, "throttled"
)


def actor(role: str, node: str = "a", **more: Any) -> ActorStatus:
    given = {"state": "HEALTHY", "pid": 4711, "since_ns": NOW_NS - 95 * NS, **more}
    figures = {"cpu_s": 1.9, "cpu_ratio": 0.02, "rss_bytes": 113e6}
    return ActorStatus(f"vagus:{role}@{node}", role, node, figures=figures, **given)


def node_status(node: str = "a", **more: Any) -> NodeStatus:
    actors = (
        actor("collector", node),
        actor("observer", node),
        actor("controller", node, notes=("dry: would set 1.5",)),
    )
    given = {"actors": actors, "series": 412, "inferences": 2, "receipts": (RECEIPT,), "decisions": 3, **more}
    return NodeStatus(node, NOW_NS, **given)


def batches(ticks: int = 30) -> list[Batch]:
    t_ns = NOW_NS - np.arange(ticks, 0, -1, dtype=np.int64) * NS
    user = 0.5 + 0.4 * np.sin(np.arange(ticks) / 5)
    rx = (np.arange(ticks, dtype=np.uint64) * 1500 + 2**60).astype(np.uint64)
    return [Batch(CPU, t_ns, (user, 1 - user)), Batch(LINK, t_ns, (rx,))]


class Gateway:
    """Answers by path; `asked` has every request as (method, path, parameters, body)."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[tuple[str, str, dict[str, str], Any]] = []
        self.batches = batches()
        envelope: dict[str, Any] = {"partial": False, "missing": []}
        self.answers: dict[str, Any] = {
            "/v1/status": {"nodes": [node_status()], **envelope},
            "/v1/health": {"inferences": [GOOD, BAD], **envelope},
            "/v1/health/db@2": {"inference": BAD, **envelope},
            "/v1/sensors": {
                "sensors": [
                    SensorInfo(CPU, NOW_NS - 60 * NS, NOW_NS, 60, True),
                    SensorInfo(LINK, NOW_NS - 3600 * NS, time.time_ns() - 600 * NS, 3000),
                ],
                **envelope,
            },
            "/v1/report": {"results": ["ACCEPTED"]},
            "/v1/decide": {"decision": "b", "decision_id": "d-1", "propensity": 0.25, "group": "", "version": 7},
            "/v1/update": {"results": ["ACCEPTED"]},
        }
        self.records: dict[str, list[Any]] = {
            "event": [
                Event(NOW_NS, "disk.full", "a", Level.ERROR, "log", {"path": "/x", "free": 0.125}),
                Event(NOW_NS - NS, "actor.started", "a", fields={"by": "x\x1b[2J"}),
            ],
            "receipt": [RECEIPT],
        }
        self.ticks: list[dict[str, Any]] = [
            {
                "t_ns": NOW_NS + n * NS,
                "node": "a",
                "kind": "host.cpu",
                "labels": {},
                "values": {"user": 0.5, "idle": None},
            }
            for n in range(3)
        ]

    def answer(self, path: str, params: dict[str, str]) -> tuple[int, str, bytes]:
        """Status, content type, body."""
        if path == "/v1/query":
            form = params.get("format", "json")
            found = [b.rate() for b in self.batches] if params.get("rate") == "1" else self.batches
            if form == "json":
                body = json.dumps({"batches": json.loads(export.to_json(found)), "partial": False, "missing": []})
                return 200, "application/json", body.encode()
            made = {"csv": export.to_csv, "msgpack": export.to_msgpack, "arrow": export.to_arrow}[form](found)
            return 200, f"x/{form}", made.encode() if isinstance(made, str) else made
        if path == "/v1/tail":
            return 200, "application/x-ndjson", b"".join(json.dumps(t).encode() + b"\n" for t in self.ticks)
        if path == "/v1/records":
            document = {"records": self.records.get(params["kind"], []), "partial": False, "missing": []}
            return 200, "application/json", msgspec.json.encode(to_builtins(document))
        if path not in self.answers:
            error = {"code": "no_data", "message": f"nothing at {path}", "where": "path", "hint": "look elsewhere"}
            return 404, "application/json", json.dumps({"error": error}).encode()
        return 200, "application/json", msgspec.json.encode(to_builtins(self.answers[path]))

    def run(self, *args: str) -> Result:
        """`vagus ARGS` asking this gateway."""
        return CliRunner().invoke(cli, ["--url", self.url, "--token", "secret", *args])


@contextmanager
def serve(gateway: Gateway) -> Iterator[Gateway]:
    """The gateway on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            params = {name: values[0] for name, values in parse_qs(parts.query).items()}
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = unquote(parts.path)
            gateway.asked.append((self.command, path, params, msgspec.msgpack.decode(body) if body else None))
            status, kind, content = gateway.answer(path, params)
            if self.headers["Authorization"] != "Bearer secret":
                status, content = 401, b'{"error":{"code":"denied","message":"wrong token","where":"","hint":""}}'
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _answer

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    gateway.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield gateway
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
