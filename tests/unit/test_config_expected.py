"""`expected` in vagus.yaml: what is understood, and what is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from vagus.cli import cli
from vagus.config import Config, ExpectedSettings, decode
from vagus.errors import ConfigError
from vagus.health.checked import check_health


def read(text: str) -> ExpectedSettings:
    config = decode(text.encode(), Config, "vagus.yaml")
    check_health(config, "vagus.yaml")
    return config.expected


def test_nodes_by_number_or_by_name_and_services() -> None:
    assert read("{}") == ExpectedSettings()
    assert not ExpectedSettings().declared
    assert ExpectedSettings().subjects == ()
    some = read("expected: {nodes: 3, grace: 2m}")
    assert (some.nodes, some.declared, some.subjects) == (3, True, ("node:*", "vagus:*"))
    named = read("expected: {nodes: [head, worker-1], services: [web, 'service:pay']}")
    assert named.nodes == ("head", "worker-1")
    assert named.subjects == ("node:head", "node:worker-1", "web", "service:web", "service:pay", "vagus:*")
    assert read("expected: {services: [db@2]}").subjects == ("db@2", "service:db@2", "vagus:*")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("expected: {node: 3}", r"unknown field `node`.*did you mean `nodes`"),
        ("expected: {nodes: -1}", r">= 0.*expected\.nodes"),
        ("expected: {nodes: three}", r"expected\.nodes"),
        ("expected: {nodes: [1, 2]}", r"Expected `str`, got `int`.*expected\.nodes"),
        ("expected: {nodes: ['node:a']}", r"expected\.nodes\[.*\]"),
        ("expected: {nodes: ['worker-*']}", r"expected\.nodes\[.*\]"),
        ("expected: {nodes: [a, b, a]}", r"expected\.nodes: 'a' is named twice"),
        ("expected: {services: [web, web]}", r"expected\.services: 'web' is named twice"),
        ("expected: {services: ['']}", r"expected\.services: a subject must be 1 to 200"),
        ("expected: {services: ['db@*']}", r"'db@\*' is a pattern; name each"),
        ("expected: {services: web}", r"expected\.services"),
        ("expected: {grace: soon}", r"expected\.grace: duration 'soon'"),
        ("expected: {grace: 2d}", r"expected\.grace is 2d; it must be from 0 to 1d"),
        (
            "health: {subjects: ['node:*']}\nexpected: {services: [web]}",
            r"expected\.services: 'web' would never be heard of: add it to health\.subjects",
        ),
        (
            "health: {subjects: ['service:*']}\nexpected: {services: [web]}",
            r"expected: .* add 'vagus:\*' to health\.subjects",
        ),
        ("health: {subjects: ['vagus:feed@*']}\nexpected: {nodes: 0, services: ['vagus:feed@a']}", r"add 'vagus:\*'"),
        ("health: {subjects: ['vagus:*', 'node:a*']}\nexpected: {nodes: 3}", r"of node:\* would be .* add 'node:\*'"),
        ("health: {subjects: ['vagus:*', 'node:a']}\nexpected: {nodes: [a, b]}", r"add 'node:b' to health\.subjects"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        read(text)


@pytest.mark.parametrize(
    ("subjects", "expected"),
    [
        ("[web]", "{}"),
        ("['*']", "{nodes: 3, services: [web]}"),
        ("['vagus:*', web]", "{services: [web]}"),
        ("['vagus:*', 'node:*']", "{nodes: 3}"),
        ("['v*', 'node:a', 'node:b[12]']", "{nodes: [a, b1, b2]}"),
    ],
)
def test_a_filter_that_lets_in_what_is_expected_is_right(subjects: str, expected: str) -> None:
    read(f"health: {{subjects: {subjects}}}\nexpected: {expected}")


def test_config_check_knows_it(tmp_path: Path) -> None:
    file = tmp_path / "vagus.yaml"
    file.write_text("expected: {nodes: [head], services: [web]}\n")
    assert CliRunner().invoke(cli, ["config", "check", str(file)]).exit_code == 0
    file.write_text("health: {subjects: [db]}\nexpected: {services: [web]}\n")
    refused = CliRunner().invoke(cli, ["config", "check", str(file)])
    assert refused.exit_code == 1
    assert "never be heard of" in refused.output
