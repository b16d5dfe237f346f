"""`vagus config`: settings with their defaults, their JSON schemas, whether a file is right, and new ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.lazy import WholeGroup
from vagus.cli.output import emit_json, json_option
from vagus.cli.session import check_file, make_folder, write_file
from vagus.errors import ConfigError, unreadable

if TYPE_CHECKING:
    from vagus.config import CampaignSettings
    from vagus.health.instances import Panorama

KINDS = ("vagus", "controller", "campaign", "train", "app", "variants")


@click.group(cls=WholeGroup)
def config() -> None:
    """Show, describe and check settings: vagus.yaml (a node or cluster), controller.yaml (one controller), campaign.yaml
    (injections), train.yaml (what a policy learns from), app.yaml and variants.yaml (what `vagus experiment` deploys, and
    which policies it compares).

    \b
    Examples:
      vagus config show > vagus.yaml
      vagus config check vagus.yaml
      vagus config schema > vagus.schema.json
    """


@config.command()
@click.argument("file", required=False, type=click.Path(path_type=Path, readable=False))
@json_option
def show(file: Path | None, as_json: bool) -> None:
    """Every setting with its value: the defaults, or FILE with the defaults filled in.

    \b
    Examples:
      vagus config show > vagus.yaml
      vagus config show vagus.yaml
      vagus config show hs.cfg               Panorama's, as vagus.yaml
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
    """The JSON schema of vagus.yaml, controller.yaml or another kind of file, for editors and checkers.

    \b
    Examples:
      vagus config schema > vagus.schema.json
      vagus config schema controller > controller.schema.json
    """
    click.echo(schema_text(kind), nl=False)


@config.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@json_option
def check(file: Path, as_json: bool) -> None:
    """Whether FILE is right; if not, its first error, and exit status 1.

    Which kind it is shows from its keys: vagus.yaml, controller.yaml, campaign.yaml, train.yaml, app.yaml, variants.yaml,
    or Panorama's JSON.

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
        what = "configuration of Panorama" if kind == "panorama" else f"{kind}.yaml"
        click.secho(f"{file}: a right {what}", fg="green")


@config.command()
@click.option("--nodes", "-nserver", "nodes", type=click.IntRange(1, 1000), default=1, show_default=True, metavar="N")
@click.option(
    *("--address", "-addressp"),
    default="127.0.0.1:6688",
    show_default=True,
    metavar="PATTERN",
    help="HOST[:PORT] of each; %d is its number.",
)
@click.option(
    *("--id", "-id", "ids"),
    multiple=True,
    metavar="PATTERN",
    help="Id of each, with %d; one without %d says which this configuration is for.  [default: pano%d]",
)
@click.option("-namep", "names", default="", metavar="PATTERN", help="Panorama's word for --id with %d.")
@click.option(
    "--self", "own", default="", metavar="ID", help="Which one this configuration is for.  [default: the first]"
)
@click.option("--port", "-fix_port", type=click.IntRange(1, 65535), help="Of addresses without one.  [default: 6688]")
@click.option("--first", type=click.IntRange(0, 65535), default=0, show_default=True, help="The first number.")
@click.option("--subjects", "-subjects", default="", metavar="A,B,...", help="Watched from the start.")
@click.option("--filter", "-filter", "only", is_flag=True, help="Ignore reports on all other subjects.")
@click.option(
    *("--format", "form"),
    type=click.Choice(["panorama", "vagus"]),
    help="Panorama's JSON, or vagus.yaml.  [default: by the name of --output, else panorama]",
)
@click.option(
    *("-o", "--output", "-output", "target"),
    default="",
    metavar="FILE|FOLDER/",
    help="Write it there too; into a folder: one file for each observer.",
)
def new(
    nodes: int,
    address: str,
    ids: tuple[str, ...],
    names: str,
    own: str,
    port: int | None,
    first: int,
    subjects: str,
    only: bool,
    form: str | None,
    target: str,
) -> None:
    """Make the configuration of N observers for `vagus health serve`; printed, and written if --output is given.

    The flags of Panorama's hview-mkrc are understood as they are: -nserver -addressp -namep -id -fix_port -filter
    -subjects -output.

    \b
    Examples:
      vagus config new --nodes 10 --address 'razor%d:6688' --id 'pano%d' > hs.cfg
      vagus config new -fix_port 6688 -nserver 10 -addressp razor%d -namep pano%d -id pano0 -output hs.cfg
      vagus config new --nodes 3 --address '127.0.0.1:668%d' --subjects db,api --filter --output configs/
      vagus config new --nodes 3 --address 'n%02d:6688' --id 'n%02d' --output vagus.yaml
    """
    from vagus.health.instances import Panorama, make_peers

    patterns = [text for text in (*ids, names) if "%" in text]
    own = own or next((text for text in ids if "%" not in text), "")
    if len(patterns) > 1:
        raise click.UsageError(f"ids have one pattern, not {len(patterns)}: {', '.join(patterns)}")
    if own and nodes == 1 and not patterns:
        patterns = [own]
    peers = make_peers(nodes, (patterns or ["pano%d"])[0], address, first, port or 0)
    own = own or next(iter(peers))
    if own not in peers:
        raise click.UsageError(f"there is no {own!r} among {', '.join(list(peers)[:10])}")
    chosen = tuple(name for text in subjects.split(",") if (name := text.strip()))
    output = Path(target) if target else None
    folder = output is not None and (output.is_dir() or target.endswith("/"))
    if form is None:
        form = "vagus" if output is not None and output.suffix in (".yaml", ".yml") else "panorama"

    def content(name: str) -> bytes:
        given = Panorama(Addr=peers[name], Id=name, Subjects=chosen, Peers=peers, FilterSubmission=only)
        return _instance_bytes(given, form)

    click.echo(content(own).decode(), nl=False)
    if output is not None:
        suffix = "yaml" if form == "vagus" else "cfg"
        if folder:
            make_folder(output)
        files = {output / f"{name}.{suffix}": name for name in peers} if folder else {output: own}
        for file in files:
            check_file(file)
        for file, name in files.items():
            write_file(file, content(name))
        what = f"{len(files)} configurations" if folder else own
        click.echo(f"{output}: {what}; next: vagus health serve --config {next(iter(files))}", err=True)


def _instance_bytes(given: Panorama, form: str) -> bytes:
    """One observer's configuration as it is written; read again first, so that nothing wrong is. Raises ConfigError."""
    import yaml

    from vagus.health.instances import instance_of, panorama_json, vagus_document

    if form == "panorama":
        content = panorama_json(given)
    else:
        content = yaml.safe_dump(vagus_document(given), sort_keys=False, allow_unicode=True).encode()
    instance_of(content, "the new configuration")
    return content


