"""Requests of traffic control, each as the bytes of one netlink message.

What is created or changed is encoded by pyroute2, loaded when first used (25 MiB); what is only named, or given back as
the kernel showed it, is packed here, so that it returns to the last bit. Formats: linux/pkt_sched.h, linux/pkt_cls.h.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping, Sequence
from typing import Any

from vagus.shaping.match import Match
from vagus.undo import netlink as nl

ROOT, INGRESS, EGRESS = 0xFFFFFFFF, 0xFFFFFFF1, 0xFFFFFFF3  # the last one: what clsact sees leave
KIND, OPTIONS = 1, 2
UNLIMITED = 12_500_000_000  # bytes/s: 100 Gbit/s, more than one HTB lets through; what is not limited has this
CREATE, EXCLUDE, REPLACE = 0x400, 0x200, 0x100

_TCMSG = struct.Struct("=BxxxiIII")
_LINK = struct.Struct("=BxHiII")
_IFNAME, _LINKINFO, _INFO_KIND = 3, 18, 1
_UP = 1
_NESTED = 0x8000
_U32_CLASSID, _U32_SEL, _U32_ACT = 1, 5, 7
_U32_TERMINAL = 1
_ACT_KIND, _ACT_OPTIONS, _MIRRED_PARMS = 1, 2, 2
_STOLEN, _EGRESS_REDIRECT = 4, 1
_ETHERNET = 1  # TC_LINKLAYER_ETHERNET: lengths are taken as they are, without a table
_MAX_U32 = 0xFFFFFFFF
_BURST_S = 0.01  # a tick of the slowest timer (HZ=100): what is not sent between two of them would be lost


def attribute(kind: int, content: bytes) -> bytes:
    """One netlink attribute, padded."""
    return struct.pack("=HH", len(content) + 4, kind) + content + b"\0" * (-len(content) % 4)


def text(value: str) -> bytes:
    return value.encode() + b"\0"


def traffic(kind: int, flags: int, index: int, handle: int, parent: int, info: int = 0, content: bytes = b"") -> bytes:
    """A message about a qdisc, class or filter of the device with that index."""
    body = _TCMSG.pack(0, index, handle, parent, info) + content
    return nl.HEADER.pack(nl.HEADER.size + len(body), kind, flags | nl.REQUEST, 0, 0) + body


def link(kind: int, flags: int, index: int, up: bool = False, content: bytes = b"") -> bytes:
    """A message about a device."""
    body = _LINK.pack(0, 0, index, _UP if up else 0, _UP if up else 0) + content
    return nl.HEADER.pack(nl.HEADER.size + len(body), kind, flags | nl.REQUEST, 0, 0) + body


def new_ifb(name: str, index: int) -> bytes:
    """Makes an ifb, up, with an index that is free: later requests name it by that."""
    info = attribute(_LINKINFO | _NESTED, attribute(_INFO_KIND, text("ifb")))
    return link(nl.NEWLINK, nl.ACK | CREATE | EXCLUDE, index, True, attribute(_IFNAME, text(name)) + info)


def no_link(index: int) -> bytes:
    """Removes a device."""
    return link(nl.DELLINK, nl.ACK, index)


# --- queueing disciplines --------------------------------------------------------------------------------------------


def htb(index: int, handle: int, default: int, replace: bool = False) -> bytes:
    """HTB as the root; default: the minor number of the class of what no filter names, unshaped while it is missing."""
    options = {
        "attrs": [["TCA_HTB_INIT", {"version": 3, "rate2quantum": 10, "defcls": default, "debug": 0, "direct_pkts": 0}]]
    }
    how = nl.ACK | CREATE | (REPLACE if replace else EXCLUDE)
    return _encoded(nl.NEWQDISC, how, index, handle, ROOT, "htb", options)


def tbf(index: int, handle: int, parent: int, rate: int, burst_bytes: int, limit_bytes: int) -> bytes:
    """A token bucket: rate in bytes/s, what may pass at once, what may wait."""
    parms = {
        "rate": min(rate, _MAX_U32),
        "rate___reserved": _ETHERNET,
        "limit": limit_bytes,
        "buffer": ticks(rate, burst_bytes),
        "mtu": 0,
    }
    options = {"attrs": [["TCA_TBF_PARMS", parms], ["TCA_TBF_RTAB", True]]}
    return _encoded(nl.NEWQDISC, nl.ACK | CREATE | REPLACE, index, handle, parent, "tbf", options)


def netem(
    index: int,
    handle: int,
    parent: int,
    delay_s: float = 0.0,
    jitter_s: float = 0.0,
    loss_ratio: float = 0.0,
    rate: int = 0,
    limit_packets: int = 10_000,
) -> bytes:
    """netem: every packet waits for delay ± jitter, or is lost with that probability; rate in bytes/s, 0: any."""
    from pyroute2.netlink.rtnl.tcmsg import sched_netem

    given: dict[str, Any] = {
        "delay": round(delay_s * 1e6),
        "jitter": round(jitter_s * 1e6),
        "loss": loss_ratio * 100,
        "limit": limit_packets,
    }
    if rate:
        given["rate"] = rate
    options = sched_netem.get_parameters(given)
    for name in ("delay", "jitter"):  # pyroute2 leaves them as floats
        options[name] = int(options[name])
    return _encoded(nl.NEWQDISC, nl.ACK | CREATE | REPLACE, index, handle, parent, "netem", options)


def ingress(index: int) -> bytes:
    """The place for filters on what comes in."""
    content = attribute(KIND, text("ingress"))
    return traffic(nl.NEWQDISC, nl.ACK | CREATE | EXCLUDE, index, INGRESS & 0xFFFF0000, INGRESS, content=content)


def clsact(index: int) -> bytes:
    """The place for filters on what comes in and on what leaves, before any queue."""
    content = attribute(KIND, text("clsact"))
    return traffic(nl.NEWQDISC, nl.ACK | CREATE | EXCLUDE, index, INGRESS & 0xFFFF0000, INGRESS, content=content)


def no_qdisc(index: int, handle: int, parent: int, kind: str) -> bytes:
    """Deletes the discipline with this handle and kind; the kernel's default takes a root's place."""
    return traffic(nl.DELQDISC, nl.ACK, index, handle, parent, content=attribute(KIND, text(kind)))


def qdisc_again(index: int, handle: int, parent: int, kind: str, options: bytes) -> bytes:
    """The discipline as the kernel showed it."""
    content = attribute(KIND, text(kind)) + (attribute(OPTIONS, options) if options else b"")
    return traffic(nl.NEWQDISC, nl.ACK | CREATE | REPLACE, index, handle, parent, content=content)


# --- classes ---------------------------------------------------------------------------------------------------------


def ticks(rate: int, size_bytes: float) -> int:
    """How long `size_bytes` take at `rate` (bytes/s), in the kernel's ticks of /proc/net/psched."""
    from pyroute2.netlink.rtnl.tcmsg.common import tick_in_usec

    per_second: float = 1e6 * tick_in_usec
    return min(math.ceil(size_bytes / rate * per_second), _MAX_U32)


