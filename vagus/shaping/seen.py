"""What the kernel has: a device's link, root, classes and filters, asked anew each time; one socket for a look."""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from types import TracebackType
from typing import NamedTuple

import msgspec

from vagus.errors import ActuateError, Unsupported
from vagus.shaping.match import Key, Match
from vagus.shaping.messages import INGRESS, KIND, OPTIONS, ROOT, attribute, link, text, traffic
from vagus.shaping.place import Place, handle_text
from vagus.undo import Step, reason
from vagus.undo import netlink as nl

CLASS_PARMS = struct.Struct("=BBHhHIBBHhHIIIIII")  # tc_htb_opt

_TCMSG = struct.Struct("=BxxxiIII")
_LINK = struct.Struct("=BxHiII")
_IFNAME, _MTU = 3, 4
_HTB_PARMS, _HTB_RATE64, _HTB_CEIL64 = 1, 6, 7
_U32_CLASSID, _U32_SEL = 1, 5
_U64 = struct.Struct("=Q")
_LOOPBACK = 0x8
_ONE = nl.ACK | nl.ECHO  # without the echo the one that is asked for is told to nobody


class Link(msgspec.Struct, frozen=True):
    """A device: its index, name, MTU in bytes."""

    index: int
    name: str
    mtu: int
    loopback: bool = False


class Qdisc(NamedTuple):
    """A queueing discipline; handle 0: the kernel's default. options: as shown, undecoded."""

    kind: str
    handle: int
    parent: int
    options: bytes


class HtbClass(NamedTuple):
    """A class of HTB: guaranteed rate and ceil in bytes/s; options: as shown, undecoded."""

    handle: int
    parent: int
    rate: int
    ceil: int
    parms: tuple[int, ...]
    options: bytes


class Filter(NamedTuple):
    """A filter: its priority, and where what matches goes (match None: it is no u32, or a table of it)."""

    prio: int
    protocol: int
    kind: str
    classid: int
    match: Match | None


class Interface:
    """One device, looked at through a socket of its namespace; use as a context manager.

    Raises ActuateError when the device or its namespace does not exist, Unsupported without the right to enter it.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.namespace = _known_as(place.namespace)
        try:
            self._socket: socket.socket = nl.opened(self.namespace)
        except PermissionError as error:
            raise Unsupported(f"{place}: {reason(error)}; run vagus as root") from error
        except OSError as error:
            raise ActuateError(f"{place}: {reason(error)}; `ip netns list` names those there are") from error
        self.cookie = nl.cookie_of(self._socket)
        try:
            found = self.find(place.device)
        except BaseException:
            self._socket.close()
            raise
        if found is None:
            self._socket.close()
            where = f"the network namespace {place.namespace}" if place.namespace else "this network namespace"
            raise ActuateError(f"there is no device {place.device} in {where}; `ip link` names those there are")
        self.link = found

    def __enter__(self) -> Interface:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def step(self, message: bytes, part: str) -> Step:
        """A request as a step; part says what of the device it changes."""
        where = f"{self.namespace}/{self.link.name}" if self.namespace else self.link.name
        return Step("netlink", where, f"{message.hex()}@{self.cookie}" if self.cookie else message.hex(), part)

    # --- looks -----------------------------------------------------------------------------------------------------

    def find(self, name: str) -> Link | None:
        """The device with that name; None when there is none."""
        answers = self._ask(link(nl.GETLINK, nl.ACK, 0, content=attribute(_IFNAME, text(name))), "")
        return _link(answers[0][1]) if answers else None

    def links(self) -> list[Link]:
        """All devices of the namespace."""
        return [_link(payload) for _, payload in self._ask(link(nl.GETLINK, nl.DUMP, 0), "")]

    def root(self, index: int = 0) -> Qdisc | None:
        """The root discipline of this device, or of another one's index; None: the kernel's default is there."""
        answers = self._ask(traffic(nl.GETQDISC, _ONE, index or self.link.index, 0, ROOT), "its root")
        found = _qdisc(answers[0][1]) if answers else None
        return found if found is not None and found.handle else None

    def qdiscs(self) -> list[Qdisc]:
        """All disciplines of this device."""
        answers = self._ask(traffic(nl.GETQDISC, nl.DUMP, self.link.index, 0, 0), "its disciplines")
        return [_qdisc(payload) for _, payload in answers if _TCMSG.unpack_from(payload)[1] == self.link.index]

    def incoming(self) -> Qdisc | None:
        """The place for filters on what comes in (ingress, clsact); None: there is none."""
        return next((found for found in self.qdiscs() if found.parent == INGRESS), None)

    def htb_class(self, handle: int, index: int = 0) -> HtbClass | None:
        """A class of HTB, None when there is none. Raises ActuateError when it is another discipline's."""
        message = traffic(nl.GETTCLASS, _ONE, index or self.link.index, handle, handle & 0xFFFF0000)
        answers = self._ask(message, f"class {handle_text(handle)}")
        return self._class(answers[0][1]) if answers else None

    def classes(self, index: int = 0) -> list[HtbClass]:
        """All classes of HTB."""
        answers = self._ask(traffic(nl.GETTCLASS, nl.DUMP, index or self.link.index, 0, 0), "its classes")
        return [self._class(payload) for _, payload in answers if _kind(payload) == "htb"]

    def filters(self, parent: int, index: int = 0) -> list[Filter]:
        """All filters below a discipline."""
        message = traffic(nl.GETTFILTER, nl.DUMP, index or self.link.index, 0, parent)
        return [_filter(payload) for _, payload in self._ask(message, "its filters")]

    def _ask(self, message: bytes, what: str) -> list[tuple[int, bytes]]:
        try:
            return nl.request(self._socket, message)
        except FileNotFoundError:
            return []
        except OSError as error:
            if error.errno == errno.ENODEV and not what:
                return []
            raise ActuateError(f"cannot look at {self.place.device}, {what}: {reason(error)}") from error

    def _class(self, payload: bytes) -> HtbClass:
        _, _, handle, parent, _ = _TCMSG.unpack_from(payload)
        found = nl.attributes(payload, _TCMSG.size)
        kind, options = _text(found.get(KIND, b"")), found.get(OPTIONS, b"")
        inside = nl.attributes(options) if kind == "htb" else {}
        if len(inside.get(_HTB_PARMS, b"")) < CLASS_PARMS.size:
            raise ActuateError(f"{self.place.device}, class {handle_text(handle)} is of {kind}, not of HTB")
        parms = CLASS_PARMS.unpack_from(inside[_HTB_PARMS])
        rate = _U64.unpack(inside[_HTB_RATE64])[0] if _HTB_RATE64 in inside else parms[5]
        ceil = _U64.unpack(inside[_HTB_CEIL64])[0] if _HTB_CEIL64 in inside else parms[11]
        return HtbClass(handle, parent, rate, ceil, parms, options)


