"""Health alone, without the rest of vagus and without Ray: one process with an observer and a gateway in front of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from vagus.access import Principal
from vagus.actors.base import Seat
from vagus.actors.datagrams import Address, resolve
from vagus.actors.gateway_file import announce, withdraw
from vagus.actors.observer import ObserverActor
from vagus.actors.recent import MAX_EVENTS, Recent
from vagus.config import Config, private_folder, read_token, seconds, secret
from vagus.controllers.decide.table import DecisionTable
from vagus.controllers.localise import Ranking
from vagus.errors import ConfigError, PeerUnreachable, Unsupported, VagusError, unwritable
from vagus.gateway.backend import OBSERVER_METHODS
from vagus.gateway.path import Trace
from vagus.gateway.routes import HEALTH_ROUTES
from vagus.gateway.server import Gateway
from vagus.gateway.traces import Found, TraceQuestion
from vagus.inputs.admission import Taken
from vagus.model import (
    Ack,
    Acted,
    Action,
    ControlState,
    Decision,
    DirectoryEntry,
    Event,
    FeedStatus,
    Inference,
    Logged,
    NodeStatus,
    Page,
    Report,
    Reward,
    Sample,
    SensorInfo,
    Span,
    Status,
)
from vagus.store import Batch

log = logging.getLogger("vagus")
SPARE_PORTS = 100  # several observers of one machine take the next free port each
LOOPBACK = "127.0.0.1"


class HealthServer:
    """An observer of `node` that gossips with `peers`, and a gateway that serves health alone.

    home: the state folder, whose `secret` all peers share and whose `token` callers need (both are made if missing);
    peers: where each observer hears gossip, this one may be among them; gossip_address: where this one does, port 0:
    any free one; http_host, spare_ports: as of Gateway. `url` and `address()` say where it listens once it is started.
    """

    def __init__(
        self,
        home: Path | str,
        node: str,
        config: Config,
        peers: Mapping[str, Address] = {},
        gossip_address: Address = (LOOPBACK, 0),
        http_host: str = LOOPBACK,
        spare_ports: int = SPARE_PORTS,
    ) -> None:
        self.home = Path(home)
        self.node = node
        self.config = config
        self.url = ""
        self.observer: ObserverActor | None = None
        self._peers = dict(peers)
        self._gossip_address = gossip_address
        self._http_host = http_host
        self._spare_ports = spare_ports
        self._gateway: Gateway | None = None
        self._folder = self._seat({}).folder

    async def start(self) -> str:
        """Opens store and sockets, serves, announces itself; the gateway's URL. Raises ConfigError, StoreError."""
        try:
            private_folder(self._folder)
        except OSError as error:
            raise ConfigError(
                unwritable(f"the state folder {self.home}", error, "choose another with VAGUS_HOME")
            ) from error
        host, _ = await resolve(*self._gossip_address)
        key, token = secret(self.home / "secret"), secret(self.home / "token")
        nobody: Any = None  # to call: there are no other actors
        observer = ObserverActor(self._seat({"key": key, "peers": self._peers, "address": host}), nobody)
        await observer.begin()
        self.observer = observer
        settings = self.config.gateway
        try:
            self._gateway = Gateway(
                ObserverBackend(observer, self.config.cluster, await self._recent(observer)),
                token=token,
                host=self._http_host,
                port=settings.port,
                spare_ports=self._spare_ports,
                max_body_bytes=settings.max_body_bytes,
                timeout_s=seconds(settings.timeout),
                tokens={name: read_token(name, path) for name, path in self.config.tokens.items()},
                access=self.config.access,
                routes=HEALTH_ROUTES,
            )
            self.url = await self._gateway.start()
            announce(self._folder, self.node, self.url, token)
        except BaseException:
            await self.stop()
            raise
        return self.url

    async def stop(self) -> None:
        """Closes the gateway, then the observer with its store. Idempotent."""
        observer, self.observer = self.observer, None
        gateway, self._gateway = self._gateway, None
        try:
            if gateway is not None:
                withdraw(self._folder)
                await gateway.stop()
        finally:
            if observer is not None:
                await observer.end()

    async def address(self) -> Address:
        """Where it hears gossip. Raises PeerUnreachable when it is not started."""
        if self.observer is None:
            raise PeerUnreachable(f"the observer of {self.node} is not started")
        return await self.observer.address()

    async def _recent(self, observer: ObserverActor) -> Recent:
        """The observer's events from now on, behind those that it stored before. Raises StoreError."""
        fresh: list[Event] = []
        stop = observer.subscribe(fresh.append)
        past = await observer.stored_events(MAX_EVENTS)
        stop()
        recent = Recent([event for event in past if event not in fresh])
        for event in fresh:
            recent.note(event)
        observer.subscribe(recent.note)
        return recent

    def _seat(self, options: dict[str, Any]) -> Seat:
        host, port = self._gossip_address
        config = replace(self.config, health=replace(self.config.health, port=port))
        if host != LOOPBACK:
            config = replace(config, gateway=replace(config.gateway, bind="node"))
        return Seat("observer", self.node, str(self.home), config, options=options)


