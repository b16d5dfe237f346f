"""What a node has to be discovered: its streams and what its actors offer, each with a lease.

The supervisor's roster renews the actors' leases every 10 s, and so does an actor that answers when it is asked: what
runs stays in the directory also while the supervisor is away. What has ended comes from stored events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

import msgspec

from vagus.clock import NS
from vagus.config import Config, ControllerSettings, FeedSettings, seconds
from vagus.config.feeds import named
from vagus.model import ActorStatus, DirectoryEntry, Event, FeedStatus, SensorInfo

LEASE_NS = 30 * NS  # three rounds of the roster
LEAST_STREAM_LEASE_NS = 60 * NS
MOST_STREAM_LEASE_NS = 3600 * NS
BEGAN = ("actor.started", "actor.restarted")
ENDED = ("actor.died", "actor.node_left", "actor.ended")
LIVING = ("HEALTHY", "STARTING", "DRAINING")
MAX_HISTORY = 500

Offer = tuple[str, str, dict[str, str]]
"""Type, name and labels of what an actor offers."""


def renewed(info: SensorInfo, now_ns: int, period_s: float, source: str, online: str) -> SensorInfo:
    """A stream's entry with its lease: three of its periods from its newest sample, at least a minute, at most an
    hour. After that it is history."""
    mean_ns = (info.last_ns - info.first_ns) // max(1, info.samples - 1)
    lease_ns = max(LEAST_STREAM_LEASE_NS, round(3 * period_s * NS), min(3 * mean_ns, MOST_STREAM_LEASE_NS))
    expires_ns = info.last_ns + lease_ns
    if not info.samples or expires_ns <= now_ns:
        return msgspec.structs.replace(info, live=False, expires_ns=0, source=source, online="")
    return msgspec.structs.replace(info, live=True, expires_ns=expires_ns, source=source, online=online)


def offers(actor: str, config: Config, figures: Mapping[str, float]) -> list[Offer]:
    """What an actor of this name offers, as the settings have it; a user's own controller is a policy of its name."""
    role, label = role_of(actor)
    if role == "collector":
        return [("gateway", actor, {})]
    if role == "observer":
        return [("observer", actor, {"strategy": config.health.strategy})]
    if role == "feed":
        return [("feed", f.name, feed_labels(f)) for f in config.feeds]
    if role == "decide":
        return [("policy", config.decide.policy, {"controller": "decide"})]
    if role != "controller":
        return []
    settings = next((c for c in config.controllers if c.name == label), None)
    if settings is None:
        return [("policy", label, {"controller": label})]
    armed = "yes" if figures.get("armed", settings.armed) else "no"
    return [
        ("policy", settings.policy, {"controller": label, "period": str(settings.period)}),
        ("actuator", settings.actuator, {"controller": label, "target": _steered(settings), "armed": armed}),
    ]


def _steered(settings: ControllerSettings) -> str:
    first, *others = settings.targets or (settings.target,)
    return f"{first} and {len(others)} more" if others else first


def feed_labels(feed: FeedSettings) -> dict[str, str]:
    """What the settings say of a feed: its schedule, format and tools, or what it is made of."""
    labels = {"kind": feed.kind}
    if feed.source is not None:
        labels |= {"every": "once" if feed.once else str(feed.every), "format": feed.format}
    if feed.tools:
        labels["tools"] = ", ".join(named(tool)[0] for tool in feed.tools)
    return labels


def role_of(actor: str) -> tuple[str, str]:
    """Role and label in an actor's name: `vagus:controller:throttle@n1` → controller, throttle."""
    role, _, label = actor.partition("@")[0].removeprefix("vagus:").partition(":")
    return role, label


