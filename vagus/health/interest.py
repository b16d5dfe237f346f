"""What a node wants to hear: a filter over all subjects, and a watch list for what other nodes report."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import translate
from typing import Any

from vagus.errors import ConfigError
from vagus.model import check_name

MAX_WATCHED = 10_000
"""Names watched by request; as many subjects of reports made here, of which the longest known are dropped first."""
MAX_GLOBS = 1000
MAX_CACHED = 20_000

_GLOB = re.compile(r"[*?\[]")


class Named:
    """Whether a subject is one of some patterns: names, or globs (* ? [..]), case-sensitive."""

    def __init__(self, patterns: Iterable[str]) -> None:
        self.names = frozenset(patterns)
        self.globs = tuple(sorted(name for name in self.names if _is_glob(name)))
        self._found = re.compile("|".join(map(translate, self.globs))).match if self.globs else None

    def __call__(self, subject: str) -> bool:
        return subject in self.names or (self._found is not None and self._found(subject) is not None)


class Interest:
    """Which subjects count on this node. The filter wins over everything; of others' reports the rest depends on mode.

    all: every subject but those that `unwatch` stopped. watched: those that `watch` names, that an observer here is
    registered as, or that somebody here reports on. Of names and globs that contradict each other the later one counts.
    """

    def __init__(self, subjects: Iterable[str] = ("*",), mode: str = "all", watch: Iterable[str] = ()) -> None:
        if mode not in ("all", "watched"):
            raise ConfigError(f"interest is {mode!r}; it must be all or watched")
        self.mode = mode
        self.subjects = tuple(subjects)
        self._open = "*" in self.subjects
        self._allowed = Named(self.subjects)
        self._asked = {name: None for name in watch if not _is_glob(name)}
        self._registered: dict[str, None] = {}
        self._reported: dict[str, None] = {}
        self._stopped: dict[str, None] = {}
        self._cached: dict[str, bool] = {}
        self._changes: dict[str, bool] = {}
        self._globs = {name: (Named([name]), True) for name in watch if _is_glob(name)}  # the latest last

    def allows(self, subject: str) -> bool:
        """Whether the filter lets reports on `subject` in, whoever sends them."""
        return self._open or self._allowed(subject)

    def keeps_out(self, subject: str) -> bool:
        """Whether `subject` is a name, no glob, that the filter never lets in."""
        return not _is_glob(subject) and not self.allows(subject)

    def wants(self, subject: str) -> bool:
        """Whether other nodes' reports on `subject` count here."""
        found = self._cached.get(subject)
        if found is None:
            if len(self._cached) >= MAX_CACHED:
                self._cached.clear()
            found = self._cached[subject] = self._decide(subject)
        return found

    def watching(self) -> tuple[str, ...]:
        """The watch list: names and globs asked for, registered observers, subjects reported on here; sorted."""
        globs = (name for name, (_, wanted) in self._globs.items() if wanted)
        return tuple(sorted({*self._asked, *self._registered, *self._reported, *globs}))

    def watch(self, subject: str) -> None:
        """Others' reports on `subject`, a name or a glob, count. Raises ConfigError for too many or a bad name."""
        check_name("subject", subject)
        if _is_glob(subject):
            if subject not in self._globs and len(self._globs) >= MAX_GLOBS:
                raise ConfigError(f"{MAX_GLOBS} globs say what is watched here; unwatch some")
        elif subject not in self._asked and len(self._asked) >= MAX_WATCHED:
            raise ConfigError(f"{MAX_WATCHED} subjects are watched here; unwatch some, or watch a glob such as db*")
        wanted = self.wants(subject) and not _is_glob(subject)
        self._set(subject, wanted=True)
        if not wanted:
            self._change(subject, wanted=True)

    def unwatch(self, subject: str) -> None:
        """Others' reports on `subject`, a name or a glob, count no longer, until it is watched or reported on here."""
        self._set(subject, wanted=False)
        self._change(subject, wanted=False)

    def reported(self, subject: str) -> None:
        """Somebody here reports on `subject`: it is watched from now on."""
        if subject not in self._reported:
            self._add(self._reported, subject)

    def registered(self, observer: str) -> None:
        """An observer is registered here: what others say of it counts."""
        if observer not in self._registered:
            self._add(self._registered, observer)

    def unregistered(self, observer: str) -> None:
        """No observer of that name is registered any more."""
        if observer in self._registered:
            del self._registered[observer]
            self._cached.pop(observer, None)
            if not self.wants(observer):
                self._change(observer, wanted=False)

    def changes(self) -> dict[str, bool]:
        """Since the last call: names and globs that are wanted now and were not (True), or the reverse (False)."""
        changes, self._changes = self._changes, {}
        return changes

    def _add(self, reasons: dict[str, None], subject: str) -> None:
        wanted = self.wants(subject)
        self._stopped.pop(subject, None)
        reasons[subject] = None
        self._cached.pop(subject, None)
        dropped = _bound(reasons, MAX_WATCHED)
        if dropped is not None:
            self._cached.pop(dropped, None)
        if not wanted and self.wants(subject):
            self._change(subject, wanted=True)

    def _decide(self, subject: str) -> bool:
        if subject in self._stopped or not self.allows(subject):
            return False
        if subject in self._reported or subject in self._registered or subject in self._asked:
            return True
        for named, wanted in reversed(self._globs.values()):
            if named(subject):
                return wanted
        return self.mode == "all"

    def _set(self, subject: str, *, wanted: bool) -> None:
        """What was said before of all that is named so is over."""
        named = Named([subject])
        for reason in (self._stopped,) if wanted else (self._asked, self._registered, self._reported):
            for name in [name for name in reason if named(name)] if _is_glob(subject) else [subject]:
                reason.pop(name, None)
        if _is_glob(subject):
            self._globs.pop(subject, None)
            self._globs[subject] = (named, wanted)
            _bound(self._globs, MAX_GLOBS)
            self._cached.clear()
            return
        names = self._asked if wanted else self._stopped
        names[subject] = None
        dropped = _bound(names, MAX_WATCHED)
        for name in (subject, dropped or subject):
            self._cached.pop(name, None)

    def _change(self, subject: str, *, wanted: bool) -> None:
        self._changes.pop(subject, None)
        self._changes[subject] = wanted
        _bound(self._changes, MAX_WATCHED)


def _is_glob(subject: str) -> bool:
    return _GLOB.search(subject) is not None


def _bound(names: dict[str, Any], most: int) -> str | None:
    """Drops the oldest name of more than `most`, and says which."""
    if len(names) <= most:
        return None
    oldest = next(iter(names))
    del names[oldest]
    return oldest
