"""Probes between the collectors of three Ray nodes: every pair is measured, and said to be reachable."""

from __future__ import annotations

import pytest
from conftest import NODES, eventually

from vagus.model import Status

pytestmark = pytest.mark.system


def test_every_pair_is_measured_and_said_to_be_reachable(at):
    pairs = {(a, b) for a in NODES for b in NODES if a != b}

    def measured():
        found = at("n2").query("probe.latency.rtt_min_s", since="1m")
        return {(b.stream.labels["src"], b.stream.labels["dst"]) for b in found} == pairs

    eventually(measured, within_s=40, what="a round trip of every pair")

    def transferred():
        # once in five minutes each: the last of a pair may be older than a shorter look back
        found = at("n1").query("probe.bandwidth.bytes_s", since="1h")
        return {(b.stream.labels["src"], b.stream.labels["dst"]) for b in found} >= pairs

    eventually(transferred, within_s=100, what="a rate of every pair")

    def reached():
        verdict = at("n3").inference("node:n2")
        return verdict is not None and verdict.contexts["reach"].status is Status.HEALTHY

    eventually(reached, within_s=30, what="evidence on n2")
