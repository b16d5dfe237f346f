"""What this kernel has, tried in a network namespace that exists only for that."""

from __future__ import annotations

import errno
from functools import cache

from vagus.errors import Unsupported
from vagus.shaping import messages as made
from vagus.shaping.match import ANY, Match
from vagus.undo import netlink as nl
from vagus.undo import reason

_LO = 1


@cache
def has(what: str) -> bool:
    """Whether this kernel has a discipline (`htb`, `netem`, …), or what it takes to `redirect` packets.

    Loads the kernel's module where there is one. Raises Unsupported without the right to try.
    """
    requests = {
        "htb": (made.htb(_LO, 0x10000, 0),),
        "netem": (made.netem(_LO, 0x10000, made.ROOT, delay_s=0.001),),
        "redirect": (made.clsact(_LO), made.u32(_LO, made.EGRESS, 1, Match(ANY, ()), redirect=_LO)),
    }.get(what) or (made.qdisc_again(_LO, 0x10000, made.ROOT, what, b""),)
    try:
        with nl.opened_new() as link:
            for message in requests:
                nl.request(link, message)
    except PermissionError as error:
        raise Unsupported(f"{reason(error)}: shaping needs root") from error
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EOPNOTSUPP, errno.EINVAL):
            return False
        raise Unsupported(f"whether this kernel has {what} cannot be tried: {reason(error)}") from error
    return True
