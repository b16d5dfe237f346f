"""`vagus sensors`: by kind and label, other types, forecasts, a path."""

from __future__ import annotations

import io
import json
import math
import time
from collections.abc import Iterator

import msgspec
import pytest
from cli_gateway import LINK, NOW_NS, NS, Gateway, serve
from rich.console import Console

from vagus.cli.output import near
from vagus.cli.view_path import render_path
from vagus.gateway.path import Hop, HopStream
from vagus.model import DirectoryEntry, Outlook, SensorInfo, to_builtins
from vagus.selector import parse


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serve(Gateway()) as served:
        yield served


@pytest.mark.parametrize(
    ("given", "selector"),
    [
        (["--kind", "net.*"], "net.*"),
        (["--label", "dev=eth0"], '*{dev="eth0"}'),
        (["--kind", "net.link", "--label", 'dev=e"0', "--label", "node=a"], 'net.link{dev="e\\"0",node="a"}'),
        (['net.*{dev=~"e.*"}', "--label", "node=a"], 'net.*{dev=~"e.*",node="a"}'),
        (["net.*{}", "--label", "node=a"], 'net.*{node="a"}'),
    ],
)
def test_sensors_by_kind_and_label(gateway: Gateway, given: list[str], selector: str) -> None:
    assert gateway.run("sensors", *given).exit_code == 0
    assert gateway.asked[-1][2] == {"selector": selector}
    parse(selector)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["net.*", "--kind", "host.*"], "not both"),
        (["--label", "eth0"], "NAME=VALUE"),
        (["--path", "a"], "requires 2 arguments"),
        (["net.*", "--path", "a", "b"], "--path goes with"),
        (["--path", "a", "b", "--fields"], "--path goes with"),
        (["net.*", "--type", "feed"], "are for streams"),
        (["--type", "nothing"], "'nothing'"),
    ],
)
def test_sensors_wrongly_asked(gateway: Gateway, given: list[str], says: str) -> None:
    result = gateway.run("sensors", *given)
    assert result.exit_code == 2
    assert says in result.stderr
    assert gateway.asked == []


def test_sensors_show_what_is_foretold(gateway: Gateway) -> None:
    known = gateway.answers["/v1/sensors"]["sensors"]
    outlook = (Outlook("user", 0.5, 0.25, 0.0004, "rising"), Outlook("idle", math.nan, math.nan, math.nan))
    known[0] = msgspec.structs.replace(known[0], outlook=outlook, source="host")
    lines = gateway.run("sensors", "--fields").stdout.splitlines()
    assert lines[0].split() == ["series", "node", "labels", "unit", "type", "value", "forecast", "±", "trend"]
    assert lines[1].split() == ["host.cpu.user", "a", "ratio", "f8", "0.5", "0.25", "0.02", "rising"]
    assert lines[2].split() == ["host.cpu.idle", "a", "ratio", "f8"]
    assert " host " in gateway.run("sensors").stdout


def test_the_value_of_a_counter_is_its_change_per_second(gateway: Gateway) -> None:
    known = gateway.answers["/v1/sensors"]["sensors"]
    known[1] = msgspec.structs.replace(known[1], outlook=(Outlook("rx_bytes", 2048.0, 1024.0, 0.0),))
    line = gateway.run("sensors", "--fields").stdout.splitlines()[-1]
    assert line.split()[3:] == ["bytes/s", "u8", "counter", "2", "KiB/s", "1", "KiB/s", "0", "B/s"]


def test_what_is_not_there_is_said_and_not_a_table_of_nothing(gateway: Gateway) -> None:
    gateway.answers["/v1/sensors"]["sensors"] = []
    result = gateway.run("sensors", "host.laod")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "no stream matches 'host.laod'\n"
    assert near("host.laod", ("host.cpu", "host.load")) == "; did you mean host.load?"
    assert near("app.orders", ("host.cpu",)) == ""


