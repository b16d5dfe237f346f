"""Messages against what tc sends and what the kernel answers (captured), and against pyroute2's reading of them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from pyroute2.netlink.rtnl.tcmsg import tcmsg

from vagus.shaping import messages as made
from vagus.shaping.match import ANY, IPV4, IPV6, Key, Match, matches, same
from vagus.shaping.place import parse_flow
from vagus.shaping.seen import CLASS_PARMS, HtbClass, Interface, _filter, _qdisc
from vagus.undo import netlink as nl

CAPTURED = json.loads((Path(__file__).parents[1] / "fixtures/traffic_captured.json").read_text())
VA = 7  # the device of the capture
GBIT = 125_000_000


def sent(command: str) -> tuple[int, bytes]:
    found = next(r for r in CAPTURED["requests"] if r["tc"].startswith(command))
    return found["type"], bytes.fromhex(found["payload"])


def parts(payload: bytes) -> tuple[tuple[int, ...], str, dict[int, bytes]]:
    """The tcmsg's numbers, the kind, and the options."""
    found = nl.attributes(payload, 20)
    kind = found.get(1, b"").rstrip(b"\0").decode()
    return struct.unpack_from("=iIII", payload, 4), kind, nl.attributes(found.get(2, b"")) if kind != "ingress" else {}


def read(message: bytes) -> Any:
    """As pyroute2 reads it."""
    found = tcmsg(message)
    found.decode()
    return found


def check_frame(message: bytes, command: str) -> tuple[dict[int, bytes], dict[int, bytes]]:
    """Type, device, handle, parent, info and kind are as tc's; returns both messages' options."""
    kind, theirs = sent(command)
    length, ours_kind, flags, _, _ = nl.HEADER.unpack_from(message)
    assert (length, ours_kind) == (len(message), kind)
    assert flags & (nl.REQUEST | nl.ACK) == nl.REQUEST | nl.ACK
    ours_frame, ours_name, ours = parts(message[16:])
    theirs_frame, theirs_name, options = parts(theirs)
    assert ours_frame == theirs_frame
    assert ours_name == theirs_name
    return ours, options


def test_the_root_is_as_tcs() -> None:
    ours, theirs = check_frame(made.htb(VA, 0x10000, 0x10), "qdisc add dev va root")
    assert ours[2] == theirs[2]


