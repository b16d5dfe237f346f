"""`vagus dashboard`: what Grafana and Prometheus need to show vagus."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.lazy import WholeGroup
from vagus.cli.output import console, emit_json, json_option, table
from vagus.cli.session import check_file, connected, endpoint_of, write_file
from vagus.errors import ConfigError, VagusError, unwritable

if TYPE_CHECKING:
    from vagus.cli.dashboard.catalogue import Metric

GATEWAY = "http://127.0.0.1:7117"
folder_option = click.option(
    *("-o", "--output", "output"),
    type=click.Path(path_type=Path, readable=False, file_okay=False),
    metavar="FOLDER",
    help="Write files there; it is made where it is missing.",
)
ray_option = click.option(
    *("--ray", "ray"),
    type=click.Path(path_type=Path, readable=False),
    metavar="FOLDER",
    help="Ray's temporary files.  [default: of the cluster that `vagus up` started, else Ray's own default]",
)


@click.group(cls=WholeGroup)
def dashboard() -> None:
    """Grafana's dashboards, Prometheus' configuration and alert rules, made of the metrics that there are.

    docs/dashboards.md says how they come together with those of Ray.

    \b
    Examples:
      vagus dashboard grafana -o /etc/vagus/grafana
      vagus dashboard prometheus -o /etc/prometheus
      vagus dashboard check
    """


@dashboard.command()
@folder_option
@click.option("--live", is_flag=True, help="Also the streams that the gateway exports now: feeds, programs.")
@click.option("--prometheus", default="http://127.0.0.1:9090", show_default=True, metavar="URL", help="Data source.")
@click.option(
    "-c",
    "--config",
    "file",
    type=click.Path(path_type=Path, readable=False),
    help="vagus.yaml: which collectors there are.",
)
@ray_option
@json_option
@click.pass_context
def grafana(
    ctx: click.Context,
    output: Path | None,
    live: bool,
    prometheus: str,
    file: Path | None,
    ray: Path | None,
    as_json: bool,
) -> None:
    """Two dashboards, `vagus` and `vagus: all streams`, and a folder from which Grafana provisions them.

    Without -o: the dashboard `vagus` as JSON, to import by hand. The streams are those that the collectors give on
    this machine.

    \b
    Examples:
      vagus dashboard grafana -o /etc/vagus/grafana
      vagus dashboard grafana -o /etc/vagus/grafana --live
      vagus dashboard grafana > vagus.json
    """
    from vagus.cli.dashboard import catalogue, files

    if output is None:
        emit_json(files.overview())
        return
    folder = output.absolute()
    found = {**catalogue.of_this_machine(_collect(file)), **(_exported(ctx) if live else {})}
    _write(folder, files.grafana(folder, found, prometheus, ray or _ray(ctx)), as_json)
    if not as_json:
        click.echo(f"\nGF_PATHS_PROVISIONING={folder / 'provisioning'} grafana server, or see docs/dashboards.md")


@dashboard.command()
@folder_option
@json_option
def alerts(output: Path | None, as_json: bool) -> None:
    """Alert rules for Prometheus: what is silent, unhealthy, missing, failing, nearly full, or left in force.

    \b
    Examples:
      vagus dashboard alerts > /etc/prometheus/vagus-alerts.yaml
      vagus dashboard alerts -o /etc/prometheus
    """
    from vagus.cli.dashboard import alerts as rules
    from vagus.cli.dashboard import files

    if output is not None:
        _write(output.absolute(), {files.ALERTS_FILE: files.alerts()}, as_json)
    elif as_json:
        emit_json(rules.rules())
    else:
        click.echo(files.alerts(), nl=False)


@dashboard.command()
@folder_option
@click.option("--gateway", "urls", multiple=True, metavar="URL", help="Gateways to ask; default: this machine's.")
@click.option(
    "--token-file",
    type=click.Path(path_type=Path, readable=False),
    help="What Prometheus sends.  [default: HOME/token]",
)
@ray_option
@json_option
@click.pass_context
def prometheus(
    ctx: click.Context,
    output: Path | None,
    urls: tuple[str, ...],
    token_file: Path | None,
    ray: Path | None,
    as_json: bool,
) -> None:
    """prometheus.yml: scrapes every gateway and Ray, and reads the alert rules (with -o they are written, too).

    The token itself is not shown: Prometheus reads the file, and must be allowed to.

    \b
    Examples:
      vagus dashboard prometheus -o /etc/prometheus
      vagus dashboard prometheus --gateway http://10.0.0.1:7117 --gateway http://10.0.0.2:7117
    """
    from vagus.cli.dashboard import files

    text = files.scrape(urls or (_gateway(ctx),), (token_file or _home(ctx) / "token").absolute(), ray or _ray(ctx))
    made = {"prometheus.yml": text, files.ALERTS_FILE: files.alerts()}
    if output is not None:
        _write(output.absolute(), made, as_json)
    elif as_json:
        emit_json({"files": made})
    else:
        click.echo(text, nl=False)


@dashboard.command()
@json_option
@click.pass_context
def show(ctx: click.Context, as_json: bool) -> None:
    """The metrics that the gateway exports: name, type, unit, what each says.

    \b
    Examples:
      vagus dashboard show | grep rss
      vagus dashboard show --json | jq -r '.[].name'
    """
    found = sorted(_exported(ctx).values())
    rows = [(m.name, "counter" if m.counter else "gauge", m.unit, m.about, sorted(m.labels)) for m in found]
    if as_json:
        names = ("name", "type", "unit", "about", "labels")
        emit_json([dict(zip(names, row, strict=True)) for row in rows])
        return
    table(console(), ("METRIC", "TYPE", "UNIT", "SAYS"), [row[:4] for row in rows])


@dashboard.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> None:
    """Which panels and alerts find nothing at this gateway, since it exports no such metric now.

    That is no fault where a part is not used: no feeds, no controllers, no disks.

    \b
    Examples:
      vagus dashboard check
      vagus dashboard check --json
    """
    from vagus.cli.dashboard.held import held

    lacking = held(_exported(ctx))
    if as_json:
        emit_json([{"where": where, "metric": metric} for where, metric in lacking])
        return
    table(console(), ("PANEL OR ALERT", "METRIC THAT IS NOT THERE"), lacking)


def _exported(ctx: click.Context) -> dict[str, Metric]:
    from vagus.cli.dashboard.catalogue import parsed

    with connected(ctx) as connection:
        body, _ = connection.request("GET", "/metrics")
        try:
            return parsed(body.decode())
        except (UnicodeDecodeError, ConfigError) as error:
            raise VagusError(f"{connection.url} answered /metrics with no text of Prometheus: {error}") from error


def _collect(file: Path | None) -> Any:
    from vagus.config import Config, load

    return (load(file, Config) if file else Config()).collect


def _home(ctx: click.Context) -> Path:
    from vagus import config

    given = ctx.find_root().obj.home
    return Path(given).expanduser() if given else config.home()


def _gateway(ctx: click.Context) -> str:
    try:
        return endpoint_of(ctx).url
    except VagusError:
        return ctx.find_root().obj.url or GATEWAY  # it need not run for its configuration to be made


def _ray(ctx: click.Context) -> Path:
    import tempfile

    from vagus.runtime.cluster import read

    cluster = read(_home(ctx))
    if cluster is not None and cluster.temp_dir:
        return Path(cluster.temp_dir)
    return Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir())) / "ray"


def _write(folder: Path, made: dict[str, str], as_json: bool) -> None:
    for name, text in made.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise VagusError(unwritable(path.parent, error, "name another folder with -o")) from error
        check_file(path)
        write_file(path, text.encode())
        if not as_json:
            click.echo(path)
    if as_json:
        emit_json({"folder": str(folder), "files": list(made)})
