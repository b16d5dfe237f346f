"""Settings of the decision service, and of the live numbers that its decisions know."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

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


class LearnSettings(Settings, frozen=True):
    """Groups learned in the background from what became of decisions. Off without `features`."""

    features: tuple[str, ...] = ()  # critical ones are looked for among these; their values must be few
    every: Duration = "1m"  # at most so often is a new grouping made
    history: Annotated[int, msgspec.Meta(ge=1000, le=10_000_000)] = 200_000  # outcomes looked back on
    min_sessions: Annotated[int, msgspec.Meta(ge=10)] = 500  # of a group; with fewer it is not split further
    max_groups: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000


class DecideSettings(Settings, frozen=True):
    """The decision service. Groups: by `rules`, by what is learned, or by `group_by`."""

    policy: str = "auto"
    options: dict[str, Any] = {}
    group_by: tuple[str, ...] = ()  # features whose values name the group; none: one group
    rules: dict[str, Any] | str = {}  # the nested rule tree, or a JSON or YAML file of it
    fallback: str = ""  # the feature that names the group where no rule matches
    learn: LearnSettings = LearnSettings()
    labels: tuple[str, ...] = ()  # features that are kept of a session; none: all
    reduced: tuple[str, ...] = ()  # of those, what reaches policies and the learning of groups; none: all
    capacity: dict[str, Annotated[float, msgspec.Meta(gt=0)]] = {}  # by arm: sessions per second up to its knee
    context: dict[Name, ContextSettings | str] = {}  # features by name; a text is a series. What is sent goes first
    tick: Duration = "0.5s"
    on: Literal["head", "every-node"] = "every-node"  # where groups can be led
    max_groups: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 200_000
    max_open: Annotated[int, msgspec.Meta(ge=1, le=10_000_000)] = 1_000_000  # decisions that wait for their outcome
    max_age: Duration = "1h"  # of one that waits

    def __post_init__(self) -> None:
        if len(self.context) > MAX_CONTEXT:
            raise ConfigError(f"decide.context names {len(self.context)} features; at most {MAX_CONTEXT}")
        self.live()

    def live(self) -> dict[str, ContextSettings]:
        """`context`, with texts as settings of their own. Raises ConfigError."""
        return {
            name: ContextSettings(series=one) if isinstance(one, str) else one for name, one in self.context.items()
        }
