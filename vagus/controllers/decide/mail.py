"""What nodes that decide tell each other, and letters that arrive exactly once. Pure.

A letter carries evidence: outcomes, or all that is known of a group. It is on its sender's disk before it leaves, and
kept until the receiver has what it made of it on disk and with its deputy, so that nothing is learned twice and nothing
is forgotten, whoever of the two ends. Everything else in a parcel may be lost or come twice, and is said again.

A line is what a sender has for one receiver: `birth` of the sender's store and `fence`, the life in which the receiver
was last taken over; with either a new line begins.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from vagus.controllers.decide.plan import At, Claim
from vagus.controllers.decide.records import GroupState, Outcome, Plan, Row

MAX_SENT = 20_000  # outcomes in one parcel
MAX_LETTER = 5_000  # outcomes in one letter
MAX_ARMS = 50_000  # of groups in one letter, or part of a replica: about a hundred bytes each
MAX_WAITING = 500_000  # outcomes for one node; beyond it the oldest are given up


Place = tuple[str, int, int, int]
"""Of a letter: receiver, birth, fence, number."""
Round = tuple[int, int]
"""Of a replica: the leader's life, and a number in it."""
Word = tuple[int, int, str]
"""Of a node that was heard a moment ago: life and number of its newest parcel, and its deputy as of that."""


class Orphans(msgspec.Struct, frozen=True, array_like=True):
    """Letters to a node that was taken over, for who did that: those that its replica holds are learned already."""

    dead: str
    birth: int
    fence: int
    letters: tuple[Letter, ...]


