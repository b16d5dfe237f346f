"""What a parse finds wrong, part by part, until it is a descriptor."""

from __future__ import annotations

from vagus.feeds.item import Data, Descriptor, State

MAX_TOLD = 1000  # parts of one value whose descriptors are kept; all are counted
MAX_NOTE = 200

Inside = tuple[tuple[str | int, Descriptor], ...]


class Faults:
    """Errors of one value: of itself (`wrong`) and of its parts (`part`)."""

    def __init__(self) -> None:
        self.errors = 0
        self._inside: list[tuple[str | int, Descriptor]] = []
        self._code = Data.GOOD
        self._note = ""
        self._state = State.PARTIAL

    def wrong(self, note: str, code: Data = Data.SYNTAX, errors: int = 1, state: State = State.PARTIAL) -> None:
        """An error of the value itself; the first note is told, and SYNTAX wins over SEMANTIC."""
        self.errors += errors
        self._note = self._note or note[:MAX_NOTE]
        if self._code is not Data.SYNTAX:
            self._code = code
        if state is State.PANIC:
            self._state = state

    def part(self, key: str | int, found: Descriptor) -> None:
        """What was found of a part; a good one is left out."""
        if found.errors:
            self.errors += found.errors
            if len(self._inside) < MAX_TOLD:
                self._inside.append((key, found))

    def broken(self, key: str | int, note: str, start: int, end: int, code: Data = Data.SYNTAX) -> None:
        """A part of which nothing could be made."""
        self.part(key, Descriptor(State.PANIC, 1, code, start, end, note=note[:MAX_NOTE]))

    def descriptor(self, start: int, end: int) -> Descriptor:
        """NESTED when only parts are wrong."""
        if not self.errors:
            return Descriptor(start=start, end=end)
        code = Data.NESTED if self._code is Data.GOOD else self._code
        return Descriptor(self._state, self.errors, code, start, end, tuple(self._inside), self._note)


def whole(body: bytes, note: str, code: Data = Data.SYNTAX) -> Descriptor:
    """The descriptor of a body of which nothing could be made."""
    return Descriptor(State.PANIC, 1, code, 0, len(body), note=note[:MAX_NOTE])
