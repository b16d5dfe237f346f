"""`vagus experiment failover`: parts of the decision service are killed one after the other, under load."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.demo.unbroken import unbroken, unwind_on_end
from vagus.cli.output import console, emit_json, json_option, table
from vagus.cli.session import Span, check_file, write_file
from vagus.config import Config, DecideSettings, GatewaySettings, seconds
from vagus.errors import ConfigError, VagusError

if TYPE_CHECKING:
    from rich.console import Console

    from vagus.cli.experiment.timeline import Timeline
    from vagus.runtime.trial import Trial

NODES = ("n1", "n2", "n3")
GROUPS, ARMS = 6, 4
CHANGE_S = 40.0  # the best arm of a group stays so long
MIN_PHASE_S = 4.0


@click.command()
@click.option("--rate", type=float, default=60.0, show_default=True, metavar="R", help="Sessions per second.")
@click.option("--warm", type=Span(), default="15s", show_default=True, help="To learn, before anything is killed.")
@click.option("--phase", type=Span(), default="10s", show_default=True, help="From one kill to the next.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the players and their world.")
@click.option("-o", "--output", type=click.Path(path_type=Path, readable=False), metavar="FILE.png", help="Draw it.")
@json_option
@click.pass_context
def failover(
    ctx: click.Context, rate: float, warm: str, phase: str, seed: int, output: Path | None, as_json: bool
) -> None:
    """Quality of simulated sessions while a gateway, the decide actor, the head and a whole node are killed in turn.

    Makes a cluster of three nodes on this machine for itself, in a folder of its own, and ends it afterwards, also on
    Ctrl-C; takes two minutes. A cluster that runs here is not touched.

    Sessions ask through the Python client with the addresses of all three gateways, a third of them at each first.
    Their quality is 1 where every session has its best arm, 0 with arms at random. Which arm is best changes all the
    time, in one group after the other: where nobody learns any more, quality falls.

    \b
    Recovered: three seconds in which the service answered 99 %, with a quality within .1 of the one before.
    What is killed stays killed where it was the last to restart it: after the head and a node, one node is left.

    \b
    Examples:
      vagus experiment failover
      vagus experiment failover -o failover.png --phase 20s
      vagus experiment failover --json | jq '.phases[] | {lost, served_ratio, recovered_s}'
    """
    from vagus.cli.experiment.timeline import summarise
    from vagus.cli.up import progress
    from vagus.runtime.trial import Trial

    warm_s, phase_s = seconds(warm), seconds(phase)
    if not 1 <= rate <= 1000:
        raise ConfigError(f"--rate {rate:g} is not between 1 and 1000 sessions per second")
    if min(warm_s, phase_s) < MIN_PHASE_S or max(warm_s, phase_s) > 600:
        raise ConfigError(f"--warm and --phase must be {MIN_PHASE_S:g} s to 600 s: shorter ones show nothing")
    if output is not None:
        if output.suffix.lower() != ".png":
            raise click.UsageError(f"{output}: only PNG is drawn; name it FILE.png.")
        check_file(output)
    to = console(sys.stderr)
    unwind_on_end()
    trial = Trial(NODES, config(), lambda text: None)
    try:
        with progress(to) as say:
            say("making a cluster of three nodes")
            trial.say = say
            trial.start()
        unwind_on_end()  # Ray took SIGTERM for itself
        timeline, counts = asyncio.run(perform(trial, to, rate, warm_s, phase_s, seed))
    finally:
        with unbroken():
            for problem in trial.stop():
                click.secho(f"warning: {problem}", fg="yellow", err=True)
    told = {**summarise(timeline, warm_s / 2), "clients": counts}
    if output is not None:
        from vagus.cli.experiment.figure import draw

        write_file(output, draw(timeline, f"{told['sessions']} sessions through the loss of each part"))
        click.echo(f"{output}: who answered, and quality", err=True)
    if as_json:
        emit_json({**told, "seconds": _seconds(timeline)})
    else:
        _show(told)


def config() -> Config:
    """Of the experiment's own cluster."""
    from vagus.runtime.cluster import free_port

    port = free_port(27117)
    # nothing but decisions: neither feeds nor controllers
    return Config(
        gateway=GatewaySettings(port=port), decide=DecideSettings(group_by=("city",)), feeds=(), controllers=()
    )


