"""What a node that decides tells each other one, and makes of what it is told. Pure; the shell carries the parcels."""

from __future__ import annotations

from collections.abc import Callable

from vagus.controllers.decide.leading import Leading, count
from vagus.controllers.decide.mail import Parcel, Receipt, Word, accept
from vagus.controllers.decide.plan import At
from vagus.controllers.decide.replicas import Held

_NEVER: Word = (0, 0, "")


class Parcels:
    """`parcel` gives what to send to a peer; `answered` or `failed` follows; `receive` answers what comes.

    rates: sessions per second by arm, of the groups led here: told to the others.
    """

    def __init__(self, leading: Leading, clock_s: Callable[[], float] = lambda: 0.0) -> None:
        self.rates: dict[str, float] = {}
        self._leading = leading
        self._clock_s = clock_s
        self._rates: dict[str, dict[str, float]] = {}
        self._sent_s: dict[str, float] = {}
        self._number = 0
        self._newest: dict[str, Word] = {}  # of each peer

    @property
    def rates_elsewhere(self) -> dict[str, float]:
        """Sessions per second by arm, of the groups that other live nodes lead."""
        total: dict[str, float] = {}
        for peer, rates in self._rates.items():
            if self._leading.view.is_alive(peer):
                for arm, rate in rates.items():
                    total[arm] = total.get(arm, 0.0) + rate
        return total

    # --- sent ------------------------------------------------------------------------------------------------------

    def parcel(self, peer: str, now_s: float) -> Parcel | None:
        """What to send to a peer now; None: nothing. One at a time, with a call of `answered` or `failed` for each."""
        leading, view = self._leading, self._leading.view
        evidence, line = leading.evidence, leading.line(peer)
        letters = line.to_send()
        owed = {group: (evidence.epoch(group), leading.rows.rows[group]) for group in leading.rows.owed(peer)}
        replica = None
        if peer == evidence.replication.deputy and view.are_most(evidence.replication.told):
            replica = evidence.replication.part(
                leading.incarnation,
                now_s,
                self._clock_s,
                evidence.groups,
                evidence.states,
                leading.through,
                leading.position,
                evidence.learned,
            )
        plan = view.plan if view.plans.get(peer, view.plan.version) < view.plan.version else None
        due = now_s - self._sent_s.get(peer, -view.dead_s) >= view.dead_s / 3
        due = due or (peer not in evidence.replication.told and view.is_alive(peer, view.dead_s / 2))
        if not (letters or owed or replica or plan or due or peer in leading.met):
            return None
        self._sent_s[peer] = now_s
        self._number += 1
        return Parcel(
            leading.node,
            leading.incarnation,
            self._number,
            view.plan.version,
            evidence.replication.deputy,
            leading.fence,
            tuple(view.claims.values()),
            line.birth,
            line.fence,
            line.first,
            letters,
            owed,
            {group: tuple(sets) for group, sets in leading.met.pop(peer, {}).items()},
            leading.seen.pop(peer, {}),
            self.rates,
            replica,
            plan,
            self._heard_of,
        )

    def answered(self, parcel: Parcel, receipt: Receipt, now_s: float) -> None:
        """What a peer answered to a parcel."""
        leading, peer = self._leading, receipt.node
        line, replication = leading.line(peer), leading.evidence.replication
        known = leading.view.lives.get(peer)
        self._heard(peer, receipt, now_s)
        if known is not None and known != receipt.incarnation:
            leading.rows.ask_again()  # it may know nothing of who subscribes
        if receipt.received >= 0 and (line.birth, line.fence) == (parcel.birth, parcel.fence):
            done = line.answered(receipt.received, receipt.durable, leading.settled)
            leading.done += [(peer, line.birth, line.fence, number) for number in done]
        leading.rows.paid(peer, parcel.rows)
        if parcel.deputy == replication.deputy:
            replication.told.add(peer)
            if peer == replication.deputy:
                replication.confirmed(receipt.round, receipt.part)

    def failed(self, parcel: Parcel, peer: str) -> None:
        """No answer came: who knows whether it arrived. What was in it is said again."""
        leading = self._leading
        for group, sets in parcel.met.items():
            leader = leading.leader_of(group)
            if leader != leading.node:
                leading.met.setdefault(leader, {}).setdefault(group, set()).update(sets)
        for group, arms in parcel.sessions.items():
            for arm, number in arms.items():
                count(leading.seen.setdefault(peer, {}), group, arm, number)

    # --- received --------------------------------------------------------------------------------------------------

    def receive(self, parcel: Parcel, now_s: float) -> Receipt:
        """A peer's parcel. Harmless when it is late, or comes again."""
        leading, sender = self._leading, parcel.sender
        self._heard(sender, parcel, now_s)
        if parcel.plan is not None:
            leading.follow(parcel.plan)
        received = durable = -1
        if parcel.fence >= leading.fence:
            fresh = accept(leading.through, sender, parcel.birth, parcel.fence, parcel.first, parcel.letters)
            for letter in fresh:
                leading.read(sender, letter)
            received, durable = self._read_so_far(sender, parcel.birth, parcel.fence)
        if (parcel.incarnation, parcel.number) > self._newest.get(sender, _NEVER)[:2]:
            self._newest[sender] = (parcel.incarnation, parcel.number, parcel.deputy)
            self._take(parcel, now_s)
        come = leading.held[sender].come if sender in leading.held else (0, 0)
        return Receipt(
            leading.node,
            leading.incarnation,
            leading.view.plan.version,
            leading.evidence.replication.deputy,
            leading.fence,
            tuple(leading.view.claims.values()),
            received,
            durable,
            *come,
            self._heard_of,
        )

    @property
    def _heard_of(self) -> dict[str, Word]:
        """Of whom there was a sign of life a moment ago, and who their deputies are."""
        return {peer: self._newest.get(peer, _NEVER) for peer in self._leading.view.just_heard}

    def _heard(self, peer: str, said: Parcel | Receipt, now_s: float) -> None:
        leading = self._leading
        if leading.view.heard(peer, said.incarnation, said.obeyed, said.plan_version, now_s):
            leading.rows.resend(peer)
        leading.view.hears[peer] = frozenset(said.heard)
        for leader, (life, number, deputy) in said.heard.items():
            newer = (life, number) > self._newest.get(leader, _NEVER)[:2]
            if newer and deputy != leading.node:
                leading.held.pop(leader, None)  # of old: its deputy is another by now
        for claim in said.claims:
            if claim.dead == leading.node:
                if claim.incarnation > leading.fence:
                    leading.obey(claim)
            elif leading.view.heard_claim(claim):
                leading.bring_orphans(claim)

    def _take(self, parcel: Parcel, now_s: float) -> None:
        """What a later parcel makes void."""
        leading, sender = self._leading, parcel.sender
        for group, (epoch, row) in parcel.rows.items():
            if leading.leader_of(group) != leading.node:
                leading.rows.pushed(group, epoch, row, now_s)
        for group, sets in parcel.met.items():
            leading.rows.subscribe(sender, group, now_s)
            for arms in sets:
                leading.evidence.meet(group, arms)
        for group, arms_of in parcel.sessions.items():
            for arm, number in arms_of.items():
                count(leading.sessions, group, arm, number)
        self._rates[sender] = parcel.rates
        if leading.view.is_claimed(sender, parcel.obeyed):
            return  # what it says it knows is somebody else's
        if parcel.deputy != leading.node:
            leading.held.pop(sender, None)
        elif parcel.replica is not None:
            leading.held.setdefault(sender, Held()).take(parcel.replica)

    def _read_so_far(self, sender: str, birth: int, fence: int) -> tuple[int, int]:
        """Numbers of this line's letters: read; on disk, and with the deputy if there can be one."""
        leading = self._leading

        def number(through: dict[str, At]) -> int:
            at = through.get(sender, (0, 0, 0))
            return at[2] if at[:2] == (birth, fence) else 0 if at[:2] < (birth, fence) else -1

        durable = number(leading.saved_through)
        if leading.view.peers:
            durable = min(durable, number(leading.evidence.replication.through))
        return number(leading.through), durable
