"""`vagus version`."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed

import click

from vagus import __version__
from vagus.cli.output import emit_json, json_option


@click.command()
@json_option
def version(as_json: bool) -> None:
    """The versions of vagus, Python and Ray, for a report of a problem.

    \b
    Examples:
      vagus version
      vagus version --json
    """
    found = {"vagus": __version__, "python": platform.python_version(), "system": platform.platform(terse=True)}
    for name in ("ray", "aiohttp", "lmdb", "numpy"):
        try:
            found[name] = installed(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    if as_json:
        emit_json(found)
        return
    for name, text in found.items():
        click.echo(f"{name:<8} {text}")
