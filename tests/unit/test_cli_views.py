"""What a terminal of few columns shows, how receipts read, how refusals are worded, how a page is drawn again."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from cli_gateway import BAD, GOOD, NOW_NS, NS, actor, node_status
from rich.console import Console

from vagus.cli.output import fit, table
from vagus.cli.refusals import words
from vagus.cli.view_health import render_health
from vagus.cli.view_receipts import receipt_style, receipt_text
from vagus.cli.view_status import cpu_text, render_status
from vagus.client.answers import Refusal, error_of
from vagus.errors import ConfigError, NoData
from vagus.model import to_builtins


def terminal(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, color_system=None, width=width, highlight=False)


def printed(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


# --- widths ----------------------------------------------------------------------------------------------------------


def test_fit_folds_first_then_spares_then_folds_more() -> None:
    natural = {"name": 20, "note": 60, "pid": 5, "errors": 6}
    wide, spare = {"note": 24, "name": 20}, ("pid",)
    assert fit(natural, 97, wide, spare) == natural
    assert fit(natural, 80, wide, spare) == {**natural, "note": 43}
    assert fit(natural, 60, wide, spare) == {"name": 20, "note": 30, "errors": 6}
    assert fit(natural, 40, wide, spare) == {"name": 18, "note": 12, "errors": 6}
    assert fit(natural, 10, wide, spare) == {"name": 12, "note": 12, "errors": 6}  # wider than the terminal, not cut


@pytest.mark.parametrize("width", [10, 40, 200])
def test_what_must_not_be_cut_is_not_however_narrow_the_terminal(width: int) -> None:
    console = terminal(width)
    table(console, ["name", "blame", "why"], [["a" * 30, "100%", "word " * 20]], {"blame"}, {"why": 20})
    (line,) = [line for line in printed(console) if "a" in line.split()[0][:1]]
    assert line.split()[:2] == ["a" * 30, "100%"]


@pytest.mark.parametrize("width", [80, 100, 130])
def test_the_verdict_and_its_accusers_are_never_cut(width: int) -> None:
    contexts = {f"a context of many words {n}": {"status": "HEALTHY", "score": 1, "accusers": []} for n in range(4)}
    bad = to_builtins(BAD)
    bad["contexts"] |= contexts
    console = terminal(width)
    render_health([bad, to_builtins(GOOD)], console, NOW_NS)
    lines = printed(console)
    assert max(map(len, lines)) <= width
    first = next(line for line in lines if line.startswith("db@2"))
    assert "UNHEALTHY  3.0s" in first
    assert first.endswith("api@1, api@2")
    assert lines[0].split()[:3] == ["subject", "status", "age"]
    assert lines[0].endswith("accusers")


@pytest.mark.parametrize("width", [80, 100, 130])
@pytest.mark.parametrize("error", ["", "the source has sent nothing that can be read for three periods"])
def test_actors_keep_state_restarts_and_errors(width: int, error: str) -> None:
    actors = (
        actor("controller:throttle", "node-17", restarts=12),
        actor("feed", "node-17", state="UNHEALTHY", errors=3, last_error=error),
    )
    console = terminal(width)
    render_status(to_builtins({"nodes": [node_status(actors=actors, receipts=())]}), console)
    lines = printed(console)
    head = next(n for n, line in enumerate(lines) if line.startswith("actor"))
    assert {"state", "restarts", "errors"} <= set(lines[head].split())
    rows = [line.split() for line in lines[head + 1 :]]
    assert rows[0][:2] == ["vagus:controller:throttle@node-17", "HEALTHY"]
    assert "12" in rows[0]
    assert any(row[:2] == ["vagus:feed@node-17", "UNHEALTHY"] and "3" in row for row in rows)
    assert max(map(len, lines[head:])) <= width
    assert ("last error" in lines[head]) == bool(error)


def test_cpu_is_a_share_or_not_known_yet() -> None:
    assert cpu_text(0.05) == "5.0 %"
    assert cpu_text(None) == "–"


# --- receipts --------------------------------------------------------------------------------------------------------


def receipt(**more: Any) -> dict[str, Any]:
    given = {"t_ns": NOW_NS, "node": "a", "controller": "throttle", "target": "pid:1", "resource": "cpu_cores"}
    return {**given, "before": 2.0, "requested": 1.5, "after": 1.5, "dry": False, **more}


@pytest.mark.parametrize(
    ("more", "says", "style"),
    [
        ({}, ": 2 → 1.5, done", ""),
        ({"requested": 0.5, "after": 1.0, "reason": "busy", "note": "at most 50%"},
         ": 2 → 1 (asked for 0.5), done (busy; at most 50%)", ""),
        ({"before": None, "dry": True}, ": no limit → 1.5, dry: nothing written", "dim"),
        ({"after": 2.0, "error": "EPERM"}, ": 2 → 2 (asked for 1.5), failed: EPERM", "red"),
        ({"dry": True, "error": "EPERM"}, ": 2 → 1.5, would fail: EPERM", "dim"),
        ({"note": "held: cool-down, 0.3 s left", "reason": "busy"}, " held: cool-down, 0.3 s left (busy)", ""),
        ({"resource": "memory_bytes", "before": None, "requested": 2**30, "after": 2**30}, ": no limit → 1 GiB, done", ""),
    ],
)  # fmt: skip
def test_receipts_say_what_came_of_it(more: dict[str, Any], says: str, style: str) -> None:
    made = receipt(**more)
    assert receipt_text(made) == f"throttle@a  {made['resource']} of pid:1{says}"
    assert receipt_style(made) == style


def shown(*receipts: dict[str, Any], note: str = "") -> list[str]:
    console = terminal(200)
    node = to_builtins(node_status(actors=(actor("controller:throttle", notes=(note,) if note else ()),)))
    render_status({"nodes": [{**node, "receipts": list(receipts)}]}, console)
    return [line.split("  ", 5)[-1] for line in printed(console) if " ago  " in line]


def test_status_shows_three_receipts_of_ten_minutes() -> None:
    done = [receipt(t_ns=NOW_NS - n * 200 * NS, after=float(n + 1), requested=float(n + 1)) for n in range(6)]
    assert len(shown(*done[:2])) == 2
    assert len(shown(*done)) == 3
    assert len(shown(*done[2:])) == 2  # 400 and 600 s old
    assert shown(*done[4:]) == []


def test_status_says_the_same_once() -> None:
    dry = [receipt(t_ns=NOW_NS - n * NS, dry=True, reason=f"uses {n}") for n in range(3)]
    other = receipt(t_ns=NOW_NS - 9 * NS, dry=True, after=1.0)
    note = "would set cpu_cores of pid:1 to 1.5 (now 2)"
    assert len(shown(*dry)) == 1
    assert shown(*dry, note=note) == []
    assert len(shown(*dry, other, note=note)) == 1
    assert len(shown(receipt(), note=note)) == 1  # what was done is always said


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "message", "where", "hint", "says"),
    [
        ("no_data", "nobody reported on 'x'", "path.subject", "GET /v1/health lists the subjects",
         "nobody reported on 'x'; `vagus health` lists subjects; `vagus report SUBJECT ctx:status` adds one"),
        ("invalid", "Object missing required field `selector`", "query", "known parameters: selector",
         "a selector is missing, such as host.cpu"),
        ("invalid", "Expected `str` of length >= 1", "body.arms[0]", "GET /openapi.json describes what is expected",
         "an arm must not be empty"),
        ("invalid", "Expected `float`, got `str`", "body.reward", "GET /openapi.json describes what is expected",
         "reward: Expected `float`, got `str`"),
        ("no_data", "no decision 'x'", "body.decision_id", "ids come from POST /v1/decide",
         "no decision 'x'; ids come from `vagus decide` and are kept for a while only"),
        ("timeout", "late", "", "the node is overloaded or hangs; see GET /v1/status",
         "late; the node is overloaded or hangs; see `vagus status`"),
        ("too_large", "1 GiB", "query", "narrow the selector", "1 GiB; narrow the selector"),
        ("invalid", "selector 'a{': missing '}'", "query.selector", "", "selector 'a{': missing '}'"),
    ],
)  # fmt: skip
def test_refusals_in_the_words_of_the_command_line(code: str, message: str, where: str, hint: str, says: str) -> None:
    body = json.dumps({"error": {"code": code, "message": message, "where": where, "hint": hint}}).encode()
    error = error_of(404, body, "http://a")
    assert words(error) == says
    assert str(error).startswith(message)  # the library's own message stays whole
    assert (f"(at {where})" in str(error)) == bool(where)
    assert isinstance(error.__cause__, Refusal)


def test_other_errors_keep_their_words() -> None:
    assert words(ConfigError("no such port")) == "no such port"
    assert words(NoData("nothing stored")) == "nothing stored"


def test_a_url_without_token_names_the_option(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from click.testing import CliRunner

    from vagus.cli import cli

    monkeypatch.delenv("VAGUS_TOKEN", raising=False)
    result = CliRunner().invoke(cli, ["--url", "http://127.0.0.1:1", "--home", str(tmp_path), "status"])
    assert result.exit_code == 1
    assert "--token" in result.stderr


# --- watching --------------------------------------------------------------------------------------------------------


def test_watch_draws_over_the_last_page() -> None:
    import contextlib

    from vagus.cli.redraw import _shown

    console = terminal(80)
    document = to_builtins({"nodes": [node_status()]})
    with contextlib.ExitStack() as stack:
        show = _shown(render_status, None, console, stack)
        show(document)
        show(NoData("no answer"))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b[2J" not in text
    assert text.count("\x1b[H") >= 2
    assert "412 series live" in text
    assert "error: no answer" in text
    assert text.endswith("\x1b[?1049l")  # the terminal is as it was
