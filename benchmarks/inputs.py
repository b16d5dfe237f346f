"""Events per CPU-second that a collector takes in and commits, by each way in; what `vagus.event` costs a program.

    python benchmarks/inputs.py [--json]

The collector, with its store and gateway, runs in a process of its own on uvloop; its CPU time is all of its threads'.
The limit of what Python can do is measured in the same run: a bare loop that receives the same datagrams and writes
them to a file. Peers of the client are logging to a file and to syslog by UDP, and OpenTelemetry's logger.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import logging
import logging.handlers
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgpack

TOKEN = "a-token-for-benchmarks"
EVENTS = 40_000
BURST = 100
LINE = "DATE=20261122000000.{:06d} HOST=10.1.1.10 PROG=nliperf NL.EVNT=SlowStart ID=2746 DST=10.1.1.11 VAL=2 DELTA={}\n"
FIELDS = {"user": "ann", "path": "/cart/7", "status": 200, "duration_s": 0.0125, "cached": False}
CLIENT_CALLS = 20_000


# --- the collector, in a process of its own --------------------------------------------------------------------------


class Alone:
    """Links of a node without other actors."""

    async def call(self, actor: str, method: str, *args: Any, timeout_s: float = 5.0) -> Any:
        from vagus.errors import PeerUnreachable

        raise PeerUnreachable(f"{actor} is away")

    def nodes(self) -> tuple[str, ...]:
        return ("bench",)


async def serve(home: str) -> None:
    from vagus.actors.base import Seat
    from vagus.actors.collector import CollectorActor
    from vagus.config import CollectSettings, Config, GatewaySettings, InputSettings, ProbeSettings

    config = Config(
        gateway=GatewaySettings(port=0),
        collect=CollectSettings(period_s=60.0, collectors=()),
        inputs=InputSettings(ulm_port=0, forward_port=0),
        probes=ProbeSettings(enabled=False),
    )
    actor = CollectorActor(Seat("collector", "bench", home, config, options={"token": TOKEN}), Alone())
    await actor.begin()
    ports = actor._listeners.ports if actor._listeners else {}
    print(json.dumps({**ports, "url": actor._url}), flush=True)
    while await asyncio.to_thread(sys.stdin.readline):  # each line asks for the figures
        memory = Path("/proc/self/status").read_text().split("RssAnon:")[1].split()[0]
        times = os.times()
        figures = {**actor.figures(), "cpu": times.user + times.system, "rss_anon_kb": float(memory)}
        print(json.dumps(figures), flush=True)
    await actor.end()


class Collector:
    """The process, and what it says of itself."""

    def __init__(self, home: str) -> None:
        arguments = [sys.executable, __file__, "--serve", home]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.ports = json.loads(self.process.stdout.readline())
        self.home = Path(home)

    def figures(self) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        found: dict[str, float] = json.loads(self.process.stdout.readline())
        return found

    def measure(self, send: Callable[[Collector], None]) -> dict[str, float]:
        """Events accepted per CPU-second of the collector, while `send` sends."""
        before = self.figures()
        send(self)
        after = self.figures()
        deadline_s = time.monotonic() + 10
        while after["inputs_accepted"] - before["inputs_accepted"] < EVENTS and time.monotonic() < deadline_s:
            time.sleep(0.05)
            after = self.figures()
        accepted = after["inputs_accepted"] - before["inputs_accepted"]
        return {
            "events": accepted,
            "per_cpu_s": accepted / (after["cpu"] - before["cpu"]),
            "rss_anon_mb": after["rss_anon_kb"] / 1e3,
        }

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(20)


# --- senders ---------------------------------------------------------------------------------------------------------


def lines() -> Iterator[bytes]:
    return (LINE.format(i, i).encode() for i in range(EVENTS))


def udp(collector: Collector) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(("127.0.0.1", collector.ports["ulm"]))
        for i, line in enumerate(lines()):
            sock.send(line)
            if i % BURST == BURST - 1:
                time.sleep(0.004)


def tcp(collector: Collector) -> None:
    with socket.create_connection(("127.0.0.1", collector.ports["ulm"])) as sock:
        sock.sendall(b"".join(lines()))


def forward(collector: Collector) -> None:
    stamp = msgpack.ExtType(0, struct.pack(">II", int(time.time()), 1))
    chunk = b"".join(msgpack.packb([stamp, FIELDS]) for _ in range(1000))
    with socket.create_connection(("127.0.0.1", collector.ports["forward"])) as sock:
        for _ in range(EVENTS // 1000):
            sock.sendall(msgpack.packb(["app.access", chunk, {"chunk": "c", "size": 1000}]))
            sock.recv(100)


def post(path: str, content_type: str, body: bytes, each: int) -> Callable[[Collector], None]:
    def send(collector: Collector) -> None:
        connection = http.client.HTTPConnection(collector.ports["url"].removeprefix("http://"))
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content_type}
        for _ in range(EVENTS // each):
            connection.request("POST", path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200:
                raise SystemExit(answer)
        connection.close()

    return send


def otlp_logs() -> bytes:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    request = ExportLogsServiceRequest()
    records = request.resource_logs.add().scope_logs.add().log_records
    for _ in range(500):
        record = records.add(time_unix_nano=time.time_ns(), severity_number=9)
        record.body.string_value = "GET /cart/7"
        record.attributes.add(key="user").value.string_value = "ann"
        record.attributes.add(key="status").value.int_value = 200
        record.attributes.add(key="duration_s").value.double_value = 0.0125
        record.attributes.add(key="cached").value.bool_value = False
    packed: bytes = request.SerializeToString()
    return packed


def parcels(collector: Collector) -> None:
    from vagus.config import socket_path

    body = {"event": "app.access", "t_ns": time.time_ns(), "level": "info", "source": "bench", "fields": FIELDS}
    parcel = msgpack.packb({"events": [body] * 100})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.connect(str(socket_path(collector.home, "bench", "ingest")))
        for _ in range(EVENTS // 100):
            sock.send(parcel)


def bare_loop() -> float:
    """Datagrams per CPU-second of a loop that receives them and writes them to a file."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inlet, tempfile.TemporaryFile() as file:
        inlet.bind(("127.0.0.1", 0))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(inlet.getsockname())
            spent, count = 0.0, 0
            for i, line in enumerate(lines()):
                sock.send(line)
                if i % BURST == BURST - 1:
                    begun = time.thread_time()
                    for _ in range(BURST):
                        file.write(inlet.recv(65536))
                    file.flush()
                    spent += time.thread_time() - begun
                    count += BURST
    return count / spent


