"""`vagus health matrix`: what fits on which terminal, and that it is drawn again."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from typing import Any

import pytest
from cli_gateway import Gateway, serve
from rich.console import Console

from vagus.cli.view_matrix import layout, render_matrix

SUBJECTS = [("api@1", "HEALTHY"), ("db@2", "UNHEALTHY"), ("node:n3", "DEAD")]
OBSERVERS = ["api@1", "vagus:observer@n1", "collector@n1"]
CELLS = [("api@1", "db@2", "UNHEALTHY"), ("collector@n1", "db@2", "HEALTHY"), ("vagus:observer@n1", "node:n3", "DEAD")]


def answer(observers: list[str] = OBSERVERS) -> dict[str, Any]:
    return {
        "observers": observers,
        "subjects": [{"subject": s, "status": status, "t_ns": 1, "contexts": {}} for s, status in SUBJECTS],
        "cells": [{"observer": o, "subject": s, "status": status, "t_ns": 1, "contexts": {}} for o, s, status in CELLS],
    }


def drawn(width: int, document: dict[str, Any], colour: bool = False) -> str:
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=True,
        color_system="standard" if colour else None,
        highlight=False,
    )
    render_matrix(document, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    made = Gateway()
    made.answers["/v1/matrix"] = answer()
    with serve(made) as served:
        yield served


def test_a_wide_terminal_has_words_and_names_the_worst_first() -> None:
    lines = drawn(120, answer()).splitlines()
    assert lines[0].split() == ["subject", "verdict", *OBSERVERS]
    assert [line.split() for line in lines[1:]] == [
        ["node:n3", "DEAD", "·", "DEAD", "·"],
        ["db@2", "UNHEALTHY", "UNHEALTHY", "·", "HEALTHY"],
        ["api@1", "HEALTHY", "·", "·", "·"],
    ]
    assert "\x1b[31mUNHEALTHY" in drawn(120, answer(), colour=True)


def test_narrower_has_letters_then_numbers_then_fewer() -> None:
    letters = drawn(60, answer()).splitlines()
    assert letters[0].split()[2:] == OBSERVERS
    assert letters[2].split() == ["db@2", "UNHEALTHY", "u", "·", "h"]
    assert "n NA  h HEALTHY  p PENDING" in " ".join(letters)
    numbers = drawn(40, answer()).splitlines()
    assert numbers[0].split() == ["subject", "verdict", "1", "2", "3"]
    assert "1 api@1  2 vagus:observer@n1" in "".join(numbers)
    fewer = drawn(40, answer([f"o{n}" for n in range(50)]))
    assert "more observers: a wider terminal" in " ".join(fewer.split())


@pytest.mark.parametrize("width", range(30, 130, 7))
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    for document in (answer(), answer([f"observer-{n}" for n in range(40)])):
        assert max(map(len, drawn(width, document).splitlines())) <= width


def test_layout_of_nothing_and_of_one() -> None:
    assert layout(80, [], {}, 7).columns == ()
    assert layout(10, ["a" * 50], {"b" * 50: 4}, 9).columns == (2,)


def test_plain_text_has_all_of_it(gateway: Gateway) -> None:
    gateway.answers["/v1/matrix"] = answer([f"observer-{n}" for n in range(60)])
    text = gateway.run("health", "matrix").stdout
    assert "observer-59" in text.splitlines()[0]
    assert "\x1b" not in text
    assert len(json.loads(gateway.run("health", "matrix", "--json").stdout)["cells"]) == 3
    gateway.answers["/v1/matrix"] = {"observers": [], "subjects": [], "cells": []}
    assert "no subject yet" in gateway.run("health", "matrix").stdout


def test_watch_goes_on_while_nobody_answers(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([None, None])

    def sleep(_: float) -> None:
        if next(turns, "end") == "end":
            raise KeyboardInterrupt
        gateway.answers.pop("/v1/matrix", None)

    monkeypatch.setattr("time.sleep", sleep)
    result = gateway.run("health", "matrix", "--watch", "--json")
    assert result.exit_code == 130
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [sorted(line)[0] for line in lines] == ["cells", "error", "error"]
