"""What is read of a network device, and what it means: object identifiers and streams. Pure.

Objects: RFC 3418 (system), RFC 2863 (interfaces), RFC 4293 (IP), UCD-SNMP-MIB (load, CPU, memory of net-snmp's agent).
An answer maps object identifiers to integers, bytes or, where the device has no such object, nothing.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from vagus.model import MAX_LABEL_VALUE, Field

Value = int | bytes
Oid = tuple[int, ...]
Answer = Mapping[Oid, Value]
Rows = Mapping[Oid, Value]
"""Of one column: index to value."""

_MIB2: Oid = (1, 3, 6, 1, 2, 1)
_UCD: Oid = (1, 3, 6, 1, 4, 1, 2021)
_IF: Oid = (*_MIB2, 2, 2, 1)
_IFX: Oid = (*_MIB2, 31, 1, 1, 1)

SYS_UPTIME: Oid = (*_MIB2, 1, 3, 0)
SYS_NAME: Oid = (*_MIB2, 1, 5, 0)
IF_NUMBER: Oid = (*_MIB2, 2, 1, 0)
IF_CHANGED: Oid = (*_MIB2, 31, 1, 5, 0)  # ifTableLastChange
IP_FORWARDING: Oid = (*_MIB2, 4, 1, 0)
SYSTEM = (SYS_UPTIME, SYS_NAME, IF_NUMBER, IF_CHANGED, IP_FORWARDING)

SYSTEM_FIELDS = (
    Field("up", dtype="u4"),  # whether the device answers
    Field("response_s", unit="s"),  # round trip of the first request, the agent's work included
    Field("uptime_s", unit="s"),  # of the agent
    Field("interfaces"),
    Field("forwarding"),  # 1: it routes
    Field("failures", dtype="u8", counter=True),  # polls without an answer
)


class Group(NamedTuple):
    """Single objects that make one stream `snmp.KIND{device=}`, there when the device has the first of them."""

    kind: str
    objects: tuple[tuple[Oid, Field, float], ...]  # the object, its field, and the factor to the field's unit


def _counter(name: str, unit: str = "") -> Field:
    return Field(name, unit=unit, dtype="u8", counter=True)


GROUPS = (
    Group(
        "snmp.ip",
        tuple(
            ((*_MIB2, 4, number, 0), _counter(name), 1)
            for name, number in (
                *(("received", 3), ("forwarded", 6), ("delivered", 9), ("sent", 10)),
                *(("header_errors", 4), ("received_dropped", 8), ("sent_dropped", 11), ("no_route", 12)),
            )
        ),
    ),
    Group(
        "snmp.load",
        tuple(((*_UCD, 10, 1, 5, i), Field(name), 0.01) for i, name in ((1, "load1"), (2, "load5"), (3, "load15"))),
    ),
    Group(
        "snmp.cpu",  # ticks of 1/100 s of all CPUs
        tuple(
            ((*_UCD, 11, number, 0), _counter(f"{name}_ticks"), 1)
            for name, number in (
                *(("user", 50), ("nice", 51), ("system", 52), ("idle", 53), ("iowait", 54)),
                *(("irq", 56), ("softirq", 61), ("steal", 64)),
            )
        ),
    ),
    Group(
        "snmp.memory",
        tuple(
            ((*_UCD, 4, number, 0), Field(f"{name}_bytes", unit="bytes", dtype="u8"), 1024)
            for name, number in (("total", 5), ("free", 6), ("buffers", 14), ("cached", 15))
        ),
    ),
)
SCALARS: tuple[Oid, ...] = (*SYSTEM, *(oid for group in GROUPS for oid, _, _ in group.objects))

# columns that say what an interface is, read now and then
IF_DESCR: Oid = (*_IF, 2)
IF_SPEED: Oid = (*_IF, 5)
IF_NAME: Oid = (*_IFX, 1)
IF_HC_IN: Oid = (*_IFX, 6)
IF_HIGH_SPEED: Oid = (*_IFX, 15)
IF_ALIAS: Oid = (*_IFX, 18)
IDENTITY = (IF_DESCR, IF_SPEED, IF_NAME, IF_HC_IN, IF_HIGH_SPEED, IF_ALIAS)

# columns that are read at every poll, by field
_COMMON: tuple[tuple[str, Oid], ...] = (
    *(("rx_errors", (*_IF, 14)), ("tx_errors", (*_IF, 20))),
    *(("rx_dropped", (*_IF, 13)), ("tx_dropped", (*_IF, 19))),
)
_STATE: tuple[tuple[str, Oid], ...] = (("oper_up", (*_IF, 8)), ("admin_up", (*_IF, 7)))
_WIDE: tuple[tuple[str, Oid], ...] = (
    *(("rx_bytes", IF_HC_IN), ("tx_bytes", (*_IFX, 10))),
    *(("rx_packets", (*_IFX, 7)), ("tx_packets", (*_IFX, 11))),
)
_NARROW: tuple[tuple[str, Oid], ...] = (
    *(("rx_bytes", (*_IF, 10)), ("tx_bytes", (*_IF, 16))),
    *(("rx_packets", (*_IF, 11)), ("tx_packets", (*_IF, 17))),
)
INTERFACE_FIELDS = (
    *(_counter(name, "bytes") for name in ("rx_bytes", "tx_bytes")),
    *(_counter(name) for name in ("rx_packets", "tx_packets")),  # unicast
    *(_counter(name) for name, _ in _COMMON),
    *(Field(name, dtype="u4") for name, _ in _STATE),
    Field("speed_bps", unit="bit/s"),
)


def counters(wide: bool) -> tuple[tuple[str, Oid, int], ...]:
    """Field, column and bits of each counter of an interface, in the order of INTERFACE_FIELDS."""
    octets = tuple((name, oid, 64 if wide else 32) for name, oid in (_WIDE if wide else _NARROW))
    return (*octets, *((name, oid, 32) for name, oid in _COMMON))


def states(table: Mapping[Oid, Rows], index: Oid) -> tuple[int, ...]:
    """oper_up and admin_up of an interface: 1 when the object says up (1)."""
    return tuple(int(table.get(oid, {}).get(index) == 1) for _, oid in _STATE)


class Interface(NamedTuple):
    """An interface: its row, its labels (without the device's), speed, and whether it has 64-bit counters."""

    row: Oid
    labels: dict[str, str]
    speed_bps: float
    wide: bool


def interfaces(table: Mapping[Oid, Rows]) -> list[Interface]:
    """The interfaces in the columns IDENTITY, by index; two of one name get their index behind it."""
    descriptions = table.get(IF_DESCR, {})
    names = {i: text(table.get(IF_NAME, {}).get(i, b"")) or text(d) or str(i[0]) for i, d in descriptions.items()}
    known = list(names.values())
    found = []
    for index in sorted(descriptions):
        name, description = names[index], text(descriptions[index])
        labels = {"interface": name if known.count(name) == 1 else f"{name}#{index[0]}"}
        if description and description != name:
            labels["description"] = description
        alias = text(table.get(IF_ALIAS, {}).get(index, b""))
        if alias:
            labels["alias"] = alias
        found.append(Interface(index, labels, _speed(table, index), index in table.get(IF_HC_IN, {})))
    return found


def columns(read: Sequence[Interface]) -> tuple[Oid, ...]:
    """The columns to read at every poll for these interfaces."""
    widths = sorted({interface.wide for interface in read}, reverse=True)
    wanted = [oid for wide in widths for _, oid, _ in counters(wide)]
    return tuple(dict.fromkeys([*wanted, *(oid for _, oid in _STATE)] if read else ()))


def _speed(table: Mapping[Oid, Rows], index: Oid) -> float:
    """Bits per second; ifSpeed ends at 4.29 Gbit/s, from where ifHighSpeed (in Mbit/s) counts on. 0: unknown."""
    high, low = table.get(IF_HIGH_SPEED, {}).get(index, 0), table.get(IF_SPEED, {}).get(index, 0)
    if isinstance(high, int) and isinstance(low, int):
        return float(low if 0 < low < (1 << 32) - 1 else high * 1_000_000)
    return 0.0


# addresses: which interface has them, and their prefix
IP_IF_INDEX: Oid = (*_MIB2, 4, 34, 1, 3)  # ipAddressTable: IPv4 and IPv6
IP_TYPE: Oid = (*_MIB2, 4, 34, 1, 4)
IP_PREFIX: Oid = (*_MIB2, 4, 34, 1, 5)
OLD_IF_INDEX: Oid = (*_MIB2, 4, 20, 1, 2)  # ipAddrTable: IPv4
OLD_MASK: Oid = (*_MIB2, 4, 20, 1, 3)
ADDRESSES = (IP_IF_INDEX, IP_TYPE, IP_PREFIX)
OLD_ADDRESSES = (OLD_IF_INDEX, OLD_MASK)
BROADCAST = 3  # of IP_TYPE
ADDRESS_FIELDS = (Field("if_index", dtype="u4"), Field("prefix_bits", dtype="u4"))


class Address(NamedTuple):
    """An address of a device, the network that it is in, and the index of its interface."""

    address: str
    network: str
    prefix_bits: int
    if_index: int


def addresses(table: Mapping[Oid, Sequence[tuple[Oid, Value | Oid]]]) -> Iterator[Address]:
    """The addresses in ADDRESSES or OLD_ADDRESSES that others can send to: neither loopback nor link-local."""
    prefixes, types = dict(table.get(IP_PREFIX, ())), dict(table.get(IP_TYPE, ()))
    masks = dict(table.get(OLD_MASK, ()))
    for index, number in (*table.get(IP_IF_INDEX, ()), *table.get(OLD_IF_INDEX, ())):
        packed, bits = bytes(index) if _octets(index) else b"", 0
        if index in masks or table.get(OLD_IF_INDEX):
            mask = masks.get(index, b"")
            bits = sum(byte.bit_count() for byte in mask) if isinstance(mask, bytes) else 0
        elif len(packed) > 2 and len(packed) == 2 + packed[1]:  # type, length, octets
            packed, pointer = packed[2:], prefixes.get(index)
            bits = pointer[-1] if isinstance(pointer, tuple) and len(pointer) > 1 else 0
        if len(packed) not in (4, 16) or not isinstance(number, int) or not 0 < number < 1 << 31:
            continue
        if types.get(index) == BROADCAST:
            continue
        address = ipaddress.ip_address(packed)
        if not (address.is_loopback or address.is_link_local or address.is_unspecified):
            bits = bits if 0 < bits <= address.max_prefixlen else address.max_prefixlen
            network = ipaddress.ip_network((packed, bits), strict=False)
            yield Address(str(address), str(network), bits, number)


def _octets(index: Oid) -> bool:
    return all(0 <= part < 256 for part in index)


def text(value: Value | None) -> str:
    """A display string in one printable line, as short as a label must be."""
    if not isinstance(value, bytes):
        return ""
    decoded = value.decode("utf-8", "replace").strip("\0 ")
    return "".join(c if c.isprintable() else " " for c in decoded)[:MAX_LABEL_VALUE].strip()
