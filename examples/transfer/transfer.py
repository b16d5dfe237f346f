"""A transfer over several TCP streams that lets its streams and socket buffers be steered.

python examples/transfer/transfer.py receive --bind 0.0.0.0 --port 5201
python examples/transfer/transfer.py send 192.0.2.7:5201 --bytes 10G

It starts as such programs do: one stream, the buffer of long ago. It registers the tunables `streams` and
`buffer_bytes` of the service `transfer`, and tells what it sees of the path each second: `transfer.path`, with the rate
that arrives and the round trip, which vagus forecasts. Without vagus it stays as it is.
"""

from __future__ import annotations

import argparse
import json
import socket
import struct
import threading
import time
from pathlib import Path

import vagus

BLOCK_BYTES = 1 << 18
MAX_STREAMS = 16
LEAST_BUFFER_BYTES = 16 << 10
# of struct tcp_info (linux/tcp.h): bytes_acked and min_rtt
_ACKED, _MIN_RTT = struct.Struct("Q"), struct.Struct("I")
_ACKED_AT, _MIN_RTT_AT, _INFO_BYTES = 120, 148, 192


class Streams:
    """The connections to one receiver; `streams` and `buffer_bytes` may be changed while they send."""

    def __init__(self, host: str, port: int, streams: int, buffer_bytes: int, total: int) -> None:
        self.streams = streams
        self.buffer_bytes = buffer_bytes
        self.arrived = 0  # bytes of connections that have ended
        self._where = (host, port)
        self._left = total
        self._lock = threading.Lock()
        self._open: dict[int, socket.socket] = {}  # by the number of its stream
        self._fails = ""
        self._done = threading.Event()
        self.resize(streams)

    def resize(self, streams: int) -> None:
        """So many streams from now on: further ones connect, those with the highest numbers end."""
        with self._lock:
            self.streams = streams
            missing = [number for number in range(streams) if number not in self._open]
        for number in missing:
            connection = self._connect()
            with self._lock:
                self._open[number] = connection
            threading.Thread(target=self._send, args=(number, connection), daemon=True).start()

    def buffer(self, buffer_bytes: float) -> None:
        """This much may be under way on each stream."""
        with self._lock:
            self.buffer_bytes = int(buffer_bytes)
            for connection in self._open.values():
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer_bytes)

    def wait(self, timeout_s: float) -> bool:
        """Whether all is sent, within so long. Raises OSError when a stream broke."""
        done = self._done.wait(timeout_s)
        if self._fails:
            raise OSError(self._fails)
        return done

    def seen(self) -> tuple[int, float]:
        """Bytes that arrived so far, and the shortest round trip in seconds, as the kernel counts them."""
        with self._lock:
            arrived, shortest = self.arrived, float("inf")
            for connection in self._open.values():
                info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
                arrived += _ACKED.unpack_from(info, _ACKED_AT)[0]
                shortest = min(shortest, _MIN_RTT.unpack_from(info, _MIN_RTT_AT)[0] / 1e6)
        return arrived, shortest

    def _connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self.buffer_bytes)  # before: it sets the window
        connection.settimeout(30.0)
        connection.connect(self._where)
        return connection

    def _take(self, number: int) -> int:
        """How much the stream sends next; 0: it ends."""
        with self._lock:
            if number >= self.streams:
                return 0
            taken = min(BLOCK_BYTES, self._left)
            self._left -= taken
            return taken

    def _send(self, number: int, connection: socket.socket) -> None:
        block = memoryview(bytes(BLOCK_BYTES))
        try:
            while taken := self._take(number):
                connection.sendall(block[:taken])
            connection.shutdown(socket.SHUT_WR)
            connection.recv(1)  # the receiver closes when it has all
        except OSError as error:
            self._fails = f"stream {number}: {error}"
            self._done.set()
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO_BYTES)
        with self._lock:
            self.arrived += _ACKED.unpack_from(info, _ACKED_AT)[0]
            if self._open.get(number) is connection:
                del self._open[number]
            connection.close()
            if not self._left and not self._open:
                self._done.set()
            back = self._left and number < self.streams  # it was wanted again while it ended
        if back and not self._fails:
            self.resize(self.streams)