@pytest.mark.parametrize(
    ("command", "handle", "parent", "rate", "ceil", "kept"),
    [
        ("class add dev va parent 1: classid 1:1", 0x10001, 0x10000, GBIT // 10, GBIT // 10, {"quantum": 0}),
        ("class add dev va parent 1:1 classid 1:10", 0x10010, 0x10001, 125_000, 625_000, {"prio": 3, "quantum": 2000}),
        ("class add dev va parent 1:1 classid 1:20", 0x10020, 0x10001, 40 * GBIT, 50 * GBIT, {"quantum": 0}),
    ],
)
def test_classes_are_as_tcs(command: str, handle: int, parent: int, rate: int, ceil: int, kept: dict[str, int]) -> None:
    message = made.htb_class(VA, handle, parent, rate, ceil, 1500, new=True, kept=kept)
    ours, theirs = check_frame(message, command)
    mine, tcs = CLASS_PARMS.unpack(ours[1]), CLASS_PARMS.unpack(theirs[1])
    names = {"rate": 5, "ceil": 11, "quantum": 14, "prio": 16, "rate overhead": 2, "ceil mpu": 10}
    assert {n: mine[at] for n, at in names.items()} == {n: tcs[at] for n, at in names.items()}
    assert {kind: ours.get(kind) for kind in (6, 7)} == {kind: theirs.get(kind) for kind in (6, 7)}, "of 64 bits"
    assert mine[12] >= made.ticks(rate, 2 * 1514)
    assert mine[13] >= made.ticks(ceil, 2 * 1514)


def test_a_burst_is_what_comes_in_a_tick_and_two_packets_at_least() -> None:
    assert made.burst(1000, 1500) == 2 * 1514
    assert made.burst(GBIT, 1500) == 1_250_000
    assert made.ticks(1, 1 << 40) == 0xFFFFFFFF, "what is too long for 32 bits is the longest"


def test_changing_makes_no_class() -> None:
    message = made.htb_class(VA, 0x10010, 0x10001, 250_000, 625_000, 1500, new=False)
    check_frame(message, "class change")
    assert nl.HEADER.unpack_from(message)[2] & (made.CREATE | made.EXCLUDE | made.REPLACE) == 0


@pytest.mark.parametrize(
    ("command", "prio", "classid", "keys"),
    [
        ("filter add dev va parent 1: protocol ip ", 5, 0x10010, [Key(16, 0xFFFF0000, 0x0A010000), Key(20, 0xFFFF, 80)]),
        ("filter add dev va parent 1: protocol ipv6", 6, 0x10020, [Key(24, 0xFFFFFFFF, 0xFD000000), Key(28, 0xFFFFFFFF, 0)]),
    ],
)  # fmt: skip
def test_filters_are_as_tcs(command: str, prio: int, classid: int, keys: list[Key]) -> None:
    match = Match(IPV6 if "ipv6" in command else IPV4, tuple(keys))
    ours, theirs = check_frame(made.u32(VA, 0x10000, prio, match, classid), command)
    assert ours[5] == theirs[5], "selector and keys, byte for byte"
    assert ours[1] == theirs[1]


def test_what_comes_in_is_redirected_as_tc_does_it() -> None:
    check_frame(made.ingress(VA), "qdisc add dev va ingress")
    message = made.u32(VA, 0xFFFF0000, 1, Match(ANY, ()), redirect=6)
    ours, theirs = check_frame(message, "filter add dev va parent ffff:")
    assert ours[5] == theirs[5]
    mine, tcs = ((nl.attributes(nl.attributes(o[7])[1])) for o in (ours, theirs))
    assert mine[1].rstrip(b"\0") == tcs[1].rstrip(b"\0") == b"mirred"
    to = [struct.unpack("=IIiiiiI", nl.attributes(o[2])[2])[2:] for o in (mine, tcs)]
    assert [t[0] for t in to] == [4, 4], "the packet is taken"
    assert [t[3] for t in to] == [1, 1]
    assert to[0][4] == 6


def test_deletions_are_as_tcs() -> None:
    check_frame(made.no_filter(VA, 0x10000, 5, IPV4), "filter del")
    kind, theirs = sent("qdisc del dev va ingress")
    message = made.no_qdisc(VA, 0xFFFF0000, made.INGRESS, "ingress")
    assert nl.HEADER.unpack_from(message)[1] == kind
    assert parts(message[16:])[0] == parts(theirs)[0]


# --- what the kernel says ----------------------------------------------------------------------------------------------


class Asked(Interface):
    """Reads answers without a device."""

    def __init__(self) -> None:
        pass


def answers(what: str) -> list[bytes]:
    return [bytes.fromhex(payload) for payload in CAPTURED["answers"][what]]


def classes() -> dict[int, HtbClass]:
    return {found.handle: found for found in map(Asked()._class, answers("classes"))}


def test_disciplines_and_classes_are_read_as_pyroute2_reads_them() -> None:
    assert [(q.kind, q.handle, q.parent) for q in map(_qdisc, answers("qdiscs")) if q.handle] == [
        ("htb", 0x10000, made.ROOT)
    ]
    found = classes()
    for payload in answers("classes"):
        theirs = read(nl.HEADER.pack(16 + len(payload), nl.NEWTCLASS, 0, 0, 0) + payload)
        options = theirs.get_attr("TCA_OPTIONS")
        parms = options.get_attr("TCA_HTB_PARMS")
        ours = found[theirs["handle"]]
        assert (ours.parent, ours.parms[16]) == (theirs["parent"], parms["prio"])
        assert ours.rate == (options.get_attr("TCA_HTB_RATE64") or parms["rate"])
        assert ours.ceil == (options.get_attr("TCA_HTB_CEIL64") or parms["ceil"])
    assert found[0x10010].rate == 125_000
    assert found[0x10020].ceil == 50 * GBIT, "more than 32 bits hold"
    assert found[0x10001].parent == made.ROOT


def test_a_class_is_given_back_as_it_was_shown() -> None:
    found = classes()[0x10010]
    message = made.class_again(VA, found.handle, found.parent, found.options)
    frame, kind, options = parts(message[16:])
    assert (frame[1:3], kind) == ((0x10010, 0x10001), "htb")
    assert CLASS_PARMS.unpack(options[1]) == found.parms
    assert nl.HEADER.unpack_from(message)[2] & made.CREATE == 0, "one that is gone is not made again"


def test_filters_are_read() -> None:
    found = [f for f in map(_filter, answers("filters")) if f.match is not None]
    assert [(f.prio, f.protocol, f.kind, f.classid) for f in found] == [
        (5, IPV4, "u32", 0x10010),
        (6, IPV6, "u32", 0x10020),
    ]
    assert found[0].match is not None
    assert same(found[0].match.keys, [Key(16, 0xFFFF0000, 0x0A010000), Key(20, 0xFFFF, 80)])
    (six,) = matches(parse_flow("to=fd00::/64"))
    assert found[1].match is not None
    assert same(found[1].match.keys, six.keys), "ours would be the same filter"


def test_netem_and_tbf_are_read_by_pyroute2_as_they_were_meant() -> None:
    us = made.ticks(1_000_000, 1)  # what a microsecond is
    netem = read(made.netem(VA, 0x10000, made.ROOT, 0.05, 0.01, 0.01, 1_000_000)).get_attr("TCA_OPTIONS")
    assert netem["delay"] == pytest.approx(50_000 * us, rel=0.05)
    assert netem["jitter"] == pytest.approx(10_000 * us, rel=0.05)
    assert netem["loss"] == pytest.approx(0.01 * 2**32, rel=1e-6)
    assert netem.get_attr("TCA_NETEM_RATE")["rate"] == 1_000_000
    tbf = nl.attributes(parts(made.tbf(VA, 0x10000, made.ROOT, 1_000_000, 4000, 100_000)[16:])[2][1], 36)
    assert tbf == {}, "the parameters end where the kernel's do"
