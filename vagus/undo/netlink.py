"""The step `netlink`: one rtnetlink request, sent as it is, in the network namespace that it was made for.

path: `DEVICE`, or `NAMESPACE/DEVICE` with a name of /run/netns or `net:[INODE]` as /proc/PID/ns/net shows it; part: what
of the device (`class 1:10`); value: the request in hex, and behind `@` the namespace's cookie, since another one may get
the name or the inode once this one is gone. The device is the request's own index, which outlives a change of name.
Formats: linux/netlink.h, linux/rtnetlink.h, all in the machine's byte order.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from vagus.errors import Rejected
from vagus.undo import Step, reason

TIMEOUT_S = 5.0  # the kernel answers at once, unless it loads a module or waits for its lock
MAX_REQUEST_BYTES = 1 << 16
MAX_ANSWER_BYTES = 16 << 20
HEADER = struct.Struct("=IHHII")
REQUEST, ACK, ECHO, DUMP = 0x1, 0x4, 0x8, 0x300
NEWLINK, DELLINK, GETLINK = 16, 17, 18
NEWQDISC, DELQDISC, GETQDISC = 36, 37, 38
NEWTCLASS, DELTCLASS, GETTCLASS = 40, 41, 42
NEWTFILTER, DELTFILTER, GETTFILTER = 44, 45, 46

_CHANGES = frozenset({NEWLINK, DELLINK, NEWQDISC, DELQDISC, NEWTCLASS, DELTCLASS, NEWTFILTER, DELTFILTER})
_ERROR, _DONE = 2, 3
_CAPPED, _ACK_TLVS = 0x100, 0x200
_MESSAGE_TEXT = 1  # NLMSGERR_ATTR_MSG
_SOL_NETLINK, _CAP_ACK, _EXT_ACK = 270, 10, 11
_SO_NETNS_COOKIE = 71
_CLONE_NEWNET = 0x40000000
_CODE = struct.Struct("=i")
_ATTRIBUTE = struct.Struct("=HH")
_TYPE_MASK = 0x3FFF
_NAMED = ("/run/netns", "/var/run/netns", "/run/docker/netns")
_INODE = re.compile(r"net:\[(\d+)\]\Z")
_MAX_NAMESPACES = 4096


def netlink(step: Step) -> None:
    """Sends the request and waits for the kernel's ack.

    Raises Rejected, caused by an OSError with the kernel's errno and its own words; ENODEV, ENOENT for what is gone.
    Deleting a discipline or a filter whose place another one has taken, or none, counts as gone.
    """
    try:
        _send(step)
    except OSError as error:  # hundreds of hexadecimal digits tell nobody what was wanted
        raise Rejected(step.path, step.part, reason(error)) from error


def _send(step: Step) -> None:
    text, _, cookie = step.value.partition("@")
    try:
        message, expected = bytes.fromhex(text), int(cookie or "0")
        kind = HEADER.unpack_from(message)[1]
    except (ValueError, struct.error) as error:
        raise OSError(errno.EINVAL, f"the step's request is malformed: {error}") from error
    if kind not in _CHANGES or len(message) > MAX_REQUEST_BYTES:
        raise OSError(errno.EINVAL, f"requests of type {kind} and {len(message)} bytes change no traffic control")
    with opened(step.path.rpartition("/")[0], expected) as link:
        try:
            request(link, message)
        except OSError as error:
            # `Invalid handle`, `Parent Qdisc doesn't exists`
            if kind in (DELQDISC, DELTFILTER) and error.errno == errno.EINVAL:
                raise OSError(errno.ENOENT, error.strerror) from error
            raise


# --- requests --------------------------------------------------------------------------------------------------------


def request(link: socket.socket, message: bytes) -> list[tuple[int, bytes]]:
    """Sends a message with REQUEST and ACK or DUMP set; returns what comes before the ack: types and payloads.

    Raises OSError with the kernel's errno, and its explanation where it gives one.
    """
    sequence = int.from_bytes(os.urandom(4), sys.byteorder)  # an answer to someone who gave up is told apart
    length, kind, flags, _, _ = HEADER.unpack_from(message)
    link.send(HEADER.pack(length, kind, flags | REQUEST, sequence, 0) + message[HEADER.size :])
    found: list[tuple[int, bytes]] = []
    size = 0
    while True:
        try:
            data = link.recv(1 << 17)
        except TimeoutError as error:
            raise OSError(errno.ETIMEDOUT, f"the kernel did not answer within {TIMEOUT_S:g} s") from error
        size += len(data)
        if size > MAX_ANSWER_BYTES:
            raise OSError(errno.EMSGSIZE, f"the kernel's answer is longer than {MAX_ANSWER_BYTES} bytes")
        for kind, flags, answered, payload in messages(data):
            if answered != sequence:
                continue
            if kind in (_ERROR, _DONE):
                _check(flags, payload)
                return found
            found.append((kind, payload))


def messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Type, flags, sequence number and payload of each message of a datagram. Raises OSError for a cut one."""
    position = 0
    while position < len(data):
        length = HEADER.unpack_from(data, position)[0] if position + HEADER.size <= len(data) else 0
        if length < HEADER.size or position + length > len(data):
            raise OSError(errno.EBADMSG, f"a netlink message at byte {position} of {len(data)} is cut")
        _, kind, flags, sequence, _ = HEADER.unpack_from(data, position)
        yield kind, flags, sequence, data[position + HEADER.size : position + length]
        position += (length + 3) & ~3