class Letter(msgspec.Struct, frozen=True, array_like=True):
    """stamps: of its outcomes, in the sender's log, and of those that are still in the groups that are handed over.

    since, hold: of one that its writer keeps for itself (see `leading`): the rounds of its replica from which on that
    has what is in the letter, and up to which it had that as before.
    """

    number: int
    stamps: tuple[int, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    handed: tuple[GroupState, ...] = ()
    orphans: Orphans | None = None
    since: Round = (0, 0)
    hold: Round = (0, 0)


class Replica(msgspec.Struct, frozen=True, array_like=True):
    """What changed at a leader since the round before, as of one moment; `full`: everything. In parts, in order."""

    incarnation: int
    round: int
    part: int
    last: bool
    full: bool
    states: tuple[GroupState, ...] = ()
    gone: tuple[str, ...] = ()
    through: dict[str, At] = {}
    position: int = 0
    learned: int = 0


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """From one node that decides to another. met: sets of arms by group led there; whoever meets subscribes.

    number: grows with each of the sender's life; obeyed: the last claim on itself that the sender has obeyed; first: the number of the oldest letter kept; rows: epoch and decisions of groups led here; sessions: by group
    led there and arm, since the last parcel; rates: sessions per second by arm, of the groups led here.
    """

    sender: str
    incarnation: int
    number: int
    plan_version: int
    deputy: str
    obeyed: int = 0
    claims: tuple[Claim, ...] = ()
    birth: int = 0
    fence: int = 0
    first: int = 1
    letters: tuple[Letter, ...] = ()
    rows: dict[str, tuple[int, Row]] = {}
    met: dict[str, tuple[tuple[str, ...], ...]] = {}
    sessions: dict[str, dict[str, int]] = {}
    rates: dict[str, float] = {}
    replica: Replica | None = None
    plan: Plan | None = None
    heard: dict[str, Word] = {}


class Receipt(msgspec.Struct, frozen=True, array_like=True):
    """Answer to a parcel. received, durable: numbers in the parcel's line; round, part: of the replica that is held."""

    node: str
    incarnation: int
    plan_version: int
    deputy: str
    obeyed: int
    claims: tuple[Claim, ...]
    received: int
    durable: int
    round: int = 0
    part: int = 0
    heard: dict[str, Word] = {}


class Sent(msgspec.Struct, frozen=True, array_like=True):
    """A line's state, to be saved: all but its letters. held: those that may not leave before a round of the replica."""

    birth: int
    fence: int
    following: int
    durable: int
    held: tuple[tuple[int, Round], ...] = ()


class Outgoing:
    """The line to one node. `waiting` is not yet in a letter, and on no disk but as rewards in the log."""

    def __init__(self, birth: int, sent: Sent | None = None) -> None:
        sent = sent or Sent(birth, 0, 1, 0)
        self.birth, self.fence = sent.birth, sent.fence
        self.following, self.durable = sent.following, sent.durable
        self.received = sent.durable
        self.letters: dict[int, Letter] = {}  # in order
        self.unsaved: list[int] = []
        # A letter with groups waits for a round of the replica without them, and for that to be saved.
        self.holds: dict[int, Round] = dict(sent.held)
        self.releasing: set[int] = set()
        self.waiting: list[tuple[int, Outcome]] = []
        self.count = 0  # outcomes in letters
        self.given_up = 0

    def state(self) -> Sent:
        return Sent(self.birth, self.fence, self.following, self.durable, tuple(self.holds.items()))

    def add(self, stamp: int, outcome: Outcome) -> None:
        """An outcome for the next letter."""
        self.waiting.append((stamp, outcome))

    def write(
        self,
        handed: Sequence[GroupState] = (),
        orphans: Orphans | None = None,
        stamps: tuple[int, ...] = (),
        hold: Round | None = None,
    ) -> list[Letter]:
        """Letters with all that waits, and with this."""
        made = []
        for start in range(0, len(self.waiting), MAX_LETTER):
            part = self.waiting[start : start + MAX_LETTER]
            made.append(self._letter(tuple(s for s, _ in part), tuple(outcome for _, outcome in part)))
        self.waiting = []
        if handed or orphans is not None:
            made.append(self._letter(stamps, (), tuple(handed), orphans))
            if hold is not None:
                self.holds[made[-1].number] = hold
        while self.count > MAX_WAITING and len(self.letters) > 1:
            oldest = self.letters.pop(next(iter(self.letters)))
            self.count -= len(oldest.outcomes)
            self.given_up += len(oldest.outcomes) if oldest.number > self.received else 0
            if self.unsaved and self.unsaved[0] == oldest.number:
                self.unsaved.pop(0)
        return made

    def _letter(
        self,
        stamps: tuple[int, ...],
        outcomes: tuple[Outcome, ...],
        handed: tuple[GroupState, ...] = (),
        orphans: Orphans | None = None,
    ) -> Letter:
        letter = self.letters[self.following] = Letter(self.following, stamps, outcomes, handed, orphans)
        self.unsaved.append(self.following)
        self.following += 1
        self.count += len(outcomes)
        return letter

    @property
    def first(self) -> int:
        """The oldest letter that is kept, or the next one."""
        return next(iter(self.letters), self.following)

    def release(self, committed: Round | None) -> list[int]:
        """Letters that may leave once that is saved; committed: round of the replica; None: there is nobody else."""
        free = [number for number, held in self.holds.items() if committed is None or committed >= held]
        for number in free:
            del self.holds[number]
        self.releasing.update(free)
        return free

    def empty(self, number: int) -> None:
        """A letter that did not leave, and shall not: its place in the line stays."""
        self.letters[number] = Letter(number)
        self.holds.pop(number, None)
        self.unsaved = sorted({*self.unsaved, number})

    def to_send(self) -> tuple[Letter, ...]:
        """The next letters that are saved, released and not received."""
        unsaved = self.unsaved[0] if self.unsaved else self.following
        found: list[Letter] = []
        outcomes = 0
        for number, letter in self.letters.items():
            if number <= self.received:
                continue
            if number >= unsaved or number in self.holds or number in self.releasing:
                break
            outcomes += weight_of(letter)
            if found and outcomes > MAX_SENT:
                break
            found.append(letter)
        return tuple(found)

    def answered(self, received: int, durable: int, settled: int) -> list[int]:
        """What the receiver said; the numbers of letters that need not be kept any more.

        settled: outcomes of the log up to here are saved and with the deputy: before, a restart looks for them in letters.
        """
        self.received = received  # less than before: it began anew from what it had saved
        self.durable = max(self.durable, min(durable, received))
        done = []
        for number, letter in self.letters.items():
            if number > self.durable or (letter.stamps and letter.stamps[-1] > settled):
                break
            done.append(number)
        for number in done:
            self.count -= len(self.letters.pop(number).outcomes)
        return done

    def restore(self, number: int, letter: Letter) -> None:
        """A letter that was saved."""
        self.letters[number] = letter
        self.count += len(letter.outcomes)

    def restart(self, fence: int) -> tuple[Letter, ...]:
        """A new line, since the receiver was taken over: the letters of the old one that are not durable."""
        left = tuple(letter for number, letter in self.letters.items() if number > self.durable)
        self.fence, self.following, self.received, self.durable = fence, 1, 0, 0
        self.letters.clear()
        self.unsaved.clear()
        self.holds.clear()
        self.releasing.clear()
        self.count = 0
        return left


def accept(
    through: dict[str, At], sender: str, birth: int, fence: int, first: int, letters: Iterable[Letter]
) -> list[Letter]:
    """Those letters that come next and were not read before; notes in `through` that they are."""
    at = through.get(sender)
    if at is None or at[:2] < (birth, fence):
        at = (birth, fence, first - 1)
    elif at[:2] > (birth, fence):
        return []  # of a line that is over: what was in it came another way
    at = (birth, fence, max(at[2], first - 1))  # what the sender keeps no more was given up, or read in another life
    fresh = []
    for letter in letters:
        if letter.number == at[2] + 1:
            fresh.append(letter)
            at = (birth, fence, letter.number)
    through[sender] = at
    return fresh


def weight_of(letter: Letter) -> int:
    """How large it is, in outcomes."""
    inner = letter.orphans.letters if letter.orphans is not None else ()
    return len(letter.outcomes) + sum(len(state.arms) for state in letter.handed) + sum(map(weight_of, inner))


def portions(states: Iterable[GroupState], most: int) -> list[tuple[GroupState, ...]]:
    """Groups in their order, at most so many and MAX_ARMS arms (but one group at least) in each portion."""
    found: list[list[GroupState]] = []
    arms = 0
    for state in states:
        arms += len(state.arms)
        if not found or len(found[-1]) == most or arms > MAX_ARMS:
            found.append([])
            arms = len(state.arms)
        found[-1].append(state)
    return [tuple(portion) for portion in found]


def stamps_of(letter: Letter) -> Iterator[int]:
    """Of all outcomes in it, those in letters within it included."""
    yield from letter.stamps
    for inner in letter.orphans.letters if letter.orphans is not None else ():
        yield from stamps_of(inner)