def schema_text(kind: str) -> str:
    """The schema as published in schemas/KIND.schema.json. kind: one of KINDS."""
    from vagus.config import schema as schema_of

    title = f"{kind}.yaml"
    return json.dumps({"title": title, **schema_of(_settings(kind))}, indent=2, ensure_ascii=False) + "\n"


def _settings(kind: str) -> type[Any]:
    from vagus.config import (
        ApplicationSettings,
        CampaignSettings,
        Config,
        ControllerSettings,
        ExperimentSettings,
        TrainSettings,
    )

    found: dict[str, type[Any]] = {
        "vagus": Config,
        "controller": ControllerSettings,
        "campaign": CampaignSettings,
        "train": TrainSettings,
        "app": ApplicationSettings,
        "variants": ExperimentSettings,
    }
    return found[kind]


def _check_campaign(settings: CampaignSettings, origin: str) -> None:
    """Raises ConfigError for times out of bounds; what this machine can do is for `vagus inject campaign --dry`."""
    from vagus.injector.campaign import schedule

    try:
        schedule(settings)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from error


def _read(file: Path) -> tuple[str, Any]:
    """Which kind a file is, and its settings. Raises ConfigError."""
    import yaml

    from vagus.cli.application.reading import check as check_application
    from vagus.cli.experiment.slo_variants import check_variants
    from vagus.config import (
        MAX_CONFIG_BYTES,
        ApplicationSettings,
        CampaignSettings,
        Config,
        ControllerSettings,
        ExperimentSettings,
        decode,
    )
    from vagus.controllers.checked import check_controllers
    from vagus.controllers.decide.checked import check_decide
    from vagus.health.checked import check_health
    from vagus.health.instances import config_of_panorama, is_panorama

    try:
        with open(file, "rb") as opened:
            text = opened.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigError(unreadable(file, error)) from error
    if is_panorama(text):
        return "panorama", config_of_panorama(text, str(file)).config
    try:
        raw = yaml.safe_load(text) if len(text) <= MAX_CONFIG_BYTES else None
    except (yaml.YAMLError, ValueError, RecursionError):
        raw = None  # decode says what is wrong
    keys = set(raw) if isinstance(raw, dict) else set()
    only_train = {"world", "bootstrap", "episodes", "explore", "evaluate"}
    only_controller = set(ControllerSettings.__struct_fields__) - set(Config.__struct_fields__)
    marks = {"campaign": {"injections"}, "train": only_train, "variants": {"variants"}, "app": {"entry", "services"}}
    marks["controller"] = only_controller
    kind = next((kind for kind, only in marks.items() if keys & only), "vagus")
    settings = decode(text, _settings(kind), str(file))
    if isinstance(settings, CampaignSettings):
        _check_campaign(settings, str(file))
    if isinstance(settings, ExperimentSettings):
        check_variants(settings.variants, str(file))
    if isinstance(settings, ApplicationSettings):
        check_application(settings, str(file))
    if isinstance(settings, Config):
        check_health(settings, str(file))
        check_decide(settings, str(file))
        check_controllers(settings.controllers, str(file))
    if isinstance(settings, ControllerSettings):
        check_controllers((settings,), str(file))
    return kind, settings