def _known_as(namespace: str) -> str:
    """A namespace as steps name it: a process id may be someone else's by the time that they are undone."""
    if not namespace:
        return ""
    pid = namespace.removeprefix("pid=")
    try:
        if pid != namespace:
            if not (pid.isascii() and pid.isdigit()):
                raise ActuateError(f"{namespace[:40]!r} is not pid=NUMBER")
            shown = os.readlink(f"/proc/{pid}/ns/net")
            return "" if shown == os.readlink("/proc/thread-self/ns/net") else shown
    except OSError as error:
        raise ActuateError(f"the network namespace of process {pid} cannot be had: {reason(error)}") from error
    return namespace


def _link(payload: bytes) -> Link:
    _, _, index, flags, _ = _LINK.unpack_from(payload)
    found = nl.attributes(payload, _LINK.size)
    return Link(index, _text(found[_IFNAME]), int.from_bytes(found[_MTU], sys.byteorder), bool(flags & _LOOPBACK))


def _qdisc(payload: bytes) -> Qdisc:
    _, _, handle, parent, _ = _TCMSG.unpack_from(payload)
    found = nl.attributes(payload, _TCMSG.size)
    return Qdisc(_text(found.get(KIND, b"")), handle, parent, found.get(OPTIONS, b""))


def _filter(payload: bytes) -> Filter:
    _, _, _, _, info = _TCMSG.unpack_from(payload)
    found = nl.attributes(payload, _TCMSG.size)
    kind, options = _text(found.get(KIND, b"")), nl.attributes(found.get(OPTIONS, b""))
    protocol = int.from_bytes(struct.pack("=H", info & 0xFFFF), "big")
    selected = options.get(_U32_SEL, b"")
    match = None
    if kind == "u32" and len(selected) >= 16:
        keys = []
        for position in range(16, 16 + selected[2] * 16, 16):
            mask, value = struct.unpack_from(">II", selected, position)
            keys.append(Key(struct.unpack_from("=i", selected, position + 8)[0], mask, value))
        match = Match(protocol, tuple(keys))
    classid = options.get(_U32_CLASSID, b"")
    return Filter(info >> 16, protocol, kind, int.from_bytes(classid, sys.byteorder), match)


def _kind(payload: bytes) -> str:
    return _text(nl.attributes(payload, _TCMSG.size).get(KIND, b""))


def _text(content: bytes) -> str:
    return content.split(b"\0", 1)[0].decode("utf-8", "replace")
