"""Panorama's configurations read and made: the published example, what differs, and what is refused."""

from __future__ import annotations

import json

import pytest
import yaml
from click.testing import CliRunner

from vagus.cli import cli
from vagus.config import MAX_CONFIG_BYTES, Config, decode
from vagus.errors import ConfigError
from vagus.health.instances import address_of, config_of_panorama, instance_of, is_panorama, make_peers, numbered

PUBLISHED = b"""{
"Addr": "razor0:6688",
"Id": "pano0",
"Subjects": [
"nn1",
"dn1",
"dn2",
"dn3"
],
"Peers": {
"pano0": "razor0:6688",
"pano1": "razor1:6688",
"pano2": "razor2:6688",
"pano3": "razor3:6688",
"pano4": "razor4:6688",
"pano5": "razor5:6688",
"pano6": "razor6:6688",
"pano7": "razor7:6688",
"pano8": "razor8:6688",
"pano9": "razor9:6688"
},
"FilterSubmission": true,
"LogLevel": "",
"DumpMemUsage": false,
"DBFile": "deephealth.db",
}"""
"""As Panorama's README prints it, with the comma before its last brace."""
MKRC = "config new -fix_port 6688 -nserver 10 -addressp razor%d -namep pano%d -id pano0"


def new(*args: str) -> str:
    result = CliRunner().invoke(cli, ["config", "new", *args])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def changed(**fields: object) -> bytes:
    document = json.loads(PUBLISHED.replace(b",\n}", b"\n}"))
    return json.dumps({**document, **fields}).encode()


# --- read ------------------------------------------------------------------------------------------------------------


def test_the_published_example_is_read_as_it_is() -> None:
    found = config_of_panorama(PUBLISHED)
    assert found.node == "pano0"
    assert found.peers["pano9"] == ("razor9", 6688)
    assert len(found.peers) == 10
    health = found.config.health
    assert health.subjects == health.watch == ("nn1", "dn1", "dn2", "dn3")
    assert health.interest == "watched"
    assert (health.port, found.config.gateway.port) == (6688, 6688)
    assert found.notes == ()


def test_without_its_filter_subjects_are_only_watched() -> None:
    health = config_of_panorama(changed(FilterSubmission=False, Subjects=["a*b", "c"])).config.health
    assert health.subjects == ("*",)
    assert health.watch == ("a[*]b", "c")
    assert config_of_panorama(changed(FilterSubmission=False, Subjects=None, Peers=None)).peers == {
        "pano0": ("razor0", 6688)
    }


def test_levels_memory_and_keys_of_other_versions() -> None:
    found = config_of_panorama(changed(LogLevel="WARN", DumpMemUsage=True, BufConfig={}), "hs.cfg")
    assert found.config.health.serve.log_level == "warning"
    assert found.config.health.serve.memory == "10s"
    assert found.notes == ("hs.cfg: unknown keys are ignored: BufConfig",)


def test_another_id_and_address_than_the_file_s() -> None:
    assert instance_of(PUBLISHED, "f", "pano3").config.gateway.port == 6688
    moved = instance_of(PUBLISHED, "f", "pano3", "localhost:7000")
    assert moved.peers["pano3"] == ("localhost", 7000)
    assert moved.config.health.port == 7000
    assert instance_of(PUBLISHED, "f", "extra", "10.0.0.1").peers["extra"] == ("10.0.0.1", 6688)


def test_our_own_yaml_says_the_same() -> None:
    text = b"health: {serve: {id: b, peers: {a: 'x:1', b: '[::1]:2'}}}\ngateway: {port: 9}\n"
    found = instance_of(text, "vagus.yaml")
    assert (found.node, found.peers) == ("b", {"a": ("x", 1), "b": ("::1", 2)})
    assert found.config.gateway.port == 2
    alone = instance_of(b'{"gateway": {"port": 9}}', "vagus.json", "me")
    assert (alone.node, alone.peers, alone.config.gateway.port) == ("me", {}, 9)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b'{"Addr": ', "not a configuration of Panorama"),
        (b'{"Addr": "\xff"}', "not a configuration of Panorama"),
        (b'{"Id": "a", "x": ' + b"[" * 20_000, "not a configuration of Panorama"),
        (changed(Id=7), "Expected `str`"),
        (changed(Id=""), "which observer this is"),
        (changed(Id="pano10", Addr=""), "no 'pano10' among its peers"),
        (changed(Id="../x"), "must be letters"),
        (changed(Peers={"pano0": "a:1", "b c": "b:1"}), "id 'b c' must be"),
        (changed(Peers={"pano0": "razor0:6688", "b": "b"}), "needs a port"),
        (changed(Peers={"pano0": "razor0:6688", "b": "b:0"}), "1 to 65535"),
        (changed(Peers={"pano0": "razor0:6688", "b": "b/c:1"}), "is not HOST:PORT"),
        (changed(Peers={"pano0": "razor0:6688", "b": "razor0:6688"}), "same address"),
        (changed(Peers={f"p{n}": f"h{n}:1" for n in range(1001)}), "1001 peers; at most 1000"),
        (changed(Subjects=[], FilterSubmission=True), "would ignore every report"),
        (changed(Subjects=["a\n"]), "printable"),
        (changed(Subjects=["s"] * 10_001), "at most 10000"),
        (changed(LogLevel="loud"), "LogLevel 'loud'"),
        (changed(DBFile="x" * MAX_CONFIG_BYTES), "a configuration has at most"),
    ],
)
def test_what_is_wrong_is_named(data: bytes, says: str) -> None:
    with pytest.raises(ConfigError, match=r"hs\.cfg.*" + says):
        config_of_panorama(data, "hs.cfg")


