"""The capacity of a node over all services together: what every controller's limits add up to stays within it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

import msgspec

from vagus.config import GuardSettings
from vagus.model import Target


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """A limit in force or about to be written: who holds it, and its value in the resource's unit."""

    owner: str
    target: Target
    resource: str
    value: float


class Granted(NamedTuple):
    """What of a wish fits (None: nothing; then `note` says why)."""

    value: float | None
    note: str = ""


Grant = Callable[[Target, str, float, float | None, float], Granted]
"""(target, resource, wanted, current, least) → Granted"""


def unbounded(target: Target, resource: str, wanted: float, current: float | None, least: float) -> Granted:
    """Grants everything: for a machine with one controller."""
    return Granted(wanted)


def shareable(has: Mapping[str, float], guard: GuardSettings) -> dict[str, float]:
    """What all limits of a node together may add up to, by resource. has: what the node has."""
    return {r: max(amount * guard.overcommit - guard.reserve.get(r, 0.0), 0.0) for r, amount in has.items()}


class Claims:
    """The claims of a node's controllers. Raising a limit is granted as far as the rest of the capacity goes; tightening
    always. A limit that another controller holds is not granted at all.

    A group below another claimed one is part of that one's share.
    """

    def __init__(self, capacity: Mapping[str, float]) -> None:
        self.capacity = capacity
        self.held: dict[tuple[Target, str], Claim] = {}

    def grant(
        self, owner: str, target: Target, resource: str, wanted: float, current: float | None, least: float
    ) -> Granted:
        """How much of `wanted` fits beside the others; at least `least` where the limit is being tightened."""
        holder = self.held.get((target, resource))
        if holder is not None and holder.owner != owner:
            return Granted(
                None, f"controller {holder.owner} steers {resource} of {target} already: stop one of the two"
            )
        has = self.capacity.get(resource)
        if has is None or (current is not None and wanted <= current):
            return Granted(wanted)
        others = [c for c in self.held.values() if c.resource == resource and c.target != target]
        groups = {_path(c.target) for c in others if c.target.kind == "cgroup"}
        if _below(target, groups):
            return Granted(wanted)
        groups |= {_path(target)} if target.kind == "cgroup" else set()
        used = sum(c.value for c in others if not _below(c.target, groups))
        if wanted <= has - used:
            return Granted(wanted)
        note = f"the node has {has:g}, others may use {used:.4g}"
        if current is None:
            return Granted(max(has - used, least), note)  # without a limit it could use everything: any is less
        return Granted(max(has - used, current), note)

    def claim(self, claim: Claim) -> None:
        """Takes or changes a claim."""
        self.held[claim.target, claim.resource] = claim

    def drop(self, owner: str, target: Target | None = None, resource: str = "") -> None:
        """Gives up one claim, or all of this owner."""
        for key, claim in list(self.held.items()):
            if claim.owner == owner and (target is None or key == (target, resource)):
                del self.held[key]

    def total(self, resource: str) -> float:
        """What all claims on a resource add up to."""
        return sum(claim.value for claim in self.held.values() if claim.resource == resource)


def _path(target: Target) -> str:
    return "/" + target.name.strip("/")


def _below(target: Target, groups: Collection[str]) -> bool:
    """Whether it is a group below one of these."""
    path = _path(target) if target.kind == "cgroup" else ""
    while path := path.rpartition("/")[0]:
        if path in groups:
            return True
    return False
