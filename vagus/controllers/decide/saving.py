"""What of a node's leading survives its process: what to save, in which commit, and how to go on from it. Pure.

Letters leave once they are saved, so what a restart finds is what others may have read. Own outcomes behind the last
save are in the log of rewards: those are learned again, or sent.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from vagus.controllers.decide.leading import Leading
from vagus.controllers.decide.mail import Letter, Outgoing, Place, Sent, stamps_of
from vagus.controllers.decide.plan import At, Claim
from vagus.controllers.decide.records import GroupState, Outcome, Plan


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is saved in one commit with the groups that changed, and tells how far they have learned."""

    incarnation: int
    birth: int
    fence: int
    position: int  # own outcomes up to here are in the groups, or in letters
    learned: int
    lost: int
    through: dict[str, At]
    claims: tuple[Claim, ...]
    replicated: dict[str, At]
    replicated_position: int
    version: int = 0  # of the table
    configured: int = 0  # a hash of the settings that groups come from


class Out(msgspec.Struct, frozen=True, array_like=True):
    """What is saved in one commit with new letters. position: own outcomes up to here are learned here or in letters."""

    position: int
    lines: dict[str, Sent]


class Changes(msgspec.Struct, frozen=True):
    """To be saved in one commit. head: None where groups are left for later; done: letters not needed any more."""

    out: Out
    head: Head | None
    states: tuple[GroupState, ...]
    gone: tuple[str, ...]
    letters: dict[Place, Letter]
    done: tuple[Place, ...]
    plan: Plan | None = None  # where it is another than was saved


def has_letters(leading: Leading) -> bool:
    """Whether something waits to be saved before it can be sent."""
    return leading.urgent or any(line.waiting or line.unsaved for line in leading.lines.values())


def changes(leading: Leading, whole: bool) -> Changes:
    """What to save now; whole: with the groups. `saved` or `unsaved` follows."""
    evidence, lines = leading.evidence, leading.lines
    leading.urgent = False
    for line in lines.values():
        line.write()
    letters = {
        (peer, line.birth, line.fence, number): line.letters[number]
        for peer, line in lines.items()
        for number in line.unsaved
        if number in line.letters
    }
    letters.update((place, leading.kept[place]) for place in leading.kept_unsaved if place in leading.kept)
    done, leading.done = tuple(leading.done), []
    out = Out(leading.position, {peer: line.state() for peer, line in lines.items()})
    if not (whole or leading.whole):
        return Changes(out, None, (), (), letters, done)
    replication = evidence.replication
    head = Head(
        leading.incarnation,
        leading.birth,
        leading.fence,
        leading.position,
        evidence.learned,
        leading.lost,
        dict(leading.through),
        tuple(leading.view.claims.values()),
        replication.through,
        min(leading.position, replication.position) if leading.view.peers else leading.position,
        leading.rows.version,
        leading.configured,
    )
    states, gone = evidence.states(evidence.unsaved), tuple(evidence.gone)
    evidence.unsaved, evidence.gone, leading.whole = set(), set(), False
    plan = leading.view.plan if leading.view.plan.version != leading.saved_plan else None
    return Changes(out, head, states, gone, letters, done, plan)


def saved(leading: Leading, changes: Changes) -> None:
    """They are committed: letters may leave, and senders be told."""
    leading.kept_unsaved -= changes.letters.keys()
    for peer, birth, fence, number in changes.letters:
        if not peer:
            continue
        line = leading.lines[peer]
        if (line.birth, line.fence) == (birth, fence) and line.unsaved and line.unsaved[0] == number:
            line.unsaved.pop(0)
    for peer, sent in changes.out.lines.items():
        line = leading.lines[peer]
        if (line.birth, line.fence) == (sent.birth, sent.fence):
            line.releasing &= {number for number, _ in sent.held}
    if changes.plan is not None:
        leading.saved_plan = changes.plan.version
    if changes.head is not None:
        leading.saved_through, leading.saved_position = changes.head.through, changes.head.position
        if not leading.view.peers:
            replication = leading.evidence.replication
            replication.through, replication.position = changes.head.through, changes.head.position


def unsaved(leading: Leading, changes: Changes) -> None:
    """They could not be committed: they are in the next ones again."""
    leading.done = [*changes.done, *leading.done]
    if changes.head is not None:
        evidence = leading.evidence
        evidence.unsaved |= {state.group for state in changes.states} & evidence.groups
        evidence.gone |= set(changes.gone) - evidence.groups
        leading.whole = True


def restore(
    leading: Leading,
    head: Head,
    out: Out,
    plan: Plan | None,
    states: Iterable[GroupState],
    letters: Iterable[tuple[Place, Letter]],
    logged: Iterable[tuple[int, Outcome]],
) -> None:
    """Goes on from what was saved; logged: own outcomes behind `head.position`, in order. Raises ConfigError."""
    view, evidence = leading.view, leading.evidence
    if plan is not None and plan.version >= view.plan.version:
        view.follow(plan)
        leading.rows.regroup(plan.grouping)
        leading.saved_plan = plan.version
    leading.fence, leading.lost = head.fence, head.lost
    evidence.learned = head.learned
    view.claims = {claim.dead: claim for claim in head.claims}
    leading.through, leading.saved_through = dict(head.through), head.through
    leading.position = leading.saved_position = head.position
    evidence.replication.through, evidence.replication.position = head.replicated, head.replicated_position
    evidence.restore(states)
    leading.lines = {peer: Outgoing(leading.birth, sent) for peer, sent in out.lines.items()}
    for place, letter in sorted(letters, key=lambda one: one[0]):
        peer, birth, fence, number = place
        if not peer:
            leading.kept[place] = letter
            leading.lettered.update(stamps_of(letter))
            continue
        line = leading.lines.get(peer)
        if line is None or (line.birth, line.fence) != (birth, fence):
            leading.done.append(place)
            continue
        line.restore(number, letter)
        leading.lettered.update(stamps_of(letter))
    leading.unread = head.position
    again: list[tuple[int, Outcome]] = []
    for stamp, outcome in logged:
        if stamp in leading.lettered:
            leading.position = max(leading.position, stamp)
        elif stamp <= out.position:  # it was learned here, whoever leads the group now
            leading.mine.append((stamp, stamp, outcome))
            evidence.learn([evidence.named(outcome)])
        else:
            again.append((stamp, outcome))
    leading.position = max(leading.position, out.position)
    leading.outcomes(again)
