"""`vagus localize --live`: who makes requests slow now, as the cluster's traces actor ranks them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from vagus.cli.output import cell, clock_time, console, counted, emit_json, table
from vagus.cli.session import ask, connected

if TYPE_CHECKING:
    from collections.abc import Callable

    from vagus.controllers.localise import Ranking

TIMES_MS = ("latency_p50_ms", "latency_p99_ms", "normal_p50_ms", "normal_p99_ms")
FEW = "no ranking yet: too few requests were seen (traces.localise.least in a window), or none at all"


def live(ctx: click.Context, since: str, as_json: bool, show: Callable[[Ranking], None]) -> None:
    """The latest ranking by `show`; with `since` a line for each that was kept since then. Raises VagusError."""
    with connected(ctx) as connection:
        answer = ask(connection, "/v1/localise", since=since)
    if as_json:
        emit_json(answer)
        return
    rankings = [ranking_of(view) for view in answer["rankings"]]
    if not rankings:
        click.secho(FEW, fg="yellow", err=True)
    elif since:
        _list(rankings)
    else:
        show(rankings[0])


def ranking_of(view: dict[str, Any]) -> Ranking:
    """A ranking of the gateway's JSON, where null is NaN."""
    from vagus.controllers.localise import Ranking, Suspect

    def known(value: Any) -> float:
        return float("nan") if value is None else float(value)

    suspects = [
        Suspect(
            str(suspect["component"]),
            known(suspect["score"]),
            {name: known(value) for name, value in suspect["features"].items()},
            str(suspect["resource"]),
            str(suspect["says"]),
            suspect["probability"],
        )
        for suspect in view["suspects"]
    ]
    times_ms = (known(view[name]) for name in TIMES_MS)
    return Ranking(int(view["t_ns"]), tuple(suspects), int(view["requests"]), bool(view["slow"]), *times_ms)


def _list(rankings: list[Ranking]) -> None:
    rows = [
        [
            clock_time(ranking.t_ns),
            cell("slow", "red") if ranking.slow else cell("as usual", "green"),
            counted(ranking.requests, "request"),
            f"{ranking.latency_p99_ms:.4g}",
            ", ".join(
                f"{s.component} {s.score:.0%}" + (f" ({s.resource})" if s.resource else "")
                for s in ranking.suspects[:3]
            )
            if ranking.slow
            else "",
        ]
        for ranking in rankings
    ]
    table(console(), ["time", "", "seen", "P99 ms", "suspects"], rows, {"P99 ms"})
