"""Which receipts the demo tells, and how: each change once; not what was held, repeated, or changed nothing."""

from __future__ import annotations

from collections.abc import Iterable

from vagus.model import Receipt


class Told:
    """Remembers what was told. `limit`: the one in force, or that a dry controller would set; None for none."""

    def __init__(self, since_ns: int = 0) -> None:
        self.limit: float | None = None
        self._seen_ns = since_ns
        self._errors: set[str] = set()
        self._would: tuple[float | None, float | None] | None = None

    def news(self, receipts: Iterable[Receipt]) -> list[str]:
        """A line for each receipt that says something new, oldest first. The receipts may come again, in any order."""
        lines = []
        for receipt in sorted(receipts, key=lambda r: r.t_ns):
            if receipt.t_ns <= self._seen_ns:
                continue
            self._seen_ns = receipt.t_ns
            if receipt.note.startswith("held"):
                continue
            line = self._dry(receipt) if receipt.dry else self._done(receipt)
            if line:
                lines.append(line)
        return lines

    def _done(self, receipt: Receipt) -> str:
        if receipt.error:
            return self._failed(receipt)
        self.limit = receipt.after
        if receipt.after == receipt.before:
            return ""
        return f"set {_what(receipt)} from {_text(receipt.before)} to {_text(receipt.after)}, because {receipt.reason}"

    def _dry(self, receipt: Receipt) -> str:
        failed = self._failed(receipt) if receipt.error else ""
        would = (receipt.before, receipt.after)
        if receipt.after == receipt.before or would == self._would:
            return failed
        self._would, self.limit = would, receipt.after
        line = f"would set {_what(receipt)} from {_text(receipt.before)} to {_text(receipt.after)}, dry, because {receipt.reason}"
        return f"{line} ({failed})" if failed else line

    def _failed(self, receipt: Receipt) -> str:
        if receipt.error in self._errors:
            return ""
        self._errors.add(receipt.error)
        return f"cannot limit {_what(receipt)}: {receipt.error}"


def _what(receipt: Receipt) -> str:
    return f"{receipt.resource} of {receipt.target}"


def _text(cores: float | None) -> str:
    return "no limit" if cores is None else f"{cores:.2f}"
