"""A node's table: rows of the groups that it leads, and those that other leaders push; and to whom it pushes. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vagus.controllers.decide.records import Grouping, Row, TableUpdate

LEASE_S = 30.0  # of a subscription, unless it is renewed
RENEW_S = 10.0
FORGET_EACH_S = 5.0
FORGET_S = 600.0  # a group that no session meets is no longer pushed here
KEEP_S = 10.0  # a row of a leader that is gone is better than what this node knows alone
MAX_OWED = 5_000  # rows in one parcel
MAX_OWED_ARMS = 200_000  # and arms in them


class Rows:
    """`tick` gives what changed since the last one. version: where to go on."""

    def __init__(self, grouping: Grouping, version: int = 0) -> None:
        self.version = version
        self.rows: dict[str, Row] = {}
        self._grouping = grouping
        self._regrouped = True
        self._changed: set[str] = set()
        self._gone: set[str] = set()
        self._pushed: dict[str, tuple[int, float]] = {}  # of rows that others lead: epoch, when
        self._met: dict[str, float] = {}  # groups led elsewhere: when a session met them
        self._asked: dict[str, float] = {}
        self._subscribers: dict[str, dict[str, float]] = {}
        self._owed: dict[str, dict[str, None]] = {}
        self._forget_s = 0.0

    # --- the table -------------------------------------------------------------------------------------------------

    def regroup(self, grouping: Grouping) -> None:
        """Another grouping, from the next tick on."""
        self._grouping, self._regrouped = grouping, True

    def led(self, update: TableUpdate, leads: Callable[[str], bool]) -> None:
        """What the learner made: rows of groups that this node leads, owed to who subscribed to them."""
        for group, row in update.groups.items():
            if leads(group):
                self._pushed.pop(group, None)
                self._put(group, row)
                for node in self._subscribers.get(group, ()):
                    self._owed.setdefault(node, {})[group] = None
        for group in update.gone:
            if leads(group):
                self.drop(group)

    def pushed(self, group: str, epoch: int, row: Row, now_s: float) -> None:
        """A leader's row; one of an epoch that is over is left out."""
        known = self._pushed.get(group)
        if known is None or epoch >= known[0] or now_s - known[1] > KEEP_S:
            self._pushed[group] = (epoch, now_s)
            if self.rows.get(group) != row:
                self._put(group, row)

    def is_fresh(self, group: str, now_s: float) -> bool:
        """Whether a leader pushed this row a short while ago."""
        known = self._pushed.get(group)
        return known is not None and now_s - known[1] < KEEP_S

    def drop(self, group: str) -> None:
        """A group that is no more."""
        if self.rows.pop(group, None) is not None:
            self._changed.discard(group)
            self._gone.add(group)
        self._pushed.pop(group, None)

    def _put(self, group: str, row: Row) -> None:
        self.rows[group] = row
        self._changed.add(group)
        self._gone.discard(group)

    def tick(self) -> TableUpdate | None:
        """What changed; None when nothing did."""
        if not (self._changed or self._gone or self._regrouped):
            return None
        base, self.version = self.version, self.version + 1
        update = TableUpdate(
            self.version,
            base,
            self._grouping if self._regrouped else None,
            {group: self.rows[group] for group in self._changed},
            tuple(self._gone),
        )
        self._changed, self._gone, self._regrouped = set(), set(), False
        return update

    def full(self) -> TableUpdate:
        """All of it, as of the last tick or newer."""
        return TableUpdate(self.version, 0, self._grouping, dict(self.rows))

    # --- who wants what --------------------------------------------------------------------------------------------

    def meet(self, group: str, now_s: float) -> bool:
        """A session met a group that is led elsewhere; whether its leader must be told (again)."""
        self._met[group] = now_s
        if now_s - self._asked.get(group, -LEASE_S) < RENEW_S:
            return False
        self._asked[group] = now_s
        return True

    def answers(self, group: str, arms: tuple[str, ...]) -> bool:
        """Whether a group's row has exact probabilities for these arms."""
        row = self.rows.get(group)
        if row is None:
            return False
        if arms == row.arms or row.model:
            return True
        wanted = set(arms)
        return set(row.arms) == wanted or any(set(one.arms) == wanted for one in row.sets)

    def ask_again(self, groups: Iterable[str] | None = None) -> None:
        """The leader of these (None: of any) may not know that this node subscribes."""
        if groups is None:
            self._asked.clear()
        else:
            for group in groups:
                self._asked.pop(group, None)

    def forget(self, now_s: float) -> None:
        """Now and then drops what no session has met for long, and subscriptions that were not renewed."""
        if now_s < self._forget_s:
            return
        self._forget_s = now_s + FORGET_EACH_S
        for group in [g for g, met_s in self._met.items() if now_s - met_s > FORGET_S]:
            del self._met[group]
            self._asked.pop(group, None)
            if group in self._pushed:
                self.drop(group)
        for group, nodes in list(self._subscribers.items()):
            for node in [n for n, until_s in nodes.items() if until_s < now_s]:
                del nodes[node]
                self._owed.get(node, {}).pop(group, None)
            if not nodes:
                del self._subscribers[group]

    def subscribe(self, node: str, group: str, now_s: float) -> None:
        """`node` wants a group's row as it changes, and now."""
        nodes = self._subscribers.setdefault(group, {})
        if node not in nodes:
            self._owed.setdefault(node, {})[group] = None
        nodes[node] = now_s + LEASE_S

    def resend(self, node: str) -> None:
        """A node began anew, or may have lost what was pushed: it is owed everything."""
        for group, nodes in self._subscribers.items():
            if node in nodes:
                self._owed.setdefault(node, {})[group] = None

    def owed(self, node: str) -> list[str]:
        """Groups whose rows a subscriber should have, at most some thousand, fewer of many arms."""
        found: list[str] = []
        arms = 0
        for group in self._owed.get(node, ()):
            row = self.rows.get(group)
            if row is not None:
                arms += len(row.arms)
                if found and (arms > MAX_OWED_ARMS or len(found) == MAX_OWED):
                    break
                found.append(group)
        return found

    def paid(self, node: str, sent: dict[str, tuple[int, Row]]) -> None:
        """Rows that a subscriber has; those that changed meanwhile are still owed."""
        waiting = self._owed.get(node, {})
        for group, (_, row) in sent.items():
            if self.rows.get(group) is row:
                waiting.pop(group, None)
