"""Which receipts are worth keeping, and how they read."""

from __future__ import annotations

from vagus.clock import NS
from vagus.model import Receipt

REPEAT_S = 60.0
CHANGED_RATIO = 0.02


def worth_storing(receipt: Receipt, last: Receipt | None) -> bool:
    """Whether a receipt says something new: acted or refused differently, changed by more than 2 %, or a minute old."""
    if last is None or (not receipt.dry and receipt.after != receipt.before):
        return True
    if receipt.t_ns - last.t_ns >= REPEAT_S * NS or receipt.dry != last.dry or receipt.error != last.error:
        return True
    if receipt.note.startswith("held") != last.note.startswith("held"):
        return True
    if receipt.after is None or last.after is None:
        return receipt.after is not last.after
    return abs(receipt.after - last.after) > CHANGED_RATIO * abs(last.after)


def describe(receipt: Receipt) -> str:
    """A receipt as a line for people: `would set cpu_cores of pid:self to 1.4 (now no limit): …`."""
    what, why = f"{receipt.resource} of {receipt.target}", f": {receipt.reason}" if receipt.reason else ""
    note = f" [{receipt.note}]" if receipt.note else ""
    if receipt.note.startswith("held"):
        return f"{what} stays at {_text(receipt.resource, receipt.before)}{note}"
    if receipt.error and not receipt.dry:
        return f"could not set {what} to {_text(receipt.resource, receipt.requested)}: {receipt.error}"
    proposed = receipt.requested if receipt.error and receipt.after is None else receipt.after
    before, after = _text(receipt.resource, receipt.before), _text(receipt.resource, proposed)
    if receipt.dry:
        cannot = f"; cannot be armed here: {receipt.error}" if receipt.error else ""
        return f"would set {what} to {after} (now {before}){why}{note}{cannot}"
    return f"set {what} to {after} (was {before}){why}{note}"


def _text(resource: str, value: float | None) -> str:
    if value is None:
        return "no limit"
    return f"{value / 2**20:.1f} MiB" if resource.endswith("bytes") else f"{value:.3g}"
