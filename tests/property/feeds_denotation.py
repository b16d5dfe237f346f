"""What declared feeds mean, computed without an engine: an expression and a universe to a set of (feed, meta, value).

`[[F]] : universe → environment → set of (meta × value)`, `universe = location × time → value × time`. Everything here
is a function of the whole history: lists of batches with their times, no events, no state that is updated by them. It
knows nothing of vagus.feeds.

The environment says for whom an expression is evaluated (`Life`): the program itself, or one element of a list of a
foreach, from when until when, and which newest list it was in at each time.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from vagus.model import Data, Meta, Net, Origin

NS = 10**9
RUNNING = "the previous run was still going"
BACKING_OFF = "backing off after failures"
MAX_SPREAD_S = 300.0


# --- expressions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Times:
    """period_s 0: once. start_ns None: now."""

    period_s: float
    timeout_s: float
    start_ns: int | None = 0
    duration_s: float = math.inf
    catch_up: str = "latest"


@dataclass(frozen=True, eq=False)
class Base:
    name: str
    places: tuple[str, ...]  # `{}` stands for the element that drives it
    any: bool
    times: Times


@dataclass(frozen=True, eq=False)
class Map:
    source: Any
    change: Callable[[Any], Any]


@dataclass(frozen=True, eq=False)
class Where:
    source: Any
    condition: Callable[[Any], bool]
    keeps_failed: bool


@dataclass(frozen=True, eq=False)
class Flatten:
    source: Any


@dataclass(frozen=True, eq=False)
class Foreach:
    source: Any
    inside: Any
    refuse: Callable[[Any], None]  # raises for elements of which nothing can be made


@dataclass(frozen=True, eq=False)
class Join:
    name: str
    sides: tuple[Any, ...]
    build: Callable[[tuple[Any, ...]], Any]


@dataclass(frozen=True, eq=False)
class Union:
    sides: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Failover:
    sides: tuple[Any, ...]


# --- universe --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What a location gives when asked at a time, and after how long."""

    net: Net
    body: bytes
    latency_ns: int
    note: str = ""
    retry_after_s: float = 0.0


@dataclass(frozen=True)
class Parsed:
    value: Any
    code: Data
    errors: int
    inside: tuple[tuple[int, Data, int], ...] = ()  # of a list, its broken elements


@dataclass(frozen=True)
class World:
    """The universe, how bodies are parsed, how failures hold up, and from when until when anybody looks."""

    ask: Callable[[str, int], Answer]
    parse: Callable[[bytes], Parsed]
    begin_ns: int
    end_ns: int
    patience: int = 3  # failures in a row before ticks are left out
    cap_s: float = 300.0
    retry_cap_s: float = 3600.0


# --- what is computed ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thing:
    """An item, and what is known of the parts of its value."""

    meta: Meta
    value: Any
    inside: tuple[tuple[int, Data, int], ...] | None = None
    ticks: int = 1


@dataclass(frozen=True)
class Batch:
    """The items of one place and due time; when they are there; when the life that they came of is over."""

    place: Any
    due_ns: int
    there_ns: int
    failed: bool
    things: tuple[Thing, ...]
    over_ns: float

    def with_things(self, things: Sequence[Thing]) -> Batch:
        failed = self.failed or (bool(things) and all(thing.value is None for thing in things))
        return Batch(self.place, self.due_ns, self.there_ns, failed, tuple(things), self.over_ns)


@dataclass(frozen=True, eq=False)
class Life:
    """Of what an expression stands in: from, until, the element, and what it comes from since when."""

    begin_ns: int
    end_ns: float
    element: Any = None
    lists: tuple[tuple[int, tuple[Origin, ...]], ...] = ()  # when it was in a list, and by which item

    def provenance(self, t_ns: int) -> tuple[Origin, ...]:
        if not self.lists:
            return ()
        index = bisect_right([since for since, _ in self.lists], t_ns) - 1
        return self.lists[index][1]

    @property
    def told_ns(self) -> list[int]:
        return [since for since, _ in self.lists] or [self.begin_ns]


