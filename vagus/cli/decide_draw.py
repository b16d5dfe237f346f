"""`vagus decide draw`, which `vagus decide ARM...` is short for, and `vagus update`."""

from __future__ import annotations

import math
from collections.abc import Sequence

import click

from vagus.cli.output import cell, console, emit_json, json_option
from vagus.cli.session import connected
from vagus.errors import VagusError
from vagus.model import Scalar


@click.command()
@click.argument("arms", nargs=-1, required=True, metavar="ARM...")
@click.option("-f", "--feature", "features", multiple=True, metavar="NAME=VALUE", help="What is known; may repeat.")
@json_option
@click.pass_context
def draw(ctx: click.Context, arms: tuple[str, ...], features: tuple[str, ...], as_json: bool) -> None:
    """Ask the decision service which of the arms to use, given features; answered by this node, and logged.

    Numbers, true and false among the values are taken as such, everything else as text.

    \b
    Examples:
      vagus decide cdn-a cdn-b cdn-c --feature city=Bern --feature isp=10
      vagus decide small large --json | jq -r .decision_id
      vagus decide draw log explain         where an arm is called as another command is
    """
    with connected(ctx) as connection:
        made = connection.decide(features_of(features), arms)
    if as_json:
        emit_json(made)
        return
    to = console()
    to.print(cell(made.arm, "bold"))
    detail = f"group {made.group or 'all'}, probability {made.propensity:.3g}, version {made.version}"
    to.print(cell(detail, "dim"), soft_wrap=True)
    to.print(cell(f"later: vagus update {made.decision_id} REWARD", "dim"), soft_wrap=True)


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("decision_id", metavar="DECISION_ID")
@click.argument("reward", type=float, metavar="REWARD")
@json_option
@click.pass_context
def update(ctx: click.Context, decision_id: str, reward: float, as_json: bool) -> None:
    """Tell the decision service how a decision turned out: any finite number, larger is better.

    Sending it again changes nothing.

    \b
    Examples:
      vagus update 01J9Z6K2 0.93
      vagus update 01J9Z6K2 -4.5
    """
    if not math.isfinite(reward):
        raise click.BadParameter("must be a finite number", param_hint="REWARD")
    with connected(ctx) as connection:
        word = connection.update(decision_id, reward)
    if as_json:
        emit_json({"result": word})
    if word == "FAILED":
        raise VagusError(f"no decision {decision_id!r} waits for an outcome; ids come from `vagus decide`")
    if not as_json:
        click.echo(word)


def features_of(pairs: Sequence[str]) -> dict[str, Scalar]:
    """Features of texts NAME=VALUE. Raises BadParameter."""
    return dict(map(_feature, pairs))


def _feature(text: str) -> tuple[str, Scalar]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--feature")
    if value in ("true", "false"):
        return name, value == "true"
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        if math.isfinite(number):
            return name, number
    return name, value
