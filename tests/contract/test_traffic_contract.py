"""The contract of actuators for `traffic`, on the real kernel: apply, then undo, is the identity; a rejected write
changes nothing and quotes the kernel. Needs root, for a network namespace of its own."""

from __future__ import annotations

import math
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from vagus.actuators import ACTUATORS, Actuator, Usage
from vagus.actuators.apply import apply
from vagus.errors import ActuateError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.shaping.place import parse_place
from vagus.shaping.seen import Interface
from vagus.shaping.tree import OWN
from vagus.undo import undo

NAME = f"vgtc{os.getpid()}"
TARGETS = [Target("net", f"{NAME}/va{what}") for what in ("", "/all", "/1:10", "/1:1", "/to=10.0.0.0/24,dport=80", "/dport=443")]  # fmt: skip
pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not (shutil.which("ip") and shutil.which("tc")), reason="needs root, ip and tc (iproute2)"
)


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


def contents() -> list[object]:
    """All that the kernel has of the namespace's devices, options undecoded."""
    with Interface(parse_place(f"{NAME}/va")) as seen:
        found: list[object] = list(seen.links())
        for link in seen.links():
            classes = seen.classes(link.index)
            found += [seen.root(link.index), *sorted(classes)]
            found += [seen.filters(parent, link.index) for parent in (OWN, 0x10000, 0xFFFF0000)]
        return [*found, *seen.qdiscs()]


@pytest.fixture(scope="module")
def namespace() -> Iterator[None]:
    if subprocess.run(["ip", "netns", "add", NAME], capture_output=True).returncode:
        pytest.skip("this kernel or container allows no network namespaces")
    try:
        run("ip", "-n", NAME, "link", "add", "va", "type", "veth", "peer", "name", "vb")
        yield
    finally:
        run("ip", "netns", "del", NAME)


@pytest.fixture(params=TARGETS, ids=lambda target: target.name.partition("/")[2])
def target(request: pytest.FixtureRequest, namespace: None) -> Iterator[Target]:
    classed = "1:1" in request.param.name
    if classed:
        run("tc", "-n", NAME, *["qdisc", "add", "dev", "va", "root", "handle", "1:", "htb", "default", "10"])
        run(
            "tc", "-n", NAME, *["class", "add", "dev", "va", "parent", "1:", "classid", "1:1", "htb", "rate", "100mbit"]
        )
        run(
            "tc",
            "-n",
            NAME,
            *[
                "class",
                "add",
                "dev",
                "va",
                "parent",
                "1:1",
                "classid",
                "1:10",
                "htb",
                "rate",
                "1mbit",
                "ceil",
                "5mbit",
                "prio",
                "3",
            ],
        )
    yield request.param
    if classed:
        run("tc", "-n", NAME, *["qdisc", "del", "dev", "va", "root"])


@pytest.fixture(params=["traffic", "auto"])
def actuator(request: pytest.FixtureRequest) -> Actuator:
    return ACTUATORS.make(request.param)


def test_apply_then_undo_is_the_identity(actuator: Actuator, target: Target) -> None:
    before = contents()
    for resource in actuator.supports(target):
        first = actuator.read(target, resource)
        plan = actuator.plan(Action(target, resource, 3e6))
        assert contents() == before, "planning touches nothing"
        apply(plan)
        assert actuator.read(target, resource) == plan.expected == 3e6
        assert contents() != before
        assert undo(plan.undo) == []
        assert contents() == before
        assert actuator.read(target, resource) == first


def test_a_limit_is_lifted_and_comes_back(actuator: Actuator, target: Target) -> None:
    for resource in actuator.supports(target):
        first = actuator.plan(Action(target, resource, 3e6))
        apply(first)
        limited = contents()
        plan = actuator.plan(Action(target, resource, None))
        apply(plan)
        assert actuator.read(target, resource) is None
        assert plan.shown(None)
        assert undo(plan.undo) == []
        assert contents() == limited
        assert undo(first.undo) == []


@pytest.mark.parametrize("value", [0.0, -1.0, 1.0, math.nan, math.inf])
def test_a_rejected_value_changes_nothing(actuator: Actuator, target: Target, value: float) -> None:
    before = contents()
    for resource in actuator.supports(target):
        with pytest.raises(Rejected):
            actuator.plan(Action(target, resource, value))
    assert contents() == before


def test_a_refusal_quotes_the_kernel(actuator: Actuator, namespace: None) -> None:
    target = Target("net", f"{NAME}/va")
    first, second = (actuator.plan(Action(target, "net_bytes_s", 1e6)) for _ in range(2))
    apply(first)
    before = contents()
    with pytest.raises(Rejected, match=r"Exclusivity flag on, cannot modify|EEXIST") as caught:
        apply(second)
    assert caught.value.path == f"{NAME}/va"
    assert contents() != before, "its undoing is the first one's, who had the device first"
    assert undo(first.undo) == []


def test_what_it_cannot_do_is_said_in_words(namespace: None) -> None:
    actuator = ACTUATORS.make("traffic")
    target = Target("net", f"{NAME}/va")
    assert isinstance(actuator.usage(target), Usage)
    with pytest.raises(Unsupported, match="limits net:DEVICE"):
        actuator.plan(Action(Target("moon", "x"), "net_bytes_s", 1e6))
    with pytest.raises(Unsupported, match="cannot limit cpu_cores"):
        actuator.plan(Action(target, "cpu_cores", 1.0))
    with pytest.raises(ActuateError, match="there is no device nope"):
        actuator.read(Target("net", f"{NAME}/nope"), "net_bytes_s")
    with pytest.raises(Unsupported, match="is not to=, from="):
        actuator.supports(Target("net", "va/dport=80,moon=1"))
