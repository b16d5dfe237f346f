"""Settings: every key has a default, every mistake is named."""

from __future__ import annotations

import pytest

from vagus.config import MAX_CONFIG_BYTES, Config, ControllerSettings, decode, home, load, seconds, socket_path
from vagus.errors import ConfigError


def test_an_empty_file_is_the_defaults():
    assert decode(b"", Config, "x") == Config()
    assert decode(b"name: a", ControllerSettings, "x").armed is False


def test_on_is_a_key_and_not_a_boolean():
    settings = decode(b"{name: a, on: head, armed: true}", ControllerSettings, "x")
    assert (settings.on, settings.armed) == ("head", True)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"collect: {period_s: a}", "$.collect.period_s"),
        (b"collect: {period_s: 0}", "$.collect.period_s"),
        (b"colect: {}", "unknown field `colect`"),
        (b"store: {retain: 5z}", "retain"),
        (b"gateway: {port: 70000}", "$.gateway.port"),
        (b"controllers: [{name: ../../etc}]", "$.controllers[0].name"),
        (b'controllers: [{name: "a\\n"}]', "$.controllers[0].name"),
        (b"controllers: [{name: a, limits: {cpu_cores: {min: 0, max: 1}}}]", "min"),
        (b"feeds: [{source: {}}]", "name"),
        (b"[1, 2]", "x:"),
        (b"{a: ", "not YAML"),
        (b"\xff\xfe\x00", "x:"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b"!!python/object/apply:os.system [ls]", "not YAML"),
        (b"#" * (MAX_CONFIG_BYTES + 1), "at most"),
    ],
)
@pytest.mark.says("limit-config", "yaml-safe")
def test_mistakes_are_named(text, words):
    with pytest.raises(ConfigError) as caught:
        decode(text, Config, "x")
    assert words in str(caught.value)


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(ConfigError, match="cannot read"):
        load(tmp_path / "absent.yaml", Config)


@pytest.mark.parametrize(("text", "value"), [("5s", 5.0), ("1.5m", 90.0), ("250ms", 0.25), (3, 3.0), ("7d", 604800.0)])
def test_durations(text, value):
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "s", "-1s", "1y", -1, float("nan"), float("inf"), "1e9"])
def test_bad_durations(text):
    with pytest.raises(ConfigError):
        seconds(text)


def test_the_state_folder_is_where_it_was_asked_for(monkeypatch, tmp_path):
    monkeypatch.setenv("VAGUS_HOME", str(tmp_path / "env"))
    assert home() == tmp_path / "env"
    assert home(Config(home=str(tmp_path / "given"))) == tmp_path / "given"


def test_sockets_fit_into_the_kernels_limit(tmp_path):
    deep = tmp_path / ("x" * 200)
    assert len(str(socket_path(deep, "node", "report"))) < 108
    assert socket_path(deep, "node", "report") == socket_path(deep, "node", "report")
    assert socket_path(deep, "other", "report") != socket_path(deep, "node", "report")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"colect: {}", "did you mean `collect`?"),
        (b"gateway: {prt: 1}", "did you mean `port`?"),
        (b"controllers: [{name: a, limits: {cpu_cores: {min: 1, max: 2, zzz: 3}}}]", "keys there are min, max, step_"),
        (b"feeds: [{name: a, source: {ahl: []}}]", "did you mean `all`?"),
    ],
)
def test_an_unknown_key_names_the_nearest_or_all(text, says):
    with pytest.raises(ConfigError, match=r"unknown field") as caught:
        decode(text, Config, "x.yaml")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "who", ["token:cluster", "token:graf*", "uid:1000", "uid:10??", "listener:ulm", "*", "listener:*"]
)
def test_who_a_rule_may_name(who):
    text = f'{{tokens: {{grafana: /x}}, access: [{{who: ["{who}"], read: ["*"]}}]}}'
    assert decode(text.encode(), Config, "x").access[0].who == (who,)


@pytest.mark.parametrize(
    ("who", "says"),
    [
        ("user:bob", "none of token:NAME, uid:NUMBER"),
        ("grafana", "none of token:NAME"),
        ("token:", "none of token:NAME"),
        ("token:bob", "there are token:cluster, token:grafana; `tokens` names further ones"),
        ("listener:udp", "there are listener:ulm, listener:forward"),
        ("uid:bob", "a uid is a number"),
    ],
)
def test_a_rule_for_nobody_is_a_mistake(who, says):
    text = f'{{tokens: {{grafana: /x}}, access: [{{who: ["{who}"], read: ["*"]}}]}}'
    with pytest.raises(ConfigError, match=r"^x: access: who ") as caught:
        decode(text.encode(), Config, "x")
    assert says in str(caught.value)


@pytest.mark.parametrize("check", ["ftp:x", "tcp:db", "file:relative", "http://", ""])
def test_a_check_of_no_known_form_is_a_mistake(check):
    with pytest.raises(ConfigError, match=r"heartbeats\[0\]\.check"):
        decode(f'collect: {{heartbeats: [{{service: a, check: "{check}"}}]}}'.encode(), Config, "x")