class ObserverBackend:
    """The gateway's Backend over an observer in this process. What is not health is Unsupported."""

    def __init__(self, observer: ObserverActor, cluster: str, recent: Recent) -> None:
        self.node = observer.seat.node
        self.cluster = cluster
        self.table = DecisionTable(Random(0))
        self._observer = observer
        self._recent = recent

    def nodes(self) -> Sequence[str]:
        """This one: what the peers know comes by gossip."""
        return (self.node,)

    async def observer(self, method: str, args: tuple[Any, ...]) -> Any:
        """One of the observer's methods."""
        if method not in OBSERVER_METHODS:
            raise VagusError(f"{method!r} is none of the observer's methods: {', '.join(OBSERVER_METHODS)}")
        return await getattr(self._observer, method)(*args)

    async def report(self, reports: Sequence[Report]) -> list[Ack]:
        """The observer's answers."""
        return await self._observer.report(reports)

    async def inferences(self, subject: str) -> list[Inference]:
        """The observer's verdicts."""
        return await self._observer.inferences(subject)

    async def status(self) -> NodeStatus:
        """The observer, and its verdicts."""
        described, inferences = await self._observer.describe(), await self._observer.inferences()
        return NodeStatus(
            node=self.node,
            t_ns=time.time_ns(),
            actors=(described,),
            inferences=len(inferences),
            unhealthy=tuple(i.subject for i in inferences if i.status > Status.PENDING),
            errors=(described.last_error,) if described.last_error else (),
            missing=await self._observer.missing(),
        )

    async def latest(self, selectors: Sequence[str]) -> list[Sample]:
        """None: nothing is sensed here."""
        return []

    def refused(self, event: Event) -> None:
        """Logs it."""
        log.warning(event.event, extra=dict(event.fields))

    async def ask(self, node: str, method: str, args: tuple[Any, ...]) -> Any:
        raise PeerUnreachable(f"{node} cannot be asked here: this gateway serves {self.node} alone")

    async def take(self, who: Principal, samples: Sequence[Sample], events: Sequence[Event]) -> Taken:
        raise _missing("samples and events")

    async def query(self, selector: str, start_ns: int, end_ns: int, limit: int) -> list[Batch]:
        raise _missing("samples")

    async def sensors(self, selector: str) -> list[SensorInfo]:
        raise _missing("samples")

    async def directory(self, history: bool) -> list[DirectoryEntry]:
        raise _missing("a directory")

    async def feeds(self) -> list[FeedStatus]:
        raise _missing("feeds")

    async def feed_items(self, feed: str, limit: int, start_ns: int, end_ns: int) -> list[tuple[int, bytes]] | None:
        raise _missing("feeds")

    async def path(self, target: str, history: bool) -> Trace:
        raise _missing("paths")

    async def records(
        self,
        kind: str,
        start_ns: int,
        end_ns: int,
        limit: int,
        event: str = "",
        where: Sequence[str] = (),
        level: str = "",
    ) -> list[Any]:
        raise _missing("records")

    async def decision_log(self, start_ns: int, end_ns: int, limit: int, group: str | None) -> list[Logged]:
        raise _missing("decisions")

    async def controllers(self) -> list[str]:
        """None: nothing is controlled here."""
        return []

    async def control_state(self, controller: str, after_ns: int, wait_s: float) -> ControlState:
        raise _missing("controllers")

    async def control_act(self, controller: str, actions: Sequence[Action], wait_s: float) -> Acted:
        raise _missing("controllers")

    async def rankings(self, since_ns: int, limit: int) -> list[Ranking]:
        raise _missing("rankings")

    async def take_spans(self, who: Principal, spans: Sequence[Span]) -> Taken:
        raise _missing("traces")

    async def traces(self, asked: TraceQuestion) -> Found:
        raise _missing("traces")

    async def spans(self, traces: Sequence[str], most: int) -> list[Span]:
        raise _missing("traces")

    async def follow(self, selector: str, events: str, after: str, since_ns: int, until: str, wait_s: float) -> Page:
        return await self._recent.follow(events, after, since_ns, until, wait_s)

    def decided(self, decision: Decision) -> None:
        raise _missing("decisions")

    async def reward(self, rewards: Sequence[Reward]) -> list[Ack]:
        raise _missing("decisions")

    async def explain(self, group: str) -> Mapping[str, Any]:
        raise _missing("decisions")


def _missing(what: str) -> Unsupported:
    return Unsupported(f"health alone is served here, no {what}: run `vagus up` for the rest")
