"""What a program's libraries complain about in their logs, as reports:

logging.getLogger("kazoo").addHandler(vagus.HealthHandler({"kazoo": "peer@1"}))
log.error("write refused", extra={"subject": "db@2", "context": "write"})
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from time import perf_counter

from vagus.client.reporter import REPORTER, Reporter
from vagus.client.track import Track, name_of
from vagus.model import Status

EVERY_S = 1.0
MAX_KNOWN = 10_000
_LEVELS = (
    (logging.CRITICAL, Status.DYING),
    (logging.ERROR, Status.UNHEALTHY),
    (logging.WARNING, Status.MAYBE_UNHEALTHY),
)


class HealthHandler(logging.Handler):
    """WARNING is MAYBE_UNHEALTHY, ERROR UNHEALTHY, CRITICAL DYING; the score is how many records one report is for.

    subjects: by the name of a logger, or of one above it; `extra={"subject": …}` at the call goes before. A record
    about no subject is none of ours. context: `extra`'s, else the logger's name. `extra={"status": "HEALTHY"}` says
    that it is over. At most one report of a kind in `every_s` seconds; the others are counted in the next. Never raises.
    """

    def __init__(
        self,
        subjects: str | Mapping[str, str] | None = None,
        level: int = logging.WARNING,
        observer: str | None = None,
        *,
        every_s: float = EVERY_S,
        reporter: Reporter = REPORTER,
    ) -> None:
        super().__init__(level)
        self._subjects = {"": subjects} if isinstance(subjects, str) else dict(subjects or {})
        self._observer = observer
        self._every_s = every_s
        self._reporter = reporter
        self._known: dict[tuple[Track, Status], list[float]] = {}  # when it may be said again, and how often it was not

    def emit(self, record: logging.LogRecord) -> None:
        """Queues a report; never raises."""
        try:
            subject = getattr(record, "subject", None) or self._subject_of(record.name)
            if subject is None:
                return
            given = getattr(record, "status", None)
            status = (given if isinstance(given, Status) else Status.parse(str(given))) if given is not None else None
            status = status or _status_of(record.levelno)
            if status is not None:
                self._say(record, subject, status)
        except Exception as error:  # the host program must not notice
            self._reporter.fail(error)

    def _subject_of(self, logger: str) -> str | None:
        while True:
            found = self._subjects.get(logger)
            if found is not None or not logger:
                return found
            logger = logger.rpartition(".")[0]

    def _say(self, record: logging.LogRecord, subject: object, status: Status) -> None:
        reporter = self._reporter
        context = name_of(getattr(record, "context", None) or record.name or "root")
        track = reporter.track(name_of(subject), context, self._observer)
        now = perf_counter()
        if status == Status.HEALTHY:
            for kind in Status:
                self._known.pop((track, kind), None)  # should it begin again, that is said at once
            reporter.put(track, status, 1.0)
            return
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        known = self._known.setdefault((track, status), [0.0, 0.0])
        known[1] += 1.0
        if now >= known[0]:
            count, known[0], known[1] = known[1], now + self._every_s, 0.0
            track.forget(track.count)
            reporter.put(track, status, count)


def _status_of(level: int) -> Status | None:
    return next((status for least, status in _LEVELS if level >= least), None)
