"""`vagus replay --live`: the clock, the requests and the delays of a replay against a service."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_gateway import Gateway, serve

from vagus.cli.replay_live import Served, Service
from vagus.controllers.decide.players import PlayerSetup, play
from vagus.controllers.decide.replay import Setup, replay
from vagus.controllers.decide.trace import Trace, parse_trace


class Clock:
    """Time that passes in sleep, and a little in each request."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds


class Answering:
    """A connection: the first arm each time, each request costs `cost_s`."""

    def __init__(self, clock: Clock, cost_s: float = 0.0) -> None:
        self.clock, self.cost_s = clock, cost_s
        self.decided: list[tuple[float, Any, list[str]]] = []
        self.updated: list[tuple[float, str, float]] = []

    def decide(self, features: Any, arms: Any) -> Any:
        self.clock.now_s += self.cost_s
        self.decided.append((self.clock.now_s, dict(features), list(arms)))
        return type("Drawn", (), {"arm": arms[0], "decision_id": f"d{len(self.decided)}"})

    def update(self, decision_id: str, reward: float) -> str:
        self.updated.append((self.clock.now_s, decision_id, reward))
        return "ACCEPTED" if decision_id != "d2" else "FAILED"


def trace() -> Trace:
    found = parse_trace("t", ["t_s,group,a,b\n", *(f"{t},g,{t},9\n" for t in range(11))])
    assert isinstance(found, Trace)
    return found


def test_a_replay_lasts_as_long_as_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    connection = Answering(clock)
    service = Service(connection, 0.5, monotonic=clock.monotonic, sleep=clock.sleep)  # type: ignore[arg-type]
    result = replay(trace(), lambda _: service, setup=Setup(delay_s=2.0, rate=2.0, tick_s=0.5))
    assert clock.now_s - 1000.0 == pytest.approx(10.0, abs=0.6)
    assert len(connection.decided) == result.runs[0].sessions > 15
    assert connection.decided[0][1:] == ({"group": "g"}, ["a", "b"])
    assert result.mean == pytest.approx(5.0, abs=0.7)  # a is worth the second that it is
    for at_s, decision_id, _ in connection.updated:
        made_s = connection.decided[int(decision_id[1:]) - 1][0]
        assert at_s - made_s >= 1.5  # the delay, to the tick
    assert service.refused == 1
    service.report()
    assert "1 updates were not accepted" in capsys.readouterr().err


def test_who_cannot_keep_up_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    slow = Answering(clock, cost_s=2.0)
    service = Service(slow, 0.5, monotonic=clock.monotonic, sleep=clock.sleep)  # type: ignore[arg-type]
    replay(trace(), lambda _: service, setup=Setup(rate=1.0))
    assert service.behind_s > 5.0
    service.report()
    assert "behind the trace; give a lower --rate" in capsys.readouterr().err


def test_players_ask_and_report_in_time() -> None:
    clock = Clock()
    connection = Answering(clock)
    service = Service(connection, monotonic=clock.monotonic, sleep=clock.sleep)  # type: ignore[arg-type]
    sessions = play(trace(), Served(service), PlayerSetup(rate=1.0, chunks=2, part=1, delay_s=1.0))
    assert len(connection.decided) == 2 * len(sessions) == len(connection.updated)
    assert all(one[0] <= other[0] for one, other in zip(connection.decided, connection.decided[1:], strict=False))


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serve(Gateway()) as served:
        yield served


def test_the_command_over_http(gateway: Gateway, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("t_s,group,a,b\n0,g,1,2\n0.2,g,1,2\n")
    result = gateway.run("replay", str(file), "--live", "--rate", "20", "--delay", "0.05", "--tick", "0.1", "--json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["policies"][0]["policy"] == "(live)"
    assert document["policies"][0]["mean"] == 2.0  # this gateway always answers b
    paths = [path for _, path, _, _ in gateway.asked]
    assert paths.count("/v1/decide") == document["sessions"] >= 4
    assert 0 < paths.count("/v1/update") <= paths.count("/v1/decide")
    for words in (["--seeds", "2"], [str(file)]):
        result = gateway.run("replay", str(file), "--live", *words)
        assert result.exit_code == 1
        assert "--live replays one trace with one seed" in result.stderr
