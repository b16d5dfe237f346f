"""Who is registered at an observer and what it watches, over restarts: restored before anything is taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress

import msgspec

from vagus.actors.book import Book
from vagus.errors import ConfigError, StoreError
from vagus.health.handles import MAX_HANDLES, Handle
from vagus.health.interest import Named
from vagus.health.local import LocalStore
from vagus.model import Report
from vagus.store import Store

MAX_WATCHES = 20_000
"""Subjects in the book; then those that are no longer watched are forgotten."""
MAX_KEPT = 2 * MAX_HANDLES + 1000
"""Handles in the book; then those that ended longest ago are forgotten."""

Save = Callable[[Store], None]

_handle = msgspec.msgpack.Decoder(Handle).decode
_encode = msgspec.msgpack.Encoder().encode


class _Watch(msgspec.Struct, frozen=True, array_like=True):
    """What was asked of a subject last, when, and after which number of the reports made here."""

    wanted: bool
    t_ns: int
    seq: int = 0


_watch = msgspec.msgpack.Decoder(_Watch).decode


class Registrations:
    """Changes `local` and says how to keep that: what a method returns is called with the store, then committed.

    Each registration, and its end, is a record (kind "registration") besides, for people; records age, the book not.
    """

    def __init__(self, local: LocalStore) -> None:
        self._local = local
        self._handles = Book("handle")
        self._watches = Book("watch")
        self._stopped: dict[str, _Watch] = {}  # subjects, names or globs, that are not to be heard of

    def restore(self, store: Store) -> None:
        """Takes back handles and watch list. Raises StoreError when they are damaged."""
        try:
            handles = [_handle(packed) for packed in self._handles.read(store).values()]
            watches = {subject: _watch(packed) for subject, packed in self._watches.read(store).items()}
        except ValueError as error:
            raise StoreError(f"the registrations in {store.path} are damaged: {error}") from error
        self._local.restore_handles(sorted(handles, key=lambda handle: not handle.active))
        self._forgotten()(store)
        for subject, watch in sorted(watches.items(), key=lambda item: item[1].t_ns):
            if watch.wanted:
                with suppress(ConfigError):  # one too many, or no name any longer: the others are watched
                    self._local.watch(subject)
            else:
                self._local.unwatch(subject)
                self._stopped[subject] = watch

    def heard(self, history: Iterable[Report]) -> list[Report]:
        """The reports of `history` but those on subjects that were stopped after them; no number is used again."""
        stops = [(Named([subject]), stop) for subject, stop in self._stopped.items()]
        globs = [(named, stop) for named, stop in stops if named.globs]
        any_glob = Named(glob for named, _ in globs for glob in named.globs)

        def is_over(report: Report) -> bool:
            if report.origin == self._local.node:
                self._local.advance(report.seq)
            stop = self._stopped.get(report.subject)
            if stop is not None and self._before(report, stop):
                return True
            return any_glob(report.subject) and any(
                named(report.subject) and self._before(report, stop) for named, stop in globs
            )

        return [report for report in history if not is_over(report)]

    def _before(self, report: Report, stop: _Watch) -> bool:
        if report.origin == self._local.node:  # it may speak of an earlier time, and the clock may have been set
            return report.seq <= stop.seq
        return report.t_ns <= stop.t_ns

    def register(self, module: str, observer: str, now_ns: int) -> tuple[int, Save]:
        """The observer's handle. Raises ConfigError."""
        number = self._local.register(module, observer)
        handle = Handle(number, module, observer)
        saves = [self._handles.put(str(number), _encode(handle))]
        if observer in self._stopped:
            saves.append(self._revive(observer))
        if len(self._handles) > MAX_KEPT:
            saves.append(self._forgotten())
        return number, _all(*saves, _record(handle, now_ns))

    def unregister(self, number: int, now_ns: int) -> Save | None:
        """Ends a registration; None where there was none."""
        known = next((handle for handle in self._local.handles() if handle.number == number and handle.active), None)
        if known is None or not self._local.unregister(number):
            return None
        ended = msgspec.structs.replace(known, active=False)
        return _all(self._handles.put(str(number), _encode(ended)), _record(ended, now_ns))

    def watch(self, subject: str, now_ns: int) -> Save:
        """Others' reports on a subject, a name or a glob, count. Raises ConfigError."""
        self._local.watch(subject)
        named = Named([subject])
        for stopped in [name for name in self._stopped if named(name)]:
            del self._stopped[stopped]
        return _all(*self._room(), self._watches.put(subject, _encode(_Watch(True, now_ns))))

    def unwatch(self, subject: str, now_ns: int) -> Save:
        """Forgets a subject, a name or a glob, until it is watched or reported on here."""
        self._local.unwatch(subject)
        stop = self._stopped[subject] = _Watch(False, now_ns, self._local.seq)
        return _all(*self._room(), self._watches.put(subject, _encode(stop)))

    def reported(self, subject: str) -> Save | None:
        """Somebody here reports on a subject: if it was stopped it is not any longer."""
        return self._revive(subject) if subject in self._stopped else None

    def _forgotten(self) -> Save:
        """Drops handles from the book that nobody remembers any longer."""
        known = {str(handle.number) for handle in self._local.handles()}
        return self._handles.drop(self._handles.keys() - known)

    def _revive(self, subject: str) -> Save:
        del self._stopped[subject]
        return self._watches.drop([subject])

    def _room(self) -> list[Save]:
        if len(self._watches) < MAX_WATCHES:
            return []
        longest = sorted(self._stopped, key=lambda subject: self._stopped[subject].t_ns)[
            : max(1, len(self._stopped) // 2)
        ]
        for subject in longest:
            del self._stopped[subject]
        return [self._watches.drop(longest)]


def _record(handle: Handle, now_ns: int) -> Save:
    index = {"observer": handle.observer, "module": handle.module}
    return lambda store: store.put("registration", handle, t_ns=now_ns, index=index)


def _all(*saves: Save) -> Save:
    def save(store: Store) -> None:
        for one in saves:
            one(store)

    return save