async def perform(
    trial: Trial, to: Console, rate: float, warm_s: float, phase_s: float, seed: int
) -> tuple[Timeline, dict[str, int]]:
    """Plays and kills; the timeline, and what the clients counted, with `infeasible`: answers that were no arm asked for."""
    from vagus.cli.experiment.players import Players
    from vagus.cli.experiment.timeline import Timeline
    from vagus.cli.experiment.world import World
    from vagus.client.decisions_aio import AioDecisions

    urls = [trial.gateway(node)["url"] for node in trial.nodes]
    clients = [AioDecisions(urls[n:] + urls[:n], trial.token(), rng=Random(seed + n)) for n in range(len(urls))]
    timeline, stop = Timeline(), asyncio.Event()
    players = Players(World(GROUPS, ARMS, CHANGE_S, seed), clients, timeline, rate, seed)
    timeline.begin("before", 0.0)
    playing = asyncio.create_task(players.play(stop.is_set))
    try:
        await _watch(playing, timeline, to, players.now, warm_s)
        for what, kill in kills(trial):
            victim = await asyncio.to_thread(kill)
            timeline.begin(what, players.now())
            to.print(f"[{players.now():3.0f} s] killing {what}", style="bold", highlight=False, soft_wrap=True)
            await asyncio.to_thread(victim)
            await _watch(playing, timeline, to, players.now, phase_s)
        stop.set()
        await playing
    finally:
        playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing
        for client in clients:
            await client.close()
    counts = Counter({"infeasible": players.infeasible})
    for client in clients:
        counts.update(client.counts())
    return timeline, dict(counts)


def kills(trial: Trial) -> list[tuple[str, Callable[[], Callable[[], None]]]]:
    """What is killed, in turn: functions that find the victim, and give what kills it."""

    def gateway() -> Callable[[], None]:
        pid = int(trial.gateway("n2")["pid"])
        return lambda: trial.kill(pid)

    def decide() -> Callable[[], None]:
        pid = decide_pid(trial)
        return lambda: trial.kill(pid)

    def node(name: str) -> Callable[[], Callable[[], None]]:
        return lambda: lambda: trial.kill_node(name)

    return [
        ("a gateway", gateway),
        ("a decide actor", decide),
        ("the head", node("n1")),
        ("a whole node", node("n3")),
    ]


def decide_pid(trial: Trial) -> int:
    """The process of a decide actor: n2's, or the head's where that has the only one. Raises VagusError."""
    from vagus.client.connection import Connection

    with Connection(trial.gateway("n1")["url"], trial.token(), timeout_s=5.0) as connection:
        found = {a.node: a.pid for status in connection.status() for a in status.actors if a.role == "decide" and a.pid}
    pid = found.get("n2") or found.get("n1")
    if pid is None:
        raise VagusError("no decide actor was found to kill")
    return pid


async def _watch(
    playing: asyncio.Task[None], timeline: Timeline, to: Console, now: Callable[[], float], for_s: float
) -> None:
    """Lets time pass, and says how it goes every five seconds. Raises what the players raise."""
    from vagus.cli.experiment.timeline import score, served_share

    end_s = now() + for_s
    while (left_s := end_s - now()) > 0:
        await asyncio.wait([playing], timeout=min(5.0, left_s))
        if playing.done():
            playing.result()
        last = timeline.part(math.floor(now()) - 5, now())
        to.print(
            f"[{now():3.0f} s] {100 * served_share(last):5.1f} % answered by the service, quality {score(last):5.2f}",
            highlight=False,
            soft_wrap=True,
        )


def _show(told: dict[str, Any]) -> None:
    columns = ["lost", "sessions", "by the service", "worst second", "quality", "of before", "recovered", "slowest"]
    rows = [
        [
            phase["lost"] or "nothing yet",
            phase["sessions"],
            _percent(phase["served_ratio"]),
            _percent(phase["worst_second_ratio"]),
            f"{phase['score']:.2f}",
            _percent(phase["score_ratio"]),
            _after(phase["recovered_s"]) if phase["lost"] else "",
            f"{phase['slowest_ms']:.0f} ms",
        ]
        for phase in told["phases"]
    ]
    table(console(), columns, rows, right=columns[1:])


def _percent(ratio: float) -> str:
    return "–" if ratio != ratio else f"{100 * ratio:.1f} %"


def _after(recovered_s: float | None) -> str:
    return "not yet" if recovered_s is None else f"{recovered_s:.0f} s"


def _seconds(timeline: Timeline) -> list[dict[str, Any]]:
    return [
        {
            "t_s": at,
            "sessions": s.asked,
            "served": s.served,
            "score": s.score / s.asked,
            "slowest_ms": 1000 * s.slowest_s,
        }
        for at, s in sorted(timeline.seconds.items())
    ]
