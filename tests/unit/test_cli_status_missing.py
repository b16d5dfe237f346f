"""`vagus status` when something is missing: exit status 3, the field `missing`, red lines."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cli_gateway import NOW_NS, NS, Gateway, node_status, serve
from rich.console import Console

from vagus.cli.view_status import MOST_MISSING, render_status, summarise
from vagus.model import Missing, to_builtins

GONE = Missing("node:c", "node", "dead", NOW_NS - 95 * NS, "c", "neither its peers nor Ray hear of it", "look at it")
LATER = Missing("node:c", "node", "dead", NOW_NS - 90 * NS, "c", "neither its peers nor Ray hear of it", "look at it")
DOWN = Missing("service:pay", "service", "missing", NOW_NS, "", "nobody reports on it", "see that it runs")


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serve(Gateway()) as running:
        yield running


def answer(*nodes: Any, silent: tuple[str, ...] = ()) -> dict[str, Any]:
    missing = [{"node": name, "error": "no answer within 5 s"} for name in silent]
    return {"nodes": list(nodes), "partial": bool(silent), "missing": missing}


def test_each_thing_once_since_it_was_missed_first(gateway: Gateway) -> None:
    gateway.answers["/v1/status"] = answer(
        node_status("a", missing=(LATER,)), node_status("b", missing=(GONE, DOWN)), silent=("c", "d")
    )
    result = gateway.run("status", "--json")
    assert result.exit_code == 3
    document = json.loads(result.output)
    assert document["state"] == "degraded"
    assert [(m["what"], m["why"], m["node"]) for m in document["missing"]] == [
        ("node:c", "dead", "c"),
        ("node:d", "silent", "d"),
        ("service:pay", "missing", ""),
    ]
    assert document["missing"][0]["since_ns"] == GONE.since_ns
    assert document["missing"][1]["error"] == "no answer within 5 s"
    assert document["missing"][1]["todo"] == "`vagus health node:d` has what its peers say of it"


def test_lines_say_what_why_since_when_and_what_to_do(gateway: Gateway) -> None:
    gateway.answers["/v1/status"] = answer(node_status(missing=(GONE, DOWN)))
    result = gateway.run("status")
    assert result.exit_code == 3
    lines = [line for line in result.output.splitlines() if line.startswith("missing")]
    assert lines[0].startswith("missing node:c  dead for ")
    assert lines[0].endswith("neither its peers nor Ray hear of it  look at it")
    assert "service:pay  missing for " in lines[1]


def test_all_there_is_exit_status_0_and_an_empty_field(gateway: Gateway) -> None:
    gateway.answers["/v1/status"] = answer(node_status())
    result = gateway.run("status", "--json")
    assert (result.exit_code, json.loads(result.output)["missing"]) == (0, [])
    assert "missing" not in gateway.run("status").output


def test_names_from_elsewhere_are_no_commands_of_the_terminal_and_many_are_cut() -> None:
    bad = Missing("web\x1b[2J", "service", "missing", NOW_NS, "", "x\x1b]0;y\x07", "z")
    many = tuple(Missing(f"node:n{n:03d}", "node", "dead", NOW_NS) for n in range(100))
    document = to_builtins(answer(node_status(missing=(bad, *many))))
    console = Console(file=io.StringIO(), force_terminal=True, width=100, highlight=False)
    render_status(document, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "\x1b[2J" not in text
    assert "\x07" not in text
    assert f"and {101 - MOST_MISSING} more: vagus status --json | jq .missing" in text
    assert "\x1b[31m" in text
    assert len(summarise(document)["missing"]) == 101
