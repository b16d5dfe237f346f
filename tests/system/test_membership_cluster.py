"""Observers of three Ray nodes vouch for each other, and accuse a dead one also while Ray's head does not answer."""

from __future__ import annotations

import os
import signal

import pytest
from conftest import NODES, eventually

from vagus.model import Status

pytestmark = pytest.mark.system


def pid_of(connection, name):
    return next(a.pid for n in connection.status() for a in n.actors if a.name == name)


def swim(connection, node):
    """What each observer said last of a node, and the verdict."""
    found = connection.inference(f"node:{node}")
    said = {r.observer: r.contexts["swim"].status for r in found.reports if "swim" in r.contexts}
    return said, found.contexts["swim"].status


def test_every_node_is_vouched_for_by_its_peers_and_by_ray(at):
    def vouched():
        for node in NODES:
            contexts = at("n2").inference(f"node:{node}").contexts
            if not contexts["swim"].status == contexts["ray"].status == Status.HEALTHY:
                return False
        return True

    eventually(vouched, within_s=45, what="swim and ray on every node")


def test_a_dead_observer_is_accused_by_its_peers_while_the_head_hangs(at, cluster):
    before = pid_of(at("n3"), "vagus:observer@n3")
    head = cluster.head_node.all_processes["gcs_server"][0].process.pid
    os.kill(head, signal.SIGSTOP)
    try:
        os.kill(before, signal.SIGKILL)

        def accused():
            said, verdict = swim(at("n1"), "n3")
            return verdict == Status.DEAD and {said[f"vagus:observer@{n}"] for n in ("n1", "n2")} == {Status.DEAD}

        eventually(accused, within_s=20, what="both peers say that it is dead, and agree")
    finally:
        os.kill(head, signal.SIGCONT)
    eventually(lambda: pid_of(at("n3"), "vagus:observer@n3") != before, within_s=60, what="it is replaced")
    eventually(lambda: swim(at("n1"), "n3")[1] == Status.HEALTHY, within_s=100, what="and cleared")
