"""Past to present without gap or duplicate: what to read next from a position, and what of it to hand on.

Pure. `plan` says what to do: a `Page` that is ready, a `Scan` of the archive to be made and given to `joined`, or
None: wait for the next arrival. A scan sees whatever was committed by its end, told or not; so the rows that arrivals
after the position name are taken out of it (the past), or are all that is taken (a replay). For that `arrivals` must
have taken in, before `joined` is called, everything that was begun before the scan ended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from vagus.actors.arrivals import Arrival, Arrivals, Position
from vagus.actors.interest import Interest
from vagus.actors.live import Live
from vagus.clock import NS
from vagus.model import MAX_T_NS, Event, Page, Sample

REPLAY_SPAN_NS = 600 * NS  # late rows that lie further apart are read by several scans


class Scan(NamedTuple):
    """The samples of interest of [start_ns, end_ns), and all events if any are. replay: the arrivals that are meant."""

    position: Position
    start_ns: int
    end_ns: int
    replay: tuple[Arrival, ...] = ()


class Found(NamedTuple):
    """What a scan found: (stream number, sample), and events in the order in which they were stored.

    upto: the newest arrival that was in the archive, whole, when the events were read.
    """

    samples: Sequence[tuple[int, Sample]]
    events: Sequence[Event]
    upto: tuple[int, int]


def begin(arrivals: Arrivals, since_ns: int, until: Position | None = None, now_ns: int = 0) -> Position:
    """From now on, or first the past from `since_ns` (> 0) on. until: what counts as now."""
    now = arrivals.newest()
    if until is not None and until.archive == now.archive and until.key < now.key:
        now = until
    return now._replace(past_ns=since_ns if since_ns > 0 else -1, skip=0, t_ns=since_ns if since_ns > 0 else now_ns)


def plan(
    live: Live, wanted: Interest, position: Position, until: Position | None, now_ns: int, window_ns: int, most: int
) -> Page | Scan | None:
    """What to do for who is at `position`; at most about `most` items. until: go no further than that."""
    arrivals = live.arrivals
    if not arrivals.covers(position):
        restart = begin(arrivals, max(position.t_ns, position.past_ns, 0) + 1, until)
        why = "the position is older than what this node remembers, or of another archive: resumed by time"
        return Page((), str(restart), gap=why, behind=True, live=False)
    if position.past_ns >= 0:
        end_ns = position.past_ns + window_ns
        return Scan(position, position.past_ns, MAX_T_NS if end_ns >= now_ns else end_ns)
    end = arrivals.newest()
    if until is not None and until.archive == end.archive and until.key < end.key:
        end = until
    if position.key >= end.key:
        return None
    if live.ticks and position.key[:2] >= live.ticks[0].arrival[:2]:
        return _from_memory(live, wanted, position, end, most)
    return _replay(arrivals, position, end, most)


def _from_memory(live: Live, wanted: Interest, position: Position, end: Position, most: int) -> Page:
    items: list[tuple[str, Sample | Event]] = []
    at = position
    for arrival, records, _ in live.ticks:
        if arrival[:2] < position.key[:2]:
            continue
        if arrival[:2] > end.key[:2] or len(items) >= most:
            break
        first = position.place if arrival[:2] == position.key[:2] else 0
        last = min(len(records), end.place) if arrival[:2] == end.key[:2] else len(records)
        at = at._replace(life=arrival.life, seq=arrival.seq)
        for index in range(first, last):
            picked = wanted.pick(records[index])
            if picked is not None:
                at = at._replace(place=index + 1, t_ns=picked.t_ns)
                items.append((str(at), picked))
        at = _behind(at, last, len(records), end)
    else:
        at = end._replace(t_ns=at.t_ns)
    return Page(tuple(items), str(at), behind=at.key < end.key)


def _behind(at: Position, index: int, size: int, end: Position) -> Position:
    """The position after `index` items of an arrival of `size`; `end` itself when that is reached."""
    if (at.life, at.seq) == end.key[:2]:
        return end._replace(t_ns=at.t_ns)
    return at._replace(seq=at.seq + 1, place=0) if index >= size else at._replace(place=index)


def _replay(arrivals: Arrivals, position: Position, end: Position, most: int) -> Page | Scan:
    chosen: list[Arrival] = []
    rows, low, high = 0, MAX_T_NS, -1
    for arrival in arrivals.after(position):
        if arrival[:2] > end.key[:2] or rows >= most:
            break
        if not arrival.size:
            continue
        first, last = arrival.span()
        if chosen and max(high, last) - min(low, first) > REPLAY_SPAN_NS:
            break
        chosen.append(arrival)
        low, high, rows = min(low, first), max(high, last), rows + arrival.size
    if not rows:
        return Page((), str(end._replace(t_ns=position.t_ns)))
    return Scan(position, low, high + 1, tuple(chosen))


def joined(arrivals: Arrivals, wanted: Interest, scan: Scan, found: Found, until: Position | None, most: int) -> Page:
    """The page that a scan leads to. found: what the archive had in the scan's span."""
    if not arrivals.covers(scan.position):  # forgotten while it was read: what arrived meanwhile is not known
        return Page((), str(scan.position), behind=True, live=False)
    if scan.replay:
        return _replayed(arrivals, wanted, scan, found, until)
    return _past(arrivals, wanted, scan, found, most)