Batches = dict[Life, list[Batch]]


def denotation(feeds: dict[str, Any], world: World, until_ns: int) -> list[tuple[str, Meta, Any, int]]:
    """All items of the named feeds that are there until then, with the number of ticks that each stands for.

    The world is to end late enough after that for everything that is under way to be decided.
    """
    life = Life(world.begin_ns, math.inf)
    known: dict[int, Batches] = {}
    return [
        (name, thing.meta, thing.value, thing.ticks)
        for name, feed in feeds.items()
        for batch in evaluate(feed, [life], world, known)[life]
        if batch.there_ns <= until_ns
        for thing in batch.things
    ]


def evaluate(feed: Any, lives: list[Life], world: World, known: dict[int, Batches]) -> Batches:
    """The batches of an expression for each of the lives; an expression that stands twice is the same one."""
    if id(feed) in known:
        return known[id(feed)]
    found: Batches
    if isinstance(feed, Base):
        found = _base(feed, lives, world)
    elif isinstance(feed, (Map, Where, Flatten)):
        change = {Map: _mapped, Where: _filtered, Flatten: _flattened}[type(feed)]
        source = evaluate(feed.source, lives, world, known)
        found = {
            life: [
                batch.with_things([made for thing in batch.things for made in change(feed, thing)])
                for batch in source[life]
            ]
            for life in lives
        }
    elif isinstance(feed, Foreach):
        found = _foreach(feed, lives, world, known)
    else:
        sides = [evaluate(side, lives, world, known) for side in feed.sides]
        if isinstance(feed, Join):
            found = {life: list(_joined(feed, [side[life] for side in sides])) for life in lives}
        elif isinstance(feed, Union):
            found = {life: [batch for side in sides for batch in side[life]] for life in lives}
        else:
            found = {life: list(_failed_over(feed, life, [s[life] for s in sides], world, known)) for life in lives}
    known[id(feed)] = found
    return found


# --- base ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """A tick of a place: told at a time, missed for a reason, or fetched."""

    due_ns: int
    told_ns: int
    reason: str = ""
    place: str = ""
    answer: Answer | None = None
    tried: tuple[str, ...] = ()
    end_ns: int = 0


def _base(feed: Base, lives: list[Life], world: World) -> Batches:
    wanted: dict[tuple[str, ...], list[Life]] = {}
    for life in lives:
        for unit in _units(feed, life):
            wanted.setdefault(unit, []).append(life)
    found: Batches = {life: [] for life in lives}
    for unit, those in wanted.items():
        for told in _ticks(feed, unit, those, world):
            there_ns = told.end_ns if told.answer else told.told_ns
            if there_ns > world.end_ns:
                continue
            for life in those:
                if life.begin_ns <= told.told_ns < life.end_ns:
                    thing = _item(feed, told, life, world)
                    place = (feed.name, unit, id(life))
                    batch = Batch(place, told.due_ns, there_ns, thing.value is None, (thing,), life.end_ns)
                    found[life].append(batch)
    return found


def _item(feed: Base, told: Told, life: Life, world: World) -> Thing:
    provenance = life.provenance(told.told_ns)
    if told.answer is None:
        meta = Meta(
            feed.name, told.place, told.due_ns, told.told_ns, Net.MISSED, note=told.reason, provenance=provenance
        )
        return Thing(meta, None)
    answer = told.answer
    parsed = world.parse(answer.body) if answer.net is Net.OK else Parsed(None, Data.NONE, 0)
    meta = Meta(
        feed.name,
        told.place,
        told.due_ns,
        told.end_ns,
        answer.net,
        parsed.code,
        parsed.errors,
        len(answer.body),
        "; ".join((*told.tried, *filter(None, [answer.note]))),
        told.told_ns,
        "",
        provenance,
    )
    return Thing(meta, parsed.value, parsed.inside)


