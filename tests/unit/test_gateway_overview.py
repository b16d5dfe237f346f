"""The overview behind the page `/`: one round of questions for all who look, sections as events, what rules leave out."""

from __future__ import annotations

import asyncio
import http.client
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
from gateway_backend import NOW_NS, TOKEN, serving
from glance_backend import HOSTILE, Glance

from vagus.clock import NS
from vagus.config import AccessRule
from vagus.gateway.overview_board import PERIODS_S

GUEST = "the-token-of-a-guest"
SECTIONS = {*PERIODS_S}


class Viewer:
    """An open page: reads events one by one."""

    def __init__(self, served: Any, token: str = TOKEN) -> None:
        self.connection = http.client.HTTPConnection(served.address, timeout=10)
        self.connection.request("GET", "/v1/overview", headers={"Authorization": f"Bearer {token}"})
        self.answer = self.connection.getresponse()

    def event(self) -> tuple[str, Any]:
        """The next event; ("", None) at the end."""
        name = ""
        while line := self.answer.readline():
            word, _, rest = line.decode().rstrip("\n").partition(": ")
            if word == "event":
                name = rest
            elif word == "data":
                return name, json.loads(rest)
        return "", None

    def until(self, *names: str) -> dict[str, Any]:
        """The newest event of each name, once all of these have come."""
        found: dict[str, Any] = {}
        while not found.keys() >= set(names):
            name, data = self.event()
            assert name, f"it ended before {set(names) - found.keys()}"
            found[name] = data
        return found

    def close(self) -> None:
        self.answer.close()
        self.connection.close()


Look = Callable[..., Viewer]


@pytest.fixture
def look() -> Iterator[Look]:
    """Opens pages, and closes them in the end."""
    opened: list[Viewer] = []

    def open_one(served: Any, token: str = TOKEN) -> Viewer:
        opened.append(Viewer(served, token))
        return opened[-1]

    yield open_one
    for viewer in opened:
        viewer.close()


@pytest.fixture
def served() -> Iterator[Any]:
    with serving(Glance()) as running:
        running.gateway.site.board.pace = 0.01
        yield running


def test_every_section_comes_and_says_what_there_is(look: Look, served: Any) -> None:
    found = look(served).until("hello", *SECTIONS)
    assert (found["hello"]["node"], found["hello"]["cluster"]) == ("a", "test")
    assert [signal["name"] for signal in found["hello"]["signals"]] == ["cpu", "memory", "load", "network"]
    first, second = found["nodes"]["nodes"]
    assert (first["node"], first["series"], first["ill_count"], first["errors"]) == ("a", 200, 0, [])
    assert (second["ill"][0]["error"], second["errors"]) == ("boom", ["hardware: no /dev/mem"])
    assert [one["what"] for one in found["nodes"]["lacking"]] == ["node:c"]
    subjects = found["verdicts"]["subjects"]
    assert [(one["subject"], one["status"]) for one in subjects] == [(HOSTILE, "DEAD"), ("db@a", "UNHEALTHY")]
    assert subjects[1]["cells"][0]["observer"] == "api@1"
    assert subjects[1]["contexts"][0]["accusers"] == ["api@1"]
    assert found["verdicts"]["counts"] == {"DEAD": 1, "UNHEALTHY": 1, "HEALTHY": 1}
    (feed,) = found["feeds"]["feeds"]
    assert (feed["name"], feed["failing"]) == ("comon", [["http://b/", HOSTILE]])
    (group,) = found["decisions"]["groups"]
    assert (group["group"], group["decisions"], group["rewards"], group["mean"]) == ("isp=1", 4, 4, 3.0)
    assert group["regret"] == pytest.approx(10.0 - (0.75 * 10 + 0.25 * 2))
    assert group["line"] == [0.0, 2.0, 4.0, 6.0]
    receipts = found["limits"]["receipts"]
    assert [(one["after"], one["dry"], bool(one["error"])) for one in receipts] == [
        (None, True, False),
        (1.2, False, False),
        (1.5, False, True),
        (1.5, False, False),
    ]
    for name in SECTIONS:
        assert (found[name]["missing"], found[name]["error"]) == ([], ""), name


def test_lines_begin_with_what_is_stored_and_go_on_with_ticks(look: Look, served: Any) -> None:
    viewer = look(served)
    while len((lines := viewer.until("signals")["signals"])["t_ms"]) < 2:
        pass
    cpu, memory, load, network = lines["lines"]["b"]
    assert len(lines["t_ms"]) == len(cpu) == 60
    assert lines["t_ms"][-1] - lines["t_ms"][-3] <= 10_000
    assert set(memory) == {0.25}
    assert set(load) == {2.5}
    assert set(network[:-1]) == {1000.0}, "both ways of eth0, without lo"
    assert max(cpu) - min(cpu) > 0.3
    served.backend.second += 10
    served.gateway.site.clock.advance(10)
    tick: dict[str, Any] = {}
    while tick.get("t_ms", 0) < (NOW_NS + 10 * NS) // 1_000_000:
        tick = viewer.until("tick")["tick"]
    assert tick["values"]["a"][1:] == [0.25, 1.5, 1000.0]


