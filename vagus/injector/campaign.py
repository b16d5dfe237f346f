"""When each injection of a campaign begins and ends. Pure: the same seed is the same campaign."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from vagus.config import CampaignSettings, InjectionSettings, seconds
from vagus.errors import ConfigError
from vagus.injector import INJECTIONS

MAX_INJECTIONS = 10_000
MAX_AT_ONCE = 64
MAX_DURATION_S = 86400.0
MAX_TOTAL_S = 7 * 86400.0
LEAST_S = 0.1
AFTER = "after"


class Due(NamedTuple):
    """One injection of a campaign, in seconds since its begin. repetition and number: which line, which time."""

    begin_s: float
    duration_s: float
    repetition: int
    number: int
    settings: InjectionSettings

    @property
    def end_s(self) -> float:
        return self.begin_s + self.duration_s


def duration_of(text: str | float) -> float:
    """How long an injection lasts. Raises ConfigError."""
    duration_s = seconds(text)
    if not LEAST_S <= duration_s <= MAX_DURATION_S:
        raise ConfigError(f"an injection lasts {LEAST_S:g} s to {MAX_DURATION_S / 3600:g} h, not {duration_s:g} s")
    return duration_s


def schedule(campaign: CampaignSettings) -> tuple[Due, ...]:
    """Every injection, the first one first. Raises ConfigError, naming the line, for what is out of bounds.

    A repetition is as long as its lines with their whole jitter, so that the next one never begins before its end;
    `pause` is between them. A line `after` the one before begins when that one has ended, whatever its jitter.
    """
    lines: list[tuple[float, float, float]] = []
    for number, settings in enumerate(campaign.injections):
        lines.append(_line(settings, f"injections[{number}]", sum(lines[-1]) if lines else 0.0))
    if not lines:
        raise ConfigError("injections: there are none")
    if len(lines) * campaign.repeat > MAX_INJECTIONS:
        raise ConfigError(
            f"{len(lines)} injections × {campaign.repeat}: a campaign has at most {MAX_INJECTIONS} injections"
        )
    try:
        pause_s = seconds(campaign.pause)
    except ConfigError as error:
        raise ConfigError(f"pause: {error}") from error
    length_s = max(at + jitter + duration for at, jitter, duration in lines)
    total_s = campaign.repeat * length_s + (campaign.repeat - 1) * pause_s
    if total_s > MAX_TOTAL_S:
        raise ConfigError(f"the campaign lasts {total_s / 86400:.3g} days; at most {MAX_TOTAL_S / 86400:g} are allowed")
    rng = Random(campaign.seed)
    found = [
        Due(
            repetition * (length_s + pause_s) + at + rng.random() * jitter,
            duration,
            repetition,
            number,
            campaign.injections[number],
        )
        for repetition in range(campaign.repeat)
        for number, (at, jitter, duration) in enumerate(lines)
    ]
    found.sort(key=lambda due: (due.begin_s, due.number))
    _at_once(found)
    return tuple(found)


def _line(settings: InjectionSettings, where: str, after_s: float) -> tuple[float, float, float]:
    """Begin, jitter, duration; sum: when it has ended for sure."""
    try:
        if settings.type not in INJECTIONS:
            raise ConfigError(f"there is no type {settings.type!r}; there are {', '.join(INJECTIONS)}")
        at_s = after_s if settings.at == AFTER else seconds(settings.at)
        return at_s, seconds(settings.jitter), duration_of(settings.duration)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error


def _at_once(found: list[Due]) -> None:
    ends: list[float] = []
    for due in found:
        ends = [end for end in ends if end > due.begin_s]
        ends.append(due.end_s)
        if len(ends) > MAX_AT_ONCE:
            raise ConfigError(f"more than {MAX_AT_ONCE} injections at once, {due.begin_s:.3g} s after the begin")
