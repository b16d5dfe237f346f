"""Makes packets late: by netem where the kernel has it, else in user space, as transparently; or by a relay."""

from __future__ import annotations

import math
import re
import socket
from pathlib import Path
from typing import ClassVar

from vagus.errors import ActuateError, ConfigError, Rejected, Unsupported
from vagus.injector import Prepared
from vagus.injector.reading import amount
from vagus.injector.strain import command
from vagus.injector.wires import look, read_place
from vagus.shaping import messages as made
from vagus.shaping.match import ANY, Match, matches
from vagus.shaping.place import Place
from vagus.shaping.probe import has
from vagus.shaping.safe import check_whole
from vagus.shaping.seen import Interface
from vagus.shaping.tree import Change, Tree
from vagus.undo import Step

DEFAULT = "50ms"
MAX_DELAY_S = 10.0

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_RELAY = re.compile(r"(tcp|udp):(.{1,300}?)(?:→|->)(.{1,300})\Z")
_ENDPOINT = re.compile(r"(?:(.*):)?(\d{1,5})\Z")
_FIRST_TAP = 0x7663_00
_SETTINGS = ("route_localnet", "accept_local")


class NetDelay:
    """Network delay: what a device sends, or flows through it (eth0,to=10.0.0.7:80), waits for 50ms or 50ms±10ms; or
    what passes a relay (tcp:8081->db:5432)."""

    name = "net-delay"
    default = DEFAULT
    options: ClassVar[dict[str, str]] = {
        "loss_percent": "Lose this share of the packets, too, 0 to 100.",
        "user_space": "Delay in a process, also where the kernel has netem.",
    }

    def __init__(self, root: Path = Path("/"), *, loss_percent: float = 0.0, user_space: bool = False) -> None:
        if not (math.isfinite(loss_percent) and 0 <= loss_percent <= 100):
            raise ConfigError(f"net-delay: loss_percent {loss_percent} is not between 0 and 100")
        self.root = root
        self.loss_ratio = loss_percent / 100
        self.user_space = user_space

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared:
        """Raises ConfigError, Unsupported."""
        delay_s, jitter_s = read_delay(intensity or DEFAULT)
        relay = _RELAY.match(target)
        if relay:
            if self.loss_ratio:
                raise ConfigError(f"{self.name}: a relay loses nothing; name a device to lose packets")
            return self._relay(relay, delay_s, jitter_s, duration_s)
        place = read_place(self.name, target)
        if place.classid:
            raise ConfigError(f"{self.name}: delay flows of {place.device} or all of it, not a class")
        with look(self.name, place) as seen:
            try:
                warning = check_whole(self.root, place, seen.link, None)
                if has("netem") and not self.user_space:
                    prepared = self._netem(seen, place, delay_s, jitter_s)
                else:
                    prepared = self._tap(seen, place, delay_s, jitter_s, duration_s)
            except Rejected as error:
                raise Unsupported(f"{self.name}: {error.reason}") from error
            except ActuateError as error:
                raise Unsupported(f"{self.name}: {error}") from error
        how = f"± {jitter_s * 1e3:g} ms " if jitter_s else ""
        lost = f", {self.loss_ratio:.3g} of it lost" if self.loss_ratio else ""
        says = f"what {place} sends is {delay_s * 1e3:g} ms {how}late{lost} ({prepared.says})"
        return Prepared(
            prepared.steps, prepared.undo, prepared.commands, says=f"{says}; {warning}" if warning else says
        )

    def _netem(self, seen: Interface, place: Place, delay_s: float, jitter_s: float) -> Prepared:
        change = Change()
        tree = Tree(seen, everything=place.everything)
        how = {"delay_s": delay_s, "jitter_s": jitter_s, "loss_ratio": self.loss_ratio}
        if place.flow is None:
            tree.delay_device(change, **how)
        else:
            tree.delay_flow(change, place.flow, **how)
        return Prepared(tuple(change.steps), tuple(change.undo), says="netem")

    def _tap(self, seen: Interface, place: Place, delay_s: float, jitter_s: float, duration_s: float) -> Prepared:
        if not (self.root / "dev/net/tun").exists() or not has("redirect"):
            raise Unsupported(
                f"{self.name}: this kernel has no netem, and no tap device with redirection to do without; "
                "delay by a relay: --target 'tcp:LISTEN->HOST:PORT'"
            )
        if seen.incoming() is not None:
            raise Unsupported(
                f"{self.name}: {seen.link.name} has filters on what comes in already (ingress or clsact), and one is "
                "all that it may have; delay by a relay: --target 'tcp:LISTEN->HOST:PORT'"
            )
        taken = {found.index for found in seen.links()}
        index = next(number for number in range(_FIRST_TAP, _FIRST_TAP + 1000) if number not in taken)
        strain = command(
            "delay",
            duration_s,
            device=seen.link.name,
            namespace=seen.namespace,
            tap=f"vagust{seen.link.index}",
            tap_index=index,
            mtu=seen.link.mtu,
            delay_s=delay_s,
            jitter_s=jitter_s,
            loss_ratio=self.loss_ratio,
        )
        change = Change()
        if seen.link.loopback:
            self._let_return(seen, change)
        gone = made.no_qdisc(seen.link.index, made.INGRESS & 0xFFFF0000, made.INGRESS, "clsact")
        change.add(seen.step(made.clsact(seen.link.index), "ingress"), seen.step(gone, "ingress"))
        wanted = (Match(ANY, ()),) if place.flow is None else matches(place.flow)
        for prio, match in enumerate(wanted, 1):
            message = made.u32(seen.link.index, made.EGRESS, prio, match, redirect=index)
            change.add(seen.step(message, f"egress filter {prio}"))
        return Prepared(
            tuple(change.steps), tuple(change.undo), (strain,), says="in a process: this kernel has no netem"
        )

    def _let_return(self, seen: Interface, change: Change) -> None:
        """What went through user space comes to the loopback as from a wire, where its addresses are distrusted."""
        if seen.namespace:
            raise Unsupported(f"{self.name}: the loopback of another network namespace cannot be delayed without netem")
        for name in _SETTINGS:
            path = self.root / "proc/sys/net/ipv4/conf" / seen.link.name / name
            try:
                before = path.read_text().strip()
            except OSError as error:
                raise Unsupported(f"{self.name}: cannot read {path}: {error.strerror}") from error
            if before != "1":
                change.add(Step("write", str(path), "1"), Step("write", str(path), before))

    def _relay(self, found: re.Match[str], delay_s: float, jitter_s: float, duration_s: float) -> Prepared:
        proto, here, there = found.groups()
        listen, server = _endpoint(here, "127.0.0.1"), _endpoint(there, "")
        kind = socket.SOCK_STREAM if proto == "tcp" else socket.SOCK_DGRAM
        try:
            address = socket.getaddrinfo(*server, type=kind)[0][4]
        except OSError as error:
            raise Unsupported(f"{self.name}: {there[:80]!r} has no address: {error}") from error
        one = command(
            "relay",
            duration_s,
            proto=proto,
            listen=listen,
            server=(str(address[0]), server[1]),
            delay_s=delay_s,
            jitter_s=jitter_s,
        )
        says = f"what clients of {proto} {listen[0]}:{listen[1]} send to {there.strip()} is {delay_s * 1e3:g} ms late"
        return Prepared(commands=(one,), says=says)


def read_delay(text: str) -> tuple[float, float]:
    """`50ms`, `50ms±10ms`, `50ms+-10ms` → seconds of delay and jitter. Raises ConfigError."""
    first, _, second = text.replace("+-", "±").partition("±")
    delay_s, _ = amount("net-delay", first, _UNITS, "a time such as 50ms or 50ms±10ms")
    jitter_s = amount("net-delay", second, _UNITS, "a time such as 50ms or 50ms±10ms")[0] if second else 0.0
    if delay_s > MAX_DELAY_S or jitter_s > delay_s:
        raise ConfigError(
            f"net-delay: {text[:40]!r}: a delay is at most {MAX_DELAY_S:g}s, and its jitter not larger than itself"
        )
    return delay_s, jitter_s


def _endpoint(text: str, default: str) -> tuple[str, int]:
    found = _ENDPOINT.match(text.strip())
    host = (found[1] or default).strip("[]") if found else ""
    if found is None or not host or not 0 < int(found[2]) < 65536:
        raise ConfigError(f"net-delay: {text[:60]!r} is no HOST:PORT; a relay is written tcp:8081->db:5432")
    return host, int(found[2])
