"""The kernel's schemata as values: which ways of which cache, how much memory bandwidth.

Source: Documentation/filesystems/resctrl.rst; kernels up to 5.14 pad the values.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from vagus.errors import ActuateError

_MAX_CHARS = 1 << 16


def is_cache(resource: str) -> bool:
    """Whether a line's values are masks (L3, L3CODE, L3DATA, L2 …) and not numbers (MB, SMBA)."""
    return resource.startswith("L") and resource[1:2].isdigit()


class Schemata(NamedTuple):
    """The lines of a `schemata` file by name, such as L3, each a mask or number for each domain's id.

    Lines that the kernel shows without values (`L3:uninitialized`) have no domains.
    """

    lines: dict[str, dict[int, int]]

    @classmethod
    def parse(cls, text: str) -> Schemata:
        """Raises ActuateError, naming what is malformed."""
        lines: dict[str, dict[int, int]] = {}
        if len(text) > _MAX_CHARS:
            raise ActuateError(f"a schemata of {len(text)} characters is none of resctrl's")
        for line in text.splitlines():
            name, colon, rest = line.strip().partition(":")
            if not name:
                continue
            if not colon:
                raise ActuateError(f"schemata: {line.strip()[:60]!r} is not NAME:DOMAIN=VALUE;…")
            found = lines.setdefault(name.strip(), {})
            if rest.strip() == "uninitialized":
                continue
            for item in filter(None, rest.split(";")):
                domain, _, value = item.partition("=")
                try:
                    found[int(domain)] = int(value.strip(), 16 if is_cache(name) else 10)
                except ValueError:
                    raise ActuateError(f"schemata: {item.strip()[:60]!r} of {name[:20]} is not DOMAIN=VALUE") from None
        return cls(lines)

    def __str__(self) -> str:
        return "\n".join(line_text(name, values) for name, values in self.lines.items() if values)


def line_text(name: str, values: Mapping[int, int]) -> str:
    """One line as it is written: `L3:0=f;1=f0`."""
    kind = "x" if is_cache(name) else "d"
    return f"{name}:" + ";".join(f"{domain}={value:{kind}}" for domain, value in sorted(values.items()))


def runs(mask: int) -> list[tuple[int, int]]:
    """The runs of consecutive 1-bits as (lowest bit, length), from the lowest."""
    found = []
    bit = 0
    while mask >> bit:
        if mask >> bit & 1:
            first = bit
            while mask >> bit & 1:
                bit += 1
            found.append((first, bit - first))
        else:
            bit += 1
    return found
