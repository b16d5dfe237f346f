"""`vagus decide explain`: why a group decides as it does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vagus.cli.decide_draw import features_of
from vagus.cli.output import cell, console, emit_json, json_option, quantity, table
from vagus.cli.session import ask, connected

if TYPE_CHECKING:
    from rich.console import Console


@click.command()
@click.argument("group", required=False, metavar="[GROUP]")
@click.option(
    "-f", "--feature", "features", multiple=True, metavar="NAME=VALUE", help="Of a session, instead of GROUP."
)
@json_option
@click.pass_context
def explain(ctx: click.Context, group: str | None, features: tuple[str, ...], as_json: bool) -> None:
    """Why a group's sessions get the arms that they get: what is known of each arm, and the probabilities of the draw.

    GROUP is as `vagus decide` and `vagus decide log` print it; none: the one of all. With features of a session: which
    rule leads it to which group. `evidence` counts rewards, older ones for less; what else stands there made the
    probabilities, and is the policy's own.

    \b
    Examples:
      vagus decide explain zurich
      vagus decide explain -f isp=10 -f city=Bern
      vagus decide explain zurich --json | jq '.arms[] | {arm, probability, mean}'
    """
    if group is not None and features:
        raise click.UsageError("give a GROUP or features, not both.")
    params: dict[str, Any] = {"feature": tuple(f"{n}={_text(v)}" for n, v in features_of(features).items())}
    if not features:
        params = {"group": group or ""}
    with connected(ctx) as connection:
        answer = ask(connection, "/v1/decide/explain", **params)
    if as_json:
        emit_json(answer)
    else:
        _print(answer, console())


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _print(answer: dict[str, Any], to: Console) -> None:
    group = answer["group"] or "all"
    to.print(cell(f"group {group}", "bold"), soft_wrap=True)
    if answer["way"]:
        to.print(cell("  by " + ", then ".join(answer["way"]), "dim"), soft_wrap=True)
    options = ", ".join(f"{name}={value}" for name, value in answer["options"].items())
    policy = (answer["policy"] or "unknown policy") + (f" ({options})" if options else "")
    led = f", led by {answer['leader']}" if answer["leader"] else ""
    epoch = f", epoch {answer['epoch']}" if answer["epoch"] else ""
    rewards = f", {quantity(answer['rewards'])} rewards" if answer["rewards"] is not None else ""
    to.print(cell(f"  {policy}{led}{epoch}{rewards}, table version {answer['version']}"), soft_wrap=True)
    if answer["note"]:
        to.print(cell(f"  {answer['note']}", "yellow"), soft_wrap=True)
    if not answer["arms"]:
        return
    known = [name for arm in answer["arms"] for name in arm["figures"]]
    names = list(dict.fromkeys(sorted(known, key=lambda name: (name not in ("mean", "evidence"), name != "mean"))))
    rows = [
        (cell(arm["arm"], "bold"), _share(arm["probability"]), *(quantity(arm["figures"].get(name)) for name in names))
        for arm in sorted(answer["arms"], key=lambda arm: -(arm["probability"] or 0.0))
    ]
    columns = ("arm", "probability", *names)
    table(to, columns, rows, right=columns[1:], wide={"arm": 24}, spare=tuple(reversed(names[2:])))
    for smaller in answer["sets"]:
        line = ", ".join(f"{arm} {_share(share)}" for arm, share in sorted(smaller.items(), key=lambda one: -one[1]))
        to.print(cell(f"  of these alone: {line}", "dim"), soft_wrap=True)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