def test_sensors_of_other_types(gateway: Gateway) -> None:
    actor = "vagus:feed@a"
    live = DirectoryEntry("feed", "uptime", "a", {"actor": actor}, True, "HEALTHY", NOW_NS, NOW_NS, NOW_NS, "http://x")
    dead = DirectoryEntry(
        "feed", "gone", "a", {}, False, "DEAD", NOW_NS, time.time_ns() - 60 * NS, note="killed\x1b[2J"
    )
    gateway.answers["/v1/directory"] = {"entries": [live, dead], "ended": 1, "partial": False, "missing": []}
    result = gateway.run("sensors", "--type", "feed", "--label", "every=10s", "--label", "x=y", "--node", "a")
    assert gateway.asked[-1][2] == {"type": "feed", "label": "every=10s,x=y", "node": "a"}
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["type", "name", "node", "labels", "state", "since", "at"]
    assert "live" in lines[1]
    assert "http://x" in lines[1]
    assert "ended 1m" in lines[2]
    assert "killed" in lines[2]
    assert "\x1b" not in result.stdout
    assert result.stderr == "2 entries; 1 have ended: --history shows them\n"
    assert len(json.loads(gateway.run("sensors", "--type", "all", "--history", "--json").stdout)["entries"]) == 2
    assert gateway.asked[-1][2] == {"history": "1"}


def test_a_path_is_a_line_for_each_hop(gateway: Gateway) -> None:
    entry = SensorInfo(LINK, NOW_NS, NOW_NS, 1, True)
    ended = msgspec.structs.replace(entry, live=False, last_ns=time.time_ns() - 60 * NS)
    first = Hop(0, "node", "a", "10.0.0.1", "eth0", 0.0, (), (HopStream("egress", entry, {"rx_bytes": 2048.0}),))
    streams = (HopStream("ingress", entry), HopStream("device", ended))
    answer = {
        "hops": [
            first,
            Hop(1, "router", "r1", "10.0.0.9", "", 0.0021, ("10.0.0.8",), streams),
            Hop(2, "unknown", "", ""),
        ],
        "earlier": [{"t_ns": time.time_ns() - 60 * NS, "hops": [first]}],
        "node": "a",
        "to": "b",
        "target": "10.9.9.9",
        "reached": False,
        "note": "no answer from further on",
        "partial": False,
        "missing": [],
    }
    gateway.answers["/v1/path"] = answer
    result = gateway.run("sensors", "--path", "a", "b", "--history")
    assert result.exit_code == 0, result.stderr
    assert gateway.asked[-1][2] == {"from": "a", "to": "b", "history": "1"}
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["hop", "what", "name", "address", "rtt", "stream", "values"]
    assert 'egress net.link{dev="eth0"} ' in lines[1]
    assert lines[1].endswith("rx_bytes=2 KiB/s")
    assert lines[2].split()[:6] == ["1", "router", "r1", "10.0.0.9", "10.0.0.8", "2.1"]
    assert "ended 1m" in lines[3]
    assert lines[4].split() == ["2", "unknown", "–", "*"]
    assert "it went:" in lines[6]
    assert result.stderr == "10.9.9.9 was not reached: no answer from further on\n"
    assert json.loads(gateway.run("sensors", "--path", "a", "b", "--json").stdout)["hops"][1]["name"] == "r1"


@pytest.mark.parametrize("width", [60, 200])
def test_a_path_keeps_its_values_however_narrow_the_terminal_is(width: int) -> None:
    entry = SensorInfo(LINK, NOW_NS, NOW_NS, 1, True)
    hop = Hop(0, "node", "a", "10.0.0.1", "eth0", 0.0, (), (HopStream("egress", entry, {"rx_bytes": 2048.0}),))
    to = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    render_path({"hops": [to_builtins(hop)], "earlier": [], "reached": True}, to)
    text = to.file.getvalue()
    assert 'egress net.link{dev="eth0"}  rx_bytes=2 KiB/s' in text
    assert ("values" in text) == (width == 200)