def _good(answer: Answer) -> bool:
    return answer.net in (Net.OK, Net.NOT_MODIFIED)


def _spans(lives: list[Life]) -> Iterator[tuple[int, float, list[int]]]:
    """When somebody wants the place, without a break, and when it was said so."""
    told = sorted({t for life in lives for t in life.told_ns})
    begin, end = -1, -1.0
    for life in sorted(lives, key=lambda life: life.begin_ns):
        if life.begin_ns > end:
            if begin >= 0:
                yield begin, end, [t for t in told if begin <= t < end]
            begin, end = life.begin_ns, life.end_ns
        else:
            end = max(end, life.end_ns)
    yield begin, end, [t for t in told if begin <= t < end]


def _ticks(feed: Base, unit: tuple[str, ...], lives: list[Life], world: World) -> Iterator[Told]:
    """Each tick of a place while it is wanted, told once: one run at a time, patience with what fails."""
    times = feed.times
    period = round(times.period_s * NS)
    spread = _spread(feed, unit, lives[0])
    told_due = -1
    run: Told | None = None  # the newest, and which tick it is of
    run_tick = 0
    for begin, end, renewals in _spans(lives):
        failures = hold = 0
        if run is not None and run.end_ns <= begin:
            run = None
        zero = begin if times.start_ns is None else times.start_ns
        passed: list[int] = []  # while the run was going
        for now, tick in _moments(times, zero, period, spread, begin, end, renewals, world, told_due):
            if run is not None and run.end_ns <= now:
                yield from (Told(due, run.end_ns, RUNNING, unit[0]) for due in passed)
                passed = []
                failures, hold = _after(run, failures, run_tick, times, zero, period, spread, world)
                run = None
            if not times.period_s and times.start_ns is None:
                zero, hold = now, 0
            due = zero + tick * period
            if run is not None:
                passed.append(due)
                continue
            told_due = due
            if tick < hold:
                yield Told(told_due, now, BACKING_OFF, unit[0])
            else:
                run, run_tick = _run(unit, told_due, now, world), tick
                yield run
        if passed and run is not None and run.end_ns < end:
            told_due = passed[-1]
            yield from (Told(due, run.end_ns, RUNNING, unit[0]) for due in passed)
        run_tick = -1 if times.start_ns is None else run_tick


