"""Moves the head into blocks a little at each flush, so that no tick waits long and little space is freed at once.

The records up to a number are read in slices; then their streams are put into blocks, some at each step, and the
frontier that is committed with them says which, so that a reader takes each row from one place, and a new writer goes
on where the last was killed. At last the frontier passes the number, and the entries below, which nobody reads any
more, are deleted in slices too.
"""

from __future__ import annotations

from itertools import islice, takewhile

from vagus.store import blocks, frontier
from vagus.store.decoder import Decoder
from vagus.store.environment import Environment
from vagus.store.files import Txn
from vagus.store.frontier import Frontier
from vagus.store.query import Query
from vagus.store.rows import ordered

SLICE = 64  # records read, or four times as many entries deleted, in one step
STEPS = 60  # in which the streams are put into blocks
MAX_ROWS = 1 << 62


class Sealer:
    """One passage of the head below `until`. When a step's transaction is not committed, begin a new Sealer.

    rows: about how many there are.
    """

    def __init__(self, env: Environment, query: Query, at: Frontier, until: int, rows: int) -> None:
        self._env = env
        self._query = query
        self._at = Frontier(at.floor, until, at.done if until == at.until else frozenset())
        self._share = rows // STEPS
        self._decoder = Decoder(query.dtypes, None, until, self._at.done)
        self._next = at.floor
        self._left: list[int] | None = None  # None: the records are still being read

    @property
    def until(self) -> int:
        """The number of the first record that is not sealed by this passage."""
        return self._at.until

    @property
    def is_done(self) -> bool:
        """Whether all rows are in blocks; entries may be left to delete."""
        return self._at.floor == self._at.until

    def step(self, txn: Txn) -> bool:
        """Does a part of the work; whether any is left."""
        if self.is_done:
            return self._trim(txn)
        if self._left is None:
            self._read(txn)
        else:
            self._put(txn)
        return True

    def finish(self, txn: Txn) -> Frontier:
        """Does the rest, but for deleting entries."""
        self._share = MAX_ROWS  # all streams at once: each step copies and saves which are done
        while not self.is_done:
            self.step(txn)
        return self._at

    def _read(self, txn: Txn) -> None:
        following = frontier.records(self._env, txn, self._next)
        found = list(islice(takewhile(lambda record: record.number < self._at.until, following), SLICE))
        if found:
            self._decoder.feed(found)
            self._next = found[-1].following
        if len(found) < SLICE:
            self._left = sorted(self._decoder.ids, reverse=True)
            if not self._left:
                self._pass(txn)

    def _put(self, txn: Txn) -> None:
        assert self._left is not None
        done, count = set(self._at.done), 0
        while self._left and count <= self._share:
            stream_id = self._left.pop()
            fields = self._query.streams[stream_id].fields
            rows = ordered(self._decoder.pop(stream_id))
            blocks.put_rows(self._env, txn, stream_id, fields, rows)
            done.add(stream_id)
            count += len(rows[0])
        self._at = self._at._replace(done=frozenset(done))
        if self._left:
            frontier.save(self._env, txn, self._at)
        else:
            self._pass(txn)

    def _pass(self, txn: Txn) -> None:
        self._at = Frontier(self._at.until, self._at.until)
        frontier.save(self._env, txn, self._at)

    def _trim(self, txn: Txn) -> bool:
        cursor = txn.cursor(self._env.db["head"])
        ok = cursor.first()
        for _ in range(4 * SLICE):
            if not ok or int.from_bytes(cursor.key(), "big") >= self._at.floor:
                return False
            ok = cursor.delete()
        return True
