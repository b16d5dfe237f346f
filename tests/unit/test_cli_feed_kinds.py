"""`vagus feed tools|formats|sources|steps`: everything registered is listed with its options, every example loads."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import yaml
from click.testing import CliRunner

from vagus.cli import cli
from vagus.cli.feed_examples import EXAMPLES, example
from vagus.cli.feed_kinds import described, yaml_type
from vagus.config import Config, Duration, decode
from vagus.feeds import FORMATS, SOURCES, STEPS, TOOLS, ToolContext
from vagus.feeds.load import load_format
from vagus.feeds.tools import make_tools
from vagus.registry import Registry

REGISTRIES: dict[str, Registry[Any]] = {"tools": TOOLS, "formats": FORMATS, "sources": SOURCES, "steps": STEPS}
ALL = [(what, name) for what, registry in REGISTRIES.items() for name in registry]


def ask(*args: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli, ["feed", *args])
    return result.exit_code, result.stdout, result.stderr + str(result.exception or "")


@pytest.mark.parametrize("what", REGISTRIES)
def test_everything_registered_is_listed_with_what_it_does(what: str) -> None:
    code, out, _ = ask(what)
    assert code == 0
    lines = out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == list(REGISTRIES[what])
    document = json.loads(ask(what, "--json")[1])
    for found in document[what]:
        assert found["what"], found["name"]
        assert "does not load" not in found["what"]


@pytest.mark.parametrize(("what", "name"), ALL)
def test_each_shows_its_options_and_an_example_that_loads(what: str, name: str, tmp_path: Path) -> None:
    code, out, error = ask(what, name)
    assert code == 0, error
    shown = out[out.index("Example:") :].splitlines()[1:]
    feed = {
        "name": "shown",
        "source": {"all": ["file:/etc/hostname"]},
        **yaml.safe_load("\n".join(line.removeprefix("  ") for line in shown)),
    }
    (settings,) = decode(yaml.safe_dump({"feeds": [feed]}, sort_keys=False).encode(), Config, "example").feeds
    if what == "tools":
        tools = make_tools(settings, ToolContext("shown", tmp_path))
        assert [tool.name for tool in tools] == [name]
    elif what == "formats":
        load_format(settings)
    else:
        assert name in json.dumps(feed)


def test_no_example_is_of_something_that_is_gone() -> None:
    assert set(EXAMPLES) <= set(ALL)


def test_options_of_signatures_and_of_settings() -> None:
    options = {option["name"]: option for option in described(TOOLS, "alert")["options"]}
    assert options["for"]["type"] == "duration"
    assert options["when"]["what"] == "an expression"
    assert options["minimum"]["default"] is None
    assert options["severity"]["type"] == "maybe_unhealthy or unhealthy or dying"
    (key, scheme) = described(STEPS, "decrypt")["options"]
    assert (key["name"], key["required"]) == ("key_file", True)
    assert (scheme["default"], scheme["what"][:7]) == ("fernet", "`fernet")


def test_types_as_in_yaml() -> None:
    given: list[tuple[Any, str]] = [
        (str, "text"),
        (Duration, "duration"),
        (tuple[str, ...] | None, "list of text"),
        (Sequence[int], "list of int"),
        (Mapping[str, Any], "mapping"),
        (Annotated[int, "more"], "int"),
        (Literal["a", ""], "a or ''"),
        (bool | tuple[str, ...], "true or false or list of text"),
        (Path, ""),
    ]
    assert [yaml_type(kind) for kind, _ in given] == [text for _, text in given]


def test_what_is_not_built_in_shows_what_it_must_have() -> None:
    required = [{"name": "key", "required": True}, {"name": "more", "required": False}]
    assert example("tools", "mine", required) == "tools: [mine: {key: …}]"
    assert example("steps", "mine", []) == "preprocess: [mine]"
    assert example("formats", "mine", required) == "format: mine\noptions: {key: …}"
    assert example("sources", "mine", []) == "source: {all: ['mine:…']}"


def test_an_unknown_name_is_an_error_with_what_there_is() -> None:
    code, _, error = ask("tools", "alrt")
    assert (code, "did you mean alert" in error) == (1, True)
    assert "there are: " in ask("steps", "qqqq")[2]
