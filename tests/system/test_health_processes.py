"""Observers as processes of their own: one that hangs, and more clients than one would wish."""

from __future__ import annotations

import resource
import socket
import struct
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import PATIENCE

from benchmarks.health_faults import hung_peer
from benchmarks.health_nodes import nodes
from vagus.config import socket_path
from vagus.model import Metric, Report, Status

pytestmark = pytest.mark.system


def test_defect_a_hung_peer_now_costs_no_memory_is_counted_and_converges() -> None:
    found = hung_peer(hang_s=4.0, reports=40_000)
    assert found["hung_sender_rss_anon_ratio"] < 1.25
    assert found["hung_dropped"] > 0
    assert found["hung_filled_by_peers"] > 0
    assert found["hung_converged_s"] < 5 * PATIENCE  # how soon at rest: benchmarks/health_faults


def test_a_thousand_clients_are_served_and_the_next_one_is_told(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 3000:
        pytest.skip(f"at most {hard} open files are allowed here; 3000 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (3000, hard))
    clients: list[socket.socket] = []
    body = msgspec.msgpack.encode(Report("api", "db", time.time_ns(), {"read": Metric(Status.UNHEALTHY)}))
    try:
        with nodes(tmp_path, 1) as (node,):
            rss, _ = node.rss()
            for _ in range(1000):
                clients.append(connect(tmp_path))
                clients[-1].sendall(struct.pack(">I", len(body)) + body)
            assert [answer(client) for client in clients] == [["ACCEPTED"]] * 1000
            clients.append(connect(tmp_path))
            assert "1000 connections" in answer(clients[-1])["error"]
            assert node.ask("figures")["submit_clients"] == 1000
            assert node.rss()[0] - rss < 20e6
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def connect(home: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(30)
    client.connect(str(socket_path(home, "n0", "observer")))
    return client


def answer(client: socket.socket) -> Any:
    length = struct.unpack(">I", client.recv(4, socket.MSG_WAITALL))[0]
    return msgspec.msgpack.decode(client.recv(length, socket.MSG_WAITALL))
