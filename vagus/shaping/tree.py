"""A device's HTB, ours or someone else's: what is limited, and the steps that limit, with the steps that undo them.

Ours has the handle 7661: and is made when first needed, where the kernel's default discipline is; deleting it brings
that back. Its class 7661:1 is the device, 7661:2 what no filter names, present only while the device is limited
(without it such packets pass unshaped), 7661:10 and on are flows, which borrow from 7661:1.
"""

from __future__ import annotations

from collections.abc import Iterable

from vagus.errors import ActuateError, Rejected
from vagus.shaping import messages as made
from vagus.shaping.match import Match, matches, same
from vagus.shaping.place import Flow, handle_text
from vagus.shaping.seen import Filter, HtbClass, Interface, Link, Qdisc
from vagus.undo import Step

OWN = 0x7661_0000  # "va"
TRUNK, REST = OWN | 1, OWN | 2
OWN_NETEM, LEAF_NETEM = 0x7662_0000, 0x7700
LEAST = 1000  # bytes/s; HTB's clock of 32 bits needs some
# without classes or children, and as they were once given back what they showed (sfq is not)
RESTORABLE = ("pfifo", "bfifo", "pfifo_fast", "tbf", "codel", "fq_codel", "fq")
_SHARE = 16  # of its ceil, what a class of ours has for sure; the rest is borrowed, so that a parent's limit holds
_FIRST_FLOW, _FIRST_GUEST, _LAST = 0x10, 0x7600, 0xFFFF


class Change:
    """Steps in order, and their undoing in the order in which to perform it: the last first."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.undo: list[Step] = []

    def add(self, step: Step, back: Step | None = None) -> None:
        """A step; back None: what an earlier step's undoing removes anyway."""
        self.steps.append(step)
        if back is not None:
            self.undo.insert(0, back)


