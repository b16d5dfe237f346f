"""What is known of the cluster and what of it is looked at: news and keys make a new state of an old one. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from vagus.cli.top.told import Hello, Section, Signals, Tick

VIEWS = ("nodes", "health", "feeds", "decisions", "limits", "all")
SECTIONS = ("nodes", "verdicts", "feeds", "decisions", "limits")
MAX_FILTER = 60  # characters
MAX_POINTS = 600

Lines = tuple[tuple[float | None, ...], ...]
"""A line of values for each signal, oldest first."""


@dataclass(frozen=True)
class State:
    """view: one of VIEWS; words: what lines are filtered by; typing: the filter is being written.

    history: by node; t_ms: when it was so, by the gateway's clock; columns: how often signals came; lost: why the
    gateway does not answer, empty while it does.
    """

    view: str = "all"
    words: str = ""
    typing: bool = False
    helped: bool = False
    scroll: int = 0
    hello: Hello = field(default_factory=Hello)
    sections: Mapping[str, Any] = field(default_factory=dict)
    history: Mapping[str, Lines] = field(default_factory=dict)
    t_ms: int = 0
    columns: int = 0
    lost: str = ""

    @property
    def whole(self) -> bool:
        """Whether every section came, and signals twice: counters are rates from the second time on."""
        return self.columns > 1 and all(name in self.sections for name in SECTIONS)


def told(state: State, name: str, about: Any) -> State:
    """The state after an event; about: its record, or for `lost` the reason."""
    if name == "lost":
        return replace(state, lost=str(about))
    if isinstance(about, Hello):
        return replace(state, hello=about, lost="")
    if isinstance(about, Signals):
        history = {node: tuple(map(tuple, lines)) for node, lines in about.lines.items()}
        t_ms = about.t_ms[-1] if about.t_ms else state.t_ms
        columns = state.columns + max(1, len(about.t_ms))
        return replace(_signals(state, about), history=history, t_ms=t_ms, columns=columns)
    if isinstance(about, Tick):
        return replace(
            _signals(state, about), history=_behind(state, about), t_ms=about.t_ms, columns=state.columns + 1
        )
    if isinstance(about, Section):
        return replace(state, sections={**state.sections, name: about})
    return state


def _signals(state: State, about: Section) -> State:
    """Of the signals only what all sections say; their values are the history."""
    said = Section(missing=about.missing, missing_count=about.missing_count, error=about.error, refused=about.refused)
    return replace(state, sections={**state.sections, "signals": said})


def _behind(state: State, tick: Tick) -> dict[str, Lines]:
    """The history with one column more, as long as it was told to be; who has no value in any of it is gone."""
    count, points = len(state.hello.signals), min(MAX_POINTS, max(1, state.hello.points))
    found: dict[str, Lines] = {}
    for node in state.history.keys() | tick.values.keys():
        before, values = state.history.get(node, ()), tick.values.get(node, [])
        lines = tuple(
            ((*_at(before, at, ()), _at(values, at, None))[-points:]) for at in range(max(count, len(values)))
        )
        if any(value is not None for line in lines for value in line):
            found[node] = lines
    return found


def _at(values: Any, at: int, otherwise: Any) -> Any:
    return values[at] if at < len(values) else otherwise


def pressed(state: State, key: str, page: int, deepest: int) -> State | None:
    """The state after a key, None when it is the end. page: lines of the body; deepest: the largest scroll."""
    if state.typing:
        return _written(state, key)
    if key == "q":
        return None
    if key in ("?", "h"):
        return replace(state, helped=not state.helped)
    if key == "/":
        return replace(state, typing=True)
    if key == "escape":
        return replace(state, words="", helped=False, scroll=0)
    if len(key) == 1 and key in "123456":
        return replace(state, view=VIEWS[int(key) - 1], scroll=0)
    if key in ("tab", "backtab"):
        at = VIEWS.index(state.view) + (1 if key == "tab" else -1)
        return replace(state, view=VIEWS[at % len(VIEWS)], scroll=0)
    steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pagedown": page, " ": page, "pageup": -page, "b": -page}
    steps |= {"home": -deepest, "g": -deepest, "end": deepest, "G": deepest}
    if key in steps:
        at = min(state.scroll, deepest) + steps[key]
        return replace(state, scroll=max(0, min(deepest, at)))
    return state


def _written(state: State, key: str) -> State:
    if key == "enter":
        return replace(state, typing=False)
    if key == "escape":
        return replace(state, typing=False, words="", scroll=0)
    if key == "backspace":
        return replace(state, words=state.words[:-1], scroll=0)
    if len(key) == 1:
        return replace(state, words=(state.words + key)[:MAX_FILTER], scroll=0)
    return state
