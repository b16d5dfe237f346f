"""`vagus replay --live`: a trace in real time against the running service, as published: decisions and delayed
updates over HTTP."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from vagus.cli.session import connected
from vagus.errors import ConfigError

if TYPE_CHECKING:
    from vagus.client.connection import Connection
    from vagus.controllers.decide.players import PlayerResult, PlayerSetup
    from vagus.controllers.decide.replay import ReplayResult, Setup
    from vagus.controllers.decide.trace import Trace
    from vagus.model import Decision

LIVE = "(live)"  # what it is called among policies
LATE_S = 1.0  # behind the trace by more: this machine or the gateway cannot keep up


class Service:
    """The running service as what decides for a replay: the replay's time waits for the clock's."""

    def __init__(
        self,
        connection: Connection,
        tick_s: float = 0.0,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._connection, self._tick_s = connection, tick_s
        self._monotonic, self._sleep = monotonic, sleep
        self._begun_s: float | None = None
        self._ticks = 0
        self.behind_s = 0.0  # the most
        self.refused = 0

    def advance(self, t_s: float) -> None:
        """Waits until so many seconds of the trace have passed; its first moment is when this is first called."""
        if self._begun_s is None:
            self._begun_s = self._monotonic() - t_s
        early = self._begun_s + t_s - self._monotonic()
        if early > 0:
            self._sleep(early)
        self.behind_s = max(self.behind_s, -early)

    def tick(self) -> None:
        """The replay's next tick."""
        self.advance(self._ticks * self._tick_s)
        self._ticks += 1

    def decide(self, features: Mapping[str, Any], arms: Sequence[str]) -> Decision:
        """A decision of the service."""
        return self._connection.decide(features, arms)

    def update(self, decision_id: str, reward: float) -> None:
        """Its outcome."""
        self.refused += self._connection.update(decision_id, reward) != "ACCEPTED"

    def report(self) -> None:
        """What went otherwise than the trace says."""
        if self.behind_s > LATE_S:
            click.echo(f"up to {self.behind_s:.1f} s behind the trace; give a lower --rate", err=True)
        if self.refused:
            click.echo(f"{self.refused} updates were not accepted", err=True)


class Served:
    """The service as what players ask."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self.advance = service.advance
        self.update = service.update

    def decide(self, group: str, arms: Sequence[str]) -> tuple[str, str]:
        """The arm, and the decision's id."""
        made = self._service.decide({"group": group}, arms)
        return made.arm, made.decision_id


def _alone(traces: Sequence[Trace], seeds: Sequence[int]) -> Trace:
    if len(traces) != 1 or len(seeds) != 1:
        raise ConfigError("--live replays one trace with one seed: the service remembers what it has learned")
    return traces[0]


def live_replay(ctx: click.Context, traces: Sequence[Trace], setup: Setup, seeds: Sequence[int]) -> ReplayResult:
    """One trace of sessions of one decision each."""
    from vagus.controllers.decide.replay import replay

    trace = _alone(traces, seeds)
    with connected(ctx) as connection:
        service = Service(connection, setup.tick_s)
        result = replay(trace, lambda _: service, setup=setup, seeds=seeds)
    service.report()
    return result._replace(policy=LIVE)


def live_players(ctx: click.Context, traces: Sequence[Trace], setup: PlayerSetup, seeds: Sequence[int]) -> PlayerResult:
    """One trace of players."""
    from vagus.controllers.decide.players import PlayerResult, play

    trace = _alone(traces, seeds)
    with connected(ctx) as connection:
        service = Service(connection)
        sessions = play(trace, Served(service), setup, seeds[0])
    service.report()
    return PlayerResult(LIVE, sessions)