def largest_buffer() -> int:
    """What the kernel allows a program to ask for."""
    try:
        return int(Path("/proc/sys/net/core/wmem_max").read_text())
    except (OSError, ValueError):
        return 212_992


def send(host: str, port: int, total: int, streams: int, buffer_bytes: int, period_s: float, say: bool) -> float:
    """Sends, tells what it sees each period; returns the mean rate in bytes/s."""
    transfer = Streams(host, port, streams, buffer_bytes, total)
    largest = max(largest_buffer(), buffer_bytes)
    tunables = [
        vagus.tunable(
            "streams", low=1, high=MAX_STREAMS, whole=True, get=lambda: transfer.streams, set=transfer.resize,
            service="transfer",
        ),
        vagus.tunable(
            "buffer_bytes", unit="bytes", low=LEAST_BUFFER_BYTES, high=largest, get=lambda: transfer.buffer_bytes,
            set=transfer.buffer, service="transfer",
        ),
    ]  # fmt: skip
    began_s = last_s = time.monotonic()
    before = 0
    while not transfer.wait(period_s):
        now_s = time.monotonic()
        arrived, rtt_s = transfer.seen()
        rate = (arrived - before) / (now_s - last_s)
        before, last_s = arrived, now_s
        if rtt_s < float("inf"):
            vagus.sample("transfer.path", {"to": f"{host}:{port}"}, rate_bytes_s=rate, rtt_s=rtt_s)
        if say:
            told = {"rate_bytes_s": rate, "rtt_s": rtt_s}
            told |= {"streams": transfer.streams, "buffer_bytes": transfer.buffer_bytes}
            print(json.dumps(told), flush=True)
    for tunable in tunables:
        tunable.end()
    return total / (time.monotonic() - began_s)


def receive(bind: str, port: int) -> None:
    """Takes streams until it is ended; what comes is thrown away."""
    with socket.create_server((bind, port), backlog=64) as listener:
        print(f"listens at {bind}:{listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=_swallow, args=(connection,), daemon=True).start()


def _swallow(connection: socket.socket) -> None:
    room = bytearray(BLOCK_BYTES)
    with connection:
        try:
            while connection.recv_into(room):
                pass
        except OSError:
            pass  # the sender broke off


def size(text: str) -> int:
    """`10G`, `500M`, or bytes."""
    powers = {"K": 10, "M": 20, "G": 30}
    return int(float(text[:-1]) * (1 << powers[text[-1]])) if text[-1:] in powers else int(text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    todo = parser.add_subparsers(dest="todo", required=True)
    receiver = todo.add_parser("receive")
    receiver.add_argument("--bind", default="127.0.0.1")
    receiver.add_argument("--port", type=int, default=5201)
    sender = todo.add_parser("send")
    sender.add_argument("to", help="HOST:PORT")
    sender.add_argument("--bytes", type=size, default=1 << 30, help="how much, such as 10G")
    sender.add_argument("--streams", type=int, default=1, help="at first")
    sender.add_argument("--buffer", type=size, default=64 << 10, help="of each stream, at first")
    sender.add_argument("--period", type=float, default=1.0, help="seconds between two samples")
    sender.add_argument("--json", action="store_true", help="prints each sample")
    options = parser.parse_args()
    if options.todo == "receive":
        receive(options.bind, options.port)
        return
    host, _, port = options.to.rpartition(":")
    rate = send(host, int(port), options.bytes, options.streams, options.buffer, options.period, options.json)
    print(json.dumps({"mean_bytes_s": rate}) if options.json else f"{options.bytes >> 20} MiB at {rate / 1e6:.1f} MB/s")


if __name__ == "__main__":
    main()
