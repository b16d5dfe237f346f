"""What of the expected topology is missing: nodes, services, and actors of vagus that crash-loop. Pure.

A node is there when Ray's table (the supervisor's last news) has it and no peer's probe nor Ray calls it dead; a service
when somebody reports on it and its verdict is better than UNHEALTHY. What loops: see crash_loops.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from vagus.actors.crash_loops import WINDOW_S, crash_loops, ends_of_late, with_end
from vagus.clock import NS, Clock
from vagus.config import ExpectedSettings, seconds
from vagus.config.expected import named
from vagus.health.webhooks import speaker
from vagus.model import Event, Inference, Level, Missing, Scalar, Status

PRESENCE = ("swim", "ray")  # the contexts that say whether a node is there at all
SLEPT_S = 15.0  # not asked for so long: this process was stopped, and what it knows is old
TOGETHER_S = 15.0  # what comes or falls so close together may not know of each other
MAX_LOST = 1000
MAX_SHOWN = 300

Verdict = Callable[[str], Inference | None]

_ANOTHER = re.compile(r"(.+)-[0-9a-f]{6}\Z")  # of two Ray nodes on one host the second has a part of its id in its name


class _Found(NamedTuple):
    """What is not well at the moment. gone: nobody says that it is ill; it is just not there."""

    kind: str
    why: str
    error: str
    todo: str
    node: str = ""
    gone: bool = False


class Topology:
    """Looked at every second or so by each node's observer; `missing` is what it found last.

    What was never seen is awaited for `expected.grace`, and so is what looks dead by old reports; what fell, or was
    missing before this process was started anew (`state`, `restore`), is told at once.
    """

    def __init__(self, expected: ExpectedSettings, node: str, clock: Clock) -> None:
        self.missing: tuple[Missing, ...] = ()
        self._expected = expected
        self._node = node
        self._clock = clock
        self._grace_s = seconds(expected.grace)
        self._began_s = self._looked_s = clock.monotonic_ns() / NS
        self._began_ns = clock.time_ns()
        self._since_ns: dict[str, int] = {}  # of what is missing
        self._up_s: dict[str, float] = {}  # of what is well, since when
        self._ends_s: dict[str, tuple[float, ...]] = {}  # of what was well: when it fell
        self._lost: dict[str, None] = {}  # nodes that were there, the latest last
        self._told: dict[str, tuple[str, float]] = {}  # of what is missing: who was to tell it, and when

    def restore(self, packed: bytes | None) -> None:
        """What `state` gave before a restart; what cannot be read counts as nothing."""
        try:
            self._since_ns = msgspec.msgpack.decode(packed or b"\x80", type=dict[str, int])
        except msgspec.DecodeError:
            self._since_ns = {}
        if isinstance(self._expected.nodes, int):  # of a number only who was there tells who is missing
            self._lost.update((what[5:], None) for what in self._since_ns if what.startswith("node:"))

    def state(self) -> bytes:
        """What is to survive a restart: since when what is missing."""
        return msgspec.msgpack.encode(self._since_ns)

    def look(self, nodes: Iterable[str], verdict: Verdict, looping: Mapping[str, str]) -> list[Event]:
        """Finds what is missing now, and the events that this node is to tell: a topology.missing for each thing that is
        newly missing, topology.complete when nothing is any more.

        nodes: that the supervisor named last; looping: actors that crash-loop, and what is said of them.
        """
        if not self._expected.declared:
            return []
        now_s, now_ns = self._clock.monotonic_ns() / NS, self._clock.time_ns()
        if now_s - self._looked_s > SLEPT_S:
            self._began_s, self._began_ns = now_s, now_ns
            self._up_s.clear()
        self._looked_s = now_s
        present = {*nodes, self._node}
        alive = {name for name in present if name == self._node or not _is_dead(verdict(f"node:{name}"))}
        ill = {**self._nodes(alive, present), **self._services(verdict)}
        well = {f"node:{name}" for name in alive} | set(self._expected.services) - ill.keys()
        found = {what: one for what, one in ill.items() if self._counts(what, now_s)}
        self._note(well, now_s)
        found |= self._loops(well, now_s)
        for actor, error in looping.items():
            todo = "its last error is in `vagus status`, all of them in HOME/nodes/NODE/logs"
            found[actor] = _Found("actor", "crash-looping", error, todo, actor.rpartition("@")[2])
        return self._settle(found, self._tellers(alive, now_s), alive, now_s, now_ns)

    # --- what is not well --------------------------------------------------------------------------------------------

    def _nodes(self, alive: set[str], present: set[str]) -> dict[str, _Found]:
        wanted = self._expected.nodes
        self._lost = {name: None for name in self._lost if name not in alive}
        fallen = [what[5:] for what in self._up_s if what.startswith("node:") and what[5:] not in alive]
        self._lost.update(dict.fromkeys(fallen))
        self._lost = dict.fromkeys(list(self._lost)[-MAX_LOST:])
        if isinstance(wanted, tuple):
            others = alive - set(wanted)
            stand_ins = {again[1] for name in others if (again := _ANOTHER.match(name))}
            gone = [name for name in wanted if name not in alive and name not in stand_ins]
            strangers = sorted(name for name in others if not _ANOTHER.match(name))
            return {f"node:{name}": self._node_gone(name, name in present, strangers) for name in gone}
        short = wanted - len(alive)
        if short <= 0:
            return {}
        known = list(dict.fromkeys([*reversed(self._lost), *sorted(present - alive)]))[:short]
        found = {f"node:{name}": self._node_gone(name, name in present) for name in known}
        if short > len(known):
            error = f"{len(alive)} of {wanted} nodes are there: {_list(sorted(alive))}"
            todo = "start the others, or lower expected.nodes"
            found["nodes"] = _Found("node", "missing", error, todo, gone=True)
        return found

    def _node_gone(self, name: str, listed: bool, strangers: Sequence[str] = ()) -> _Found:
        """listed: the supervisor named it last; strangers: nodes that are there, and not expected."""
        if listed:
            todo = f"look at the machine and at Ray on it; `vagus health node:{name}` says who heard of it last"
            return _Found("node", "dead", "neither its peers nor Ray hear of it", todo, name)
        error = "it left the cluster" if name in self._lost else "it is no node of this cluster"
        if strangers:
            error += f"; {_list(strangers)} is there and not expected: was it renamed?"
        todo = "start Ray on it again (`ray up`, or `ray start --address=HEAD:6379`), or change expected.nodes"
        return _Found("node", "missing", error, todo, name, gone=True)

    def _services(self, verdict: Verdict) -> dict[str, _Found]:
        found = {}
        for service in self._expected.services:
            known = [v for name in named(service) if (v := verdict(name)) is not None and v.status > Status.NA]
            worst = max(known, key=lambda v: v.status, default=None)
            if worst is None:
                todo = "see that it runs, and that it is named as in `vagus health`"
                found[service] = _Found("service", "missing", "nobody reports on it", todo, gone=True)
            elif worst.status >= Status.UNHEALTHY:
                why = "unhealthy" if worst.status is Status.UNHEALTHY else "dead"
                todo = f"`vagus health {worst.subject}` has the evidence"
                found[service] = _Found("service", why, _accused(worst), todo)
        return found

    # --- over time ---------------------------------------------------------------------------------------------------

    def _counts(self, what: str, now_s: float) -> bool:
        """Whether the grace is over for it: it was well before, or missing before, or had its time."""
        return now_s - self._began_s >= self._grace_s or what in self._since_ns or self._was_up(what)

    def _was_up(self, what: str) -> bool:
        return what in self._up_s or what in self._ends_s or what.removeprefix("node:") in self._lost

    def _note(self, well: set[str], now_s: float) -> None:
        for what in self._up_s.keys() - well:
            del self._up_s[what]
            self._ends_s[what] = with_end(self._ends_s.get(what, ()), now_s)
        for what in well - self._up_s.keys():
            self._up_s[what] = now_s
        self._ends_s = {what: ends for what, ends in self._ends_s.items() if ends_of_late(ends, now_s)}

    def _loops(self, well: set[str], now_s: float) -> dict[str, _Found]:
        """What is well for the moment, and will hardly be for long."""
        found = {}
        for what in well & self._ends_s.keys():
            if crash_loops(self._ends_s[what], self._up_s[what], now_s):
                kind, node = ("node", what[5:]) if what.startswith("node:") else ("service", "")
                if kind == "node" and isinstance(self._expected.nodes, tuple) and node not in self._expected.nodes:
                    continue
                error = f"down {ends_of_late(self._ends_s[what], now_s)} times within {WINDOW_S / 60:.0f} minutes"
                todo = f"`vagus health {what}` has what was said of it"
                found[what] = _Found(kind, "crash-looping", error, todo, node)
        return found

    def _tellers(self, alive: set[str], now_s: float) -> set[str]:
        """The nodes one of which tells: who has just come does not know what was before."""
        up_s = {name: self._up_s[f"node:{name}"] for name in alive}
        first_s = min(up_s.values())
        ripe = {name for name, since_s in up_s.items() if now_s - since_s >= max(self._grace_s, TOGETHER_S)}
        return ripe or {name for name, since_s in up_s.items() if since_s - first_s < TOGETHER_S}

    def _settle(
        self, found: dict[str, _Found], tellers: set[str], alive: set[str], now_s: float, now_ns: int
    ) -> list[Event]:
        """Keeps what is found; what is to be told of the difference."""
        before = self._since_ns
        self._since_ns = {
            what: before.get(what, self._began_ns if one.gone and not self._was_up(what) else now_ns)
            for what, one in found.items()
        }
        self.missing = tuple(
            Missing(what, one.kind, one.why, self._since_ns[what], one.node, one.error[:MAX_SHOWN], one.todo)
            for what, one in sorted(found.items())
        )
        new = found.keys() - before.keys()
        # who was to tell it may have fallen with it, a moment later
        new |= {what for what, (who, at_s) in self._told.items() if who not in alive and now_s - at_s < TOGETHER_S}
        self._told = {what: told for what, told in self._told.items() if what in found}
        self._told.update((what, (speaker(what, tellers), now_s)) for what in new & found.keys())
        events = [
            self._event("topology.missing", Level.ERROR, now_ns, _fields(one))
            for one in self.missing
            if one.what in new and self._told[one.what][0] == self._node
        ]
        if before and not found and speaker("", tellers) == self._node:
            after_s = (now_ns - min(before.values())) / NS
            what = _list(sorted(before))
            events.append(self._event("topology.complete", Level.INFO, now_ns, {"was": what, "after_s": after_s}))
        return events

    def _event(self, name: str, level: Level, now_ns: int, fields: dict[str, Scalar]) -> Event:
        return Event(now_ns, name, self._node, level, f"vagus:observer@{self._node}", fields)


def _fields(one: Missing) -> dict[str, Scalar]:
    return {"subject": one.what, "kind": one.kind, "why": one.why, "reason": one.error, "todo": one.todo}


def _is_dead(inference: Inference | None) -> bool:
    """Whether those who can tell whether a node is there call it dead."""
    if inference is None:
        return False
    return any(v.status is Status.DEAD for context, v in inference.contexts.items() if context in PRESENCE)


def _accused(inference: Inference) -> str:
    bad = {context: v for context, v in inference.contexts.items() if v.status >= Status.UNHEALTHY}
    return "; ".join(f"{context}: {v.status}, says {_list(v.accusers)}" for context, v in sorted(bad.items()))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
