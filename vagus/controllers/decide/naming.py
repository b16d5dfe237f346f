"""Names of learned groups: what leads to them, readable while short, never the same for two."""

from __future__ import annotations

from collections.abc import Sequence

from vagus.config import hash_text

Way = tuple[tuple[str, str | None], ...]  # features with a value each; None: any that has no group of its own
SHOWN = 60


def group_name(ways: Sequence[Way]) -> str:
    r"""`dest=ATL|BOS&origin=JFK or dest=*`: alternatives that differ in their last value share a line.

    `\ | & = *` in names and values are escaped; beyond 60 characters the rest is a hash of the whole.
    """
    if not ways or not ways[0]:
        return "all"
    values: dict[tuple[str, str], list[str]] = {}
    for way in ways:
        *before, (field, value) = way
        values.setdefault(("&".join(_step(*step) for step in before), _plain(field)), []).append(
            "*" if value is None else _plain(value)
        )
    whole = " or ".join(
        f"{before}{'&' if before else ''}{field}={'|'.join(sorted(some))}"
        for (before, field), some in sorted(values.items())
    )
    return whole if len(whole) <= SHOWN else f"{whole[:SHOWN]}\\#{hash_text(whole):016x}"


def _step(field: str, value: str | None) -> str:
    return f"{_plain(field)}={'*' if value is None else _plain(value)}"


def _plain(text: str) -> str:
    escaped = "".join("\\" + one if one in "\\|&=* " else one for one in text)
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in escaped)
