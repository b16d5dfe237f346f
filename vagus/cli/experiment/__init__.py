"""`vagus experiment`: what happens when …, on a cluster made for it."""

from __future__ import annotations

import click

from vagus.cli.lazy import Entry, LazyGroup

EXPERIMENTS = (
    Entry(
        "failover", "vagus.cli.experiment.failover:failover", "Quality through the loss of each part.", "Experiments"
    ),
    Entry("app", "vagus.cli.application.command:app", "Deploys an application to be steered.", "Experiments"),
    Entry("load", "vagus.cli.openloop.command:load", "Open-loop load on an application, by a trace.", "Experiments"),
    Entry("report", "vagus.cli.experiment.report:report", "The report of `slo` again.", "Experiments"),
    Entry("slo", "vagus.cli.experiment.slo:command", "Policies in turn: late requests, and CPU.", "Experiments"),
)


@click.group("experiment", cls=LazyGroup, entries=EXPERIMENTS)
def experiment() -> None:
    """Experiments on a small cluster of their own: it is made for them on this machine, and gone afterwards.

    \b
    Examples:
      vagus experiment failover -o failover.png
      vagus experiment app examples/social_network/app.yaml
      vagus experiment slo --policies none,hpa,throttle --trace trace.txt --inject inject.yaml -o first
    """
