"""`vagus load` against real sockets: all that is due is asked or counted as failed, whatever the server does."""

import json
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import decide_server as servers
from decide_server import good, serving

from vagus.cli import cli
from vagus.cli.load.crew import here
from vagus.cli.load.plan import Plan
from vagus.cli.load.tally import Tally, latency, merged
from vagus.cli.load.worker import run


def perform(url, **more):
    given = {"url": url, "token": "t", "rate": 400.0, "requests": 40, "connections": 4, "arms": ("a", "b")}
    plan = Plan(**{**given, "delay_s": 0.01, "timeout_s": 0.3, "start_ns": time.time_ns(), **more})
    return merged(msgspec.msgpack.decode(frame, type=Tally) for frame in run(msgspec.msgpack.encode(plan)))


def test_every_decision_and_every_outcome_is_asked_once():
    with serving(good) as [server]:
        tally = perform(server.url, timeout_s=10.0)
        assert tally.due == {"decide": 40, "update": 40}
        assert tally.failures == {}
        assert {kind: sum(counts.values()) for kind, counts in tally.kinds.items()} == tally.due
        assert len(server.paths("/v1/decide")) == len(server.paths("/v1/update")) == 40
        assert server.connections == 4
        assert tally.workers == 1
        features = {json.dumps(document["features"]) for _, document in server.paths("/v1/decide")}
        assert len(features) > 20


def test_a_share_of_outcomes_and_the_features_that_were_asked_for():
    with serving(good) as [server]:
        tally = perform(server.url, timeout_s=10.0, updates=0.0, features=("city=Bern|Basel", "n=1..3"))
        assert tally.due == {"decide": 40}
        cities = {document["features"]["city"] for _, document in server.asked}
        assert cities == {"Bern", "Basel"}


def test_a_server_that_stalls_shows_in_all_that_was_due_meanwhile():
    """Open loop: with a closed one, the four connections would show four slow requests."""
    stalled = threading.Event()

    def stall(server, connection, path, document):
        if len(server.asked) <= 4:
            stalled.wait(10)
        good(server, connection, path, document)

    with serving(stall) as [server]:
        threading.Timer(0.3, stalled.set).start()
        tally = perform(server.url, timeout_s=10.0, updates=0.0)
        assert tally.failures == {}
        # the last one was due 0.1 s after the first: all waited for most of the stall
        assert latency(tally.kinds["decide"])["p50"] > 100


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        (servers.hang, "time-out"),
        (servers.close, "connection lost"),
        (servers.reset, "connection lost"),
        (servers.says(b"220 mail\r\n\r\n"), "no HTTP answer"),
        (servers.says(servers.answer({}, 503)), "status 503"),
        (servers.says(servers.answer({"x": 1})), "no decision"),
    ],
    ids=["hangs", "closes", "resets", "garbage", "overloaded", "another answer"],
)
def test_what_fails_is_counted_by_its_reason(behave, why):
    with serving(behave) as [server]:
        tally = perform(server.url, requests=20, timeout_s=0.1)
        assert why in tally.failures
        assert tally.kinds == {}
        assert sum(tally.failures.values()) == tally.due["decide"] == 20


def test_nobody_there():
    tally = perform(f"http://127.0.0.1:{servers.unused_port()}", requests=20, timeout_s=0.1)
    assert tally.failures == {"cannot connect": 20}


def test_a_server_that_comes_back_is_used_again():
    first = servers.Server(good)
    port = first.port

    def again():
        first.wait_for(5)
        first.stop()
        second.append(servers.Server(good, port))

    second: list[servers.Server] = []
    thread = threading.Thread(target=again)
    thread.start()
    try:
        tally = perform(first.url, requests=120, timeout_s=5.0, updates=0.0)
    finally:
        thread.join(20)
        second[0].stop()
    assert len(second[0].asked) > 50
    assert sum(tally.kinds["decide"].values()) + sum(tally.failures.values()) == 120


def test_several_processes_share_the_load_and_a_lost_one_is_told():
    with serving(good) as [server]:
        given = {"url": server.url, "token": "t", "rate": 400.0, "requests": 40, "connections": 2, "arms": ("a",)}
        start_ns = time.time_ns() + 100_000_000
        plans = [Plan(**given, workers=2, number=n, updates=0.0, start_ns=start_ns, timeout_s=10.0) for n in range(2)]
        lost = []
        broken = Plan(**{**given, "url": "nonsense"})
        tally = merged(here([*plans, broken], lost.append))
        assert tally.due == {"decide": 40}
        assert tally.workers == 2
        assert len(lost) == 1
        assert "nonsense" in lost[0]


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def short_lead(monkeypatch):
    """A worker that starts late sends all the same; only its figures are worth less."""
    monkeypatch.setattr("vagus.cli.load.command.LEAD_S", 0.1)


def load(url, *arguments):
    given = ["--url", url, "--token", "t", "load", "--rate", "200", "--count", "20", "--delay", "10ms"]
    return CliRunner().invoke(cli, [*given, *arguments])


def test_the_command_prints_a_table_and_draws(tmp_path):
    with serving(good) as [server]:
        done = load(server.url, "-o", str(tmp_path / "load.png"))
        assert done.exit_code == 0, done.output
        assert done.stdout.splitlines()[0].split()[:3] == ["requests", "due", "answered"]
        assert done.stdout.splitlines()[1].split()[:3] == ["decide", "20", "20"]
        assert (tmp_path / "load.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_as_json():
    with serving(good) as [server]:
        done = load(server.url, "--json", "--updates", "0")
        document = json.loads(done.stdout)
        assert document["requests"] == document["answered"] == 20
        assert document["kinds"]["decide"]["latency_ms"]["p99"] > 0
        assert document["generator"]["finished"] == 1


def test_a_server_that_answers_nothing_is_an_error_with_its_reasons():
    done = load(f"http://127.0.0.1:{servers.unused_port()}", "--timeout", "2s")
    assert done.exit_code == 1
    assert "cannot connect" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--rate", "0"], "rate"),
        (["--feature", "x"], "NAME="),
        (["--arms", "0"], "arms"),
        (["-o", "load.pdf"], "PNG"),
        (["-o", "/nonexistent/load.png"], "no folder"),
        (["--updates", "2"], "updates"),
    ],
)
def test_wrong_usage_is_one_line(arguments, why):
    done = load("http://127.0.0.1:1", *arguments)
    assert done.exit_code in (1, 2)
    assert why in done.output
    assert "Traceback" not in done.output


def test_others_are_not_loaded():
    done = load("http://192.0.2.1:7117")
    assert done.exit_code == 1
    assert "one's own only" in done.stderr
