"""What somebody new to health gets wrong is said in one short line: what, where, and what to do."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec
import pytest
from cli_gateway import Gateway, actor, node_status, serve
from click.testing import CliRunner

from vagus.actors.base import Seat
from vagus.actors.datagrams import resolve
from vagus.actors.observer import ObserverActor
from vagus.actors.webhooks import Webhooks
from vagus.cli import cli
from vagus.cli.health_shell import MAX_LINE
from vagus.cli.logtail import Outbox
from vagus.client import endpoint
from vagus.config import Config, HealthSettings, WebhookSettings, decode
from vagus.errors import ConfigError, PeerUnreachable
from vagus.gateway.errors import invalid_input
from vagus.health.instances import config_of_panorama
from vagus.model import Metric, Report, Status

LONG = "x" * 100_000
Short = Annotated[str, msgspec.Meta(max_length=200)]


class _Posted(msgspec.Struct):
    subject: Short
    contexts: dict[Short, int]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with serve(Gateway()) as served:
        yield served


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [["get", LONG], ["show", LONG], ["get", "view", LONG, "db@2"], [LONG]])
def test_an_endless_name_is_one_short_line(gateway: Gateway, words: list[str]) -> None:
    result = gateway.run("health", *words)
    assert result.exit_code == 1
    assert "must be 1 to 200 printable characters" in result.stderr
    assert len(result.stderr) < 300
    assert gateway.asked == []


def test_lengths_are_said_in_words() -> None:
    with pytest.raises(msgspec.ValidationError) as found:
        msgspec.convert({"subject": LONG, "observer": "a", "contexts": {}}, _Posted)
    problem = invalid_input(found.value, "body")
    assert (problem.detail.message, problem.detail.where) == ("must have at most 200 characters", "body.subject")
    with pytest.raises(msgspec.ValidationError) as found:
        msgspec.convert({"subject": "a", "contexts": {LONG: 1}}, _Posted)
    problem = invalid_input(found.value, "body")
    assert (problem.detail.message, problem.detail.where) == (
        "must have at most 200 characters as a key",
        "body.contexts",
    )


def test_a_status_that_is_none_names_those_that_one_may_say() -> None:
    with pytest.raises(ConfigError) as found:
        Status.parse("UNHELTHY")
    assert "one of NA, HEALTHY, PENDING, MAYBE_UNHEALTHY, UNHEALTHY, DYING, DEAD or n h p m u d dd" in str(found.value)
    assert "INVALID" not in str(found.value)


# --- the client ------------------------------------------------------------------------------------------------------


def test_where_only_what_is_watched_is_taken_it_is_said(gateway: Gateway) -> None:
    gateway.answers["/v1/observer"] = {"observer": {"node": "pano2", "interest": "watched"}}
    for words in (["get", "peer@1"], ["get", "panorama", "peer@1"], ["peer@1"]):
        said = gateway.run("health", *words)
        assert said.exit_code == 1
        assert said.stderr.endswith(
            "pano2 takes only what is reported to it or watched there: `vagus health watch peer@1`\n"
        )
    gateway.answers["/v1/observer"] = {"observer": {"node": "pano2", "interest": "watched", "filter": ["db*"]}}
    assert gateway.run("health", "peer@1").stderr.endswith("; health.subjects of pano2 keeps it out\n")
    gateway.answers["/v1/observer"] = {"observer": {"node": "pano2", "interest": "all", "filter": ["*"]}}
    assert "watch" not in gateway.run("health", "get", "peer@1").stderr


def test_a_mistyped_command_is_recognised_but_no_subject(gateway: Gateway) -> None:
    assert gateway.run("health", "matrx").stderr.endswith("; did you mean matrix?\n")
    assert "did you mean" not in gateway.run("health", "peer@1").stderr


def test_what_a_server_of_health_alone_has_not_says_who_has(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = {"code": "not_found", "message": "there is no /v1/query", "where": "path", "hint": "GET /openapi.json"}
    monkeypatch.setattr(
        gateway, "answer", lambda *_: (404, "application/json", msgspec.json.encode({"error": problem}))
    )
    assert "`vagus up` serves the rest" in gateway.run("query", "host.cpu").stderr


def test_get_recommends_no_kind_that_is_there_already(gateway: Gateway) -> None:
    result = gateway.run("health", "get", "view", "a", "b", "c")
    assert "did you mean" not in result.stderr
    assert "a name with spaces goes in quotes" in result.stderr


def test_a_line_without_end_is_one_error_and_the_next_one_is_read(gateway: Gateway) -> None:
    args = ["--url", gateway.url, "--token", "secret", "health", "client"]
    result = CliRunner().invoke(cli, args, input=f"report {'x' * 3 * MAX_LINE} s:u:1\nreport ok@1 s:u:1\n")
    assert result.exit_code == 1
    assert result.stderr.count("error:") == 1
    assert f"a line has at most {MAX_LINE} characters: report xxx" in result.stderr
    assert [body["subject"] for _, _, _, body in gateway.asked] == ["ok@1"]


def test_me_takes_a_server_as_its_neighbours_do() -> None:
    result = CliRunner().invoke(cli, ["health", "--server", "127.0.0.1:6688", "me"], env={"VAGUS_OBSERVER": "peer@2"})
    assert (result.exit_code, result.stdout) == (0, "peer@2\n")


def test_status_does_not_call_healthy_what_nobody_judges(gateway: Gateway) -> None:
    hung = node_status(actors=(actor("collector"), actor("observer", state="UNHEALTHY")), inferences=0)
    gateway.answers["/v1/status"] = {"nodes": [hung], "partial": False, "missing": []}
    gateway.answers["/v1/health"] = {"inferences": [], "partial": True, "missing": ["a"]}
    result = gateway.run("status")
    assert "unknown: no observer answers" in result.stdout
    assert "none unhealthy" not in result.stdout


def test_only_what_was_taken_counts_as_reported() -> None:
    def refuse(_: Any) -> None:
        raise ConfigError("no token")

    told: list[str] = []
    outbox = Outbox(refuse, told.append)
    report = Report("a@1", "b@1", 1, {"c": Metric(Status.UNHEALTHY)})
    for _ in range(3):
        outbox.put(report)
    assert outbox.missed == 3  # they wait
    assert outbox.flush(0.0) == 0
    assert (outbox.missed, outbox.refused) == (3, 3)
    assert told == ["3 reports refused: no token"]


# --- where vagus is --------------------------------------------------------------------------------------------------


def test_a_server_without_a_token_says_where_tokens_are(tmp_path: Path) -> None:
    env = {"VAGUS_HOME": str(tmp_path), "VAGUS_TOKEN": "", "VAGUS_URL": ""}
    result = CliRunner().invoke(cli, ["health", "--server", "127.0.0.1:1", "list"], env=env)
    assert result.exit_code == 1
    assert "no token for http://127.0.0.1:1" in result.stderr
    assert "the file HOME/token" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: see the next test")
def test_a_folder_of_another_user_is_named(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(PeerUnreachable, match="closed is another user's"):
        endpoint.find(home=closed)
    (tmp_path / "open" / "nodes" / "n1").mkdir(parents=True)
    (tmp_path / "open" / "nodes" / "n1").chmod(0)
    with pytest.raises(PeerUnreachable, match="open is another user's"):
        endpoint.find(home=tmp_path / "open")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PeerUnreachable, match="no running vagus found"):
        endpoint.find(home=tmp_path)
    node = tmp_path / "nodes" / "n1"
    node.mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda folder, _: Path(folder) != node)
    with pytest.raises(PeerUnreachable, match="another user's: run as that user, set VAGUS_HOME"):
        endpoint.find(home=tmp_path)


# --- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("health: {interest: some}", "Invalid enum value 'some' - at `$.health.interest`; it is one of all, watched"),
        ("health: {serve: {log_level: loud}}", "it is one of debug, info, warning, error"),
        ("health: {webhok: 1}", "did you mean `webhooks`?"),
    ],
)
def test_a_word_that_is_none_names_those_that_are(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as found:
        decode(text.encode(), Config, "vagus.yaml")
    assert str(found.value).startswith("vagus.yaml: ")
    assert says in str(found.value)


def test_a_strategy_that_is_none_is_named_with_its_key(tmp_path: Path) -> None:
    (tmp_path / "v.yaml").write_text("health: {strategy: wieghted}")
    args = ["health", "serve", "--config", str(tmp_path / "v.yaml"), "z1"]
    result = CliRunner().invoke(cli, args, env={"VAGUS_HOME": str(tmp_path)})
    assert result.exit_code == 1
    assert f"error: {tmp_path}/v.yaml: health.strategy: " in result.stderr
    assert "majority, paper, weighted" in result.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("health: {strategy: wieghted}", "health.strategy: vagus.strategies has no 'wieghted'"),
        ("health: {webhooks: [{url: 'http://a/', statuses: [BAD]}]}", "health.webhooks[0].statuses: status 'BAD'"),
        ("collect: {logs: [{path: /x, filter: kafak}]}", "collect.logs[0].filter: vagus.log_filters has no 'kafak'"),
        ("collect: {log_filters: [kernl]}", "collect.log_filters: vagus.log_filters has no 'kernl'"),
    ],
)
@pytest.mark.parametrize("command", [["config", "check"], ["up", "--config"]])
def test_before_anything_is_started_bad_words_are_found(
    command: list[str], text: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.runtime.launch.up", lambda *_, **__: pytest.fail("it was started"))
    (tmp_path / "v.yaml").write_text(text)
    result = CliRunner().invoke(cli, [*command, str(tmp_path / "v.yaml")], env={"VAGUS_HOME": str(tmp_path)})
    assert result.exit_code == 1
    assert f"{tmp_path}/v.yaml: {says}" in result.stderr


def test_an_actor_that_cannot_start_says_why_in_a_line() -> None:
    from vagus.runtime.links import first_lines

    class Died(Exception):
        pass

    told = Died(
        "The actor died because of an error raised in its creation task, \x1b[36mray::Observer.__init__()\x1b[39m (pid=1)\n"
        '  File "x.py", line 7, in __init__\n    raise ConfigError("no")\n        ^^^^^^^\n'
        "vagus.errors.ConfigError: health.strategy: no"
    )
    assert first_lines(told) == "it cannot start: ConfigError: health.strategy: no"
    assert first_lines(Died("The node\nis gone\nmuch more")) == "Died: The node is gone"


def test_a_webhook_s_bad_status_is_named_with_its_place() -> None:
    hooks = [WebhookSettings(url="http://a/"), WebhookSettings(url="http://b/", statuses=("BAD",))]
    with pytest.raises(ConfigError, match=r"^health\.webhooks\[1\]\.statuses: status 'BAD'"):
        Webhooks(hooks, "n1", None)


def test_an_address_that_differs_from_what_peers_know_is_a_note() -> None:
    made = config_of_panorama(b'{"Addr": "127.0.0.1:6699", "Id": "a", "Peers": {"a": "127.0.0.1:6698"}}', "a.cfg")
    assert made.notes == ("a.cfg: a listens at 127.0.0.1:6699, while its peers look for it at 127.0.0.1:6698",)
    same = config_of_panorama(b'{"Addr": "127.0.0.1:6699", "Id": "a", "Peers": {"a": "127.0.0.1:6699"}}', "a.cfg")
    assert same.notes == ()


async def test_a_peer_with_another_key_is_named_until_it_has_the_same(tmp_path: Path) -> None:
    async def speak(actor: ObserverActor, until: Callable[[], bool]) -> None:
        while not until():
            await actor.report([Report("a@1", "db", time.time_ns(), {"c": Metric(Status.UNHEALTHY)})])
            await asyncio.sleep(0.01)

    nobody: Any = None
    made = [
        ObserverActor(Seat("observer", node, str(tmp_path / node), Config(), options={"key": key}), nobody)
        for node, key in (("n1", "00" * 32), ("n2", "11" * 32))
    ]
    one, two = made
    try:
        for actor in made:
            await actor.begin()
        addresses = {actor.seat.node: await actor.address() for actor in made}
        for actor in made:
            await actor.set_peers(addresses)
        await asyncio.wait_for(speak(two, until=lambda: one.notes() != ()), 20)
        host, port = addresses["n2"]
        assert f"n2 at {host}:{port} is not understood: it has another key: copy HOME/secret" in one.notes()[0]
        assert "another key" in (await one.about())["peers"]["n2"]["foreign"]
        await two.set_peers(addresses, "00" * 32)
        await asyncio.wait_for(speak(two, until=lambda: one.notes() == ()), 20)
    finally:
        for actor in made:
            await actor.end()


def test_peers_says_whose_datagrams_are_not_understood(gateway: Gateway) -> None:
    peers = {"n2": {"address": "127.0.0.1:1", "state": "dead", "foreign": "it has another key"}}
    gateway.answers["/v1/observer"] = {"observer": {"node": "n1", "peers": peers}}
    assert gateway.run("health", "peers").stderr == "n2 is not understood: it has another key\n"


async def test_what_the_filter_keeps_out_cannot_be_watched(tmp_path: Path) -> None:
    config = Config(health=HealthSettings(subjects=("db@*",)))
    nobody: Any = None
    actor = ObserverActor(Seat("observer", "n1", str(tmp_path), config, options={"key": "00" * 32}), nobody)
    await actor.begin()
    try:
        with pytest.raises(ConfigError, match=r"health\.subjects of n1 keeps 'q@1' out"):
            await actor.watch("q@1")
        await actor.watch("db@1")
        await actor.watch("q*")  # a glob may meet both
    finally:
        await actor.end()


async def test_a_name_that_means_nothing_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match=r"address nowhere\.invalid:6688 does not resolve: .*; an entry in DNS"):
        await resolve("nowhere.invalid", 6688)
