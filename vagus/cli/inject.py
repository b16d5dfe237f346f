"""`vagus inject`: anomalies on purpose, each an event that labels the data, each undone whatever happens."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import click

from vagus.cli.inject_run import ROOT, own_options, perform
from vagus.cli.lazy import WholeGroup
from vagus.cli.output import console, emit_json, json_option, status_cell, table
from vagus.cli.session import Span
from vagus.errors import ConfigError, VagusError
from vagus.injector import INJECTIONS, RESOURCES

EXAMPLES = {
    "cpu": ("vagus inject cpu --intensity 80% --for 30s", "vagus inject cpu --intensity '2 cores' --target pid:4711"),
    "memory": ("vagus inject memory --for 1m", "vagus inject memory --intensity '4 GB/s' --target cgroup:web"),
    "llc": ("vagus inject llc --intensity 200% --for 30s", "vagus inject llc --intensity '8 MiB' --workers 2"),
    "disk": (
        "vagus inject disk --intensity '50 MB/s' --target /var/lib/db --for 1m",
        "vagus inject disk --intensity '200 IOPS' --mode read --component db",
    ),
    "load": (
        "vagus inject load --intensity 200/s --target http://127.0.0.1:8080/ --component front-end",
        "vagus inject load --intensity x2 --base 150 --target 'http://10.0.0.7/a http://10.0.0.7/b'",
    ),
    "net-delay": (
        "vagus inject net-delay --intensity 50ms+-10ms --target eth0,to=10.0.0.7:5432 --for 30s",
        "vagus inject net-delay --intensity 20ms --target 'tcp:8081->db:5432'",
    ),
    "net-bandwidth": (
        "vagus inject net-bandwidth --intensity 10Mbit --target eth1 --for 30s",
        "vagus inject net-bandwidth --intensity 1MB/s --target eth0,to=10.0.0.7:80",
    ),
}


class _Types(WholeGroup):
    """`list`, `campaign`, and a command for each type that is registered."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *INJECTIONS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = super().get_command(ctx, cmd_name)
        return found if found is not None or cmd_name not in INJECTIONS else _command(cmd_name)


@click.group(cls=_Types)
def inject() -> None:
    """Inject anomalies: CPU, memory bandwidth, last-level cache, disk, network, load.

    \b
    Each injection is two events, inject.begin and inject.end, which label the data; `vagus events --event 'inject.*'`
    shows them. Everything is undone at the end, after Ctrl-C and after a kill -9: a watchdog sees to it.

    \b
    Examples:
      vagus inject list
      vagus inject cpu --intensity 80% --for 30s --component front-end
      vagus inject campaign campaign.yaml --dry
      vagus inject campaign campaign.yaml
    """


# --- one -------------------------------------------------------------------------------------------------------------


def _command(name: str) -> click.Command:
    """The command of a type; its own options are the keyword arguments of its class."""
    made = INJECTIONS.get(name)
    about = getattr(made, "options", {})
    usual = f"; without this {made.default}" if getattr(made, "default", "") else ""
    params: list[click.Parameter] = [
        click.Option(["--intensity"], default="", metavar="HOW MUCH", help=f"How strongly, in a form as above{usual}."),
        click.Option(["--for", "duration"], type=Span(), default="30s", show_default=True, help="How long."),
        click.Option(["--target"], default="", help="What is hit; empty: this machine."),
        click.Option(["--component"], default="", metavar="NAME", help="The service it hits: the label's component."),
    ]
    own = own_options(made)
    for option, default in own.items():
        flag = {"is_flag": True} if isinstance(default, bool) else {"type": type(default)}
        params.append(
            click.Option(
                [f"--{option.replace('_', '-')}", option],
                default=default,
                show_default=True,
                help=about.get(option, ""),
                **flag,
            )
        )
    params.append(click.Option(["--dry"], is_flag=True, help="Only say what would be done."))
    params.append(click.Option(["--json", "as_json"], is_flag=True, help="Print JSON, for jq and programs."))

    @click.pass_context
    def run(ctx: click.Context, /, **given: Any) -> None:
        from vagus.config import InjectionSettings, seconds
        from vagus.injector.campaign import Due, duration_of

        settings = InjectionSettings(
            type=name,  # type: ignore[arg-type]  # of the registry, also those of other packages
            intensity=given["intensity"],
            target=given["target"],
            component=given["component"],
            duration=given["duration"],
            options={option: given[option] for option in own},
        )
        due = Due(0.0, duration_of(seconds(given["duration"])), 0, 0, settings)
        perform(ctx, [due], "", given["dry"], given["as_json"])

    first = _about(made)
    examples = "".join(f"\n  {line}" for line in EXAMPLES.get(name, (f"vagus inject {name} --for 30s",)))
    return click.Command(
        name, callback=run, params=params, help=f"{first}\n\n\b\nExamples:{examples}", short_help=first
    )


# --- many ------------------------------------------------------------------------------------------------------------


@inject.command()
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@click.option("--dry", is_flag=True, help="Only print the timetable and what would be done.")
@json_option
@click.pass_context
def campaign(ctx: click.Context, file: Path, dry: bool, as_json: bool) -> None:
    """Run the injections of a YAML file: one after the other or at once, with jitter, again and again.

    All of it is checked before the first one begins. The same seed gives the same times.

    \b
    Examples:
      vagus inject campaign campaign.yaml --dry
      vagus inject campaign campaign.yaml --json > injected.json
      vagus config check campaign.yaml
    """
    from vagus.config import CampaignSettings, load
    from vagus.injector.campaign import schedule

    settings: CampaignSettings = load(file, CampaignSettings)
    try:
        timetable = schedule(settings)
    except ConfigError as error:
        raise ConfigError(f"{file}: {error}") from error
    perform(ctx, timetable, settings.name, dry, as_json)


@inject.command("list")
@json_option
def list_(as_json: bool) -> None:
    """The types, and whether this machine and user can do each; if not, what is missing.

    \b
    Examples:
      vagus inject list
      vagus inject list --json | jq '.types[] | select(.possible | not)'
    """
    found = [_listed(name) for name in INJECTIONS]
    if as_json:
        emit_json({"types": found})
        return
    rows = [
        (f["type"], f["resource"], status_cell("yes" if f["possible"] else "no"), f["missing"] or f["what"])
        for f in found
    ]
    table(console(), ("type", "strains", "here", "what"), rows)


def _listed(name: str) -> dict[str, Any]:
    made: Any = INJECTIONS.get(name)
    missing = ""
    try:
        made(ROOT).prepare("", "", 1.0)
    except ConfigError:
        pass  # it wants a target: that is for the user to say
    except VagusError as error:
        missing = str(error)
    return {
        "type": name,
        "resource": RESOURCES.get(name, name),
        "what": _about(made),
        "possible": not missing,
        "missing": missing,
        "options": dict(getattr(made, "options", {})),
    }


def _about(made: Any) -> str:
    """The first paragraph of its docstring, on a line."""
    return " ".join((inspect.getdoc(made) or "").partition("\n\n")[0].split())
