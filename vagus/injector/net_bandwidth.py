"""Takes bandwidth away: HTB on a device, or for flows through it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from vagus.errors import ActuateError, ConfigError, Rejected, Unsupported
from vagus.injector import Prepared
from vagus.injector.reading import BYTES_S, amount
from vagus.injector.wires import look, read_place
from vagus.shaping.inward import with_incoming
from vagus.shaping.messages import UNLIMITED
from vagus.shaping.safe import check_whole
from vagus.shaping.tree import LEAST, Change, Tree, flat

DEFAULT = "10Mbit"
_BITS = {unit + per: factor / 8 for unit, factor in {"kbit": 1e3, "Mbit": 1e6, "Gbit": 1e9}.items() for per in ("", "/s")}  # fmt: skip


class NetBandwidth:
    """Network bandwidth: what a device sends, or flows through it (eth0,to=10.0.0.7:80), is held to 10Mbit or 1MB/s."""

    name = "net-bandwidth"
    default = DEFAULT
    options: ClassVar[dict[str, str]] = {"incoming": "Hold what comes in, instead of what is sent (through an ifb)."}

    def __init__(self, root: Path = Path("/"), *, incoming: bool = False) -> None:
        self.root = root
        self.incoming = incoming

    def prepare(self, intensity: str, target: str, duration_s: float) -> Prepared:
        """Raises ConfigError, Unsupported."""
        value, _ = amount(self.name, intensity or DEFAULT, {**BYTES_S, **_BITS}, "a rate such as 10Mbit or 1MB/s")
        rate = round(value)
        if not LEAST <= rate < UNLIMITED:
            raise ConfigError(f"{self.name}: {rate} bytes/s is not between {LEAST} and {UNLIMITED}")
        place = read_place(self.name, target)
        change, after = Change(), Change()
        with look(self.name, place) as seen:
            try:
                warning = check_whole(self.root, place, seen.link, rate)
                if self.incoming:
                    tree, after = with_incoming(seen, change)
                else:
                    tree = Tree(seen, everything=place.everything)
                if place.classid:
                    found = tree.class_of(place.classid)
                    tree.limit_class(change, found, rate if flat(found) else min(found.rate, rate), rate)
                elif place.flow is not None:
                    tree.limit_flow(change, place.flow, rate)
                else:
                    tree.limit_device(change, rate)
            except Rejected as error:
                raise Unsupported(f"{self.name}: {error.reason}") from error
            except ActuateError as error:
                raise Unsupported(f"{self.name}: {error}") from error
        says = f"{place} {'takes in' if self.incoming else 'sends'} at most {rate * 8e-6:.4g} Mbit/s"
        return Prepared(
            steps=(*change.steps, *after.steps),
            undo=(*after.undo, *change.undo),
            says=f"{says}; {warning}" if warning else says,
        )