# --- what it costs the program ---------------------------------------------------------------------------------------


def cost_us(call: Callable[[int], object]) -> float:
    """CPU of the calling thread, in microseconds each; the best of three."""
    best = float("inf")
    for _ in range(3):
        begun = time.thread_time()
        for i in range(CLIENT_CALLS // 3):
            call(i)
        best = min(best, (time.thread_time() - begun) / (CLIENT_CALLS // 3) * 1e6)
    return best


def client() -> dict[str, float]:
    from vagus.client import emit
    from vagus.client.emitter import Emitter

    emit.EMITTER = Emitter(lambda bodies: None)
    requests = emit.counter("app.requests", method="GET")

    def act(i: int) -> None:
        with emit.action("app.request", emitter=emit.EMITTER, n=i):
            pass

    found = {
        "event_us": cost_us(lambda i: emit.event("app.access", n=i, **FIELDS)),
        "sample_us": cost_us(lambda i: emit.sample("app.queue", {"queue": "a"}, depth=i)),
        "counter_us": cost_us(lambda i: requests.add()),
        "action_us": cost_us(act),
    }
    with tempfile.TemporaryDirectory() as folder:
        found["logging_file_us"] = _logging(logging.FileHandler(Path(folder, "x.log")))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as inlet:
            inlet.bind(("127.0.0.1", 0))
            found["logging_syslog_us"] = _logging(logging.handlers.SysLogHandler(inlet.getsockname()))
    try:
        found["opentelemetry_us"] = _opentelemetry()
    except ImportError:
        found["opentelemetry_us"] = float("nan")
    return found


def _logging(handler: logging.Handler) -> float:
    logger = logging.Logger("app.access")
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    logger.addHandler(handler)
    text = " ".join(f"{name}={value}" for name, value in FIELDS.items())
    found = cost_us(lambda i: logger.info("%s n=%d", text, i))
    handler.close()
    return found


def _opentelemetry() -> float:
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, InMemoryLogRecordExporter

    provider = LoggerProvider()
    provider.add_log_record_processor(BatchLogRecordProcessor(InMemoryLogRecordExporter()))
    logger = provider.get_logger("bench")
    info = SeverityNumber.INFO
    found = cost_us(lambda i: logger.emit(LogRecord(body="x", severity_number=info, attributes={**FIELDS, "n": i})))
    provider.shutdown()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", metavar="HOME")
    options = parser.parse_args()
    if options.serve:
        import uvloop

        uvloop.run(serve(options.serve))
        return
    body = {"event": "app.access", "level": "info", "source": "bench", "fields": FIELDS}
    many = {"events": [body] * 1000}
    ways: dict[str, Callable[[Collector], None]] = {
        "ulm_udp": udp,
        "ulm_tcp": tcp,
        "forward": forward,
        "ingest_socket": parcels,
        "events_json": post("/v1/events", "application/json", json.dumps(many).encode(), 1000),
        "events_msgpack": post("/v1/events", "application/msgpack", msgpack.packb(many), 1000),
        "otlp_logs": post("/v1/logs", "application/x-protobuf", otlp_logs(), 500),
    }
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as home:
        collector = Collector(home)
        try:
            found["rss_anon_mb_at_start"] = collector.figures()["rss_anon_kb"] / 1e3
            for name, send in ways.items():
                found[name] = collector.measure(send)
        finally:
            collector.stop()
    found["bare_udp_to_file_per_cpu_s"] = bare_loop()
    found["udp_ratio_to_bare"] = found["ulm_udp"]["per_cpu_s"] / found["bare_udp_to_file_per_cpu_s"]
    found["client"] = client()
    if options.json:
        print(json.dumps(found))
        return
    print(f"RssAnon at start {found['rss_anon_mb_at_start']:.1f} MB")
    for name in ways:
        one = found[name]
        print(
            f"{name:15s} {one['per_cpu_s']:10,.0f} events per CPU-second ({one['events']:,.0f} of {EVENTS:,})", end=""
        )
        print(f"  RssAnon {one['rss_anon_mb']:.1f} MB")
    print(f"bare UDP to file {found['bare_udp_to_file_per_cpu_s']:,.0f} datagrams per CPU-second")
    for name, value in found["client"].items():
        print(f"{name:20s} {value:8.2f}")


if __name__ == "__main__":
    main()
