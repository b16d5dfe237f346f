"""What was acknowledged, and whether it is there: of samples, reports and the bytes of a feed's archive. Pure."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable, Mapping
from typing import NamedTuple

SAMPLE, REPORT, BYTES = "sample", "report", "bytes"
KINDS = (SAMPLE, REPORT, BYTES)

Key = Hashable
"""What names one thing: (node, number) of a sample or report, (location, due_ns) of an archived body."""


class Outcome(NamedTuple):
    """Of one kind. lost: acknowledged and not there; changed: there, but only with another content; doubled: there more
    than once (a place that was asked twice for the same second has two answers, which both stay); came: sent without an
    answer, and there all the same; strange: there, and never sent."""

    acknowledged: int
    unanswered: int
    lost: tuple[Key, ...]
    changed: tuple[Key, ...]
    doubled: tuple[Key, ...]
    came: int
    strange: tuple[Key, ...]


class Ledger:
    """Threads may share it. A content is anything that is equal or not, such as a checksum."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sent: dict[str, dict[Key, Hashable]] = {kind: {} for kind in KINDS}
        self._acknowledged: dict[str, set[Key]] = {kind: set() for kind in KINDS}

    def sending(self, kind: str, contents: Mapping[Key, Hashable]) -> None:
        """These are on their way: from now on they may be there."""
        with self._lock:
            self._sent[kind].update(contents)

    def acknowledged(self, kind: str, keys: Iterable[Key]) -> None:
        """The far side said that it has them. Raises KeyError for what was not sent."""
        with self._lock:
            for key in keys:
                if key not in self._sent[kind]:
                    raise KeyError(f"{kind} {key!r} was acknowledged, and never sent")
                self._acknowledged[kind].add(key)

    def refused(self, kind: str, keys: Iterable[Key]) -> None:
        """The far side said that it has not taken them: they must not be there."""
        with self._lock:
            for key in keys:
                self._sent[kind].pop(key, None)

    def counts(self) -> dict[str, int]:
        """Acknowledged so far, by kind."""
        with self._lock:
            return {kind: len(keys) for kind, keys in self._acknowledged.items()}

    def compare(self, kind: str, found: Iterable[tuple[Key, Hashable]], *, all_sent: bool = True) -> Outcome:
        """What became of a kind. found: key and content of each thing that is there, as often as it is.

        all_sent: False where others than those noted here may be there too, which are then not strange.
        """
        with self._lock:
            sent, acknowledged = dict(self._sent[kind]), set(self._acknowledged[kind])
        times: dict[Key, int] = {}
        same: set[Key] = set()
        for key, content in found:
            times[key] = times.get(key, 0) + 1
            if key in sent and sent[key] == content:
                same.add(key)
        return Outcome(
            acknowledged=len(acknowledged),
            unanswered=len(sent) - len(acknowledged),
            lost=_sorted(acknowledged - times.keys()),
            changed=_sorted((sent.keys() & times.keys()) - same),
            doubled=_sorted(key for key, count in times.items() if count > 1),
            came=len((sent.keys() - acknowledged) & times.keys()),
            strange=_sorted(times.keys() - sent.keys()) if all_sent else (),
        )


def _sorted(keys: Iterable[Key]) -> tuple[Key, ...]:
    return tuple(sorted(keys, key=repr))