class Tree:
    """The HTB of a link that an interface sees: the device itself, or its ifb. everything: a discipline that someone
    chose is replaced for as long, if it can be put back."""

    def __init__(self, seen: Interface, link: Link | None = None, *, exists: bool = True, everything: bool = False):
        self.seen = seen
        self.link = link or seen.link
        self.everything = everything
        self.root: Qdisc | None = seen.root(self.link.index) if exists else None

    @property
    def ours(self) -> bool:
        return self.root is not None and (self.root.kind, self.root.handle) == ("htb", OWN)

    # --- what there is ---------------------------------------------------------------------------------------------

    def device_limit(self) -> float | None:
        """Bytes/s; None: not limited by us."""
        found = self._class(TRUNK) if self.ours else None
        return ceiling(found)

    def class_of(self, classid: int) -> HtbClass:
        """Raises ActuateError when there is none, saying which there are."""
        found = self._class(classid)
        if found is None:
            there = ", ".join(sorted(handle_text(c.handle) for c in self.seen.classes(self.link.index))) or "none"
            raise ActuateError(f"{self.link.name} has no HTB class {handle_text(classid)}; there are: {there}")
        return found

    def class_for(self, flow: Flow) -> HtbClass | None:
        """The class that a filter gives exactly this flow; None: no filter does."""
        if self.root is None or self.root.kind != "htb":
            return None
        filters = self.seen.filters(self.root.handle, self.link.index)
        found = {_target(filters, match) for match in matches(flow)}
        classid = found.pop()
        if found or not classid:
            return None
        named = sum(1 for f in filters if f.classid == classid)
        if named > len(matches(flow)):
            text = handle_text(classid)
            raise ActuateError(f"{flow} shares the class {text} with other flows: name that, net:DEVICE/{text}")
        return self._class(classid)

    # --- changes ---------------------------------------------------------------------------------------------------

    def limit_device(self, change: Change, value: int | None) -> None:
        """The whole device sends at most so much. Raises Rejected, ActuateError."""
        ceil = made.UNLIMITED if value is None else value
        if not self.ours:
            if value is not None:
                self._plant(change, ceil)
                self._new_class(change, REST, TRUNK, ceil)
            return
        for handle in (TRUNK, REST):
            found = self._class(handle)
            if found is not None:
                self._limit_ours(change, found, ceil)
            elif value is not None:
                self._new_class(change, handle, TRUNK if handle == REST else made.ROOT, ceil)
                change.undo.insert(0, self._no_class(handle))

    def limit_class(self, change: Change, found: HtbClass, rate: int, ceil: int) -> None:
        """Another guaranteed rate and ceil of a class; what else it has is kept."""
        parms = found.parms
        names = {"rate_overhead": 2, "rate_mpu": 4, "ceil_overhead": 8, "ceil_mpu": 10, "quantum": 14, "prio": 16}
        kept = {name: parms[position] for name, position in names.items()}
        self._change_class(change, found, rate, ceil, kept)

    def limit_flow(self, change: Change, flow: Flow, value: int | None) -> int:
        """These packets get at most so much; returns their class (0: there is none and none was needed)."""
        ceil = made.UNLIMITED if value is None else value
        found = self.class_for(flow)
        if found is not None:
            if found.parent in (TRUNK, made.ROOT) and self.ours:
                self._limit_ours(change, found, ceil)
            else:
                self.limit_class(change, found, ceil if flat(found) else min(found.rate, ceil), ceil)
            return found.handle
        return 0 if value is None else self.divert(change, flow, ceil)

    def divert(self, change: Change, flow: Flow, ceil: int) -> int:
        """A class of its own for a flow, and the filters that bring it there; returns the class."""
        guest = self.root is not None and self.root.kind == "htb" and not self.ours
        planted = not (guest or self.ours)
        if planted:
            self._plant(change, made.UNLIMITED)
        root = self.root.handle if guest and self.root is not None else OWN
        taken = set() if planted else {c.handle & 0xFFFF for c in self.seen.classes(self.link.index)}
        filters = [] if planted else self.seen.filters(root, self.link.index)
        first = _FIRST_GUEST if guest else _FIRST_FLOW
        handle = root | next(minor for minor in range(first, _LAST) if minor not in taken)
        self._new_class(change, handle, root if guest else TRUNK, ceil)
        if not planted:
            change.undo.insert(0, self._no_class(handle))
        wanted = matches(flow)
        used = {found.prio for found in filters}
        free = (prio for prio in range(1, _LAST) if prio not in used)
        for prio, match in zip(free, wanted, strict=False):
            self._filter(change, root, prio, match, handle, undone=not planted)
        return handle

    def delay_device(self, change: Change, **how: float) -> None:
        """netem for all that the device sends; how: as `messages.netem`."""
        if not self.ours:
            self._replace(change, OWN_NETEM, "netem", made.netem(self.link.index, OWN_NETEM, made.ROOT, **how))  # type: ignore[arg-type]
            return
        if self._class(REST) is None:
            trunk = self._class(TRUNK)
            self._new_class(change, REST, TRUNK, made.UNLIMITED if trunk is None else trunk.ceil)
            change.undo.insert(0, self._no_class(REST))
        self._delay_class(change, REST, how, undone=True)

    def delay_flow(self, change: Change, flow: Flow, **how: float) -> None:
        """netem for a flow, in a class of its own or the one that it has."""
        found = self.class_for(flow)
        handle = self.divert(change, flow, made.UNLIMITED) if found is None else found.handle
        self._delay_class(change, handle, how, undone=found is not None)

    # --- parts -----------------------------------------------------------------------------------------------------

    def _class(self, handle: int) -> HtbClass | None:
        return self.seen.htb_class(handle, self.link.index)

    def _step(self, message: bytes, part: str) -> Step:
        return self.seen.step(message, part if self.link == self.seen.link else f"{self.link.name} {part}")

    def _plant(self, change: Change, ceil: int) -> None:
        """Our HTB in place of what is the root, with the device's class."""
        replace = self.root is not None
        self._replace(change, OWN, "htb", made.htb(self.link.index, OWN, REST & 0xFFFF, replace=replace))
        self._new_class(change, TRUNK, made.ROOT, ceil)

    def _replace(self, change: Change, handle: int, kind: str, message: bytes) -> None:
        old = self.root
        if old is None:
            back = made.no_qdisc(self.link.index, handle, made.ROOT, kind)
        elif self.everything and old.kind in RESTORABLE:
            back = made.qdisc_again(self.link.index, old.handle, made.ROOT, old.kind, old.options)
        else:
            raise Rejected(self.link.name, kind, self._taken(old))
        change.add(self._step(message, "root"), self._step(back, "root"))

    def _taken(self, old: Qdisc) -> str:
        begin = f"{self.link.name} has the root discipline {old.kind} {handle_text(old.handle)}, which someone chose: "
        if old.kind == "htb":
            return begin + "name one of its classes, such as net:DEVICE/1:10, or flows, such as net:DEVICE/dport=80"
        remove = f"remove it (tc qdisc del dev {self.link.name} root)"
        if old.kind in RESTORABLE:
            return begin + f"{remove}, or say DEVICE/all, which puts it back afterwards"
        return begin + f"{remove}; it could not be put back as it is"

    def _new_class(self, change: Change, handle: int, parent: int, ceil: int) -> None:
        own = parent == TRUNK
        message = made.htb_class(
            self.link.index, handle, parent, share(ceil) if own else ceil, ceil, self.link.mtu, new=True
        )
        change.add(self._step(message, f"class {handle_text(handle)}"))

    def _limit_ours(self, change: Change, found: HtbClass, ceil: int) -> None:
        self._change_class(change, found, ceil if found.parent == made.ROOT else share(ceil), ceil, {})

    def _change_class(self, change: Change, found: HtbClass, rate: int, ceil: int, kept: dict[str, int]) -> None:
        message = made.htb_class(
            self.link.index, found.handle, found.parent, rate, ceil, self.link.mtu, new=False, kept=kept
        )
        back = made.class_again(self.link.index, found.handle, found.parent, found.options)
        part = f"class {handle_text(found.handle)}"
        change.add(self._step(message, part), self._step(back, part))

    def _no_class(self, handle: int) -> Step:
        return self._step(made.no_class(self.link.index, handle), f"class {handle_text(handle)} made")

    def _filter(self, change: Change, root: int, prio: int, match: Match, classid: int, *, undone: bool) -> None:
        part = f"filter {handle_text(root)} {prio}"
        back = made.no_filter(self.link.index, root, prio, match.protocol)
        message = made.u32(self.link.index, root, prio, match, classid)
        change.add(self._step(message, part), self._step(back, part) if undone else None)

    def _delay_class(self, change: Change, classid: int, how: dict[str, float], *, undone: bool) -> None:
        taken = {found.handle >> 16 for found in self.seen.qdiscs()}
        handle = next(major for major in range(LEAF_NETEM, _LAST) if major not in taken) << 16
        message = made.netem(self.link.index, handle, classid, **how)  # type: ignore[arg-type]
        part = f"leaf of {handle_text(classid)}"
        back = made.no_qdisc(self.link.index, handle, classid, "netem")
        change.add(self._step(message, part), self._step(back, part) if undone else None)


def ceiling(found: HtbClass | None) -> float | None:
    """A class's ceil in bytes/s; None: it has none."""
    return None if found is None or found.ceil >= made.UNLIMITED else float(found.ceil)


def flat(found: HtbClass) -> bool:
    """Whether a class's ceil must be its rate: it has nobody to borrow from, or never borrowed."""
    return found.parent == made.ROOT or found.rate == found.ceil


def share(ceil: int) -> int:
    """What a class of ours has for sure."""
    return max(ceil // _SHARE, LEAST)


def _target(filters: Iterable[Filter], match: Match) -> int:
    for found in filters:
        if found.match is not None and found.match.protocol == match.protocol and same(found.match.keys, match.keys):
            return found.classid
    return 0
