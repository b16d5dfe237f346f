"""A relative file of rules lies beside the vagus.yaml that names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from vagus.config import Config, DecideSettings, load
from vagus.controllers.decide.grouping import grouping_of
from vagus.errors import ConfigError

TREE = '{"Field": "isp", "Table": [{"Key": "7922", "Rule": {"GroupName": "g"}}]}'


def test_rules_are_found_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "vagus.yaml").write_text("decide: {rules: tree.json}\n")
    (tmp_path / "here" / "tree.json").write_text(TREE)
    monkeypatch.chdir(tmp_path)
    settings = load("here/vagus.yaml", Config)
    monkeypatch.chdir("/")
    grouping = grouping_of(settings.decide)
    assert grouping.rules is not None
    assert grouping.rules.table == {"7922": "g"}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "vagus.yaml").write_text("decide: {rules: none.json}\n")
    with pytest.raises(ConfigError, match=str(tmp_path / "none.json")):
        grouping_of(load(tmp_path / "vagus.yaml", Config).decide)


def test_how_long_decisions_wait_is_a_duration(tmp_path: Path) -> None:
    (tmp_path / "vagus.yaml").write_text("decide: {max_age: soon}\n")
    with pytest.raises(ConfigError, match="max_age"):
        load(tmp_path / "vagus.yaml", Config)


def test_aliases_that_stand_for_themselves_or_for_billions(tmp_path: Path) -> None:
    tree = tmp_path / "tree.yaml"
    tree.write_text("&a {field: isp, values: {x: *a}}\n")
    with pytest.raises(ConfigError, match="deeper than"):
        grouping_of(DecideSettings(rules=str(tree)))
    entries, below = ", ".join(f"v{n}: *b{{0}}" for n in range(20)), "b0: &b0 {field: isp, values: {x: g}}\n"
    for depth in range(1, 9):
        below += f"b{depth}: &b{depth} {{field: f{depth}, values: {{{entries.format(depth - 1)}}}}}\n"
    (tmp_path / "vagus.yaml").write_text(f"decide:\n  options: {{ {', '.join(below.splitlines())} }}\n  rules: *b8\n")
    with pytest.raises(ConfigError, match="at most 200000 values"):
        grouping_of(load(tmp_path / "vagus.yaml", Config).decide)
