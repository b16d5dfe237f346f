"""Times as logs write them: local, sometimes without a year, ambiguous in the hour in which the clock goes back."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from vagus.clock import NS
from vagus.errors import ConfigError

MAX_PATHS = 1000
SLACK_NS = 5 * NS  # lines of several threads are out of order by so much
AHEAD_NS = 86_400 * NS  # a line without a year is at most so far in the future
YEARS_BACK = 8  # from one leap day to the one before, across a year such as 2100

_NAMES = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTHS = {name: i + 1 for i, name in enumerate(_NAMES)}
_MOMENT = re.compile(
    r"(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)[T ](?P<H>\d\d):(?P<M>\d\d):(?P<S>\d\d)(?:[.,](?P<f>\d{1,9}))?"
    r" ?(?P<z>Z|[+-]\d\d:?\d\d)?\Z"
    r"|(?P<y2>\d\d)/?(?P<m2>\d\d)/?(?P<d2>\d\d) (?P<H2>\d\d):?(?P<M2>\d\d):?(?P<S2>\d\d)\Z"
    r"|(?:[A-Z][a-z]{2} )?(?P<b>[A-Z][a-z]{2}) {1,2}(?P<d3>\d{1,2}) (?P<H3>\d\d):(?P<M3>\d\d):(?P<S3>\d\d)"
    r"(?:\.(?P<f3>\d{1,9}))?(?: (?P<y3>\d{4}))?\Z"
)


def zone_of(name: str) -> tzinfo | None:
    """The time zone of that name, such as Europe/Zurich or UTC; None, which means this machine's, for an empty one.

    Raises ConfigError.
    """
    if not name:
        return None
    if name.upper() in ("UTC", "Z"):
        return timezone.utc
    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError) as error:  # ZoneInfoNotFoundError is a KeyError
        raise ConfigError(
            f"there is no time zone {name[:80]!r} here: such as Europe/Zurich, America/New_York or UTC"
        ) from error


class LogTimes:
    """Reads the times of lines. In the hour that comes twice, the order of a file's lines tells which one it is."""

    def __init__(self, zone: tzinfo | None = None) -> None:
        self.zone = zone
        self._last: dict[str, int] = {}

    def parse(self, text: str, path: str, read_ns: int) -> int:
        """Nanoseconds since the epoch of the time in `text`; `read_ns`, when the line was read, where it is no date.

        ISO 8601 (with `,` or `.` before the fraction, an offset or none), Hadoop's `16/03/30 08:33:32` and
        `081109 203615`, `Nov 21 20:00:00` of the year that makes it the newest that is not in the future.
        """
        found = _MOMENT.match(text)
        if found is None:
            return read_ns
        try:
            t_ns = self._moment(found, path, read_ns)
        except (ValueError, OverflowError, OSError):
            return read_ns
        if len(self._last) >= MAX_PATHS and path not in self._last:
            self._last.clear()
        self._last[path] = max(t_ns, self._last.get(path, 0))
        return t_ns

    def _moment(self, found: re.Match[str], path: str, read_ns: int) -> int:
        part = found.groupdict()
        fraction = int(((part["f"] or part["f3"] or "") + "000000000")[:9])
        hour, minute = int(part["H"] or part["H2"] or part["H3"]), int(part["M"] or part["M2"] or part["M3"])
        second = min(59, int(part["S"] or part["S2"] or part["S3"]))  # a leap second counts as the one before
        clock = (hour, minute, second)
        if part["b"] is not None and part["y3"] is None:
            return self._without_year(_MONTHS.get(part["b"], 0), int(part["d3"]), clock, path, read_ns) + fraction
        if part["b"] is not None:
            day = (int(part["y3"]), _MONTHS.get(part["b"], 0), int(part["d3"]))
        elif part["y2"] is not None:
            day = (2000 + int(part["y2"]), int(part["m2"]), int(part["d2"]))
        else:
            day = (int(part["y"]), int(part["m"]), int(part["d"]))
        naive = datetime(*day, hour, minute, second)
        if part["z"]:
            return int(naive.replace(tzinfo=_offset(part["z"])).timestamp()) * NS + fraction
        return self._local_ns(naive, path, read_ns) + fraction

    def _without_year(self, month: int, day: int, clock: tuple[int, int, int], path: str, read_ns: int) -> int:
        this_year = datetime.fromtimestamp(read_ns // NS, self.zone).year
        for year in range(this_year + 1, this_year - YEARS_BACK - 1, -1):
            try:
                t_ns = self._local_ns(datetime(year, month, day, *clock), path, read_ns)
            except ValueError:
                continue  # the 29th of February of a common year
            if t_ns <= read_ns + AHEAD_NS:
                return t_ns
        raise ValueError("no such day")

    def _local_ns(self, naive: datetime, path: str, read_ns: int) -> int:
        first, second = (int(naive.replace(tzinfo=self.zone, fold=fold).timestamp()) * NS for fold in (0, 1))
        if first >= second:  # the same, or a time that the clock jumped over
            return max(0, first)
        again = first < self._last.get(path, 0) - SLACK_NS or -SLACK_NS <= read_ns - second <= SLACK_NS
        return max(0, second if again else first)


def _offset(text: str) -> tzinfo:
    if text == "Z":
        return timezone.utc
    minutes = int(text[1:3]) * 60 + int(text[-2:])
    return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
