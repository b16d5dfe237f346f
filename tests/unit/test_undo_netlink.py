"""The step `netlink`: requests as bytes, the kernel's words, namespaces that are gone."""

from __future__ import annotations

import errno
import os
import struct

import pytest

from vagus.errors import Rejected
from vagus.shaping import messages as made
from vagus.undo import Step, perform, undo
from vagus.undo import netlink as nl

NOWHERE = 0x7FFF_FFF0  # an index that no device has


def test_a_device_that_is_gone_counts_as_undone_and_is_told_when_performed() -> None:
    step = Step("netlink", "gone0", made.no_qdisc(NOWHERE, 0x10000, made.ROOT, "htb").hex(), "root")
    with pytest.raises(Rejected) as caught:
        perform(step)
    if os.geteuid() == 0:
        assert "ENODEV" in caught.value.reason
        assert undo([step]) == []
    else:
        assert "EPERM" in caught.value.reason  # asked before anything is looked at
    assert (caught.value.path, caught.value.value) == ("gone0", "root"), "hexadecimal digits are for machines"


@pytest.mark.parametrize("path", ["vagus-no-such-namespace/eth0", "net:[1]/eth0"])
def test_a_namespace_that_is_gone_counts_as_undone(path: str) -> None:
    for cookie in ("", "@18446744073709551615"):
        step = Step("netlink", path, made.no_class(2, 0x10010).hex() + cookie, "class 1:10")
        assert undo([step]) == []
        with pytest.raises(Rejected, match="namespace"):
            perform(step)


def test_another_namespace_under_the_same_name_is_not_touched() -> None:
    with nl.opened() as link:
        cookie = nl.cookie_of(link)
    if not cookie:
        pytest.skip("this kernel names no namespaces (Linux 5.14 does)")
    other = Step("netlink", "lo", f"{made.no_qdisc(1, 0x10000, made.ROOT, 'htb').hex()}@{cookie + (1 << 40)}", "root")
    with pytest.raises(Rejected, match="is gone"):
        perform(other)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("zz", "malformed"),
        ("00", "malformed"),
        ("", "malformed"),
        (made.no_class(2, 1).hex() + "@x", "malformed"),
        (made.traffic(nl.GETQDISC, nl.DUMP, 0, 0, 0).hex(), "change no traffic control"),
        (struct.pack("=IHHII", 16, 24, 5, 0, 0).hex(), "requests of type 24"),  # RTM_NEWROUTE
        (made.no_class(2, 1).hex() + "00" * nl.MAX_REQUEST_BYTES, "change no traffic control"),
    ],
)
def test_requests_of_other_kinds_are_refused(value: str, words: str) -> None:
    with pytest.raises(Rejected, match=words) as caught:
        perform(Step("netlink", "lo", value, "root"))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EINVAL, "not as if it were gone"


@pytest.mark.parametrize("path", ["../x/eth0", "./eth0", "a/b/eth0"])
def test_a_namespace_is_a_name(path: str) -> None:
    with pytest.raises(Rejected, match="no name of a network namespace"):
        perform(Step("netlink", path, made.no_class(2, 1).hex(), "x"))


def refusal(code: int, text: bytes, *, capped: bool) -> bytes:
    """What a kernel answers: struct nlmsgerr, the request's header, perhaps the request, and its words."""
    request = made.no_class(2, 0x10010)
    echoed = request[:16] if capped else request + b"\0" * (-len(request) % 4)
    return struct.pack("=i", -code) + echoed + (made.attribute(1, text + b"\0") if text else b"")


class Kernel:
    """The other end of a netlink socket."""

    def __init__(self, *answers: tuple[int, int, bytes]) -> None:
        self.answers = list(answers)
        self.sequence = 0

    def send(self, data: bytes) -> None:
        self.sequence = nl.HEADER.unpack_from(data)[3]

    def recv(self, size: int) -> bytes:
        if not self.answers:
            raise TimeoutError
        kind, flags, payload = self.answers.pop(0)
        other = nl.HEADER.pack(20, 2, 0, self.sequence ^ 1, 0) + struct.pack("=i", -errno.EIO)
        mine = nl.HEADER.pack(16 + len(payload), kind, flags, self.sequence, 0) + payload
        return other + mine + b"\0" * (-len(mine) % 4)


@pytest.mark.parametrize("capped", [True, False])
def test_the_kernels_own_words(capped: bool) -> None:
    flags = 0x200 | (0x100 if capped else 0)
    kernel = Kernel((2, flags, refusal(errno.ENOENT, b"Specified class not found.", capped=capped)))
    with pytest.raises(OSError, match=r"Specified class not found\.") as caught:
        nl.request(kernel, made.no_class(2, 0x10010))  # type: ignore[arg-type]
    assert caught.value.errno == errno.ENOENT


def test_without_words_the_errors_name() -> None:
    kernel = Kernel((2, 0, refusal(errno.EBUSY, b"", capped=True)))
    with pytest.raises(OSError, match=os.strerror(errno.EBUSY)):
        nl.request(kernel, made.no_class(2, 1))  # type: ignore[arg-type]


def test_answers_to_others_are_passed_over_and_what_comes_before_the_ack_is_kept() -> None:
    kernel = Kernel((36, 0, b"qdisc..."), (36, 0, b"another."), (2, 0, struct.pack("=i", 0)))
    assert nl.request(kernel, made.no_class(2, 1)) == [(36, b"qdisc..."), (36, b"another.")]  # type: ignore[arg-type]


def test_a_kernel_that_says_nothing_is_not_waited_for_for_ever() -> None:
    with pytest.raises(OSError, match="did not answer") as caught:
        nl.request(Kernel(), made.no_class(2, 1))  # type: ignore[arg-type]
    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("data", [b"\x10", b"\x20\0\0\0" + b"\0" * 12, b"\x04\0\0\0" + b"\0" * 12])
def test_cut_messages(data: bytes) -> None:
    with pytest.raises(OSError, match="is cut"):
        list(nl.messages(data))


@pytest.mark.parametrize("data", [b"\x02\0\1\0", b"\x09\0\1\0abcd"])
def test_cut_attributes(data: bytes) -> None:
    with pytest.raises(OSError, match="is cut"):
        nl.attributes(data)
