"""A clique: nodes that probe each other, one at a time, because only the holder of the token probes.

After the Network Weather Service's cliques (Wolski, Spring, Hayes, FGCS 15, 1999; Gaidioz, Wolski, Tourancheau,
HPDC 2000). The token goes around the ring of names and is acknowledged. It holds for a lease only: a node that cannot
be reached is left out once its lease must have ended, so that loss alone never makes two holders. Who misses the token
for longer than it has ever taken asks all others whether they do as well, and makes a new one of the next epoch;
an older token ends at the first node that knows of a newer. A ring invites those it lacks, so partitions heal.

A state machine that performs nothing: it answers events with directives. Times are seconds of any clock that does not
go back; nodes' clocks are never compared.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import NamedTuple

from vagus.probes import Timeouts
from vagus.probes.messages import MAX_MEMBERS, Alive, Claim, Grant, Leave, Ring, Taken, Token
from vagus.probes.schedule import Schedule, periods

TRIES = 4
"""Of handing the token on, and of each claim while it waits: more datagrams are not spent on who does not answer."""
MARGIN_S = 1.0
"""A datagram arrives within this or is lost; clocks drift apart by less within one lease."""
START_S = 0.3
"""A node that is new waits so long for the others, the later ones by name longer, before it claims the token."""


class Send(NamedTuple):
    """This message to this node."""

    to: str
    message: Ring


class Probe(NamedTuple):
    """Probe this node, to be done by `until_s`; then call `finished`."""

    clique: str
    kind: str  # latency, bandwidth
    node: str
    until_s: float


class Regenerated(NamedTuple):
    """The token was lost; this node made a new one."""

    clique: str
    epoch: int
    silent_s: float


Directive = Send | Probe | Regenerated


class State(enum.Enum):
    WAITING = "waiting"
    HOLDING = "holding"
    PASSING = "passing"  # neither this node nor, for certain, the next has it
    CLAIMING = "claiming"


class Costs(NamedTuple):
    """The settings of the probes, in seconds and bytes; probe_s: what one probe may take at most."""

    latency_every_s: float
    bandwidth_every_s: float
    bandwidth_bytes: int
    probe_s: float


class Clique:
    """One node's side of one clique.

    answers: how long to wait for a node's answer (keys are nodes); rounds: for the token (key: the clique's name).
    """

    def __init__(self, name: str, node: str, costs: Costs, answers: Timeouts, rounds: Timeouts) -> None:
        self.name = name
        self.node = node
        self.state = State.WAITING
        self.wake_s = float("inf")  # when `tick` is to be called, at the latest
        self.visits = 0
        self.ring: set[str] = {node}  # as of the last token
        self._costs = costs
        self._answers = answers
        self._rounds = rounds
        self._view: frozenset[str] = frozenset((node,))
        self._schedule = Schedule(periods(1, *costs[:3]))
        self._dwell_s = self._lease_s = 0.0
        self._stamp: tuple[int, str] = (0, "")  # epoch and leader of the newest token known of
        self._hop = -1
        self._seen_s = float("-inf")  # the newest sign of a token
        self._visited_s = float("-inf")
        self._claim_s = float("inf")  # when to miss it
        self._since_s = 0.0  # of the present state
        self._probing = False
        self._joining: set[str] = set()
        self._left: set[str] = set()
        self._invited = ""
        self._target = ""
        self._passed: Token | None = None
        self._sent_s = 0.0
        self._tries = 0
        self._granted: set[str] = set()
        self._ended = False

    # --- what the shell tells ----------------------------------------------------------------------------------------

    def members(self, names: Iterable[str], now_s: float) -> list[Directive]:
        """Sets who belongs to the clique, this node included; beyond MAX_MEMBERS the last by name are left out."""
        view = frozenset(sorted({*names, self.node})[:MAX_MEMBERS])
        if self.node not in view:
            view = frozenset((self.node,))
        if view == self._view:
            return []
        alone, self._view = len(self._view) < 2, view
        plan = periods(len(view), *self._costs[:3])
        self._schedule.nodes(view - {self.node}, plan, now_s)
        self._dwell_s = plan.round_s / len(view)
        self._lease_s = self._dwell_s + self._costs.probe_s
        self._joining &= view
        self._left &= view
        if len(view) < 2 or not plan.round_s:
            self._wait()
            self.wake_s = self._claim_s = float("inf")
            return []
        if alone and self.state is State.WAITING:
            self._claim_s = now_s + START_S * (1 + self._rank())
        return self.tick(now_s)

    def tick(self, now_s: float) -> list[Directive]:
        """What is due. Call it at `wake_s`; sooner does no harm."""
        if self._ended or len(self._view) < 2:
            return []
        if self.state is State.HOLDING:
            found = self._hold(now_s)
        elif self.state is State.PASSING:
            found = self._press(now_s)
        elif self.state is State.CLAIMING:
            found = self._press_claim(now_s)
        else:
            found = self._claim(now_s) if now_s >= self._claim_s else []
        self._set_wake(now_s)
        return found

    def finished(self, probe: Probe, now_s: float, *, ok: bool) -> list[Directive]:
        """The probe is done, one way or the other."""
        self._schedule.done(probe.kind, probe.node, now_s, ok=ok)
        self._probing = False
        return self.tick(now_s)

    def on_message(self, sender: str, message: Ring, now_s: float) -> list[Directive]:
        """A message of this clique came from a node that the shell has authenticated."""
        if self._ended or sender == self.node or self._costs.latency_every_s + self._costs.bandwidth_every_s == 0:
            return []
        found: list[Directive] = []
        if isinstance(message, Token):
            found = self._on_token(sender, message, now_s)
        elif isinstance(message, Taken):
            self._on_taken(sender, message, now_s)
        elif isinstance(message, Alive):
            found = self._on_alive(sender, message, now_s)
        elif isinstance(message, Claim):
            found = self._on_claim(sender, message, now_s)
        elif isinstance(message, Grant):
            if self.state is State.CLAIMING and message.epoch == self._stamp[0] + 1:
                self._granted.add(sender)
        else:
            self._on_leave(sender, now_s)
        return found + self.tick(now_s)

    def leave(self, now_s: float) -> list[Directive]:
        """Ends this node's part: hands the token on and says so. Nothing is done after it."""
        found: list[Directive] = []
        if self.state in (State.HOLDING, State.PASSING):
            ring = sorted((self.ring | self._joining) & self._view - self._left - {self.node})
            if ring:
                hop = self._hop + (self.state is State.HOLDING)
                token = Token(self.name, *self._stamp, hop, self._lease_s, tuple(ring))
                found.append(Send(_after(self._target or self.node, ring), token))
        found += [Send(node, Leave(self.name)) for node in sorted(self._view - {self.node})]
        self._wait()
        self._ended, self.wake_s = True, float("inf")
        return found

    # --- holding -----------------------------------------------------------------------------------------------------

    def _on_token(self, sender: str, token: Token, now_s: float) -> list[Directive]:
        stamp = (token.epoch, token.leader)
        if stamp < self._stamp:
            return [Send(sender, self._alive(now_s))]
        if stamp == self._stamp and token.hop <= self._hop:
            return [Send(sender, Taken(self.name, token.epoch, token.leader, token.hop))]  # the first answer was lost
        if stamp == self._stamp and self._visited_s > float("-inf"):
            self._rounds.observed(self.name, now_s - self._visited_s)
        self._stamp, self._hop, self._visited_s = stamp, token.hop, now_s
        self.ring = {*token.ring, self.node}
        self._joining -= self.ring
        self._left.discard(sender)
        return [Send(sender, Taken(self.name, token.epoch, token.leader, token.hop)), *self._have(now_s)]

    def _have(self, now_s: float) -> list[Directive]:
        """The token is here: probes, then rests until the next node's turn."""
        self.state, self._since_s, self._target = State.HOLDING, now_s, ""
        self.visits += 1
        self._saw(now_s)
        self._schedule.visit()
        absent = sorted(self._view - self.ring - self._left - {self.node})
        invitation: list[Directive] = []
        if absent:
            self._invited = _after(self._invited, absent)
            invitation = [Send(self._invited, self._alive(now_s, invite=True))]
        return invitation + self._hold(now_s)

    def _hold(self, now_s: float) -> list[Directive]:
        if self._probing:
            return []
        if now_s < self._since_s + self._dwell_s:
            due = self._schedule.next(now_s)
            if due is None:
                return []
            self._probing = True
            return [Probe(self.name, *due, now_s + self._costs.probe_s)]
        self.ring = ((self.ring | self._joining) & self._view) - self._left | {self.node}
        return self._hand_on(self.node, now_s)

    # --- handing on --------------------------------------------------------------------------------------------------

    def _hand_on(self, after: str, now_s: float) -> list[Directive]:
        target = _after(after, sorted(self.ring))
        if target == self.node:
            return self._have(now_s)  # alone: the token stays
        self._hop += 1
        self._passed = Token(self.name, *self._stamp, self._hop, self._lease_s, tuple(sorted(self.ring)))
        self.state, self._target = State.PASSING, target
        self._since_s = self._sent_s = now_s
        self._tries = 1
        return [Send(target, self._passed)]

    def _press(self, now_s: float) -> list[Directive]:
        """Tries again; leaves the node out only when its lease would have ended, had it got the token after all."""
        assert self._passed is not None
        if self._target in self._left or now_s >= self._sent_s + self._lease_s + MARGIN_S:
            self._answers.failed(self._target, now_s - self._since_s)
            self.ring.discard(self._target)
            self._joining.discard(self._target)
            self._saw(now_s)
            return self._hand_on(self._target, now_s)
        if self._tries < TRIES and now_s >= self._sent_s + self._answers.timeout_s(self._target):
            self._tries += 1
            self._sent_s = now_s
            return [Send(self._target, self._passed)]
        return []

    def _on_taken(self, sender: str, taken: Taken, now_s: float) -> None:
        ours = (taken.epoch, taken.leader, taken.hop) == (*self._stamp, self._hop)
        if self.state is State.PASSING and sender == self._target and ours:
            if self._tries == 1:  # of a repeated one it is not known which was answered (Karn)
                self._answers.observed(sender, now_s - self._since_s)
            self._wait()
            self._saw(now_s)

    def _on_leave(self, sender: str, now_s: float) -> None:
        self._left.add(sender)
        self._joining.discard(sender)

    # --- missing it --------------------------------------------------------------------------------------------------

    def _claim(self, now_s: float) -> list[Directive]:
        self.state, self._granted = State.CLAIMING, set()
        self._since_s = self._sent_s = now_s
        self._tries = 1
        return self._claims()

    def _claims(self) -> list[Directive]:
        missing = sorted(self._view - self._granted - self._left - {self.node})
        return [Send(node, Claim(self.name, self._stamp[0] + 1)) for node in missing]

    def _press_claim(self, now_s: float) -> list[Directive]:
        others = self._view - self._left - {self.node}
        wait_s = self._lease_s + MARGIN_S
        if others <= self._granted or now_s >= self._since_s + wait_s:
            return self._regenerate(now_s)
        if now_s >= self._sent_s + wait_s / TRIES / 2:
            self._sent_s = now_s
            return self._claims()
        return []

    def _regenerate(self, now_s: float) -> list[Directive]:
        first, silent_s = self._seen_s == float("-inf"), now_s - self._seen_s
        self._stamp, self._hop, self._visited_s = (self._stamp[0] + 1, self.node), 0, now_s
        self.ring = {self.node, *(self._granted & self._view)}
        if not first:
            self._rounds.failed(self.name, silent_s)
        told: list[Directive] = [] if first else [Regenerated(self.name, self._stamp[0], silent_s)]
        return told + self._have(now_s)

    def _on_claim(self, sender: str, claim: Claim, now_s: float) -> list[Directive]:
        self._left.discard(sender)
        if sender in self._view and sender not in self.ring:
            self._joining.add(sender)
        theirs = (claim.epoch, sender)
        holds = self.state in (State.HOLDING, State.PASSING)
        if holds or now_s - self._seen_s < self._patience_s() or theirs <= self._stamp:
            return [Send(sender, self._alive(now_s))]
        if self.state is State.CLAIMING and theirs < (self._stamp[0] + 1, self.node):
            return []  # it has this node's claim, or will: the higher one wins
        self._wait()
        self._claim_s = now_s + self._lease_s + 2 * MARGIN_S + START_S * self._rank()
        return [Send(sender, Grant(self.name, claim.epoch))]

    def _on_alive(self, sender: str, alive: Alive, now_s: float) -> list[Directive]:
        stamp = (alive.epoch, alive.leader)
        if stamp < self._stamp:
            return [Send(sender, self._alive(now_s))] if self._stamp[1] else []
        ended = stamp > self._stamp and self.state in (State.HOLDING, State.PASSING)
        if stamp > self._stamp:
            self._stamp, self._hop = stamp, -1
        if ended or self.state is State.CLAIMING:
            self._wait()
        if stamp[1]:
            self._saw(now_s - alive.age_s)
        lacks = ended or (alive.invite and self.state is State.WAITING)
        return [Send(sender, Claim(self.name, self._stamp[0] + 1))] if lacks else []

    # --- small ones --------------------------------------------------------------------------------------------------

    def _alive(self, now_s: float, *, invite: bool = False) -> Alive:
        holds = self.state in (State.HOLDING, State.PASSING)
        age_s = 0.0 if holds else min(max(0.0, now_s - self._seen_s), 86400.0)
        return Alive(self.name, *self._stamp, age_s, invite)

    def _wait(self) -> None:
        self.state, self._passed, self._target = State.WAITING, None, ""

    def _saw(self, at_s: float) -> None:
        """A sign of life of the token."""
        self._seen_s = max(self._seen_s, at_s)
        self._claim_s = self._seen_s + self._patience_s() + START_S * self._rank()

    def _patience_s(self) -> float:
        """How long the token may be silent: longer than a round takes in which nodes have to be left out."""
        round_s = self._dwell_s * len(self._view)
        return max(round_s + 2 * (self._lease_s + MARGIN_S), self._rounds.timeout_s(self.name))

    def _rank(self) -> int:
        return sorted(self._view).index(self.node)

    def _set_wake(self, now_s: float) -> None:
        if self.state is State.HOLDING:
            wake_s = float("inf") if self._probing else self._since_s + self._dwell_s
        elif self.state is State.PASSING:
            again_s = self._sent_s + self._answers.timeout_s(self._target)
            wake_s = again_s if self._tries < TRIES else self._sent_s + self._lease_s + MARGIN_S
        elif self.state is State.CLAIMING:
            wait_s = self._lease_s + MARGIN_S
            wake_s = min(self._since_s + wait_s, self._sent_s + wait_s / TRIES / 2)
        else:
            wake_s = self._claim_s
        self.wake_s = max(wake_s, now_s)


def _after(name: str, names: list[str]) -> str:
    """The next of sorted names behind `name`, or the first."""
    return next((n for n in names if n > name), names[0])
