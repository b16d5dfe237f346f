"""`vagus config check` and `vagus up` refuse policies, options, rule trees and features that cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.config import Config, decode
from vagus.controllers.decide.checked import check_decide
from vagus.errors import ConfigError
from vagus.policies import BANDITS, CONTEXTUAL


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{policy: tompson}", "decide.policy: there is no 'tompson'; did you mean 'thompson'?"),
        ("{policy: zzz}", "there are: auto"),
        ("{policy: ucb, options: {gama: 0.9}}", "decide.options: .*'ucb' does not take these options.*gama"),
        ("{rules: {field: city, values: {Bern: {field: isp}}}}", r"decide\.rules\.values\['Bern'\]\.values: must be"),
        ("{rules: /none/at/all.json}", "cannot read /none/at/all.json"),
        ("{rules: {field: a, values: {x: 'asn=1'}}, fallback: asn}", "called like those that the fallback"),
        ("{rules: {field: a, values: {x: g}}, group_by: [a]}", "one of them"),
        ("{labels: [a], reduced: [a, b]}", "decide.reduced: 'b' is not among decide.labels"),
        ("{reduced: [a], learn: {features: [c]}}", "decide.learn.features: 'c' is not among decide.reduced"),
    ],
)
def test_what_cannot_be_is_refused(text: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "vagus.yaml"
    file.write_text(f"decide: {text}\n")
    with pytest.raises(ConfigError, match=f"here: .*{says}"):
        check_decide(decode(file.read_bytes(), Config, "here"), "here")
    done = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert done.exit_code == 1


def test_what_can_be_is_right(tmp_path: Path) -> None:
    for policy in {*BANDITS, *CONTEXTUAL} - {"static"}:  # that one needs an option
        check_decide(decode(f"decide: {{policy: {policy}}}".encode(), Config, "x"), "x")
    rules = tmp_path / "rules.json"
    rules.write_text('{"Field": "4", "Table": [{"Key": "7922", "Rule": {"GroupName": "g"}}]}')
    file = tmp_path / "vagus.yaml"
    file.write_text(
        f"decide: {{rules: {rules}, fallback: asn, labels: [a, b], reduced: [a], learn: {{features: [a]}}}}\n"
    )
    done = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert done.exit_code == 0, done.output