def _after(
    run: Told, failures: int, tick: int, times: Times, zero: int, period: int, spread: int, world: World
) -> tuple[int, int]:
    """Failures in a row and the next tick that may be tried, after a run has ended."""
    assert run.answer is not None
    if _good(run.answer):
        return 0, 0
    failures += 1
    period_s = times.period_s or 1.0
    wait = (
        1
        if failures < world.patience
        else min(2 ** (failures - world.patience + 1), max(1, int(world.cap_s // period_s)))
    )
    hold = tick + wait
    if run.answer.retry_after_s > 0:
        until = run.end_ns + round(min(run.answer.retry_after_s, world.retry_cap_s) * NS)
        if times.period_s:
            hold = max(hold, -((zero + spread - until) // period))  # the first that begins then or later
    return failures, hold


def _last_tick(times: Times, zero: int, renewed: int) -> float:
    if math.isinf(times.duration_s):
        return math.inf
    period = round(times.period_s * NS)
    return -(-(renewed - zero + round(times.duration_s * NS)) // period) - 1


def _moments(
    times: Times,
    zero: int,
    period: int,
    spread: int,
    begin: int,
    end: float,
    renewals: list[int],
    world: World,
    told_due: int,
) -> Iterator[tuple[int, int]]:
    """When which tick is told, in one span: the latest at once, then each when it begins."""
    stop = min(end, world.end_ns + 1)
    if not times.period_s:
        if times.start_ns is None:
            yield from ((t, 0) for t in renewals if t < stop)
        elif zero > told_due and max(begin, zero) < stop:
            yield max(begin, zero), 0
        return
    told = (told_due - zero) // period if told_due >= zero else -1
    renewed = begin
    moving = times.start_ns is None
    for index, since in enumerate(renewals):
        if index and not moving:
            break
        renewed = since
        last = _last_tick(times, zero, renewed if moving else zero)
        until = stop if not moving or index + 1 == len(renewals) else min(stop, renewals[index + 1])
        latest = min((since - spread - zero) // period, last)
        over = not moving and since - spread >= zero + (
            math.inf if math.isinf(times.duration_s) else round(times.duration_s * NS)
        )
        if latest > told and latest >= 0 and not (over and index == 0):
            waits = times.catch_up == "none" and zero + latest * period + spread < since
            told = int(latest)
            if not waits:
                yield since, told
        tick = max(told + 1, 0)
        if over:
            return
        while tick <= last and zero + tick * period + spread < until:
            told = tick
            yield zero + tick * period + spread, tick
            tick += 1


def _run(unit: tuple[str, ...], due: int, now: int, world: World) -> Told:
    """The fetch of a location; of `any` one after the other until one answers."""
    tried: list[str] = []
    t = now
    for place in unit:
        answer = world.ask(place, t)
        t += answer.latency_ns
        if _good(answer) or place == unit[-1]:
            break
        tried.append(f"{place}: {answer.net.value} {answer.note}".strip())
    return Told(due, now, "", place, answer, tuple(tried), t)


# --- each ------------------------------------------------------------------------------------------------------------


def _with(meta: Meta, **changes: Any) -> Meta:
    values = {name: getattr(meta, name) for name in meta.__struct_fields__}
    return Meta(**{**values, **changes})


def _broken(thing: Thing, note: str) -> Thing:
    meta = thing.meta
    told = f"{meta.note}; {note}" if meta.note else note
    return Thing(_with(meta, data=Data.SEMANTIC, errors=meta.errors + 1, note=told[:1200]), None, None, thing.ticks)


def _mapped(feed: Map, thing: Thing) -> list[Thing]:
    if thing.value is None:
        return [Thing(thing.meta, None, None, thing.ticks)]
    try:
        return [Thing(thing.meta, feed.change(thing.value), None, thing.ticks)]
    except Exception as error:
        return [_broken(thing, f"map raised {type(error).__name__}: {error}")]


def _filtered(feed: Where, thing: Thing) -> list[Thing]:
    if thing.value is not None:
        try:
            if not feed.condition(thing.value):
                return []
        except Exception as error:
            thing = _broken(thing, f"where raised {type(error).__name__}: {error}")
    return [thing] if thing.value is not None or feed.keeps_failed else []


def _flattened(feed: Flatten, thing: Thing) -> list[Thing]:
    if thing.value is None:
        return [thing]
    if not isinstance(thing.value, (list, tuple)):
        return [_broken(thing, f"flatten: there is {type(thing.value).__name__}, not a list")]
    before = f"{thing.meta.part}." if thing.meta.part else ""
    made = []
    for index, element in enumerate(thing.value):
        meta = _with(thing.meta, part=f"{before}{index}")
        if thing.inside:
            code, errors = next(((c, e) for i, c, e in thing.inside if i == index), (Data.GOOD, 0))
            meta = _with(meta, data=code, errors=errors)
        made.append(Thing(meta, element, None, thing.ticks))
    return made


# --- several ---------------------------------------------------------------------------------------------------------


def _joined(feed: Join, sides: list[list[Batch]]) -> Iterator[Batch]:
    """All combinations of equal due times."""
    for batches in itertools.product(*sides):
        if len({batch.due_ns for batch in batches}) == 1:
            yield Batch(
                tuple(batch.place for batch in batches),
                batches[0].due_ns,
                max(batch.there_ns for batch in batches),
                all(batch.failed for batch in batches),
                tuple(_one(feed, things) for things in itertools.product(*(batch.things for batch in batches))),
                min(batch.over_ns for batch in batches),
            )


def _one(feed: Join, things: tuple[Thing, ...]) -> Thing:
    metas = [thing.meta for thing in things]
    parts = [meta.part for meta in metas]
    values = tuple(thing.value for thing in things)
    meta = Meta(
        feed.name,
        " + ".join(dict.fromkeys(meta.location for meta in metas)),
        metas[0].due_ns,
        max(meta.arrived_ns for meta in metas),
        max((meta.net for meta in metas), key=list(Net).index),
        max((meta.data for meta in metas), key=list(Data).index),
        sum(meta.errors for meta in metas),
        sum(meta.size_bytes for meta in metas),
        "; ".join(dict.fromkeys(filter(None, (meta.note for meta in metas))))[:1200],
        min((meta.started_ns for meta in metas if meta.started_ns), default=0),
        "+".join(parts) if any(parts) else "",
        tuple(dict.fromkeys(origin for meta in metas for origin in (meta.origin, *meta.provenance))),
    )
    return Thing(meta, None if all(value is None for value in values) else feed.build(values))


def _answered(batch: Batch) -> bool:
    if not batch.things:
        return not batch.failed
    return any(thing.value is not None or thing.meta.net is Net.NOT_MODIFIED for thing in batch.things)


def _last_word(feed: Any, life: Life, world: World, known: dict[int, Batches], due: int) -> float:
    """When all bases of an expression have had their say on a due time: that of the tick, or the end of the life."""
    word = -1.0
    for base in _bases(feed):
        told: dict[tuple[str, ...], dict[int, int]] = {unit: {} for unit in _units(base, life)}
        for batch in known[id(base)][life]:
            told[batch.place[1]][batch.due_ns] = batch.there_ns
        for unit, dues in told.items():
            if due in dues:
                word = max(word, dues[due])
            elif _comes_later(base, unit, life, due, next(iter(dues), life.begin_ns)):
                word = max(word, life.end_ns)
    return word


def _comes_later(base: Base, unit: tuple[str, ...], life: Life, due: int, anchor: int) -> bool:
    """Whether there would be a tick, had the life not ended before."""
    times = base.times
    if not times.period_s:
        return times.start_ns == due and due >= life.begin_ns
    period = round(times.period_s * NS)
    zero = anchor if times.start_ns is None else times.start_ns
    last = _last_tick(times, zero, zero)
    begin = due + _spread(base, unit, life)
    return (due - zero) % period == 0 and 0 <= (due - zero) // period <= last and begin >= life.begin_ns


def _units(base: Base, life: Life) -> list[tuple[str, ...]]:
    places = tuple(place.replace("{}", str(life.element)) for place in base.places)
    return [places] if base.any else [(place,) for place in places]


def _spread(base: Base, unit: tuple[str, ...], life: Life) -> int:
    """How long after each tick a place begins; what stands alone and begins now has nothing to be spread from."""
    if base.times.start_ns is None and not life.lists and (base.any or len(base.places) == 1):
        return 0
    key = ("\n".join(unit) if life.lists else "any") if base.any else unit[0]
    width = round(min(base.times.period_s, MAX_SPREAD_S) * NS)
    digest = hashlib.blake2b(f"{base.name}\n{key}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % width if width else 0


def _bases(feed: Any) -> Iterator[Base]:
    if isinstance(feed, Base):
        yield feed
    else:
        for part in getattr(feed, "sides", ()) or (feed.source,):
            yield from _bases(part)


def _failed_over(
    feed: Failover, life: Life, sides: list[list[Batch]], world: World, known: dict[int, Batches]
) -> Iterator[Batch]:
    """For each due time the first side that answered, as soon as all before it have had their say."""
    for due in sorted({batch.due_ns for side in sides for batch in side}):
        words = [_last_word(side, life, world, known, due) for side in feed.sides]
        at_due = [sorted((b for b in side if b.due_ns == due), key=lambda batch: batch.there_ns) for side in sides]
        answered = [index for index, batches in enumerate(at_due) if any(map(_answered, batches))]
        if answered:
            chosen = answered[0]
            first = min(batch.there_ns for batch in at_due[chosen] if _answered(batch))
            decided = max([first, *words[:chosen]])
        else:
            chosen = max(index for index, batches in enumerate(at_due) if batches)
            decided = max(words)
        for batch in at_due[chosen]:
            there = max(batch.there_ns, decided)
            if there <= world.end_ns:
                yield Batch((id(feed), id(life)), due, int(there), batch.failed, batch.things, batch.over_ns)


# --- foreach ---------------------------------------------------------------------------------------------------------


def _key(value: Any) -> tuple[bool, str]:
    return isinstance(value, str), value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _foreach(feed: Foreach, lives: list[Life], world: World, known: dict[int, Batches]) -> Batches:
    driving = evaluate(feed.source, lives, world, known)
    found: Batches = {life: [] for life in lives}
    inner: dict[Life, tuple[Life, Any]] = {}
    for life, batches in driving.items():
        places: dict[Any, list[Batch]] = {}
        for batch in batches:
            without = tuple(thing for thing in batch.things if thing.value is None)
            if without:
                found[life].append(
                    Batch(("passed", batch.place), batch.due_ns, batch.there_ns, True, without, batch.over_ns)
                )
            places.setdefault(batch.place, []).append(batch)
        for place, those in places.items():
            over = min(life.end_ns, *(batch.over_ns for batch in those))
            for made in _lists(feed, those, over):
                if isinstance(made, Batch):
                    found[life].append(made)
                else:
                    inner[made] = (life, place)
    for made, batches in evaluate(feed.inside, list(inner), world, {}).items():
        life, place = inner[made]
        for batch in batches:
            wrapped = ("made", place, _key(made.element), made.begin_ns, batch.place)
            over = min(batch.over_ns, made.end_ns)
            found[life].append(Batch(wrapped, batch.due_ns, batch.there_ns, batch.failed, batch.things, over))
    return found


@dataclass
class _List:
    there_ns: int
    due_ns: int
    items: dict[tuple[bool, str], Thing] = field(default_factory=dict)


def _lists(feed: Foreach, batches: list[Batch], over: float) -> Iterator[Life | Batch]:
    """The lives of the elements of one place's lists, and items for those of which nothing can be made."""
    lists: list[_List] = []
    alive: dict[tuple[bool, str], None] = {}
    grouped: dict[tuple[int, int], list[Batch]] = {}
    for batch in sorted(batches, key=lambda batch: batch.there_ns):
        grouped.setdefault((batch.there_ns, batch.due_ns), []).append(batch)
    for (there, due), those in grouped.items():
        if there >= over or all(batch.failed for batch in those) or (lists and due < lists[-1].due_ns):
            continue
        listed = _List(there, due, dict(lists[-1].items) if lists and due == lists[-1].due_ns else {})
        things = [thing for batch in those for thing in batch.things if thing.value is not None]
        if len(those) > 1:
            things.sort(key=lambda thing: (thing.meta.feed, thing.meta.location))
        for thing in things:
            key = _key(thing.value)
            if key in listed.items:
                continue
            if key not in alive:
                try:
                    feed.refuse(thing.value)
                except Exception as error:
                    note = f"foreach raised {type(error).__name__}: {error}"
                    yield Batch(("broken", key), thing.meta.due_ns, there, True, (_broken(thing, note),), over)
                    continue
            listed.items[key] = thing
        alive = dict.fromkeys(listed.items)
        lists.append(listed)
    for key in {key: None for listed in lists for key in listed.items}:
        told: list[tuple[int, tuple[Origin, ...]]] = []
        for listed in lists:
            if key in listed.items:
                meta = listed.items[key].meta
                chain = (meta.origin, *meta.provenance)
                if not told or told[-1][1] != chain:
                    told.append((listed.there_ns, chain))
                element = listed.items[key].value
            elif told:
                yield Life(told[0][0], min(listed.there_ns, over), element, tuple(told))
                told = []
        if told:
            yield Life(told[0][0], over, element, tuple(told))
