"""Observers × subjects for people: a row for each subject, a column for each observer, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vagus.cli.lazy import one_line
from vagus.cli.output import GAP, STATUS_STYLE, cell, status_cell
from vagus.cli.view_health import severity

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

LETTERS = {
    "NA": "n",
    "HEALTHY": "h",
    "PENDING": "p",
    "MAYBE_UNHEALTHY": "m",
    "UNHEALTHY": "u",
    "DYING": "d",
    "DEAD": "dd",
}
MOST_SUBJECT = 40
LEAST_SUBJECT = 12
NOTHING = "·"


class Layout(NamedTuple):
    """How a matrix fits: the width of subjects, of each observer's column, and how many observers are shown.

    words: statuses in full, else letters; numbered: columns have numbers, and the names follow below.
    """

    subject: int
    column: int
    observers: int
    words: bool
    numbered: bool


def layout(width: int, subjects: Sequence[str], observers: Sequence[str], verdict: int) -> Layout:
    """The first of these that fits in `width`: names and words, names and letters, numbers and letters, fewer columns.

    verdict: the width of the column with the verdict.
    """
    subject = min(MOST_SUBJECT, max(map(len, ("subject", *subjects))))
    count = len(observers)
    name = max(map(len, observers), default=0)
    number = max(2, len(str(count)))
    for words, column, numbered in (
        (True, max(name, len("MAYBE_UNHEALTHY")), False),
        (False, max(name, 2), False),
        (False, number, True),
    ):
        if subject + GAP + verdict + count * (GAP + column) <= width:
            return Layout(subject, column, count, words, numbered)
    subject = max(LEAST_SUBJECT, min(subject, width // 3))
    fits = max(1, (width - subject - GAP - verdict) // (GAP + number))
    return Layout(subject, number, min(count, fits), False, True)


def render_matrix(answer: Mapping[str, Any], to: Console) -> None:
    """The matrix as GET /v1/matrix answers it, the worst subject first."""
    from rich.text import Text

    subjects = sorted(answer["subjects"], key=lambda s: (-severity(s["status"]), s["subject"]))
    observers = [str(name) for name in answer["observers"]]
    if not subjects:
        to.print("no subject yet: vagus report adds one")
        return
    said = {(c["observer"], c["subject"]): c["status"] for c in answer["cells"]}
    verdict = max(len("verdict"), *(len(s["status"]) for s in subjects))
    fit = layout(to.width, [s["subject"] for s in subjects], observers, verdict)
    shown = observers[: fit.observers]
    heads = [str(n) for n in range(1, len(shown) + 1)] if fit.numbered else shown
    line = Text.assemble(_pad("subject", fit.subject), " " * GAP, _pad("verdict", verdict), style="dim")
    for head in heads:
        line.append_text(Text.assemble(" " * GAP, _pad(head, fit.column)))
    to.print(line, soft_wrap=True)
    for s in subjects:
        line = Text.assemble(
            cell(_pad(s["subject"], fit.subject), "bold"), " " * GAP, _padded(status_cell(s["status"]), verdict)
        )
        for observer in shown:
            line.append_text(
                Text.assemble(" " * GAP, _padded(_said(said.get((observer, s["subject"])), fit), fit.column))
            )
        line.rstrip()
        to.print(line, soft_wrap=True)
    if fit.numbered:
        legend = "  ".join(f"{n} {one_line(name)}" for n, name in enumerate(shown, 1))
        to.print()
        to.print(Text(legend, style="dim"), soft_wrap=not to.is_terminal)
    if fit.observers < len(observers):
        more = f"and {len(observers) - fit.observers} more observers: a wider terminal, or --json, has them"
        to.print(Text(more, style="yellow"), soft_wrap=not to.is_terminal)
    if not fit.words:
        letters = "  ".join(f"{letter} {name}" for name, letter in LETTERS.items())
        to.print(Text(letters, style="dim"), soft_wrap=not to.is_terminal)


def _said(status: str | None, fit: Layout) -> Text:
    if status is None:
        return cell(NOTHING, "dim")
    return cell(status if fit.words else LETTERS.get(status, "?"), STATUS_STYLE.get(status, ""))


def _pad(text: str, width: int) -> str:
    text = one_line(text)
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def _padded(text: Text, width: int) -> Text:
    text.pad_right(max(0, width - len(text.plain)))
    return text
