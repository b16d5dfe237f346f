"""`vagus health` one command at a time: what is asked, and Panorama's lines that are printed."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any

import click
import pytest
from cli_gateway import BAD, Gateway, serve
from click.testing import CliRunner

from vagus.cli import cli
from vagus.cli.health import ENTRIES, arranged
from vagus.cli.session import server_url
from vagus.cli.view_panorama import instant, moment
from vagus.model import Metric, Report, Status, to_builtins

T_NS = 1495354839_367133633  # 2017-05-21T08:20:39
ZK = Report("peer@9", "peer@9", 1495214185_000000000, {"SyncThread": Metric(Status.UNHEALTHY, 20.0)})
OLD = Report("api@1", "db@2", T_NS - 5, {"read": Metric(Status.HEALTHY, 1.0)})
NEW = Report("api@1", "db@2", T_NS, {"read": Metric(Status.UNHEALTHY, 30.0), "w": Metric(Status.HEALTHY, 0.25)})
OTHER = Report("api@2", "db@2", T_NS - 1, {"read": Metric(Status.PENDING, 2.0)})
ABOUT = {
    "node": "n1",
    "peers": {"n2": {"address": "10.0.0.2:6688", "state": "alive"}, "n3": {"address": "10.0.0.3:6688"}},
    "counts": {"subjects": 2, "reports": 17, "accepted": 99},
    "memory_bytes": 18 << 20,
}


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.delenv("VAGUS_OBSERVER", raising=False)
    made = Gateway()
    made.answers |= {
        "/v1/health/db@2/panorama": {"panorama": {"api@2": [OTHER], "api@1": [OLD, NEW]}},
        "/v1/health/peer@9/panorama": {"panorama": {"peer@9": [ZK]}},
        "/v1/subjects": {"subjects": [{"subject": "peer@1", "t_ns": T_NS}, {"subject": "a\nb", "t_ns": 10**9}]},
        "/v1/panoramas": {"panoramas": {"peer@9": {"peer@9": [ZK]}}},
        "/v1/observer": {"observer": ABOUT},
        "/v1/register": {"handle": 4711},
        "/v1/unregister": {"result": "IGNORED"},
        "/v1/watch": {"result": "ACCEPTED"},
        "/v1/unwatch": {"result": "ACCEPTED"},
        "/healthz": {"status": "ok", "node": "n1", "version": "1"},
    }
    with serve(made) as served:
        yield served


def test_times_are_go_s() -> None:
    assert moment(T_NS) == "2017-05-21 08:20:39.367133633 +0000 UTC"
    assert moment(1495353639_360000000) == "2017-05-21 08:00:39.36 +0000 UTC"
    assert instant(1495214185 * 10**9) == "2017-05-19T17:16:25Z"


# --- get, list, dump -------------------------------------------------------------------------------------------------


def test_feature_9_get_panorama_as_panorama_prints_it(gateway: Gateway) -> None:
    assert gateway.run("health", "get", "panorama", "peer@9").stdout == (
        "[[... peer@9->peer@9 (1 observations) ...]]\n|peer@9| 2017-05-19T17:16:25Z { SyncThread: UNHEALTHY, 20.0; }\n"
    )
    lines = gateway.run("health", "get", "panorama", "db@2").stdout.splitlines()
    assert lines[0] == "[[... api@1->db@2 (2 observations) ...]]"
    assert lines[2] == "|api@1| 2017-05-21T08:20:39.367133633Z { read: UNHEALTHY, 30.0; w: HEALTHY, 0.2; }"
    assert lines[3] == "[[... api@2->db@2 (1 observations) ...]]"
    document = json.loads(gateway.run("health", "get", "panorama", "db@2", "--json").stdout)
    assert sorted(document["panorama"]) == ["api@1", "api@2"]


def test_feature_9_get_report_is_the_newest(gateway: Gateway) -> None:
    result = gateway.run("health", "get", "report", "db@2")
    assert result.stdout.startswith("[api@1] ==> db@2: 2017-05-21T08:20:39.367133633Z { read: UNHEALTHY, 30.0;")
    document = json.loads(gateway.run("health", "get", "report", "db@2", "--json").stdout)
    assert document["report"]["contexts"]["read"] == {"status": "UNHEALTHY", "score": 30.0}


def test_feature_9_get_view_asks_for_one_observer(gateway: Gateway) -> None:
    assert gateway.run("health", "get", "view", "api@1", "db@2").exit_code == 0
    assert gateway.asked[-1][:3] == ("GET", "/v1/health/db@2/panorama", {"observer": "api@1"})
    gateway.answers["/v1/health/db@2/panorama"] = {"panorama": {"api@3": []}}
    silent = gateway.run("health", "get", "view", "api@3", "db@2")
    assert silent.exit_code == 1
    assert "'api@3' said nothing of 'db@2'" in silent.stderr


def test_feature_9_get_means_the_inference(gateway: Gateway) -> None:
    for words in (["db@2"], ["inference", "db@2"]):
        line = gateway.run("health", "get", *words).stdout
        assert line.startswith("[api@1, api@2] ==> db@2: ")
        assert line.endswith("Z { read: UNHEALTHY, 30.0; write: HEALTHY, 100.0; }\n")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["report"], "the subject is missing"),
        (["inference", "api@1", "db@2"], "inference is of all observers"),
        (["db@2", "db@3"], "too many words"),
        (["veiw", "api@1", "db@2"], "did you mean view?"),
        (["view", "a", "b", "c"], "too many words"),
        (["view", "", "b"], "must not be empty"),
    ],
)
def test_get_usage(gateway: Gateway, words: list[str], says: str) -> None:
    result = gateway.run("health", "get", *words)
    assert result.exit_code == 2
    assert says in result.stderr
    assert gateway.asked == []


def test_feature_9_list_subjects_with_their_times(gateway: Gateway) -> None:
    for words in (["list"], ["list", "subject"]):
        lines = gateway.run("health", *words).stdout.splitlines()
        assert lines == ["peer@1 2017-05-21 08:20:39.367133633 +0000 UTC", "a b 1970-01-01 00:00:01 +0000 UTC"]
    assert gateway.run("health", "list", "observer").exit_code == 2
    gateway.answers["/v1/subjects"] = {"subjects": []}
    assert gateway.run("health", "list").stderr == "no subject yet\n"


def test_feature_9_dump_puts_each_under_its_name(gateway: Gateway) -> None:
    lines = gateway.run("health", "dump").stdout.splitlines()
    assert lines[0] == "=============api@1============="
    assert lines[1].startswith("[api@1] ==> api@1: ")
    assert lines[2] == "=============db@2============="
    text = gateway.run("health", "dump", "panorama").stdout
    assert text.startswith("=============peer@9=============\n[[... peer@9->peer@9 (1 observations) ...]]\n|peer@9| ")
    assert gateway.asked[-1][2] == {"limit": "1000"}
    assert json.loads(gateway.run("health", "dump", "panorama", "--json").stdout)["panoramas"]["peer@9"]


@pytest.mark.parametrize("command", ["list", "dump panorama", "get panorama db@2"])
def test_a_partial_answer_says_so(gateway: Gateway, command: str) -> None:
    for path in ("/v1/subjects", "/v1/panoramas", "/v1/health/db@2/panorama"):
        gateway.answers[path] |= {"partial": True, "missing": [{"node": "b", "error": "no answer"}]}
    result = gateway.run("health", *command.split())
    assert result.exit_code == 0
    assert result.stderr == "partial answer, without b: no answer\n"


# --- who says it -----------------------------------------------------------------------------------------------------


def test_feature_9_report_by_handle_and_in_whose_name(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAGUS_OBSERVER", "peer@2")
    result = gateway.run("health", "report", "peer@1", "snapshot:u:30", "--handle", "4711")
    assert (result.exit_code, result.stdout) == (0, "Accepted\n")
    sent = gateway.asked[-1][3]
    assert (sent["observer"], sent["subject"], sent["handle"]) == ("peer@2", "peer@1", 4711)
    assert sent["contexts"] == {"snapshot": ["UNHEALTHY", 30.0]}
    gateway.answers["/v1/report"] = {"results": ["FAILED"]}
    refused = gateway.run("health", "report", "peer@1", "s:u", "--handle", "4712")
    assert refused.exit_code == 1
    assert "does handle 4712 belong to 'peer@2'?" in refused.stderr
    gateway.answers["/v1/report"] = {"results": ["IGNORED"]}
    assert gateway.run("health", "report", "x", "s:u").stdout == "Ignored\n"


def test_me_on_its_own_tells_the_shell(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    assert gateway.run("health", "me", "peer 2").stdout == "export VAGUS_OBSERVER='peer 2'\n"
    monkeypatch.setenv("VAGUS_OBSERVER", "peer@2")
    assert gateway.run("health", "me").stdout == "peer@2\n"
    assert json.loads(gateway.run("health", "me", "--json").stdout) == {"observer": "peer@2"}
    assert gateway.run("health", "me", "x" * 201).exit_code == 1


def test_handles_and_the_watch_list(gateway: Gateway) -> None:
    assert gateway.run("health", "register", "zookeeper", "peer@1").stdout == "4711\n"
    assert gateway.asked[-1][3] == {"module": "zookeeper", "observer": "peer@1"}
    assert gateway.run("health", "unregister", "4711").stdout == "Ignored\n"
    assert gateway.asked[-1][3] == {"handle": 4711}
    assert gateway.run("health", "watch", "db@2", "--node", "b").stdout == "Accepted\n"
    assert gateway.asked[-1][1:] == ("/v1/watch", {"node": "b"}, {"subject": "db@2"})
    assert json.loads(gateway.run("health", "unwatch", "db@2", "--json").stdout) == {"result": "ACCEPTED"}
    assert gateway.run("health", "unregister", "none").exit_code == 2


# --- the observers ---------------------------------------------------------------------------------------------------


def test_feature_9_ping_peers_and_memory(gateway: Gateway) -> None:
    assert gateway.run("health", "ping").stdout.startswith(f"n1 at {gateway.url} answers in ")
    assert json.loads(gateway.run("health", "ping", "-n", "3", "--json").stdout)["count"] == 3
    rows = [line.split() for line in gateway.run("health", "peers").stdout.splitlines()]
    assert rows[1:] == [["n2", "10.0.0.2:6688", "alive"], ["n3", "10.0.0.3:6688"]]
    text = gateway.run("health", "memory").stdout
    assert "memory    18 MiB" in text
    assert "reports" in text
    assert json.loads(gateway.run("health", "memory", "--json").stdout)["memory"]["memory_bytes"] == 18 << 20
    gateway.answers["/v1/observer"] = {"observer": "?"}
    assert "are both of one version?" in gateway.run("health", "ping").stderr


# --- tail ------------------------------------------------------------------------------------------------------------


def _tick(n: int, **fields: Any) -> dict[str, Any]:
    about = {"subject": "db@2", "status": "UNHEALTHY", "was": "HEALTHY", "accusers": "api@1", **fields}
    return {"t_ns": T_NS + n, "node": "n1", "event": "health.changed", "level": "info", "fields": about, "id": str(n)}


def test_tail_follows_the_asked_node_s_events(gateway: Gateway) -> None:
    gateway.ticks = [_tick(0, contexts="read"), _tick(1, subject="x"), _tick(2, status="DEAD", context="w")]
    result = gateway.run("health", "tail", "db*", "-n", "2", "--since", "5m")
    assert result.stdout.splitlines() == [
        "2017-05-21T08:20:39.367133633Z db@2: HEALTHY -> UNHEALTHY (read), accused by api@1",
        "2017-05-21T08:20:39.367133635Z db@2 w: HEALTHY -> DEAD, accused by api@1",
    ]
    assert gateway.asked[-1][2] == {"events": "health.changed", "node": "n1", "since": "300.000s"}
    line = json.loads(gateway.run("health", "tail", "--json", "-n", "1").stdout)
    assert (line["subject"], line["status"], line["node"]) == ("db@2", "UNHEALTHY", "n1")


# --- how commands are found ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("args", "means"),
    [
        ([], ["client"]),
        (["--server", "x:1"], ["client", "--server", "x:1"]),
        (["-server=x:1"], ["client", "-server=x:1"]),
        (["db@2", "--json"], ["show", "db@2", "--json"]),
        (["--json"], ["show", "--json"]),
        (["--status", "u"], ["show", "--status", "u"]),
        (["--server", "x:1", "list", "subject"], ["list", "--server", "x:1", "subject"]),
        (["--json", "--node", "list", "get", "x"], ["get", "--json", "--node", "list", "x"]),
        (["--", "list"], ["show", "--", "list"]),
        (["--server", "x", "--help"], ["--help"]),
        (["list", "--server", "x"], ["list", "--server", "x"]),
    ],
)
def test_arranged(args: list[str], means: list[str]) -> None:
    assert arranged(args, {entry.name for entry in ENTRIES}, "client") == means


def test_a_subject_like_a_command_and_a_word_that_is_none(gateway: Gateway) -> None:
    gateway.answers["/v1/health/list"] = {"inference": {**to_builtins(BAD), "subject": "list"}}
    assert "list  UNHEALTHY" in gateway.run("health", "--", "list").stdout
    assert "==> list: " in gateway.run("health", "get", "inference", "list").stdout
    assert gateway.run("health", "").exit_code == 2


def test_server_is_another_word_for_url(gateway: Gateway) -> None:
    address = gateway.url.removeprefix("http://")
    for given in (["--server", address], [f"--server={gateway.url}"], ["-server", address]):
        for args in (["health", *given, "list"], ["health", "list", *given], ["report", "x", "y:u", *given]):
            result = CliRunner().invoke(cli, ["--token", "secret", *args])
            assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("razor0", "http://razor0:7117"),
        ("razor0:6688", "http://razor0:6688"),
        ("localhost:6688", "http://127.0.0.1:6688"),
        ("http://h:1/", "http://h:1"),
        ("https://h", "https://h:443"),
        ("https://localhost:8443", "https://localhost:8443"),
        ("[::1]:6688", "http://[::1]:6688"),
    ],
)
def test_server_url(text: str, url: str) -> None:
    assert server_url(text) == url


@pytest.mark.parametrize("text", ["h:x", "h:99999", "https://h/path", "http://h/path", "u@h:1", ":1", "ftp://h"])
def test_server_url_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not HOST"):
        server_url(text)


@pytest.mark.parametrize("command", ["list", "dump", "ping", "matrix", "peers", "memory", "tail", "get x", "watch x"])
def test_no_server_and_a_wrong_token(gateway: Gateway, command: str) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        away = ["health", *command.split(), "--server", f"127.0.0.1:{unused.getsockname()[1]}"]
        result = CliRunner().invoke(cli, ["--token", "secret", *away])
        assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
        assert "cannot be reached" in result.stderr
    denied = gateway.run("health", *command.split(), "--token", "other")
    assert (denied.exit_code, denied.stderr) == (1, "error: wrong token\n")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_every_command_takes_server_and_json(entry: Any) -> None:
    if entry.name in ("help", "exit", "client", "me", "serve", "logtail"):
        return
    from vagus.cli.health import health

    command = health.get_command(click.Context(health), entry.name)
    assert command is not None
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--server", "--json"} <= options


def test_help_of_the_group_and_of_one(gateway: Gateway) -> None:
    text = gateway.run("health", "--help").stdout
    assert "Ask:" in text
    assert "  panorama" not in text
    assert gateway.run("health", "help").stdout == text
    assert "the last 10 reports of OBSERVER" in gateway.run("health", "help", "get").stdout
    assert "did you mean get?" in gateway.run("health", "help", "gte").stderr
    assert gateway.run("health", "exit").exit_code == 0