def test_which_form_it_is_shows_from_its_keys() -> None:
    assert is_panorama(PUBLISHED)
    assert not is_panorama(b'{"health": {"serve": {"id": "Id"}}}')
    assert not is_panorama(b"Addr: x")
    with pytest.raises(ConfigError, match="not YAML"):
        instance_of(b"\x00", "x")


@pytest.mark.parametrize("text", ["h", "h:", "h:x", ":1", "h:1:2", "[::1]", "h:65536", "h:٣", "", "a b:1"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="x: address"):
        address_of(text, "x")


# --- made ------------------------------------------------------------------------------------------------------------


def test_feature_10_panorama_s_own_flags_make_the_published_example() -> None:
    made = new(*MKRC.split()[2:], "-filter", "-subjects", "nn1,dn1,dn2,dn3")
    assert json.loads(made) == json.loads(PUBLISHED.replace(b",\n}", b"\n}"))
    assert list(json.loads(made)) == list(json.loads(PUBLISHED.replace(b",\n}", b"\n}")))


def test_our_flags_make_the_same() -> None:
    ours = new("--nodes", "10", "--address", "razor%d:6688", "--id", "pano%d")
    assert ours == new(*MKRC.split()[2:])
    assert json.loads(new("--nodes", "3", "--id", "n%02d", "--address", "h%02d", "--first", "9", "--self", "n10"))[
        "Peers"
    ] == {"n09": "h09:6688", "n10": "h10:6688", "n11": "h11:6688"}
    assert json.loads(new("--id", "alone"))["Id"] == "alone"


def test_both_forms_mean_the_same(tmp_path) -> None:
    args = ("--nodes", "2", "--address", "127.0.0.1:668%d", "--subjects", "a,b*", "--filter", "--self", "pano1")
    ours, theirs = (instance_of(new(*args, "--format", form).encode(), form) for form in ("vagus", "panorama"))
    assert ours == theirs
    new(*args, "-o", str(tmp_path / "vagus.yaml"))
    text = (tmp_path / "vagus.yaml").read_text()
    assert yaml.safe_load(text)["health"]["watch"] == ["a", "b[*]"]
    assert decode(text.encode(), Config, "x").health.serve.id == "pano1"


def test_feature_10_a_folder_gets_a_file_for_each(tmp_path) -> None:
    printed = new("--nodes", "3", "--address", "n%d", "-output", f"{tmp_path}/made/")
    files = sorted((tmp_path / "made").iterdir())
    assert [file.name for file in files] == ["pano0.cfg", "pano1.cfg", "pano2.cfg"]
    assert files[0].read_text() == printed
    assert config_of_panorama(files[2].read_bytes()).node == "pano2"
    checked = CliRunner().invoke(cli, ["config", "check", str(files[1]), "--json"])
    assert json.loads(checked.stdout)["kind"] == "panorama"
    shown = CliRunner().invoke(cli, ["config", "show", str(files[1])]).stdout.encode()
    assert instance_of(shown, "shown").peers == instance_of(files[1].read_bytes(), "made").peers


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["--nodes", "2", "--address", "same:1"], 1, "twice: put %d"),
        (["--nodes", "2", "--id", "%d%d"], 1, "nothing else with %"),
        (["--nodes", "2", "--id", "%s"], 1, "nothing else with %"),
        (["--id", "a%d", "--id", "b%d"], 2, "ids have one pattern"),
        (["--nodes", "2", "--address", "h%d", "--self", "pano2"], 2, "there is no 'pano2' among pano0, pano1"),
        (["--nodes", "0"], 2, "1<=x<=1000"),
        (["--filter"], 1, "would ignore every report"),
        (["--id", "a b"], 1, "must be letters"),
        (["-o", "/nowhere/at/all.cfg"], 1, "there is no folder"),
    ],
)
def test_new_usage(args: list[str], code: int, says: str) -> None:
    result = CliRunner().invoke(cli, ["config", "new", *args])
    assert result.exit_code == code
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_patterns() -> None:
    assert numbered("n%03d", 7) == "n007"
    assert make_peers(1, "x", "[::1]:9") == {"x": "[::1]:9"}
    with pytest.raises(ConfigError, match="1 to 1000"):
        make_peers(1001, "x%d", "h%d")
