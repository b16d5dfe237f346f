"""`vagus config`: settings with their defaults, their JSON schemas, and whether a file is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vagus.cli.output import emit_json, json_option
from vagus.errors import ConfigError

KINDS = ("vagus", "controller")


@click.group()
def config() -> None:
    """Show, describe and check settings: vagus.yaml (a node or cluster) and controller.yaml (one controller)."""


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path))
@json_option
def show(file: Path | None, as_json: bool) -> None:
    """Every setting with its value: the defaults, or FILE with the defaults filled in.

    \b
    Examples:
      vagus config show > vagus.yaml
      vagus config show vagus.yaml
      vagus config show --json | jq .collect
    """
    import msgspec

    from vagus.config import Config

    settings = _read(file)[1] if file else Config()
    values = msgspec.to_builtins(settings)
    if as_json:
        emit_json(values)
        return
    import yaml

    click.echo(yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110), nl=False)


@config.command()
@click.argument("kind", type=click.Choice(KINDS), default="vagus")
def schema(kind: str) -> None:
    """The JSON schema of vagus.yaml or controller.yaml, for editors and checkers.

    \b
    Examples:
      vagus config schema > vagus.schema.json
      vagus config schema controller > controller.schema.json
    """
    click.echo(schema_text(kind), nl=False)


@config.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Whether FILE is right; if not, its first error, and exit status 1.

    Which of the two kinds it is shows from its keys.

    \b
    Examples:
      vagus config check vagus.yaml
      vagus config check controller.yaml
    """
    try:
        kind, _ = _read(file)
    except ConfigError as error:
        if as_json:
            emit_json({"file": str(file), "ok": False, "error": str(error)})
        raise
    if as_json:
        emit_json({"file": str(file), "ok": True, "kind": kind})
    else:
        click.secho(f"{file}: a right {kind}.yaml", fg="green")


def schema_text(kind: str) -> str:
    """The schema as published in schemas/KIND.schema.json. kind: vagus or controller."""
    from vagus.config import schema as schema_of

    title = {"vagus": "vagus.yaml", "controller": "controller.yaml"}[kind]
    return json.dumps({"title": title, **schema_of(_settings(kind))}, indent=2, ensure_ascii=False) + "\n"


def _settings(kind: str) -> type[Any]:
    from vagus.config import Config, ControllerSettings

    return Config if kind == "vagus" else ControllerSettings


def _read(file: Path) -> tuple[str, Any]:
    """Which kind a file is, and its settings. Raises ConfigError."""
    import yaml

    from vagus.config import MAX_CONFIG_BYTES, Config, ControllerSettings, decode

    try:
        with open(file, "rb") as opened:
            text = opened.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    try:
        raw = yaml.safe_load(text) if len(text) <= MAX_CONFIG_BYTES else None
    except (yaml.YAMLError, ValueError):
        raw = None  # decode says what is wrong
    keys = set(raw) if isinstance(raw, dict) else set()
    only_controller = set(ControllerSettings.__struct_fields__) - set(Config.__struct_fields__)
    kind = "controller" if keys & only_controller else "vagus"
    return kind, decode(text, _settings(kind), str(file))
