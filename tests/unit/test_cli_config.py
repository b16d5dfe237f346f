"""`vagus config`: settings shown and checked; the published schemas are those of the code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from vagus.cli import cli
from vagus.cli.config import KINDS, schema_text
from vagus.config import Config, decode

SCHEMAS = Path(__file__).parents[2] / "schemas"


@pytest.mark.parametrize("kind", KINDS)
def test_the_published_schema_is_up_to_date(kind: str) -> None:
    published = (SCHEMAS / f"{kind}.schema.json").read_text()
    assert published == schema_text(kind), f"run: vagus config schema {kind} > schemas/{kind}.schema.json"
    printed = CliRunner().invoke(cli, ["config", "schema", kind])
    assert printed.stdout == published
    assert json.loads(published)["$defs"]


def test_show_prints_what_can_be_read_again() -> None:
    shown = CliRunner().invoke(cli, ["config", "show"])
    assert decode(shown.stdout.encode(), Config, "shown") == Config()


def test_show_fills_in_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "vagus.yaml"
    file.write_text("cluster: lab\ncollect: {period_s: 2}\n")
    shown = yaml.safe_load(CliRunner().invoke(cli, ["config", "show", str(file)]).stdout)
    assert shown["cluster"] == "lab"
    assert shown["collect"]["period_s"] == 2
    assert shown["gateway"]["port"] == 7117
    as_json = CliRunner().invoke(cli, ["config", "show", str(file), "--json"]).stdout
    assert json.loads(as_json)["collect"]["collectors"] == list(Config().collect.collectors)


EXAMPLE = Path(__file__).parents[2] / "examples/social_network"


@pytest.mark.parametrize(
    ("file", "kind"),
    [("app", "app"), ("tuning", "variants"), ("train", "train"), ("inject", "campaign"), ("vagus", "vagus")],
)
def test_the_files_of_the_social_network_are_right(file: str, kind: str) -> None:
    found = json.loads(CliRunner().invoke(cli, ["config", "check", str(EXAMPLE / f"{file}.yaml"), "--json"]).stdout)
    assert (found["ok"], found["kind"]) == (True, kind)


def test_check_tells_the_kinds_apart(tmp_path: Path) -> None:
    node, controller = tmp_path / "a.yaml", tmp_path / "b.yaml"
    node.write_text("gateway: {port: 0}\n")
    controller.write_text("name: mine\npolicy: throttle\ntarget: pid:self\n")
    assert "a right vagus.yaml" in CliRunner().invoke(cli, ["config", "check", str(node)]).stdout
    found = json.loads(CliRunner().invoke(cli, ["config", "check", str(controller), "--json"]).stdout)
    assert found == {"file": str(controller), "ok": True, "kind": "controller"}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gateway: {port: 70000}", "$.gateway.port"),
        ("colect: {}", "colect"),
        ("store: {retain: soon}", "retain"),
        ("a: [", "not YAML"),
        ("name: x\ntarget: 1\n", "$.target"),
        ("variants: [{name: a, policy: hpb}]", "there is no 'hpb'"),
        ("variants: [{name: a, policy: aimd, options: {steps: 1}}]", "steps"),
        ("variants: [{name: a}, {name: a}]", "two have one name"),
        (
            "name: x\nentry: a\nservices: [{name: a, command: [a], replicas: 2, scales: false}]\nrequests: [{name: r, path: /}]",
            "2 replicas, but scales",
        ),
        ("x" * (2 << 20), "at most"),
        ("name: c\npolicy: thottle\n", "there is no 'thottle', but"),
        ("name: c\npolicy: throttle\noptions: {tarjet: 1}\n", "tarjet"),
        ("name: c\npolicy: throttle\ntarget: cgrup:web\n", "kind of target 'cgrup'; did you mean 'cgroup'"),
        ("name: c\npolicy: throttle\nactuator: cgroup3\n", "actuator 'cgroup3'; did you mean 'cgroup"),
        ("name: c\npolicy: throttle\nlimits: {cpu_core: {min: 1, max: 2}}\n", "'cpu_core'; did you mean 'cpu_cores'"),
        ("controllers: [{name: c, policy: nope}]\n", "controller c: there is no 'nope'"),
        ("name: c\npolicy: throttle\ntarget: nothing\n", "is not kind:name"),
    ],
)
def test_check_names_what_is_wrong(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    result = CliRunner().invoke(cli, ["config", "check", str(file), "--json"])
    assert result.exit_code == 1
    assert says in result.stderr
    assert str(file) in result.stderr
    assert json.loads(result.stdout)["ok"] is False


def test_check_of_no_file() -> None:
    result = CliRunner().invoke(cli, ["config", "check", "/nowhere/vagus.yaml"])
    assert result.exit_code == 1
    assert result.stderr == "error: cannot read /nowhere/vagus.yaml: No such file or directory; check the path\n"


def test_what_is_missing_is_said_with_the_keys_that_there_are(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("controllers: [{policy: aimd}]")
    said = CliRunner().invoke(cli, ["config", "check", str(file)]).stderr
    assert "missing required field `name` - at `$.controllers[0]`; the keys there are name, policy, on, target" in said
    file.write_text("#" * (1 << 21))
    assert "too large; a configuration has at most" in CliRunner().invoke(cli, ["config", "check", str(file)]).stderr
