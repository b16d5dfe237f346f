"""What comes in, shaped by sending it through an ifb of our own: HTB shapes only what a device sends."""

from __future__ import annotations

from vagus.errors import Rejected
from vagus.shaping import messages as made
from vagus.shaping.match import ANY, Match
from vagus.shaping.seen import Interface, Link
from vagus.shaping.tree import Change, Tree

_FIRST_INDEX = 0x7661_00


def ifb_name(link: Link) -> str:
    """The ifb that belongs to a device."""
    return f"vagus{link.index}"


def incoming_tree(seen: Interface) -> Tree | None:
    """The tree that shapes what comes in now; None: nothing does."""
    ifb = seen.find(ifb_name(seen.link))
    return None if ifb is None or seen.incoming() is None else Tree(seen, ifb)


def with_incoming(seen: Interface, change: Change) -> tuple[Tree, Change]:
    """The tree that shapes what comes in, made if need be, and the change that is to follow what is done to it.

    Raises Rejected where filters of someone else's are on what comes in.
    """
    after = Change()
    ifb = seen.find(ifb_name(seen.link))
    if seen.incoming() is not None:
        if ifb is None:
            raise Rejected(
                seen.link.name,
                "ingress",
                f"{seen.link.name} has filters on what comes in, which someone else made (tc filter show dev "
                f"{seen.link.name} ingress): limit what the sender sends instead",
            )
        return Tree(seen, ifb), after
    exists = ifb is not None
    if ifb is None:
        taken = {found.index for found in seen.links()}
        index = next(number for number in range(_FIRST_INDEX, _FIRST_INDEX + 1000) if number not in taken)
        ifb = Link(index, ifb_name(seen.link), seen.link.mtu)
        change.add(
            seen.step(made.new_ifb(ifb.name, index), f"ifb {ifb.name}"),
            seen.step(made.no_link(index), f"ifb {ifb.name}"),
        )
    place = made.INGRESS & 0xFFFF0000
    after.add(
        seen.step(made.ingress(seen.link.index), "ingress"),
        seen.step(made.no_qdisc(seen.link.index, place, made.INGRESS, "ingress"), "ingress"),
    )
    after.add(seen.step(made.u32(seen.link.index, place, 1, Match(ANY, ()), redirect=ifb.index), "ingress filter"))
    return Tree(seen, ifb, exists=exists), after
