"""Commands against a small real HTTP server: what they ask, what they print, how they end."""

from __future__ import annotations

import csv
import io
import json
import os
import pwd
import socket
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cli_gateway import BAD, LINK, NOW_NS, NS, Gateway, actor, node_status, serve

import vagus.cli.health
from vagus.model import Event, SensorInfo, Status


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serve(Gateway()) as served:
        yield served


# --- status ----------------------------------------------------------------------------------------------------------


def test_status_shows_the_loop(gateway: Gateway) -> None:
    result = gateway.run("status")
    assert result.exit_code == 0, result.stderr
    text = result.stdout
    assert text.splitlines()[0] == "vagus    1 node: a  ok"
    assert "412 series live" in text
    assert "2 subjects, none unhealthy" in text
    assert "3 decisions" in text
    assert "dry: would set 1.5" in text
    assert "cpu_cores of pid:4711: 2 → 1.5 (asked for 1), dry: nothing written (throttled)" in text
    row = next(line for line in text.splitlines() if line.startswith("vagus:collector@a"))
    assert row.split() == ["vagus:collector@a", "HEALTHY", "4711", "2.0", "%", "108", "MiB", "1m35s", "0", "0"]
    assert not set(text) & set("│┃─━┌\x1b")


def test_status_as_json_has_the_summary(gateway: Gateway) -> None:
    document = json.loads(gateway.run("status", "--json").stdout)
    assert (document["series"], document["inferences"], document["errors"]) == (412, 2, [])
    assert [a["state"] for a in document["actors"]] == ["HEALTHY"] * 3
    assert document["nodes"][0]["node"] == "a"


def test_status_names_accusers(gateway: Gateway) -> None:
    gateway.answers["/v1/status"]["nodes"] = [node_status(unhealthy=("db@2",))]
    result = gateway.run("status")
    assert "db@2  UNHEALTHY  read: accused by api@1, api@2" in result.stdout
    assert result.exit_code == 0  # vagus itself is well


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nodes": [node_status(errors=("network: cannot read",))]}, "error   a: network: cannot read"),
        ({"nodes": [node_status(actors=(actor("feed", state="UNHEALTHY", last_error="boom"),))]}, "boom"),
        ({"nodes": [node_status()], "partial": True, "missing": [{"node": "b", "error": "no answer"}]}, "without b"),
        ({"nodes": []}, "0 nodes"),
        ({"nodes": [node_status(actors=(actor("collector", state="STARTING"),))]}, "starting"),
    ],
)
def test_status_degraded_is_3(gateway: Gateway, change: dict[str, Any], says: str) -> None:
    gateway.answers["/v1/status"].update(change)
    result = gateway.run("status")
    assert result.exit_code == 3
    assert says in result.stdout
    as_json = gateway.run("status", "--json")
    assert as_json.exit_code == 3
    assert json.loads(as_json.stdout)["state"] in ("degraded", "starting")


def test_status_without_health_still_answers(gateway: Gateway) -> None:
    del gateway.answers["/v1/health"]
    assert gateway.run("status").exit_code == 0


def test_status_of_many_nodes(gateway: Gateway) -> None:
    gateway.answers["/v1/status"]["nodes"] = [node_status("a"), node_status("b")]
    assert "824 series live  (a 412 · b 412)" in gateway.run("status").stdout


