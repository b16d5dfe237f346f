"""The `vagus` command. Subcommands load when they are called; starting it imports click and nothing heavier.

Add one: a file with a click command, and a line in COMMANDS.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator

import click

from vagus import __version__
from vagus.cli.lazy import Entry, LazyGroup

COMMANDS = (
    Entry("up", "vagus.cli.up:up", "Start vagus on this machine, or join a Ray cluster.", "Run"),
    Entry("down", "vagus.cli.up:down", "Stop vagus and restore every limit.", "Run"),
    Entry("run", "vagus.cli.run:run", "Run a controller from a file, and follow it.", "Run"),
    Entry("submit", "vagus.cli.submit:submit", "Run a controller as a job of the cluster.", "Run"),
    Entry("job", "vagus.cli.job:job", "Jobs that were submitted: list, log, stop.", "Run"),
    Entry("demo", "vagus.cli.demo.story:demo", "Two minutes of the whole loop on real processes.", "Run"),
    Entry("status", "vagus.cli.status:status", "What is sensed, how healthy, what is decided.", "Look"),
    Entry(
        "sensors", "vagus.cli.sensors:sensors", "What there is: streams, feeds, policies; what is on a path.", "Look"
    ),
    Entry("query", "vagus.cli.query:query", "Stored samples as a table, CSV, JSON or Arrow.", "Look"),
    Entry("page", "vagus.cli.home_page:page", "The cluster at a glance in a browser, live.", "Look"),
    Entry("top", "vagus.cli.top.command:top", "The cluster at a glance in this terminal, live.", "Look"),
    Entry("sql", "vagus.cli.sql:sql", "SQL over streams and events.", "Look"),
    Entry("tail", "vagus.cli.tail:tail", "Samples as they come in.", "Look"),
    Entry("plot", "vagus.cli.plot:plot", "A plot in the terminal, or as PNG.", "Look"),
    Entry("events", "vagus.cli.events:events", "Events, receipts, decisions, reports: what happened.", "Look"),
    Entry("traces", "vagus.cli.traces:traces", "Requests through services: what held them up.", "Look"),
    Entry("forecast", "vagus.cli.forecast:forecast", "How well the next value of a file is forecast.", "Look"),
    Entry("feed", "vagus.cli.feed:feed", "Data from elsewhere: run, check, replay, query declared feeds.", "Look"),
    Entry("health", "vagus.cli.health:health", "How healthy each subject is, and who says so.", "Infer"),
    Entry("report", "vagus.cli.health:report", "Report what you observed of a subject.", "Infer"),
    Entry("localize", "vagus.cli.localize:localize", "Which component makes requests slow, out of spans.", "Infer"),
    Entry("decide", "vagus.cli.decide:decide", "Ask the decision service for an arm; its log, why, what if.", "Decide"),
    Entry("update", "vagus.cli.decide_draw:update", "Tell the decision service how a decision turned out.", "Decide"),
    Entry("replay", "vagus.cli.replay:replay", "Policies on a trace: regret, score, simulated players.", "Decide"),
    Entry("load", "vagus.cli.load.command:load", "Ask at a fixed rate: how long answers take.", "Decide"),
    Entry("inject", "vagus.cli.inject:inject", "Anomalies on purpose: strain, and label the data.", "Decide"),
    Entry("train", "vagus.cli.train:train", "A policy of limits learns, in simulated worlds.", "Decide"),
    Entry("experiment", "vagus.cli.experiment:experiment", "What the loss of each part does.", "Decide"),
    Entry("store", "vagus.cli.store:store", "Verify, measure, compact, export the stores.", "This machine"),
    Entry("dashboard", "vagus.cli.dashboard.command:dashboard", "Files for Grafana and Prometheus.", "This machine"),
    Entry("config", "vagus.cli.config:config", "Show, describe and check settings.", "This machine"),
    Entry("doctor", "vagus.cli.doctor:doctor", "What this machine supports, and what lacks.", "This machine"),
    Entry("version", "vagus.cli.version:version", "The versions of vagus, Python and Ray.", "This machine"),
)


class Options:
    """The global options; empty text means not given. Reached as `ctx.obj`.

    observer: who reports, and interactive: whether more commands follow; of the interactive client.
    """

    def __init__(self, home: str = "", url: str = "", token: str = "") -> None:
        self.home = home
        self.url = url
        self.token = token
        self.observer = ""
        self.interactive = False


@click.group(
    "vagus",
    cls=LazyGroup,
    entries=COMMANDS,
    hoisted=("--home", "--url", "--token"),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    epilog="""\b
First steps:
  vagus up                                  start on this machine
  vagus status                              what is sensed, how healthy, what is decided
  vagus query 'host.cpu.*' --since 1m       what was stored
  vagus query --help                        more examples; each command has some

\b
Completion (bash; zsh and fish alike):
  eval "$(_VAGUS_COMPLETE=bash_source vagus)"

Exit status: 0 well, 1 an error (one line says which), 2 wrong usage, 3 vagus is degraded (status).
VAGUS_DEBUG=1 shows the traceback of an error.""",
)
@click.option("--home", envvar="VAGUS_HOME", default="", metavar="FOLDER", help="State folder. [env: VAGUS_HOME]")
@click.option("--url", envvar="VAGUS_URL", default="", metavar="URL", help="Gateway to ask. [env: VAGUS_URL]")
@click.option("--token", envvar="VAGUS_TOKEN", default="", metavar="TOKEN", help="Its token. [env: VAGUS_TOKEN]")
@click.version_option(__version__, "-V", "--version", prog_name="vagus")
@click.pass_context
def cli(ctx: click.Context, home: str, url: str, token: str) -> None:
    """The nervous system of a cluster: sense, store, infer, decide and act.

    Commands ask the gateway of this machine's node; --url asks another one. The options below may also stand behind
    the command.
    """
    ctx.obj = Options(home, url, token)
    ctx.with_resource(_environment(VAGUS_HOME=home, VAGUS_URL=url, VAGUS_TOKEN=token))


@contextlib.contextmanager
def _environment(**values: str) -> Iterator[None]:
    """Sets variables for what is called below (and the processes it starts); puts them back afterwards."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if value})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def main() -> None:
    """The console script."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started this, as some services do
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 – until the end of the process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and "utf" not in stream.encoding.lower():
            stream.reconfigure(errors="replace")  # a terminal of another encoding lacks a sign, and not the answer
    cli(prog_name="vagus")
