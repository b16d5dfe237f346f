"""Settings of the decision service, and of the live numbers that its decisions know."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any

import msgspec

from vagus.config.base import Duration, Name, Settings
from vagus.errors import ConfigError
from vagus.selector import MAX_SELECTOR, is_derived, parse

MAX_CONTEXT = 50


class ContextSettings(Settings, frozen=True):
    """A live number, such as one of a feed's newest item, as a feature of every decision.

    Of the streams that `series` selects, at whatever node, the one with the newest sample counts. With `bins` the
    feature is the interval's name, such as `0.5..2`, `<0.5` or `>=2`: what `group_by` can group by.
    """

    series: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_SELECTOR)]
    bins: Annotated[tuple[float, ...], msgspec.Meta(max_length=100)] = ()
    max_age: Duration = "10m"  # of the sample; older ones are no feature

    def __post_init__(self) -> None:
        parse(self.series)
        if is_derived(self.series):
            raise ConfigError(f"decide.context: {self.series[:80]!r}: a prediction is not live; take the series itself")
        if not all(low < high for low, high in pairwise(self.bins)):
            raise ConfigError(f"decide.context: bins {list(self.bins)[:10]} do not grow")


class DecideSettings(Settings, frozen=True):
    """The decision service."""

    policy: str = "ucb"
    options: dict[str, Any] = {}
    group_by: tuple[str, ...] = ()  # features whose values name the group; none: one group
    context: dict[Name, ContextSettings | str] = {}  # features by name; a text is a series. What is sent goes first
    tick: Duration = "0.5s"

    def __post_init__(self) -> None:
        if len(self.context) > MAX_CONTEXT:
            raise ConfigError(f"decide.context names {len(self.context)} features; at most {MAX_CONTEXT}")
        self.live()

    def live(self) -> dict[str, ContextSettings]:
        """`context`, with texts as settings of their own. Raises ConfigError."""
        return {
            name: ContextSettings(series=one) if isinstance(one, str) else one for name, one in self.context.items()
        }
