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
    """How a matrix fits: the width of subjects and of the column of each observer that is shown.

    words: statuses in full, else letters; numbered: columns have numbers, and the names follow below.
    """

    subject: int
    columns: tuple[int, ...]
    words: bool
    numbered: bool


def layout(width: int, subjects: Sequence[str], observers: Mapping[str, int], verdict: int) -> Layout:
    """The first of these that fits in `width`: names and words, names and letters, numbers and letters, fewer columns.

    observers: by name the longest status word that it said; verdict: the width of the column with the verdict.
    """
    subject = min(MOST_SUBJECT, max(map(len, ("subject", *subjects))))
    number = max(2, len(str(len(observers))))
    for words, numbered, columns in (
        (True, False, tuple(max(len(name), word) for name, word in observers.items())),
        (False, False, tuple(max(len(name), 2) for name in observers)),
        (False, True, (number,) * len(observers)),
    ):
        if subject + GAP + verdict + sum(columns) + GAP * len(columns) <= width:
            return Layout(subject, columns, words, numbered)
    subject = max(LEAST_SUBJECT, min(subject, width // 3))
    fits = max(1, (width - subject - GAP - verdict) // (GAP + number))
    return Layout(subject, (number,) * min(len(observers), fits), False, True)


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
    longest = dict.fromkeys(observers, 1)
    for (observer, _), status in said.items():
        if observer in longest:
            longest[observer] = max(longest[observer], len(status))
    fit = layout(to.width, [s["subject"] for s in subjects], longest, verdict)
    shown = observers[: len(fit.columns)]
    heads = [str(n) for n in range(1, len(shown) + 1)] if fit.numbered else shown
    line = Text.assemble(_pad("subject", fit.subject), " " * GAP, _pad("verdict", verdict), style="dim")
    for head, column in zip(heads, fit.columns, strict=True):
        line.append_text(Text.assemble(" " * GAP, _pad(head, column)))
    to.print(line, soft_wrap=True)
    for s in subjects:
        line = Text.assemble(
            cell(_pad(s["subject"], fit.subject), "bold"), " " * GAP, _padded(status_cell(s["status"]), verdict)
        )
        for observer, column in zip(shown, fit.columns, strict=True):
            word = _said(said.get((observer, s["subject"])), fit.words)
            line.append_text(Text.assemble(" " * GAP, _padded(word, column)))
        line.rstrip()
        to.print(line, soft_wrap=True)
    if fit.numbered:
        to.print()
        _legend([f"{n} {name}" for n, name in enumerate(shown, 1)], to)
    if len(shown) < len(observers):
        more = f"and {len(observers) - len(shown)} more observers: a wider terminal, or --json, has them"
        to.print(Text(more, style="yellow"), soft_wrap=not to.is_terminal)
    if not fit.words:
        _legend([f"{letter} {name}" for name, letter in LETTERS.items()], to)


def _legend(entries: Sequence[str], to: Console) -> None:
    """Entries in lines as wide as the terminal; none is broken that fits in one."""
    line = ""
    for entry in map(one_line, entries):
        if line and len(line) + GAP + len(entry) > to.width:
            to.print(cell(line, "dim"))
            line = ""
        line += (" " * GAP if line else "") + entry
    to.print(cell(line, "dim"))


def _said(status: str | None, words: bool) -> Text:
    if status is None:
        return cell(NOTHING, "dim")
    return cell(status if words else LETTERS.get(status, "?"), STATUS_STYLE.get(status, ""))


def _pad(text: str, width: int) -> str:
    text = one_line(text)
    return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"


def _padded(text: Text, width: int) -> Text:
    text.pad_right(max(0, width - len(text.plain)))
    return text
