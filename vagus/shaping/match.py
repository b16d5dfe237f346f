"""Flows as u32 keys: which bits of a packet must be what. tc-u32(8); only packets without IP options match by port."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import NamedTuple

from vagus.shaping.place import PROTOCOLS, Address, Flow

IPV4, IPV6, ANY = 0x0800, 0x86DD, 0x0003  # linux/if_ether.h


class Key(NamedTuple):
    """The 32 bits at a byte offset of the network header, under a mask, must be value."""

    offset: int
    mask: int
    value: int


class Match(NamedTuple):
    """What one filter looks for: packets of an ethernet protocol, and keys; none: all of them."""

    protocol: int
    keys: tuple[Key, ...]


def matches(flow: Flow) -> tuple[Match, ...]:
    """The filters that a flow needs: one, or one for each IP version where no address says which."""
    given = flow.to or flow.source
    versions = (given.version,) if given is not None else (4, 6)
    return tuple(_ipv4(flow) if version == 4 else _ipv6(flow) for version in versions)


def _ipv4(flow: Flow) -> Match:
    keys = []
    ports = _ports(flow, 20)
    if ports:  # ports are where they are expected in headers of 20 bytes, and in first fragments
        keys += [Key(0, 0x0F000000, 0x05000000), Key(4, 0x00001FFF, 0)]
    if flow.proto:
        keys.append(Key(8, 0x00FF0000, PROTOCOLS[flow.proto] << 16))
    return Match(IPV4, (*keys, *_address(flow.source, 12), *_address(flow.to, 16), *ports))


def _ipv6(flow: Flow) -> Match:
    ports = _ports(flow, 40)
    keys = [Key(4, 0x0000FF00, PROTOCOLS[flow.proto] << 8)] if flow.proto else []
    return Match(IPV6, (*keys, *_address(flow.source, 8), *_address(flow.to, 24), *ports))


def _ports(flow: Flow, offset: int) -> list[Key]:
    mask = (0xFFFF0000 if flow.sport is not None else 0) | (0xFFFF if flow.dport is not None else 0)
    return [Key(offset, mask, (flow.sport or 0) << 16 | (flow.dport or 0))] if mask else []


def _address(network: Address | None, offset: int) -> list[Key]:
    if network is None:
        return []
    found = []
    address, mask = network.network_address.packed, network.netmask.packed
    for word in range(0, len(mask), 4):
        bits = int.from_bytes(mask[word : word + 4], "big")
        if bits:
            found.append(Key(offset + word, bits, int.from_bytes(address[word : word + 4], "big")))
    return found


def same(first: Iterable[Key], second: Iterable[Key]) -> bool:
    """Whether two lists of keys look for the same: byte by byte, however they are grouped and ordered."""
    return _bytes(first) == _bytes(second)


def _bytes(keys: Iterable[Key]) -> dict[int, tuple[int, int]]:
    found: dict[int, tuple[int, int]] = {}
    for key in keys:
        for byte in range(4):
            mask, value = key.mask >> 8 * (3 - byte) & 0xFF, key.value >> 8 * (3 - byte) & 0xFF
            if mask:
                old_mask, old_value = found.get(key.offset + byte, (0, 0))
                found[key.offset + byte] = (old_mask | mask, old_value | value & mask)
    return found


def holds(match: Match, packet: bytes) -> bool:
    """Whether an IP packet (network header first) is of this flow, as the kernel judges: for tests and user space."""
    version = packet[0] >> 4 if packet else 0
    if match.protocol != ANY and match.protocol != {4: IPV4, 6: IPV6}.get(version):
        return False
    for key in match.keys:
        if key.offset + 4 > len(packet):
            return False
        if int.from_bytes(packet[key.offset : key.offset + 4], "big") & key.mask != key.value & key.mask:
            return False
    return True


def host(address: str) -> Address:
    """One address as a network."""
    return ipaddress.ip_network(address)
