"""`vagus top` without a terminal: keys and news make states, states make screens that fit, whatever is in them."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from vagus.cli.top.command import VIEWS as CHOICES
from vagus.cli.top.frame import Frame, draw, plain, share
from vagus.cli.top.keys import decode
from vagus.cli.top.lines import PLAIN, curve, fit
from vagus.cli.top.source import FIRST_RETRY_S, LAST_RETRY_S, Source
from vagus.cli.top.state import MAX_FILTER, VIEWS, State, pressed, told
from vagus.cli.top.told import TYPES, read
from vagus.client.sse import events
from vagus.errors import PeerUnreachable

NAMED = ("up", "down", "pageup", "pagedown", "home", "end", "tab", "backtab", "enter", "escape", "backspace", "redraw")
KEYS = st.lists(st.sampled_from([*NAMED, *"123456/jkgGhb? xΩ王"]), max_size=40)
SIZES = st.tuples(st.integers(20, 300), st.integers(5, 100))
T_MS = 1_700_000_000_000
HOSTILE = "\x1b[2J\x07a\nb\u202e王王 e\u0301 \U0001f600"
HELLO = {
    "node": "a",
    "cluster": "test",
    "points": 4,
    "signals": [{"name": "cpu", "title": "CPU", "unit": "ratio"}, {"name": "network", "unit": "bytes/s"}],
}
GONE = {"missing": [{"node": "c", "error": f"silent {HOSTILE}"}], "missing_count": 1}
CONTENT: dict[str, Any] = {
    "hello": HELLO,
    "signals": {"t_ms": [T_MS - 2000, T_MS], "lines": {"a": [[0.1, None], [None, 2e6]], HOSTILE: [[1.0, 1.0], []]}},
    "nodes": {
        "nodes": [
            {"node": "a", "series": 200, "actors": 9, "restarts": 1},
            {
                "node": "b",
                "ill": [{"name": "feed@b", "state": "DEAD", "error": "boom"}],
                "ill_count": 3,
                "errors": ["e"],
            },
        ],
        "lacking": [{"what": "node:d", "why": "missing", "todo": "start it"}],
        **GONE,
    },
    "verdicts": {
        "counts": {"DEAD": 1, "HEALTHY": 7},
        "subjects": [
            {
                "subject": f"db{HOSTILE}",
                "status": "DEAD",
                "t_ms": T_MS - 5000,
                "contexts": [{"context": "read", "status": "DEAD", "score": 30.0, "accusers": ["api@1"]}],
                "cells": [{"observer": "api@1", "status": "DEAD", "t_ms": T_MS - 6000}],
                "cells_left": 2,
            }
        ],
        "unshown": 3,
        "refused": ["secret.*"],
    },
    "feeds": {
        "feeds": [
            {"name": "comon", "node": "a", "locations": 2, "failing": [["http://b/", HOSTILE]], "failing_count": 1},
            {"name": "rss", "node": "a", "locations": 1, "codes": {"ok/Good": 3}},
        ],
        "left_off": 4,
    },
    "decisions": {
        "groups": [
            {
                "group": "isp=1",
                "decisions": 4,
                "rewards": 2,
                "mean": 3.0,
                "line": [0.0, None, 6.0],
                "arms": [{"arm": "x", "drawn": 3, "probability": 0.75, "mean": 10.0}, {"arm": "y"}],
                "regret": 2.0,
                "note": "its leader did not answer",
            }
        ],
        "known": 9,
    },
    "limits": {
        "receipts": [
            {
                "t_ms": T_MS,
                "node": "a",
                "target": "cgroup:web",
                "resource": "cpu_cores",
                "before": 1.5,
                "requested": 1.0,
            }
            | {"error": "EACCES: denied", "after": 1.5},
            {"t_ms": T_MS, "target": "pid:1", "resource": "cpu_cores", "requested": 3.0, "dry": True, "reason": "p99"},
            {"t_ms": T_MS, "target": "pid:2", "resource": "cpu_cores", "requested": 3.0, "after": 2.0},
        ],
        "left_off": 1,
        "error": "node c is late",
    },
}


def record(name: str, content: Any) -> Any:
    return read(name, json.dumps(content).encode())


def after(state: State, **sections: Any) -> State:
    for name, content in sections.items():
        state = told(state, name, record(name, content))
    return state


FULL = after(State(), **CONTENT)


def body(state: State, width: int = 100, height: int = 60) -> str:
    return "\n".join(line.plain.rstrip() for line in draw(state, width, height).lines)


# --- screens ---------------------------------------------------------------------------------------------------------


def holds(frame: Frame, width: int, height: int) -> None:
    assert len(frame.lines) == height
    for line in frame.lines:
        assert cell_len(line.plain) <= width
        assert all(char.isprintable() for char in line.plain)


def type_all(state: State, keys: list[str], size: tuple[int, int]) -> State:
    for key in keys:
        frame = draw(state, *size)
        state = pressed(state, key, frame.page, frame.deepest) or state
    return state


@settings(max_examples=60, deadline=None)
@given(keys=KEYS, size=SIZES, then=SIZES, known=st.sets(st.sampled_from(sorted(CONTENT))), lost=st.booleans())
def test_any_keys_on_any_size_with_anything_known_fit(
    keys: list[str], size: tuple[int, int], then: tuple[int, int], known: set[str], lost: bool
) -> None:
    state = after(State(), **{name: content for name, content in CONTENT.items() if name in known})
    state = told(state, "lost", "it is away; `vagus up` starts it " * 3) if lost else state
    state = type_all(state, keys, size)
    holds(draw(state, *size), *size)
    holds(draw(state, *then), *then)
    assert state.scroll >= 0
    assert len(state.words) <= MAX_FILTER


@pytest.mark.parametrize(("width", "height"), [(1, 1), (2, 3), (5, 2), (20, 5), (80, 24), (300, 100)])
@pytest.mark.parametrize("view", VIEWS)
def test_even_the_smallest_screen_is_filled_and_not_left(width: int, height: int, view: str) -> None:
    holds(draw(replace(FULL, view=view, helped=True, lost="away"), width, height), width, height)


@given(needs=st.lists(st.integers(0, 200), min_size=1, max_size=6), room=st.integers(0, 300))
def test_room_is_shared(needs: list[int], room: int) -> None:
    given_ = share(needs, room)
    assert all(1 <= part <= max(1, need) for part, need in zip(given_, needs, strict=True))
    if room >= len(needs):
        assert sum(given_) <= max(room, len(needs))
        assert sum(given_) == len(needs) or sum(given_) >= min(room, sum(needs)) - len(needs)


def test_each_view_says_what_is_wrong_in_words() -> None:
    nodes = body(replace(FULL, view="nodes"))
    assert "MISSING  c" in nodes
    assert "does not answer: silent" in nodes
    assert "WRONG    b" in nodes
    assert "feed@b is DEAD: boom" in nodes
    assert "and 2 more" in nodes
    assert nodes.index("LACKING  node:d") < nodes.index("MISSING") < nodes.index("WRONG") < nodes.index("ok       a")
    assert "1.91 MiB/s" in nodes
    assert "9 actors  200 series  1 restart" in body(replace(FULL, view="nodes"), 160)
    health = body(replace(FULL, view="health"))
    assert "read  DEAD  30  accused by api@1" in health
    assert "said: api@1 DEAD 6.0s ago and 2 more" in health
    assert "5.0s ago" in health
    assert "not for this token: secret.*" in health
    assert "and 3 more that are not healthy" in health
    assert "DEAD  1  HEALTHY  7" in health
    feeds = body(replace(FULL, view="feeds"))
    assert "FAILING  comon  at a  1 of 2 locations well" in feeds
    assert "ok       rss" in feeds
    assert "    http://b/: " in feeds
    decisions = body(replace(FULL, view="decisions"))
    assert "isp=1  regret 2  4 decisions  mean reward 3 of 2" in decisions
    assert "x  drawn 3  p 0.75  mean 10" in decisions
    assert "and 8 more of 9 groups" in decisions
    limits = body(replace(FULL, view="limits"))
    assert "not newer: node c is late" in limits
    assert "ERROR  cgroup:web  cpu_cores 1.5 → 1" in limits
    assert "    EACCES: denied" in limits
    assert "dry    pid:1       cpu_cores none → 3" in limits
    assert "cpu_cores none → 2  asked for 3" in limits
    tabs = draw(FULL, 100, 30).lines[1].plain
    assert tabs == " 1 nodes (2!)  2 health (4!)  3 feeds (1!)  4 decisions  5 limits (1!) [6 all]"
    assert draw(FULL, 40, 30).lines[1].plain == " 1!  2!  3!  4  5! [6 all]"


def test_a_quiet_cluster_says_so_and_what_to_do() -> None:
    quiet = after(State(), hello=HELLO, nodes={}, verdicts={}, feeds={}, decisions={}, limits={})
    text = body(quiet)
    for said in ("no node yet", "`vagus report` adds one", "no feed is declared", "`vagus decide`", "no limit was"):
        assert said in text, said
    assert body(State()).count("not told yet") == 5
    assert "no gateway heard yet" in body(State())


def test_the_glance_shows_the_first_of_each_and_says_how_many_more() -> None:
    subjects = [{"subject": f"db@{n}", "status": "DEAD"} for n in range(50)]
    many = after(FULL, verdicts={"subjects": subjects, "counts": {"DEAD": 50}})
    text = body(many, 80, 24)
    for heading in ("nodes", "health", "feeds", "decisions", "limits"):
        assert f"── {heading}" in text
    assert "more lines: key 2" in text
    assert "db@0" in text
    assert draw(many, 80, 24).deepest == 0
    everything = "\n".join(line.plain for line in plain(many, 400))
    assert "db@49" in everything


def test_lost_is_said_until_somebody_answers() -> None:
    lost = told(FULL, "lost", "http://127.0.0.1:1 cannot be reached: is it running? `vagus up` starts it")
    text = body(lost, 80, 24)
    assert "LOST, shown is " in text
    assert "`vagus up` starts it" in text
    assert "cgroup:web" in text, "what was known stays"
    assert "LOST" not in body(after(lost, hello=HELLO))


# --- states ----------------------------------------------------------------------------------------------------------


def test_keys_choose_views_scroll_and_filter() -> None:
    def keys(state: State, *pressed_keys: str) -> State:
        return type_all(state, list(pressed_keys), (80, 10))

    assert [keys(FULL, key).view for key in "123456"] == list(VIEWS)
    assert (keys(FULL, "tab").view, keys(FULL, "backtab").view) == ("nodes", "limits")
    assert VIEWS == CHOICES
    assert keys(FULL, "1", "j", "j", "k").scroll == 1
    deepest = draw(replace(FULL, view="nodes"), 80, 10).deepest
    assert deepest > 0
    assert keys(FULL, "1", "G").scroll == keys(FULL, "1", *["j"] * 99).scroll == deepest
    assert keys(FULL, "1", "G", "up").scroll == deepest - 1
    assert keys(FULL, "1", "G", "g").scroll == keys(FULL, "1", "k").scroll == 0
    found = keys(FULL, "5", "/", *"WEBq", "backspace", "enter")
    assert (found.words, found.typing) == ("WEB", False)
    assert "cgroup:web" in body(found)
    assert "pid:1" not in body(found)
    assert "nothing contains 'WEB'" in body(keys(found, "4"))
    assert keys(found, "escape").words == ""
    assert keys(found, "/", "x", "escape") == replace(found, words="", typing=False)
    assert "Shift-Tab" in body(keys(FULL, "?"))
    assert pressed(FULL, "q", 1, 1) is None


def test_ticks_move_the_curves_on() -> None:
    state = after(State(), hello=HELLO, signals=CONTENT["signals"])
    for n in range(3):
        state = after(state, tick={"t_ms": T_MS + n, "values": {"a": [0.5, 1.0 * n], "new": [0.25, None]}, **GONE})
    assert state.history["a"] == ((None, 0.5, 0.5, 0.5), (2e6, 0.0, 1.0, 2.0))
    assert state.history["new"] == ((0.25,) * 3, (None,) * 3)
    assert state.t_ms == T_MS + 2
    assert "MISSING  c" in body(replace(state, view="nodes", sections={**state.sections, "nodes": record("nodes", {})}))
    for n in range(4):
        state = after(state, tick={"t_ms": T_MS + 9 + n, "values": {}})
    assert state.history == {}, "who has had no value for as long as is shown is gone"


def test_it_is_whole_once_every_section_and_a_second_column_came() -> None:
    assert FULL.whole
    assert not after(State(), **{**CONTENT, "signals": {"t_ms": [T_MS]}}).whole
    for name in ("nodes", "verdicts", "limits"):
        assert not replace(FULL, sections={k: v for k, v in FULL.sections.items() if k != name}).whole


@settings(max_examples=50, deadline=None)
@given(name=st.sampled_from(sorted(TYPES)), data=st.binary(max_size=60))
def test_what_cannot_be_read_is_an_error_of_ours(name: str, data: bytes) -> None:
    try:
        about = read(name, data)
    except PeerUnreachable:
        return
    holds(draw(told(FULL, name, about), 80, 24), 80, 24)


def test_an_event_in_another_form_is_named_and_a_later_one_is_left_out() -> None:
    with pytest.raises(PeerUnreachable, match=r"the gateway sent limits in a form that cannot be read: .*receipts"):
        read("limits", b'{"receipts": 3}')
    assert read("of a later version", b"?") is None


# --- lines and keys --------------------------------------------------------------------------------------------------


def test_curves_are_as_wide_as_asked_and_know_their_scale() -> None:
    assert curve([0.0, 0.5, 1.0, None], 6, 1.0) == "  ▁▅█ "
    assert curve([5.0, 7.0], 1, 7.0, 5.0) == "█"
    assert curve([3.0], 2, 3.0, 3.0) == " ▁"
    assert curve([1.0], 0, 1.0) == ""
    assert curve([float("nan"), 9.0, -9.0], 3, 1.0) == " █▁"
    assert curve([0.0, 1.0], 2, 1.0).translate(PLAIN).isascii()


@given(value=st.text(max_size=30), width=st.integers(0, 20), right=st.booleans())
def test_a_cell_is_exactly_as_wide_as_asked(value: str, width: int, right: bool) -> None:
    assert cell_len(fit(value, width, right).plain) == width


def test_bytes_become_keys() -> None:
    assert decode(b"q1\t\x1b[A\x1bOB\x1b[5~\x1b[Z\x7f\r") == (
        ["q", "1", "tab", "up", "down", "pageup", "backtab", "backspace", "enter"],
        b"",
    )
    assert decode(b"\x1b[99;99R\x00\x01") == ([], b""), "what is no key of ours is left out"
    assert decode(b"a\x1b") == (["a"], b"\x1b")
    assert decode(b"\x1b", final=True) == (["escape"], b"")
    assert decode(b"\x1bj") == (["escape", "j"], b"")
    assert decode("é王".encode()[:-1]) == (["é"], "王".encode()[:-1])


@given(
    keys=st.lists(st.sampled_from([b"q", b"\x1b[A", b"\x1b[6~", b"\x1bOF", "王".encode(), b"\t"])), seed=st.integers()
)
def test_keys_that_come_in_pieces_are_the_same(keys: list[bytes], seed: int) -> None:
    data, rng = b"".join(keys), random.Random(seed)
    found, rest, at = [], b"", 0
    while at < len(data):
        step = rng.randint(1, 4)
        more, rest = decode(rest + data[at : at + step])
        found += more
        at += step
    assert (found, rest) == decode(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_keys_or_nothing_and_little_waits(data: bytes) -> None:
    keys, rest = decode(data)
    assert len(rest) <= 40
    assert all(len(key) == 1 or key in NAMED for key in keys)
    assert decode(rest, final=True)[1] == b""


# --- the stream ------------------------------------------------------------------------------------------------------


class Answer:
    def __init__(self, data: bytes) -> None:
        self.lines = data.splitlines(keepends=True)

    def readline(self, limit: int, /) -> bytes:
        return self.lines.pop(0)[:limit] if self.lines else b""


def test_events_are_read_and_a_broken_stream_is_an_error() -> None:
    found = events(Answer(b":\n\nevent: hello\ndata: {}\n\nretry: 3\nevent: tick\nda"), "http://a")
    assert [next(found), next(found)] == [("", b""), ("hello", b"{}")]
    with pytest.raises(PeerUnreachable, match="http://a stopped sending"):
        next(found)


def test_a_lost_gateway_is_asked_again_ever_more_seldom_until_it_answers() -> None:
    answers: list[list[tuple[str, bytes]]] = [[] for _ in range(8)]
    answers += [[("hello", b"{}"), ("", b""), ("later", b"1"), ("tick", b"?")], [("end", b"{}")], []]
    put: list[tuple[str, Any]] = []
    paused: list[float] = []

    def open_() -> Any:
        yield from answers.pop(0)
        raise PeerUnreachable("away")

    class Half(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    def pause(pause_s: float) -> bool:
        paused.append(pause_s)
        return not answers

    source = Source(open_, lambda name, about: put.append((name, about)), Half())
    source.pause = pause
    source.run()
    assert paused[:3] == [FIRST_RETRY_S, 2 * FIRST_RETRY_S, 4 * FIRST_RETRY_S]
    assert max(paused) == LAST_RETRY_S
    assert paused[8] == FIRST_RETRY_S, "an answer begins anew"
    assert [name for name, _ in put] == ["lost"] * 8 + ["hello", "lost", "lost", "lost"]
    assert put[0] == ("lost", "away")
    assert "sent tick in a form that cannot be read" in put[9][1]
    assert "`vagus up`" in put[10][1]