def test_all_viewers_share_one_round_and_it_ends_after_the_last(
    look: Look, served: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = served.gateway.site.board
    board.pace = 1000.0
    viewers = [look(served) for _ in range(5)]
    for viewer in viewers:
        viewer.until(*SECTIONS)
    assert served.backend.asked.count(("b", "latest")) == 1
    assert len(board) == 5
    monkeypatch.setattr("vagus.gateway.overview_board.LINGER_S", 0.0)

    async def gone() -> None:
        for woken in list(board._viewers):
            board.leave(woken)
        while board._tasks:
            await asyncio.sleep(0)

    served.call(gone())
    assert not board.known


def test_a_section_that_reads_as_before_is_not_sent_again(look: Look, served: Any) -> None:
    viewer = look(served)
    viewer.until(*SECTIONS)
    names = [viewer.event()[0] for _ in range(30)]
    assert {*names} <= {"tick", "signals"}
    served.backend.statuses["b"] = served.backend.statuses["a"]
    assert viewer.until("nodes")["nodes"]["nodes"][1]["ill_count"] == 0


def test_a_node_that_does_not_answer_is_named_and_the_rest_goes_on(look: Look, served: Any) -> None:
    viewer = look(served)
    viewer.until(*SECTIONS)
    served.backend.gone.add("b")
    while not (tick := viewer.until("tick")["tick"])["missing"]:
        pass
    assert tick["missing"][0]["node"] == "b"
    assert "does not answer" in tick["missing"][0]["error"]
    assert list(tick["values"]) == ["a"]
    served.backend.gone.clear()
    while "b" not in viewer.until("tick")["tick"]["values"]:
        pass


def test_what_fails_altogether_is_said_and_what_was_known_stays(look: Look, served: Any) -> None:
    viewer = look(served)
    viewer.until(*SECTIONS)
    served.backend.feeds = None  # a defect: not callable
    found = viewer.until("feeds")["feeds"]
    while not (found["error"] or found["missing"]):
        found = viewer.until("feeds")["feeds"]
    assert found["missing"][0]["node"] == "a"


def test_only_new_receipts_are_asked_for_and_old_ones_go(look: Look, served: Any) -> None:
    viewer = look(served)
    viewer.until(*SECTIONS)
    served.gateway.site.clock.advance(3000)
    while len((limits := viewer.until("limits")["limits"])["receipts"]) > 3:
        pass
    assert [one["reason"] for one in limits["receipts"]] == ["p99 is 0.2 s"] * 3
    asked = sorted(int(since) for what, since in served.backend.asked if what == "receipts")
    assert (asked[0], asked[-1] > NOW_NS - 60 * NS) == (NOW_NS - 3600 * NS, True)


@pytest.mark.says("answers-filtered", "roles-read-named")
def test_what_the_rules_refuse_is_left_out_and_named(look: Look) -> None:
    rules = (
        AccessRule(who=("token:guest",), read=("overview", "host.load", "db@a", "receipt")),
        AccessRule(who=("token:cluster",), read=("status",)),
    )
    with serving(Glance(), tokens={"guest": GUEST}, access=rules) as served:
        assert served.ask("GET", "/v1/overview")[0] == 403, "the route itself needs to be allowed"
        served.gateway.site.board.pace = 0.01
        viewer = look(served, GUEST)
        found = viewer.until("hello", *SECTIONS, "tick")
        assert found["tick"]["values"]["a"] == [None, None, 1.5, None]
        assert [one["subject"] for one in found["verdicts"]["subjects"]] == ["db@a"]
        assert HOSTILE in found["verdicts"]["refused"]
        assert (found["nodes"]["nodes"], found["nodes"]["refused"]) == ([], ["status"])
        assert (found["feeds"]["feeds"], found["feeds"]["refused"]) == ([], ["feed.comon"])
        assert (found["decisions"]["groups"], found["decisions"]["refused"]) == ([], ["decision", "decide"])
        assert len(found["limits"]["receipts"]) == 4


@pytest.mark.says("limit-overview")
def test_parameters_and_too_many_pages_are_refused_and_a_stop_is_told(
    look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving(Glance()) as served:
        assert served.ask("GET", "/v1/overview?x=1")[0] == 422
        viewer = look(served)
        viewer.until(*SECTIONS)
        monkeypatch.setattr("vagus.gateway.routes_overview.MAX_VIEWERS", 1)
        assert served.ask("GET", "/v1/overview")[0] == 429
        served.call(served.gateway.stop())
        names = []
        while name := viewer.event()[0]:
            names.append(name)
        assert names[-1] == "end"


def test_many_nodes_are_asked_less_often(served: Any) -> None:
    board = served.gateway.site.board
    board.pace = 1.0
    assert board.period_s == PERIODS_S["signals"]
    served.backend.peers = tuple(f"n{n}" for n in range(299))
    asks_per_s = 300 * sum(1 / period_s for period_s in PERIODS_S.values()) / (board.period_s / PERIODS_S["signals"])
    assert asks_per_s == pytest.approx(30.0)
