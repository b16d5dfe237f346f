"""`vagus dashboard`: files for Grafana and Prometheus, of the metrics that vagus exports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from vagus.cli.output import emit_json, json_option

out_option = click.option("-o", "folder", type=click.Path(path_type=Path, file_okay=False), help="Write files here.")


@click.group()
def dashboard() -> None:
    """A Grafana dashboard and Prometheus' alert rules, of the metrics at /metrics."""


@dashboard.command()
@out_option
def grafana(folder: Path | None) -> None:
    """The dashboard as JSON; with -o also the provider that Grafana's provisioning reads.

    \b
    Examples:
      vagus dashboard grafana > vagus.json
      vagus dashboard grafana -o /etc/grafana/vagus
    """
    from vagus.cli.dashboard.grafana import dashboard as made
    from vagus.cli.dashboard.grafana import provider

    text = json.dumps(made(), indent=2) + "\n"
    if folder is None:
        click.echo(text, nl=False)
        return
    _write(
        folder, {"dashboards/vagus.json": text, "provider.yaml": _yaml(provider(str(folder.resolve() / "dashboards")))}
    )


@dashboard.command()
@out_option
@json_option
def alerts(folder: Path | None, as_json: bool) -> None:
    """Alert rules for Prometheus (`rule_files`); the job that scrapes the gateways is to be called `vagus`.

    \b
    Examples:
      vagus dashboard alerts -o /etc/prometheus/rules
      vagus dashboard alerts > vagus-alerts.yaml && promtool check rules vagus-alerts.yaml
      vagus dashboard alerts --json | jq -r '.groups[].rules[].alert'
    """
    from vagus.cli.dashboard.alerts import rules

    if as_json:
        if folder is not None:
            raise click.UsageError("--json prints; it does not go with -o.")
        emit_json(rules())
        return
    text = _yaml(rules())
    if folder is None:
        click.echo(text, nl=False)
        return
    _write(folder, {"vagus-alerts.yaml": text})


def _yaml(document: Any) -> str:
    import yaml

    return str(yaml.safe_dump(document, sort_keys=False, width=120, allow_unicode=True))


def _write(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        except OSError as error:
            raise click.ClickException(f"cannot write {path}: {error.strerror}; name a folder with -o") from error
        click.echo(str(path))
