"""Addresses to subjects: rules, their order, files, and inputs that are none."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vagus
from vagus.client import subjects as subjects_module
from vagus.client.subjects import Subjects
from vagus.errors import ConfigError


@pytest.fixture
def names(monkeypatch):
    monkeypatch.delenv("VAGUS_SUBJECTS", raising=False)
    return Subjects()


def test_the_public_name():
    assert isinstance(vagus.subjects, Subjects)


def test_unknown_addresses_are_what_they_are(names):
    assert names.resolve("db1", 5432) == "db1:5432"
    assert names.resolve("DB1:5432") == "db1:5432"
    assert names.resolve("db1") == "db1"
    assert names.resolve("::1", 80) == names.resolve("[::1]:80") == "[::1]:80"


def test_the_most_exact_rule_wins(names):
    names.add_pattern(r"10\.0\.0\.(\d+):(\d+)", r"by-pattern@\1-\2")
    names.add_pattern(r".*", "by-any")
    names.add("10.0.0.0/8", "by-wide-network")
    names.add("10.0.0.4/30", "by-network")
    names.add("10.0.0.5", "by-host")
    names.add("10.0.0.5:3888", "by-port")
    assert names.resolve("10.0.0.5:3888") == "by-port"
    assert names.resolve("10.0.0.5", 80) == "by-host"
    assert names.resolve("10.0.0.6", 80) == "by-network"
    assert names.resolve("10.9.9.9:80") == "by-wide-network"
    assert names.resolve("db1:80") == "by-any"
    names.clear()
    names.add_pattern(r"10\.0\.0\.(\d+):(\d+)", r"by-pattern@\1-\2")
    assert names.resolve("10.0.0.9:80") == "by-pattern@9-80"
    assert names.resolve("x10.0.0.9:80") == "x10.0.0.9:80"  # the whole address must match


def test_rules_count_from_when_they_are_made(names):
    assert names.resolve("db1:1") == "db1:1"
    names.add("db1:1", "db@1")
    assert names.resolve("DB1:1") == "db@1"


def test_ipv6(names):
    names.add("[fd00::1]:80", "web@1")
    names.add("fd00::/64", "rack@1")
    assert names.resolve("[fd00::1]:80") == "web@1"
    assert names.resolve("fd00::2", 80) == "rack@1"


ENSEMBLE = """
tickTime=2000
# server.9=commented:2888:3888
server.1=10.0.0.1:2888:3888
server.2 = zoo2:2888:3888:observer;0.0.0.0:2181
server.3=[fd00::3]:2888:3888;2183
server.4=local:2888:3888
server.5=local:2889:3889
"""


def test_feature_12_addresses_of_an_ensemble_file_are_subjects(names, tmp_path):
    path = tmp_path / "zoo.cfg"
    path.write_text(ENSEMBLE)
    assert names.ensemble(path) == 5
    assert names.resolve("10.0.0.1:3888") == names.resolve("10.0.0.1:51234") == "peer@1"
    assert names.resolve("zoo2:2181") == names.resolve("ZOO2", 2888) == "peer@2"
    assert names.resolve("fd00::3", 2183) == "peer@3"
    assert [names.resolve("local", port) for port in (3888, 3889, 80)] == ["peer@4", "peer@5", "local:80"]
    assert names.resolve("commented:2888") == "commented:2888"


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_a_file_that_the_environment_names(tmp_path, monkeypatch, form):
    (tmp_path / "zoo.cfg").write_text(ENSEMBLE)
    rules = {"addresses": {"db1:5432": "db@1"}, "patterns": [[r"web-(\d+):80", r"web@\1"]], "ensemble": "zoo.cfg"}
    text = json.dumps(rules)
    if form == "yaml":
        text = "addresses:\n  db1:5432: db@1\npatterns:\n- ['web-(\\d+):80', 'web@\\1']\nensemble: zoo.cfg\n"
    path = tmp_path / f"subjects.{form}"
    path.write_text(text)
    monkeypatch.setenv("VAGUS_SUBJECTS", str(path))
    names = Subjects()
    assert [names.resolve(a) for a in ("db1:5432", "web-7:80", "10.0.0.1:3888")] == ["db@1", "web@7", "peer@1"]
    assert names.last_error == ""


@pytest.mark.parametrize(
    "text", [None, "{", "adresses: {}", "addresses: [1]", "patterns: [['(', x]]", "ensemble: nowhere"]
)
def test_a_broken_file_stops_no_program_and_is_told(tmp_path, monkeypatch, text):
    path = tmp_path / "subjects.yaml"
    if text is not None:
        path.write_text(text)
    monkeypatch.setenv("VAGUS_SUBJECTS", str(path))
    names = Subjects()
    assert names.resolve("db1:1") == "db1:1"
    assert names.last_error
    with pytest.raises(ConfigError):
        names.load(path)


@pytest.mark.parametrize(
    ("address", "subject"), [("10.0.0.0/99", "x"), ("db/1", "x"), ("", "x"), (":80", "x"), ("db1", ""), ("db1", "a\nb")]
)
def test_wrong_rules_are_told(names, address, subject):
    with pytest.raises(ConfigError):
        names.add(address, subject)


@pytest.mark.parametrize(("pattern", "subject"), [("(", "x"), ("x", r"\1"), ("x", r"\g<name>")])
def test_wrong_patterns_are_told(names, pattern, subject):
    with pytest.raises(ConfigError, match="pattern"):
        names.add_pattern(pattern, subject)


def test_files_are_bounded(names, tmp_path, monkeypatch):
    monkeypatch.setattr(subjects_module, "MAX_FILE_BYTES", 100)
    (tmp_path / "zoo.cfg").write_text(ENSEMBLE)
    with pytest.raises(ConfigError, match="bytes"):
        names.ensemble(tmp_path / "zoo.cfg")
    (tmp_path / "zoo.cfg").write_text("nothing\n")
    with pytest.raises(ConfigError, match="no line"):
        names.ensemble(tmp_path / "zoo.cfg")


def test_rules_and_cache_are_bounded(names, monkeypatch):
    monkeypatch.setattr(subjects_module, "MAX_CACHED", 10)
    for number in range(100):
        names.resolve(f"h{number}:1")
    assert len(names._cache) <= 10
    monkeypatch.setattr(subjects_module, "MAX_RULES", 2)
    names.add("a", "x")
    names.add("b", "x")
    with pytest.raises(ConfigError, match="more than"):
        names.add("c", "x")


@settings(deadline=None, max_examples=40)
@given(
    st.one_of(st.text(), st.none(), st.integers(), st.binary(), st.lists(st.text())),
    st.one_of(st.none(), st.integers(), st.text()),
)
def test_resolving_never_raises(address, port):
    names = Subjects()
    names._read_environment = True
    names.add("10.0.0.0/8", "x")
    names.add_pattern(r"(a+):(\d+)", r"\1@\2")
    assert isinstance(names.resolve(address, port), str)