def entries(
    node: str, actors: Iterable[ActorStatus], told_ns: Mapping[str, int], config: Config, online: str, now_ns: int
) -> list[DirectoryEntry]:
    """What the actors of a node offer. told_ns: when each was last heard of."""
    found = []
    for actor in actors:
        expires_ns = told_ns.get(actor.name, 0) + LEASE_NS
        live = actor.state in LIVING and expires_ns > now_ns
        for kind, name, labels in offers(actor.name, config, actor.figures):
            found.append(
                DirectoryEntry(
                    kind,
                    name,
                    node,
                    {"actor": actor.name, **labels},
                    live,
                    actor.state,
                    actor.since_ns,
                    told_ns.get(actor.name, 0),
                    expires_ns if live else 0,
                    online if live else "",
                    "" if live else actor.last_error,
                )
            )
    return found


def ended(node: str, events: Iterable[Event], running: Iterable[str], config: Config) -> list[DirectoryEntry]:
    """What actors of a node offered that ended, newest first. events: BEGAN and ENDED, in any order; running: the
    names of those that run, whose newest life is no history."""
    lives: dict[str, list[DirectoryEntry]] = {}
    began: dict[str, int] = {}
    for event in sorted(events, key=lambda e: e.t_ns):
        name = str(event.fields.get("actor", ""))
        if name.rpartition("@")[2] != node:
            continue
        if event.event in BEGAN:
            began[name] = event.t_ns
        elif event.event in ENDED:
            note = str(event.fields.get("reason", "")) or event.event
            lives.setdefault(name, []).extend(_former(node, name, began.pop(name, 0), event.t_ns, note, config))
    for name in began.keys() - set(running):
        lives.setdefault(name, []).extend(_former(node, name, began[name], 0, "it ended while nobody watched", config))
    every = [entry for found in lives.values() for entry in found]
    return sorted(every, key=lambda e: e.last_ns, reverse=True)[:MAX_HISTORY]


def _former(node: str, name: str, since_ns: int, last_ns: int, note: str, config: Config) -> list[DirectoryEntry]:
    return [
        DirectoryEntry(kind, what, node, {"actor": name, **labels}, False, "DEAD", since_ns, last_ns, note=note[:500])
        for kind, what, labels in offers(name, config, {})
    ]


def _described(entry: DirectoryEntry, feed: FeedStatus) -> DirectoryEntry:
    more = {"shape": feed.shape, "locations": str(feed.locations), "schedule": feed.schedule}
    labels = {**entry.labels, **{name: text for name, text in more.items() if text}}
    return msgspec.structs.replace(entry, labels=labels, note=feed.error or entry.note)


class Directory:
    """The entries of one node. `events` reads stored events of a name since a time."""

    def __init__(self, node: str, config: Config, events: Callable[[str, int], Iterable[Event]]) -> None:
        self._node = node
        self._config = config
        self._events = events
        self._told_ns: dict[str, int] = {}

    def heard(self, actors: Iterable[ActorStatus], t_ns: int) -> None:
        """They were told of by the supervisor, or answered: their leases are renewed."""
        for actor in actors:
            if actor.state in LIVING:
                self._told_ns[actor.name] = t_ns

    def present(
        self, actors: Iterable[ActorStatus], online: str, feeds: Iterable[FeedStatus] = ()
    ) -> list[DirectoryEntry]:
        """What the actors offer now; feeds: what their actor says of them, such as their shape."""
        known = list(actors)
        self._told_ns = {a.name: self._told_ns.get(a.name, 0) for a in known}
        found = entries(self._node, known, self._told_ns, self._config, online, time.time_ns())
        said = {feed.name: feed for feed in feeds}
        if not said:
            return found
        # one that is spread, or of which another node has all, is not offered where nothing of it runs
        running = (e for e in found if e.type != "feed" or e.name in said)
        return [_described(e, said[e.name]) if e.type == "feed" else e for e in running]

    def past(self, running: Iterable[str]) -> list[DirectoryEntry]:
        """What has ended, as far back as events are kept. Reads the store."""
        since_ns = time.time_ns() - round(seconds(self._config.store.retain) * NS)
        found = [event for name in (*BEGAN, *ENDED) for event in self._events(name, since_ns)]
        return ended(self._node, found, running, self._config)
