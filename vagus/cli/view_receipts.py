"""What actuators did, for people: a receipt as a sentence, and those that the status view shows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from vagus.cli.output import age, byte_size, cell, quantity

if TYPE_CHECKING:
    from rich.console import Console

MOST_RECEIPTS = 3
RECENT_NS = 600 * 10**9


def receipt_text(receipt: dict[str, Any]) -> str:
    """A receipt as a sentence: `throttle@a  cpu_cores of pid:1: 2 → 1.5 (asked for 1), done (reason; note)`."""
    who = f"{receipt.get('controller')}@{receipt.get('node')}  {_what(receipt)}"
    reason, note = str(receipt.get("reason") or ""), str(receipt.get("note") or "")
    if note.startswith("held"):
        return f"{who} {note}" + (f" ({reason})" if reason else "")
    before, wanted, after = (_value(receipt, key) for key in ("before", "requested", "after"))
    asked = f" (asked for {wanted})" if after != wanted else ""
    dry, error = receipt.get("dry"), receipt.get("error")
    if error:
        outcome = f"would fail: {error}" if dry else f"failed: {error}"
    else:
        outcome = "dry: nothing written" if dry else "done"
    remarks = "; ".join(filter(None, (reason, note)))
    return f"{who}: {before} → {after}{asked}, {outcome}" + (f" ({remarks})" if remarks else "")


def receipt_style(receipt: dict[str, Any]) -> str:
    """Red is what failed; dim is what would have been."""
    return "dim" if receipt.get("dry") else "red" if receipt.get("error") else ""


def render_receipts(nodes: list[dict[str, Any]], console: Console) -> None:
    """The newest receipts of the last ten minutes, without what the controllers' own lines say already."""
    from rich.text import Text

    now_ns = max((int(n.get("t_ns") or 0) for n in nodes), default=0)
    for receipt in list(_news(nodes, now_ns))[:MOST_RECEIPTS]:
        ago = cell(f"{age(int(receipt.get('t_ns') or 0), now_ns):>6} ago  ", "dim")
        console.print(Text(" " * 8) + ago + cell(receipt_text(receipt), receipt_style(receipt)), soft_wrap=True)


def _news(nodes: list[dict[str, Any]], now_ns: int) -> Iterator[dict[str, Any]]:
    """Receipts, newest first; of dry ones that differ in nothing but their reason only the newest."""
    said = {
        (str(a.get("name", "")).rpartition(":")[2], str(note))
        for n in nodes
        for a in n.get("actors") or ()
        for note in a.get("notes") or ()
    }
    limits: set[tuple[str, str]] = set()
    seen: set[tuple[str, ...]] = set()
    for receipt in sorted((r for n in nodes for r in n.get("receipts") or ()), key=lambda r: -int(r.get("t_ns") or 0)):
        if now_ns - int(receipt.get("t_ns") or 0) > RECENT_NS:
            return
        who, what = f"{receipt.get('controller')}@{receipt.get('node')}", _what(receipt)
        newest = (who, what) not in limits
        limits.add((who, what))
        if not receipt.get("dry"):
            yield receipt
            continue
        change = (who, what, *(_value(receipt, key) for key in ("before", "after")), str(receipt.get("error") or ""))
        # a controller keeps a receipt when it says something new: the newest is what its line tells
        told = newest and any(name == who and what in note for name, note in said)
        if change not in seen and not told:
            yield receipt
        seen.add(change)


def _what(receipt: dict[str, Any]) -> str:
    return f"{receipt.get('resource')} of {receipt.get('target')}"


def _value(receipt: dict[str, Any], key: str) -> str:
    value = receipt.get(key)
    if str(receipt.get("resource", "")).endswith("_bytes") and value is not None:
        return byte_size(value)
    return quantity(value) or "no limit"
