"""Limits what devices send and take in, by classes of HTB: `net:DEVICE`, one of its classes, or flows through it."""

from __future__ import annotations

import math
import os
from pathlib import Path

from vagus.actuators import Plan, Usage
from vagus.errors import ActuateError, ConfigError, Rejected, Unsupported
from vagus.model import Action, Target
from vagus.shaping.inward import incoming_tree, with_incoming
from vagus.shaping.messages import ROOT, UNLIMITED
from vagus.shaping.place import Place, handle_text, parse_place
from vagus.shaping.safe import check_whole, link_rate
from vagus.shaping.seen import Interface
from vagus.shaping.tree import LEAST, Change, Tree, ceiling, flat

_NET_ADMIN, _SYS_ADMIN = 12, 21  # linux/capability.h


class Traffic:
    """Limits `net:[NAMESPACE/]DEVICE`, `net:…/1:10` (a class that is there) and `net:…/to=10.0.0.0/24,dport=80` (flows).

    net_bytes_s: what it may send, a class's ceil (and its rate, where it has nobody to borrow from); net_rate_bytes_s:
    the guaranteed rate of a class below another; net_in_bytes_s: what a device, or flows, may take in, through an ifb.
    A whole device that carries the default route, and the loopback, are refused unless `net:DEVICE/all` is said, and
    below 64 kB/s even then; a root discipline that someone chose is replaced only then, and only if it can be put back.
    """

    name = "traffic"
    dry = False
    kinds: tuple[str, ...] = ("net",)
    resources: tuple[str, ...] = ("net_bytes_s", "net_rate_bytes_s", "net_in_bytes_s")

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = Path(root)

    def supports(self, target: Target) -> tuple[str, ...]:
        """Raises Unsupported with what is missing."""
        place = self._place(target)
        try:
            with Interface(place) as seen:
                if place.classid:
                    found = Tree(seen).class_of(place.classid)
        except ActuateError as error:
            raise Unsupported(str(error)) from error
        need = [(_NET_ADMIN, "CAP_NET_ADMIN"), *([(_SYS_ADMIN, "CAP_SYS_ADMIN")] if place.namespace else [])]
        held = _capabilities(self.root)
        missing = [name for bit, name in need if not held >> bit & 1]
        if missing:
            raise Unsupported(
                f"user {os.geteuid()} may not shape {target}: {' and '.join(missing)} missing; "
                "run vagus as root, or give the container this capability"
            )
        if place.classid:
            return ("net_bytes_s",) if found.parent == ROOT else ("net_bytes_s", "net_rate_bytes_s")
        return ("net_bytes_s", "net_in_bytes_s")

    def usage(self, target: Target) -> Usage:
        """Nothing is known of CPU time. Raises ActuateError when the device does not exist."""
        with Interface(self._place(target)):
            return Usage(math.nan)

    def read(self, target: Target, resource: str) -> float | None:
        """Bytes/s; None: not limited by a class. Raises ActuateError, Unsupported."""
        place = self._fits(target, resource)
        with Interface(place) as seen:
            tree = incoming_tree(seen) if resource == "net_in_bytes_s" else Tree(seen)
            if tree is None:
                return None
            if place.classid:
                found = tree.class_of(place.classid)
                if resource == "net_rate_bytes_s":
                    return None if found.rate <= LEAST else float(found.rate)
                return ceiling(found)
            return tree.device_limit() if place.flow is None else ceiling(tree.class_for(place.flow))

    def plan(self, action: Action) -> Plan:
        """Raises Rejected, Unsupported, ActuateError."""
        place = self._fits(action.target, action.resource)
        value = self._value(action, place)
        with Interface(place) as seen:
            change, after = Change(), Change()
            check_whole(self.root, place, seen.link, value)
            if action.resource == "net_in_bytes_s":
                if value is None and incoming_tree(seen) is None:
                    return Plan((), (), None)
                tree, after = with_incoming(seen, change)
            else:
                tree = Tree(seen, everything=place.everything)
            if place.classid:
                _plan_class(tree, change, place, action.resource, value)
            elif place.flow is not None:
                tree.limit_flow(change, place.flow, value)
            else:
                tree.limit_device(change, value)
            steps, undo = (*change.steps, *after.steps), (*after.undo, *change.undo)
            return Plan(steps, undo, None if value is None else float(value))

    def _place(self, target: Target) -> Place:
        if target.kind != "net":
            raise Unsupported(f"{self.name} limits net:DEVICE, net:DEVICE/1:10 and net:DEVICE/dport=80, not {target}")
        try:
            return parse_place(target.name)
        except ConfigError as error:
            raise Unsupported(f"target {target}: {error}") from error

    def _fits(self, target: Target, resource: str) -> Place:
        place = self._place(target)
        possible = self.resources[:2] if place.classid else self.resources[::2]
        if resource not in possible:
            raise Unsupported(f"{self.name} cannot limit {resource} of {target}, only {', '.join(possible)}")
        return place

    def _value(self, action: Action, place: Place) -> int | None:
        if action.value is None:
            return None
        where, shown = str(action.target), str(action.value)
        if not (math.isfinite(action.value) and action.value > 0):
            raise Rejected(where, shown, f"{action.resource} must be a finite number above 0")
        if action.value < LEAST:
            raise Rejected(where, shown, f"HTB counts no less than {LEAST} bytes/s")
        most = link_rate(self.root, place) or UNLIMITED - 1.0
        if action.value > most:
            raise Rejected(where, shown, f"the link carries {most:.0f} bytes/s: more than that limits nothing")
        return round(action.value)


def _plan_class(tree: Tree, change: Change, place: Place, resource: str, value: int | None) -> None:
    found = tree.class_of(place.classid)
    if resource == "net_rate_bytes_s":
        if found.parent == ROOT:
            text = handle_text(found.handle)
            raise Rejected(
                str(place), str(value), f"{text} is below no other class and cannot borrow: its rate is its limit, "
                "net_bytes_s",
            )  # fmt: skip
        rate = LEAST if value is None else value
        tree.limit_class(change, found, rate, max(found.ceil, rate))
        return
    ceil = UNLIMITED if value is None else value
    tree.limit_class(change, found, ceil if flat(found) else min(found.rate, ceil), ceil)


def _capabilities(root: Path) -> int:
    """The effective ones of this process; none where the kernel does not say."""
    try:
        with open(root / "proc/self/status") as file:
            for line in file:
                if line.startswith("CapEff:"):
                    return int(line.split()[1], 16)
    except (OSError, ValueError):
        pass
    return 0