def test_watch_goes_on_until_interrupted(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = iter([None, None])

    def sleep(_: float) -> None:
        if next(turns, "end") == "end":
            raise KeyboardInterrupt
        del gateway.answers["/v1/status"]  # the second time there is no answer: shown, and asked again
        gateway.answers["/v1/status"] = gateway.answers["/v1/health"]

    monkeypatch.setattr("time.sleep", sleep)
    result = gateway.run("status", "--watch", "--json")
    assert result.exit_code == 130
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["ok", "degraded", "degraded"]


# --- errors ----------------------------------------------------------------------------------------------------------


def test_no_gateway_is_1() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        gateway = Gateway()
        gateway.url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        for command in (["status"], ["query", "a.b"], ["tail"], ["decide", "x"], ["health"]):
            result = gateway.run(*command)
            assert result.exit_code == 1
            assert result.stderr.startswith(f"error: {gateway.url} cannot be reached")
            assert result.stderr.count("\n") == 1


def test_the_gateway_s_own_words(gateway: Gateway) -> None:
    result = gateway.run("health", "nobody")
    assert result.exit_code == 1
    assert result.stderr == "error: nothing at /v1/health/nobody; look elsewhere\n"


def test_a_wrong_token(gateway: Gateway) -> None:
    result = gateway.run("status", "--token", "other")
    assert (result.exit_code, result.stderr) == (1, "error: wrong token\n")


def test_an_answer_that_is_no_json(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "answer", lambda *_: (200, "text/html", b"<html>"))
    result = gateway.run("sensors")
    assert result.exit_code == 1
    assert "not JSON" in result.stderr


# --- samples ---------------------------------------------------------------------------------------------------------


def test_sensors(gateway: Gateway) -> None:
    result = gateway.run("sensors", "net.*", "--node", "a", "--history")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["kind", "node", "labels", "series", "samples", "state", "since", "source", "fields"]
    assert lines[1].startswith("host.cpu  a")
    assert '{dev="eth0"}' in lines[2]
    assert "ended 10m" in lines[2]
    assert result.stderr == "2 streams, 3 series, 2 of them live\n"
    assert gateway.asked[-1][2] == {"selector": "net.*", "node": "a", "history": "1"}
    fields = gateway.run("sensors", "--fields").stdout.splitlines()
    assert [line.split() for line in fields[1:3]] == [
        ["host.cpu.user", "a", "ratio", "f8"],
        ["host.cpu.idle", "a", "ratio", "f8"],
    ]
    assert len(json.loads(gateway.run("sensors", "--json").stdout)["sensors"]) == 2
    assert gateway.asked[-1][2] == {"selector": "*"}
    gateway.answers["/v1/sensors"]["ended"] = 3
    assert "; 3 have ended: --history shows them" in gateway.run("sensors").stderr


def test_query_shows_the_newest_ticks(gateway: Gateway) -> None:
    result = gateway.run("query", "*", "--since", "1m")
    assert result.exit_code == 0, result.stderr
    blocks = result.stdout.strip().split("\n\n")
    assert blocks[0].splitlines()[0] == 'host.cpu{node="a"}'
    assert blocks[0].splitlines()[1].split() == ["time", "user", "(ratio)", "idle", "(ratio)"]
    assert len(blocks[0].splitlines()) == 2 + 10
    totals = [int(line.split()[1]) for line in blocks[1].splitlines()[2:]]
    assert {later - former for former, later in pairwise(totals)} == {1500}  # to the byte
    assert gateway.asked[-1][2] == {"selector": "*", "since": "1m", "limit": "11", "rate": "0", "format": "msgpack"}
    limited = gateway.run("query", "*", "--limit", "3", "--rate").stdout.strip().split("\n\n")
    assert [len(block.splitlines()) for block in limited] == [5, 5]
    assert "1.46 KiB/s" in limited[1]


def test_query_csv_comes_straight_through(gateway: Gateway) -> None:
    result = gateway.run("query", "*", "--since", "1m", "--format", "csv")
    rows = list(csv.reader(io.StringIO(result.stdout)))
    assert rows[0] == [
        "time",
        'host.cpu.user{node="a"}',
        'host.cpu.idle{node="a"}',
        'net.link.rx_bytes{dev="eth0",node="a"}',
    ]
    assert len(rows) == 31
    assert rows[1][3] == str(2**60)


def test_csv_of_nothing_says_so(gateway: Gateway) -> None:
    gateway.batches = []
    result = gateway.run("query", "app.x", "--rate", "--format", "csv")
    assert (result.exit_code, result.stdout) == (0, "time\n")
    assert "nothing stored matches 'app.x' in that time; a rate needs two samples" in result.stderr
    assert gateway.run("query", "app.x", "--rate").exit_code == 1


def test_query_json(gateway: Gateway) -> None:
    document = json.loads(gateway.run("query", "*", "--json").stdout)
    assert document["batches"][1]["columns"]["rx_bytes"][0] == 2**60


def test_query_into_a_file_by_its_name(gateway: Gateway, tmp_path: Path) -> None:
    import pyarrow as pa

    file = tmp_path / "x.arrow"
    result = gateway.run("query", "*", "-o", str(file))
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert pa.ipc.open_stream(file.read_bytes()).read_all().num_rows == 30
    refused = gateway.run("query", "*", "-o", str(tmp_path / "absent/x.csv"))
    assert refused.exit_code == 1
    assert "there is no folder" in refused.stderr
    assert gateway.run("query", "*", "-o", str(tmp_path / "x.txt")).exit_code == 2


def test_query_of_a_named_time(gateway: Gateway) -> None:
    gateway.run("query", "*", "--start", "2026-01-31T12:00:00Z", "--end", "2026-01-31T14:00:00+01:00", "--json")
    params = gateway.asked[-1][2]
    assert params["start"] == str(1769860800 * NS)
    assert params["end"] == str((1769860800 + 3600) * NS)
    gateway.run("query", "*", "--end", str(NOW_NS), "--since", "10s", "--json")
    assert gateway.asked[-1][2]["start"] == str(NOW_NS - 10 * NS)


@pytest.mark.parametrize(
    "wrong",
    [
        ["--since", "soon"],
        ["--start", "yesterday"],
        ["--start", "1769860800"],
        ["--since", "5m", "--start", "2026-01-31"],
        ["--limit", "-1"],
        ["--format", "xml"],
    ],
)
def test_query_usage(gateway: Gateway, wrong: list[str]) -> None:
    result = gateway.run("query", "*", *wrong)
    assert result.exit_code == 2
    assert gateway.asked == []


def test_query_of_nothing(gateway: Gateway) -> None:
    gateway.batches = []
    result = gateway.run("query", "no.such")
    assert result.exit_code == 1
    assert "vagus sensors" in result.stderr


def test_tail(gateway: Gateway) -> None:
    gateway.ticks.insert(1, {"missing": {"node": "b", "error": "no answer"}})
    result = gateway.run("tail", "host.cpu", "-n", "3")
    lines = result.stdout.splitlines()
    assert len(lines) == 3
    assert lines[0].endswith('host.cpu{node="a"}  user=0.5  idle=–')
    assert result.stderr == "without b: no answer\n"
    as_json = gateway.run("tail", "host.cpu", "--json", "-n", "2").stdout.splitlines()
    assert [json.loads(line)["t_ns"] for line in as_json] == [NOW_NS, NOW_NS + NS]
    ended = gateway.run("tail", "host.cpu")
    assert (ended.exit_code, len(ended.stdout.splitlines())) == (1, 3)  # the gateway went away


def test_tail_of_the_past_and_of_events(gateway: Gateway) -> None:
    gateway.ticks.insert(0, {"t_ns": NOW_NS, "node": "a", "event": "log.line", "level": "error", "fields": {"n": 1}})
    result = gateway.run("tail", "host.cpu", "--since", "5m", "--events", "log.*", "-n", "2")
    assert result.stdout.splitlines()[0].endswith('log.line{node="a"}  error  n=1')
    assert gateway.asked[-1][2] == {"selector": "host.cpu", "events": "log.*", "since": "300.000s"}
    as_json = gateway.run("tail", "--events", "log.*", "--json", "-n", "1").stdout
    assert json.loads(as_json)["event"] == "log.line"
    assert gateway.run("tail", "--since", "soon").exit_code == 2


def test_tail_of_nothing_says_that_it_waits(gateway: Gateway) -> None:
    gateway.answers["/v1/sensors"]["sensors"] = [SensorInfo(LINK, NOW_NS - NS, NOW_NS, 1)]  # ended
    result = gateway.run("tail", "no.such", "-n", "1")
    assert result.stderr == "no such stream is live now: waiting\n"
    assert gateway.asked[0][2] == {"selector": "no.such"}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--start", "9999-01-01 00:00"], "'9999-01-01 00:00' is not between 1970 and 2100"),
        (["--end", "2099-12-01"], "'2099-12-01' lies in the future"),
        (["--start", "2026-01-02", "--end", "2026-01-01"], "--start 2026-01-02 00:00:00 is not before 2026-01-01"),
        (["--since", "0s"], "no time at all"),
    ],
)
def test_times_are_quoted_as_they_were_typed(gateway: Gateway, given: list[str], says: str) -> None:
    result = gateway.run("query", "host.cpu", *given)
    assert result.exit_code == 2
    assert says in result.stderr
    assert gateway.asked == []


