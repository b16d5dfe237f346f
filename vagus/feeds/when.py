"""When a feed is fetched, declared: `every("5m", timeout="60s")`, `once("60s")`."""

from __future__ import annotations

import math
from datetime import datetime, timezone

import msgspec

from vagus.clock import NS
from vagus.config import seconds
from vagus.errors import ConfigError
from vagus.feeds.schedule import CATCH_UP, CatchUp, Schedule
from vagus.model import check_time

NOW = "now"


class When(msgspec.Struct, frozen=True, kw_only=True):
    """Ticks, before it is known when the feed begins. period_s 0: a single one; start_ns None: when the feed begins."""

    period_s: float
    timeout_s: float
    start_ns: int | None = 0
    duration_s: float = math.inf
    catch_up: CatchUp = "latest"

    def __post_init__(self) -> None:
        if self.catch_up not in CATCH_UP:
            raise ConfigError(f"catch_up is one of {', '.join(CATCH_UP)}, not {self.catch_up!r}")
        self.schedule(0)

    def schedule(self, begun_ns: int) -> Schedule:
        """The ticks of what begins at this time."""
        start_ns = begun_ns if self.start_ns is None else self.start_ns
        if not self.period_s:
            return Schedule(period_s=1.0, timeout_s=self.timeout_s, start_ns=start_ns, spread_s=0.0, single=True)
        return Schedule(
            period_s=self.period_s,
            timeout_s=self.timeout_s,
            start_ns=start_ns,
            duration_s=self.duration_s,
            catch_up=self.catch_up,
        )


def every(
    period: str | float,
    *,
    timeout: str | float,
    start: str | datetime = "",
    duration: str | float | None = None,
    catch_up: CatchUp = "latest",
) -> When:
    """A tick each `period` (seconds, or "5m"); `timeout` bounds one fetch.

    start: of the grid, "now" or a time such as "2026-01-31T12:00:00Z"; without it the grid is that of the clock (each
    full five minutes), or begins now where there is a duration. From "now" on several locations are spread over the
    period (at most five minutes); a single one begins at once. duration: how long there are ticks. Below foreach,
    "now" is when the list came that a location is new in, and the duration counts from the newest list that has it.
    catch_up: of the ticks that passed while the feed did not run, fetch the `latest`, one after the other `all`, or
    `none`; what is not fetched is a missed item. Raises ConfigError.
    """
    lasting_s = math.inf if duration is None else seconds(duration)
    period_s = seconds(period)
    if not period_s:
        raise ConfigError("every: the period must be more than 0 s; `once` is a single tick")
    start_ns = parse_start(start or (NOW if duration is not None else ""))
    return When(
        period_s=period_s, timeout_s=seconds(timeout), start_ns=start_ns, duration_s=lasting_s, catch_up=catch_up
    )


def once(timeout: str | float, *, start: str | datetime = NOW) -> When:
    """A single tick: now, or at a time; below foreach one for each list that has the element. Raises ConfigError."""
    return When(period_s=0.0, timeout_s=seconds(timeout), start_ns=parse_start(start or NOW))


def parse_start(start: str | datetime) -> int | None:
    """Nanoseconds of wall time; None for "now", 0 for "". A time without a zone is UTC. Raises ConfigError."""
    if start in ("", NOW):
        return None if start else 0
    try:
        time = start if isinstance(start, datetime) else datetime.fromisoformat(start.strip().replace("Z", "+00:00"))
    except ValueError as error:
        raise ConfigError(f"start {start!r} is neither `now` nor a time such as 2026-01-31T12:00:00Z") from error
    if time.tzinfo is None:
        time = time.replace(tzinfo=timezone.utc)
    return check_time(round(time.timestamp()) * NS)