def burst(rate: int, mtu: int) -> int:
    """Bytes that a class may send at once: what its rate brings in a timer's tick, and two packets at least."""
    return max(math.ceil(rate * _BURST_S), 2 * (mtu + 14))


def htb_class(
    index: int,
    handle: int,
    parent: int,
    rate: int,
    ceil: int,
    mtu: int,
    *,
    new: bool,
    prio: int = 0,
    kept: Mapping[str, int] | None = None,
) -> bytes:
    """Makes or changes a class: guaranteed rate and ceil in bytes/s. kept: further fields of an existing one's
    tc_htb_opt, by pyroute2's names."""
    parms = {
        "prio": prio,
        "quantum": min(max(ceil // 1000, mtu + 14), 60_000),
        **(kept or {}),
        "rate": min(rate, _MAX_U32),
        "ceil": min(ceil, _MAX_U32),
        "rate___reserved": _ETHERNET,
        "ceil___reserved": _ETHERNET,
        "buffer": ticks(rate, burst(rate, mtu)),
        "cbuffer": ticks(ceil, burst(ceil, mtu)),
    }
    attrs: list[list[Any]] = [["TCA_HTB_PARMS", parms], ["TCA_HTB_RTAB", True], ["TCA_HTB_CTAB", True]]
    if rate > _MAX_U32:
        attrs.append(["TCA_HTB_RATE64", rate])
    if ceil > _MAX_U32:
        attrs.append(["TCA_HTB_CEIL64", ceil])
    how = nl.ACK | (CREATE | EXCLUDE if new else 0)
    return _encoded(nl.NEWTCLASS, how, index, handle, parent, "htb", {"attrs": attrs})


def class_again(index: int, handle: int, parent: int, options: bytes) -> bytes:
    """The class as the kernel showed it: a change of one that is there."""
    content = attribute(KIND, text("htb")) + attribute(OPTIONS, options)
    return traffic(nl.NEWTCLASS, nl.ACK, index, handle, parent, content=content)


def no_class(index: int, handle: int) -> bytes:
    """Deletes a class, which no filter may name any more."""
    return traffic(nl.DELTCLASS, nl.ACK, index, handle, handle & 0xFFFF0000)


# --- filters ---------------------------------------------------------------------------------------------------------


def u32(index: int, parent: int, prio: int, match: Match, classid: int = 0, redirect: int = 0) -> bytes:
    """A u32 filter: what matches goes into a class, or out of the device whose index is `redirect`."""
    keys = match.keys or ((0, 0, 0),)
    selected = struct.pack("=BBBxHHHHI", _U32_TERMINAL, 0, len(keys), 0, 0, 0, 0, 0)
    selected += b"".join(struct.pack(">II", mask, value) + struct.pack("=ii", at, 0) for at, mask, value in keys)
    options = attribute(_U32_CLASSID, struct.pack("=I", classid)) if classid else b""
    if redirect:
        parms = struct.pack("=IIiiiiI", 0, 0, _STOLEN, 0, 0, _EGRESS_REDIRECT, redirect)
        action = attribute(_ACT_KIND, text("mirred"))
        action += attribute(_ACT_OPTIONS | _NESTED, attribute(_MIRRED_PARMS, parms))
        options += attribute(_U32_ACT, attribute(1, action))
    options += attribute(_U32_SEL, selected)
    content = attribute(KIND, text("u32")) + attribute(OPTIONS, options)
    return traffic(
        nl.NEWTFILTER, nl.ACK | CREATE | EXCLUDE, index, 0, parent, filter_info(prio, match.protocol), content
    )


def no_filter(index: int, parent: int, prio: int, protocol: int) -> bytes:
    """Deletes all filters of a priority."""
    return traffic(nl.DELTFILTER, nl.ACK, index, 0, parent, filter_info(prio, protocol))


def filter_info(prio: int, protocol: int) -> int:
    """A filter's priority, and its protocol in network order, as tcm_info holds them."""
    return prio << 16 | int.from_bytes(struct.pack("=H", protocol), "big")


def _encoded(
    kind: int, flags: int, index: int, handle: int, parent: int, name: str, options: Mapping[str, Any]
) -> bytes:
    from pyroute2.netlink.rtnl.tcmsg import tcmsg

    message = tcmsg()
    message["index"], message["handle"], message["parent"] = index, handle, parent
    attrs: Sequence[Any] = [["TCA_KIND", name], ["TCA_OPTIONS", options]]
    message["attrs"] = attrs
    message["header"]["type"], message["header"]["flags"] = kind, flags | nl.REQUEST
    message.encode()
    return bytes(message.data)