# --- health and decisions --------------------------------------------------------------------------------------------


def test_health_worst_first(gateway: Gateway) -> None:
    lines = gateway.run("health").stdout.splitlines()
    assert lines[0].split() == ["subject", "status", "age", "observers", "contexts", "accusers"]
    assert lines[1].startswith("db@2     UNHEALTHY")
    assert lines[1].endswith("read UNHEALTHY, write  api@1, api@2")
    assert lines[2].startswith("api@1    HEALTHY")
    assert len(json.loads(gateway.run("health", "--json").stdout)["inferences"]) == 2
    gateway.run("health", "--status", "u,dd")
    assert gateway.asked[-1][2] == {"status": "u,dd"}


def test_who_reports_when_nobody_is_named(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("USER", raising=False)
    monkeypatch.setattr("socket.gethostname", lambda: "a")
    gateway.run("report", "db@2", "read:u")
    assert gateway.asked[-1][3]["observer"] == f"{pwd.getpwuid(os.geteuid()).pw_name}@a"
    monkeypatch.setattr("os.geteuid", lambda: 3_999_999_999)
    gateway.run("report", "db@2", "read:u")
    assert gateway.asked[-1][3]["observer"] == "uid3999999999@a"


def test_health_of_one_subject(gateway: Gateway) -> None:
    text = gateway.run("health", "db@2").stdout
    assert "db@2  UNHEALTHY" in text
    assert "observed by api@1, api@2" in text
    assert "read     UNHEALTHY     30  api@1, api@2" in text
    assert "api@1      read     UNHEALTHY     30" in text
    assert json.loads(gateway.run("health", "db@2", "--json").stdout)["inference"]["subject"] == BAD.subject


def test_report(gateway: Gateway) -> None:
    result = gateway.run("report", "db@2", "read:u:30", "a:b:healthy", "--observer", "me")
    assert (result.exit_code, result.stdout) == (0, "Accepted\n")
    sent = gateway.asked[-1][3]
    assert (sent["observer"], sent["subject"]) == ("me", "db@2")
    assert sent["contexts"] == {"read": ["UNHEALTHY", 30.0], "a:b": ["HEALTHY", 0.0]}
    gateway.answers["/v1/report"] = {"results": ["FAILED"]}
    assert gateway.run("report", "db@2", "read:u").exit_code == 1


@pytest.mark.parametrize("wrong", ["read", "read:", "read:z:1", ":u:1", "read:u:much", "read:u:nan", "u:1"])
def test_report_usage(gateway: Gateway, wrong: str) -> None:
    result = gateway.run("report", "db@2", wrong)
    assert result.exit_code == 2
    assert "CONTEXT:STATUS[:SCORE]" in result.stderr
    assert gateway.asked == []


@pytest.mark.parametrize("status", [status for status in Status if status.name != "INVALID"])
def test_contexts_take_every_status(status: Status) -> None:
    assert vagus.cli.health.parse_context(f"c:{status.name.lower()}:-1.5") == ("c", (status.name, -1.5))


def test_decide_and_update(gateway: Gateway) -> None:
    result = gateway.run("decide", "a", "b", "-f", "city=Bern", "-f", "load=0.5", "-f", "n=3", "-f", "vip=true")
    assert result.stdout.splitlines()[0] == "b"
    assert "vagus update d-1 REWARD" in result.stdout
    sent = gateway.asked[-1][3]
    assert sent == {"arms": ["a", "b"], "features": {"city": "Bern", "load": 0.5, "n": 3, "vip": True}}
    assert json.loads(gateway.run("decide", "a", "b", "--json").stdout)["decision_id"] == "d-1"
    assert gateway.run("decide", "a", "-f", "city").exit_code == 2
    assert gateway.run("update", "d-1", "-2.5").stdout == "ACCEPTED\n"
    assert gateway.asked[-1][3] == {"decision_id": "d-1", "reward": -2.5}
    assert gateway.run("update", "d-1", "nan").exit_code == 2


# --- records ---------------------------------------------------------------------------------------------------------


def test_events_oldest_first_and_harmless(gateway: Gateway) -> None:
    result = gateway.run("events", "--since", "10m", "--limit", "5")
    lines = result.stdout.splitlines()
    assert lines[0].endswith("info    a  actor.started  by=x [2J")
    assert lines[1].endswith("error   a  disk.full (log)  path=/x  free=0.125")
    assert gateway.asked[-1][2] == {"kind": "event", "since": "10m", "limit": "5"}
    matched = json.loads(gateway.run("events", "--match", "DISK", "--json").stdout)
    assert [e["event"] for e in matched["records"]] == ["disk.full"]


def test_receipts(gateway: Gateway) -> None:
    text = gateway.run("events", "--record", "receipt").stdout
    assert "throttle@a  cpu_cores of pid:4711: 2 → 1.5 (asked for 1), dry: nothing written (throttled)" in text
    empty = gateway.run("events", "--record", "decision")
    assert (empty.stdout, empty.stderr) == ("", "no decisions in the last 1h\n")


def test_events_leave_out_what_is_empty(gateway: Gateway) -> None:
    gateway.records["event"] = [Event(NOW_NS, "health.changed", "a", fields={"accusers": "", "score": 0})]
    assert gateway.run("events").stdout.endswith("health.changed  score=0\n")
    gateway.records["item"] = [{"feed": "up", "arrived_ns": NOW_NS, "data": "None", "errors": 0, "note": ""}]
    assert gateway.run("events", "--record", "item").stdout.endswith("  feed=up  errors=0\n")


# --- plots -----------------------------------------------------------------------------------------------------------


def test_plot_in_plain_text(gateway: Gateway) -> None:
    result = gateway.run("plot", "*", "--rate", "--title", "all of it")
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("all of it\n")
    assert "  a host.cpu.idle  " in result.stdout
    assert "bytes/s" in result.stdout
    assert LINK.kind in result.stdout
    assert not set(result.stdout) & set("│─┌\x1b")


def test_plot_as_png(gateway: Gateway, tmp_path: Path) -> None:
    from PIL import Image

    file = tmp_path / "x.png"
    result = gateway.run("plot", "*", "-o", str(file))
    assert result.exit_code == 0, result.stderr
    assert "--rate" in result.stderr  # a hint: one of them is a counter
    with Image.open(file) as image:
        assert image.format == "PNG"
        assert image.size == (1200, 700)  # two units, two panels
        colours = image.convert("RGB").getcolors(1 << 20)
    assert colours is not None
    vivid = [colour for count, colour in colours if count > 100 and max(colour) - min(colour) > 100]
    assert len(vivid) >= 3  # a line each
    assert gateway.run("plot", "*", "-o", "x.pdf").exit_code == 2
    gateway.asked.clear()
    refused = gateway.run("plot", "*", "-o", str(tmp_path / "absent/x.png"))
    assert (refused.exit_code, gateway.asked) == (1, [])
    assert "there is no folder" in refused.stderr


def test_plot_of_nothing(gateway: Gateway) -> None:
    gateway.batches = [batch[:0] for batch in gateway.batches]
    assert gateway.run("plot", "*").exit_code == 1


# --- version ---------------------------------------------------------------------------------------------------------


def test_version() -> None:
    found = json.loads(Gateway().run("version", "--json").stdout)
    assert {"vagus", "python", "ray"} <= found.keys()
