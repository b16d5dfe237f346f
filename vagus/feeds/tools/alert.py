"""Alerts: told when an item's numbers are out of bounds, an expression holds, a user's function says so, or data stays
away.

What is missing resolves nothing: an item that failed, or has not what a rule asks for, leaves each alert as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from vagus.clock import NS
from vagus.errors import ConfigError, VagusError
from vagus.feeds.contracts import Notice, ToolContext
from vagus.feeds.item import Item
from vagus.feeds.location import HTTP, scheme, shown
from vagus.feeds.tools import checked
from vagus.feeds.tools.alert_file import AlertFile
from vagus.feeds.tools.alert_options import AlertOptions
from vagus.feeds.tools.alert_rules import Rules
from vagus.feeds.tools.alert_state import AlertState, Change, Timing
from vagus.feeds.tools.fields import Key
from vagus.feeds.tools.options import path_of, seconds_of
from vagus.feeds.tools.wording import Wording
from vagus.model import MAX_NAME, Status

MAX_SUBJECTS = 10_000
_BEFORE = {Change.BEGAN: "", Change.GOES_ON: "goes on: ", Change.ENDED: "ended: "}


class Alert:
    """`Alert(context, when="load1 > 5", **{"for": "5m"})`; all options: AlertOptions. Raises ConfigError."""

    name = "alert"
    in_parts = True  # it knows each subject by itself

    def __init__(self, context: ToolContext, **options: Any) -> None:
        self.options = given = checked(AlertOptions, options, {"style": "file"})
        self._context = context
        self._rules = Rules(given, context)
        self._missing_ns = round(seconds_of("missing", given.missing) * NS)
        if not self._rules and not self._missing_ns:
            raise ConfigError("it needs a rule: minimum or maximum of a field, when, function, or missing")
        repeat_s = seconds_of("repeat", given.repeat)
        begins = given.most_per_hour
        self._timing = Timing(seconds_of("for", given.for_), seconds_of("clear_for", given.clear_for), repeat_s, begins)
        self._absence = Timing(0.0, 0.0, repeat_s, begins)
        self._key = Key(given.key, context)
        self._message = Wording("message", given.message, context) if given.message else None
        self._subject = Wording("subject", given.subject, context) if given.subject else None
        self._file = AlertFile(path_of(context, given.file), given.style) if given.file else None
        self._status = Status.parse(given.severity)
        self._subjects: dict[str, _Subject] = {}

    def take(self, item: Item[Any]) -> Iterable[Notice]:
        """Judges an item. Raises VagusError when too many subjects' alerts stand, and what the user's function raises."""
        key = self._key.of(item)
        if key is None:
            return
        now_ns = item.meta.arrived_ns
        subject = self._known(key, now_ns)
        bad = clear = None
        failure: Exception | None = None
        try:
            bad, clear = self._rules.judge(item)
        except Exception as error:  # the user's function: what it cannot judge is missing
            failure = error
        if bad is not None if self._rules else self._rules.present(item):
            subject.known_ns = max(subject.known_ns, now_ns)
            subject.told(self._subject_text(key, item), self._rules.number(item))
        elif not subject.text:
            subject.told(self._subject_text(key, item), None)
        notices = list(self._absent(subject, now_ns))
        change = subject.state.judged(bad, clear, self._timing, now_ns)
        if change is not None:
            if change is Change.BEGAN and self._message is not None:
                subject.message = self._message.of(item)
            notices.append(self._notice(subject, change, now_ns))
        subject.settle()
        yield from self._told(notices)
        if failure is not None:
            raise failure

    def tick(self, now_ns: int) -> Iterable[Notice]:
        """Time has passed: data that stays away, and what is to be told again. It never begins or ends a judged alert."""
        notices: list[Notice] = []
        for subject in self._subjects.values():
            notices += self._absent(subject, now_ns)
            change = subject.state.passed(self._timing, now_ns)
            if change is not None:
                notices.append(self._notice(subject, change, now_ns))
        yield from self._told(notices)

    def finish(self, now_ns: int) -> Iterable[Notice]:
        """Writes what is not written yet; no alert ends by it."""
        yield from self._told([])

    @property
    def standing(self) -> tuple[str, ...]:
        """The subjects of which an alert stands."""
        return tuple(s.text for s in self._subjects.values() if s.state.standing or s.absent.standing)

    def _told(self, notices: list[Notice]) -> Iterator[Notice]:
        """Hands notices on, and then writes them: a file that cannot be written keeps none of them back."""
        yield from notices
        if self._file is not None:
            self._file.write(notices)

    def _known(self, key: str, now_ns: int) -> _Subject:
        subject = self._subjects.get(key)
        if subject is None:
            if len(self._subjects) >= MAX_SUBJECTS:
                self._forget()
            subject = self._subjects[key] = _Subject(now_ns)
        return subject

    def _forget(self) -> None:
        """Makes room: the subjects known for longest, of which nothing stands."""
        idle = [key for key, subject in self._subjects.items() if subject.state.quiet and not subject.absent.standing]
        if not idle:
            raise VagusError(f"alerts of {MAX_SUBJECTS} subjects stand; more are left out: `key` tells too many apart")
        for key in idle[: MAX_SUBJECTS // 10]:
            del self._subjects[key]

    def _absent(self, subject: _Subject, now_ns: int) -> Iterator[Notice]:
        if self._missing_ns:
            absent = now_ns - subject.known_ns >= self._missing_ns
            change = subject.absent.judged(absent, not absent, self._absence, now_ns)
            if change is not None:
                yield self._notice(subject, change, now_ns, missing=True)

    def _subject_text(self, key: str, item: Item[Any]) -> str:
        if self._subject is not None and (text := self._subject.whole(item)) is not None:
            return text[:MAX_NAME]
        node = self._context.node
        if self.options.key or scheme(key) in HTTP or not node:
            return shown(key, MAX_NAME)
        return f"{shown(key, MAX_NAME - len(node) - 1)}@{node}"  # a file or command means something on its node alone

    def _notice(self, subject: _Subject, change: Change, now_ns: int, missing: bool = False) -> Notice:
        given = self.options
        state, timing = (subject.absent, self._absence) if missing else (subject.state, self._timing)
        rule = f"nothing for {given.missing}" if missing else given.name or self._rules.text
        value = None if missing else subject.value
        text = subject.message if not missing and subject.message else f"{subject.text}: {rule}"
        if not missing and not subject.message and value is not None:
            text += f" ({value:g})"
        if change is Change.BEGAN and state.flapping(timing, now_ns):
            text += f"; it flaps: it ends once it was clear for {timing.calm_s:g} s"
        return Notice(
            tool=self.name,
            feed=self._context.feed,
            subject=subject.text,
            rule=rule,
            status=Status.HEALTHY if change is Change.ENDED else self._status,
            t_ns=now_ns,
            since_ns=subject.known_ns if missing and change is not Change.ENDED else state.since_ns,
            text=_BEFORE[change] + text,
            value=value,
            again=change is Change.GOES_ON,
            report=given.report,
            event=given.event,
            webhooks=given.webhooks,
            mail=given.mail,
        )


class _Subject:
    """What an alert is about, and how it is with it."""

    __slots__ = ("absent", "known_ns", "message", "newest", "state", "text", "value")

    def __init__(self, now_ns: int) -> None:
        self.state = AlertState()
        self.absent = AlertState()
        self.known_ns = now_ns  # when something could last be told of it; at first, when it was first heard of
        self.text = self.newest = ""
        self.message = ""
        self.value: float | None = None

    def told(self, text: str, value: float | None) -> None:
        self.newest = text
        self.value = value
        self.settle()

    def settle(self) -> None:
        """While an alert stands, it is told under the name under which it began."""
        if not self.text or not (self.state.standing or self.absent.standing):
            self.text = self.newest
