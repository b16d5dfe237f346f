"""`vagus doctor`."""

from __future__ import annotations

import click
import msgspec

from vagus.cli.output import emit_json, json_option
from vagus.cli.view_doctor import render_doctor


@click.command()
@click.option("--details", is_flag=True, help="Every part: each controller, capability, port.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, details: bool, as_json: bool) -> None:
    """What this machine supports, and what each missing thing costs and needs. Changes nothing; needs no root.

    vagus runs with much of it missing: what cannot be sensed is left out, what cannot be limited stays dry.
    The exit status is 0 whatever is found.

    \b
    Examples:
      vagus doctor
      vagus doctor --details
      vagus doctor --json | jq -r '.checks[] | select(.ok != "yes") | .name'
    """
    from vagus.config import home
    from vagus.runtime.doctor import doctor as examine

    checks = examine(home=home())
    if as_json:
        emit_json({"checks": [msgspec.to_builtins(c) for c in checks]})
    else:
        render_doctor(checks, details=details)