def attributes(data: bytes, position: int = 0) -> dict[int, bytes]:
    """The attributes from a position on: type → content. Raises OSError for a cut one."""
    found = {}
    while position + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, position)
        if length < 4 or position + length > len(data):
            raise OSError(errno.EBADMSG, f"a netlink attribute at byte {position} of {len(data)} is cut")
        found[kind & _TYPE_MASK] = data[position + 4 : position + length]
        position += (length + 3) & ~3
    return found


def _check(flags: int, payload: bytes) -> None:
    code = -_CODE.unpack_from(payload)[0]
    if code <= 0:
        return
    words = os.strerror(code)
    if flags & _ACK_TLVS:
        length = HEADER.unpack_from(payload, 4)[0]  # of the request, which is echoed unless capped
        begin = 4 + (HEADER.size if flags & _CAPPED else (length + 3) & ~3)
        told = attributes(payload, begin).get(_MESSAGE_TEXT, b"")
        words = told.split(b"\0", 1)[0].decode("utf-8", "replace") or words
    raise OSError(code, words)


# --- namespaces ------------------------------------------------------------------------------------------------------


def opened(namespace: str = "", cookie: int = 0) -> socket.socket:
    """A socket to the kernel in a network namespace (empty: this process' own), which this process does not enter.

    cookie: the namespace must have this one; it is looked for when it goes by another name now. Raises OSError: ENOENT,
    ENODEV when it is gone, EPERM without the right to enter it.
    """
    try:
        link = _inside(_file(namespace))
    except FileNotFoundError:
        if not cookie:
            raise
    else:
        if not cookie or cookie_of(link) in (0, cookie):
            return link
        link.close()
    for file in _all():
        try:
            link = _inside(file)
        except OSError:
            continue
        if cookie_of(link) == cookie:
            return link
        link.close()
    raise OSError(errno.ENODEV, f"the network namespace {namespace or 'of old'} is gone")


def opened_new() -> socket.socket:
    """A socket in a network namespace made for it, which ends with it: to try what this kernel has. Raises OSError."""
    return _elsewhere(_unshare)


def cookie_of(link: socket.socket) -> int:
    """What names a namespace until the machine ends (Linux 5.14); 0 where the kernel does not tell."""
    try:
        return int.from_bytes(link.getsockopt(socket.SOL_SOCKET, _SO_NETNS_COOKIE, 8), sys.byteorder)
    except OSError:
        return 0


def _file(namespace: str) -> str:
    if not namespace:
        return ""
    found = _INODE.match(namespace)
    if found:
        for file in _all():
            if os.stat(file).st_ino == int(found[1]):
                return file
        raise FileNotFoundError(errno.ENOENT, f"no process is in the network namespace {namespace}")
    if "/" in namespace or namespace in (".", ".."):
        raise OSError(errno.EINVAL, f"{namespace!r} is no name of a network namespace")
    for folder in _NAMED:
        if os.path.exists(f"{folder}/{namespace}"):
            return f"{folder}/{namespace}"
    raise FileNotFoundError(errno.ENOENT, f"there is no network namespace {namespace!r} in {_NAMED[0]}")


def _all() -> Iterator[str]:
    """A file for each namespace that has a name or a process."""
    seen: set[int] = set()
    named = [str(file) for folder in _NAMED if os.path.isdir(folder) for file in Path(folder).iterdir()]
    for file in [*named, *(f"/proc/{pid}/ns/net" for pid in os.listdir("/proc") if pid.isdigit())]:
        try:
            inode = os.stat(file).st_ino
        except OSError:
            continue
        if inode not in seen and len(seen) < _MAX_NAMESPACES:
            seen.add(inode)
            yield file


def _inside(file: str) -> socket.socket:
    return _elsewhere(lambda: _enter(file)) if file else _socket()


def enter(namespace: str) -> None:
    """Moves the calling thread into a namespace. Raises OSError."""
    if namespace:
        _enter(_file(namespace))


def _enter(file: str) -> None:
    with open(file, "rb") as namespace:
        if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
            code = ctypes.get_errno()
            raise OSError(code, f"cannot enter the network namespace {file}: {os.strerror(code)}")


def _unshare() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"cannot make a network namespace: {os.strerror(code)}")


def _elsewhere(go: Callable[[], None]) -> socket.socket:
    """A socket made after `go`, in a thread that ends there: only a thread's namespace changes."""
    found: list[socket.socket | OSError] = []

    def make() -> None:
        try:
            go()
            found.append(_socket())
        except OSError as error:
            found.append(error)

    thread = threading.Thread(target=make, name="setns")
    thread.start()
    thread.join()
    if isinstance(found[0], OSError):
        raise found[0]
    return found[0]


def _socket() -> socket.socket:
    link = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    link.settimeout(TIMEOUT_S)
    for option in (_CAP_ACK, _EXT_ACK):
        try:
            link.setsockopt(_SOL_NETLINK, option, 1)
        except OSError:  # before Linux 4.12: the errno has to do
            pass
    return link