def _past(arrivals: Arrivals, wanted: Interest, scan: Scan, found: Found, most: int) -> Page:
    position = scan.position
    rows, events = _meant(arrivals, position, scan, found.upto)
    kept: list[tuple[int, int, Sample | Event]] = [
        (sample.t_ns, number, sample) for number, sample in found.samples if (number, sample.t_ns) not in rows
    ]
    left = Counter(event.t_ns for event in found.events)
    for event in found.events:
        # of equal times, the later ones are of the arrivals to come
        if left[event.t_ns] > events[event.t_ns] and wanted.pick(event) is not None:
            kept.append((event.t_ns, 1 << 48, event))
        left[event.t_ns] -= 1
    kept.sort(key=lambda item: item[:2])
    items: list[tuple[str, Sample | Event]] = []
    t_ns, done = scan.start_ns, 0
    for at_ns, _, record in kept:
        if at_ns != t_ns:
            t_ns, done = at_ns, 0
        done += 1
        if t_ns == position.past_ns and done <= position.skip:
            continue
        if len(items) >= most:
            break
        items.append((str(position._replace(past_ns=t_ns, skip=done, t_ns=t_ns)), record))
    else:
        later = _later(position, scan.end_ns)
        return Page(tuple(items), str(later), behind=True, live=later.past_ns < 0)
    return Page(tuple(items), items[-1][0], behind=True, live=False)


def _later(position: Position, past_ns: int) -> Position:
    """Where the past was read up to `past_ns`."""
    if past_ns >= MAX_T_NS:
        return position._replace(past_ns=-1, skip=0, t_ns=max(position.t_ns, position.past_ns, 0))
    return position._replace(past_ns=past_ns, skip=0, t_ns=past_ns)


def _meant(
    arrivals: Arrivals, position: Position, scan: Scan, upto: tuple[int, int]
) -> tuple[set[tuple[int, int]], Mapping[int, int]]:
    """The rows in the scan's span that are at or after `position`, and how many events of each time up to `upto`."""
    rows: set[tuple[int, int]] = set()
    events: Counter[int] = Counter()
    for arrival in arrivals.after(position):
        first, last = arrival.span()
        if last < scan.start_ns or first >= scan.end_ns:
            continue
        begun = position.place if arrival[:2] == position.key[:2] else 0
        rows.update(row for index, row in enumerate(arrival.rows()) if index >= begun)
        if arrival[:2] <= upto:
            events.update(arrival.events[max(0, begun - len(arrival.streams)) :])
    return rows, events


def _replayed(arrivals: Arrivals, wanted: Interest, scan: Scan, found: Found, until: Position | None) -> Page:
    position = scan.position
    samples = {(number, sample.t_ns): sample for number, sample in found.samples}
    stored: dict[int, list[Event]] = {}
    for event in found.events:
        stored.setdefault(event.t_ns, []).append(event)
    known = (arrival for arrival in arrivals.after(position) if arrival[:2] <= found.upto)
    later = Counter(t for arrival in known for t in arrival.events if t in stored)
    order: dict[tuple[int, int], tuple[int, int, int]] = {}  # a row that came twice is told where it came last
    for arrival in scan.replay:
        for index, row in enumerate(arrival.rows()):
            if row in samples:
                order[row] = (*arrival[:2], index)
    items: list[tuple[str, Sample | Event]] = []
    at = position
    for arrival in scan.replay:
        first = position.place if arrival[:2] == position.key[:2] else 0
        last = until.place if until is not None and until.key[:2] == arrival[:2] else arrival.size
        at = at._replace(life=arrival.life, seq=arrival.seq)
        picked: list[tuple[int, Sample | Event]] = []
        for index, row in enumerate(arrival.rows()):
            if order.get(row) == (*arrival[:2], index):
                picked.append((index, samples[row]))
        for index, t_ns in enumerate(arrival.events, len(arrival.streams)):
            if t_ns in stored:
                place = len(stored[t_ns]) - later[t_ns]
                later[t_ns] -= 1
                if place >= 0 and wanted.pick(stored[t_ns][place]) is not None:
                    picked.append((index, stored[t_ns][place]))
        for index, record in picked:
            if first <= index < last:
                at = at._replace(place=index + 1, t_ns=record.t_ns)
                items.append((str(at), record))
        reached = until is not None and until.key[:2] == arrival[:2]
        at = until._replace(t_ns=at.t_ns) if reached and until else at._replace(seq=arrival.seq + 1, place=0)
    return Page(tuple(items), str(at), behind=True)
