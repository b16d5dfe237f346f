"""The engine against what feeds mean: any expression, any universe, the same set; so do replays, restarts, shares."""

from __future__ import annotations

import hashlib
import heapq
import itertools
import json
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import feeds_denotation as meaning
from feeds_denotation import Answer, Parsed, Times, World, denotation
from hypothesis import assume, given, note, settings
from hypothesis import strategies as st

from vagus.clock import NS
from vagus.config import hash_text
from vagus.feeds import Data, Descriptor, Feed, Fetched, Net, Raw, State, all_, any_, base
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.directives import Archive, Directive, Emit, Fetch
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Failover, Joined, Union
from vagus.feeds.schedule import BackOff
from vagus.feeds.when import When

T0 = 1_700_000_000 * NS + 123_456_789
LASTING = 60 * NS
ELEMENTS: tuple[Any, ...] = ("a", "b", "c", "bad", 7, 8)


# --- formats and universes -------------------------------------------------------------------------------------------


def parse(body: bytes) -> Parsed:
    """JSON; in a list each "?" is broken."""
    try:
        value = json.loads(body)
    except ValueError:
        return Parsed(None, Data.SYNTAX, 1)
    if isinstance(value, list) and "?" in value:
        inside = tuple((index, Data.SYNTAX, 1) for index, part in enumerate(value) if part == "?")
        return Parsed([None if part == "?" else part for part in value], Data.NESTED, len(inside), inside)
    return Parsed(value, Data.GOOD, 0)


class Lists:
    """The same as a format."""

    name = "lists"
    shape = ANY_SHAPE

    def parse(self, body: bytes) -> tuple[Any, Descriptor]:
        if body == b"raise":
            raise RuntimeError("broken contract")
        found = parse(body)
        inside = tuple((index, Descriptor(State.PARTIAL, errors, code)) for index, code, errors in found.inside)
        return found.value, Descriptor(State.NORMAL, found.errors, found.code, 0, len(body), inside)

    def print(self, value: Any) -> bytes:
        return json.dumps(value).encode()


class Universe:
    """What each location answers at each time, of a seed: always the same."""

    def __init__(self, seed: int, trouble: float) -> None:
        self._seed = seed
        self._trouble = trouble

    def __call__(self, location: str, t_ns: int) -> Answer:
        text = f"{self._seed}\n{location}\n{t_ns}".encode()
        chance = random.Random(int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big"))
        slow = chance.choice((0.2, 1.0, 1.0, 5.0, 25.0)) if chance.random() < self._trouble else 0.3
        latency = 1 + chance.randrange(round(slow * NS))
        if chance.random() < self._trouble:
            net = chance.choice([net for net in Net if net not in (Net.OK, Net.MISSED)])
            retry_s = chance.choice((0.0, 0.0, 17.0))
            return Answer(net, b"gone" if net is Net.STATUS else b"", latency, "it failed", retry_s)
        value: Any = chance.choice((3, -1, "x", None, [], [2], {"k": 1}))
        if "list" in location:
            value = [chance.choice(ELEMENTS) for _ in range(chance.randrange(4))]
            if chance.random() < 0.2:
                value.append(chance.choice(("?", [5, 6], None)))
        elif "nested" in location:
            value = [[chance.randrange(3) for _ in range(chance.randrange(3))], [], chance.choice(("?", [9]))]
        body = b"{garbage" if chance.random() < self._trouble / 2 else json.dumps(value).encode()
        return Answer(Net.OK, body, latency)


# --- expressions -----------------------------------------------------------------------------------------------------


def doubled(value: Any) -> Any:
    return value * 2


def increased(value: Any) -> Any:
    return value + 1


def known(value: Any) -> Any:
    return {"is": value} if value != "x" else None


def positive(value: Any) -> bool:
    return bool(value > 0)


def is_text(value: Any) -> bool:
    return isinstance(value, str)


def is_some(value: Any) -> bool:
    return bool(value)


def anything(value: Any) -> bool:
    return True


def refuse(value: Any) -> None:
    if value == "bad":
        raise ValueError("not that one")


def as_dict(values: tuple[Any, ...]) -> dict[str, Any]:
    return {str(index): value for index, value in enumerate(values)}


PERIODS = (4.0, 6.0, 12.0)
moments = st.sampled_from((0, None, T0 + 7 * NS, T0 - 100 * NS))


@st.composite
def times(draw: st.DrawFn) -> Times:
    if draw(st.integers(0, 4)) == 0:
        return Times(0.0, 5.0, draw(st.sampled_from((None, T0 + 9 * NS, T0 - 9 * NS))))
    start = draw(moments)
    lasting = draw(st.sampled_from((float("inf"), float("inf"), 20.0, 24.0))) if start != 0 else float("inf")
    return Times(draw(st.sampled_from(PERIODS)), 5.0, start, lasting, draw(st.sampled_from(("latest", "all", "none"))))


class Drawn:
    """Draws expressions; every base and join has a name of its own."""

    def __init__(self, draw: st.DrawFn) -> None:
        self._draw = draw
        self._count = 0
        self._shared: list[Any] = []

    def name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def one_of(self, *choices: Any) -> Any:
        return self._draw(st.sampled_from(choices))

    def base(self, driven: bool, kind: str, decides: bool) -> meaning.Base:
        name = self.name("b")
        count = self.one_of(1, 1, 2, 3)
        at = self.one_of("{}", "{}", "same") if driven else "here"
        places = tuple(f"http://{at}/{kind}/{name}/{index}" for index in range(count))
        when = self._draw(times())
        if decides and driven and when.start_ns is None and when.period_s:
            when = Times(when.period_s, when.timeout_s)  # what is prolonged once it was decided is not looked at
        return meaning.Base(name, places, count > 1 and self.one_of(True, False), when)

    def feed(self, depth: int, driven: bool = False, lists: bool = False, no_foreach: bool = False) -> Any:
        shared = [one for one in self._shared if not (no_foreach and has_foreach(one))]
        if shared and not driven and self.one_of(0, 1, 2, 3) == 0:
            return self.one_of(*shared)
        made = self._feed(depth, driven, lists, no_foreach)
        if not driven:
            self._shared.append(made)
        return made

    def _feed(self, depth: int, driven: bool, lists: bool, no_foreach: bool) -> Any:
        kinds = ["base"]
        if depth > 0:
            kinds += ["map", "where", "flatten", "join", "union", "failover"]
            kinds += [] if no_foreach else ["foreach", "foreach"]
        kind = self.one_of(*kinds)

        def inner(**more: Any) -> Any:
            return self.feed(depth - 1, driven, **{"no_foreach": no_foreach, **more})

        if kind == "base":
            return self.base(driven, "list" if lists else self.one_of("value", "nested", "list"), no_foreach)
        if kind == "map":
            return meaning.Map(inner(lists=lists), self.one_of(doubled, increased, known))
        if kind == "where":
            condition = self.one_of(positive, is_text, anything, is_some)
            return meaning.Where(inner(lists=lists), condition, self.one_of(True, False))
        if kind == "flatten":
            return meaning.Flatten(inner(lists=True))
        if kind == "join":
            sides = tuple(inner() for _ in range(self.one_of(1, 2, 2, 3)))
            return meaning.Join(self.name("j"), sides, self.one_of(list, tuple, as_dict))
        if kind == "union":
            return meaning.Union((inner(lists=lists), inner(lists=lists)))
        if kind == "failover":
            sides = tuple(inner(lists=lists, no_foreach=True) for _ in range(self.one_of(2, 3)))
            return meaning.Failover(sides)
        driving = inner(lists=True)
        if self.one_of(True, True, False):
            driving = meaning.Flatten(driving)
        return meaning.Foreach(driving, self.feed(depth - 1, True, lists=lists, no_foreach=False), refuse)


def has_foreach(feed: Any) -> bool:
    if isinstance(feed, meaning.Foreach):
        return True
    return any(map(has_foreach, parts_of(feed)))


def parts_of(feed: Any) -> list[Any]:
    return [*getattr(feed, "sides", ()), *(getattr(feed, name) for name in ("source", "inside") if hasattr(feed, name))]


def has_failover(feed: Any) -> bool:
    return isinstance(feed, meaning.Failover) or any(map(has_failover, parts_of(feed)))


def bases_of(feed: Any) -> list[meaning.Base]:
    """Those that are there from the beginning."""
    if isinstance(feed, meaning.Base):
        return [feed]
    parts = [feed.source] if isinstance(feed, meaning.Foreach) else parts_of(feed)
    return [one for part in parts for one in bases_of(part)]


def decides_lists(feed: Any, driving: bool = False) -> bool:
    """Whether a failover drives a foreach: a replay may decide it at another time, so that other lists were newest."""
    return (driving and isinstance(feed, meaning.Failover)) or any(
        decides_lists(part, driving or (isinstance(feed, meaning.Foreach) and part is feed.source))
        for part in parts_of(feed)
    )


@st.composite
def programs(draw: st.DrawFn, depth: int = 3) -> dict[str, Any]:
    """Some named feeds, which may have parts in common."""
    drawn = Drawn(draw)
    return {f"f{index}": drawn.feed(depth) for index in range(draw(st.integers(1, 3)))}


def declared(feed: Any, element: Any = None, known: dict[int, Feed[Any]] | None = None) -> Feed[Any]:
    """The same as the engine takes it."""
    known = {} if known is None else known
    if id(feed) not in known:
        known[id(feed)] = _declared(feed, element, known)
    return known[id(feed)]


def _declared(feed: Any, element: Any, known: dict[int, Feed[Any]]) -> Feed[Any]:
    if isinstance(feed, meaning.Base):
        places = [place.replace("{}", str(element)) for place in feed.places]
        t = feed.times
        when = When(
            period_s=t.period_s,
            timeout_s=t.timeout_s,
            start_ns=t.start_ns,
            duration_s=t.duration_s,
            catch_up=t.catch_up,  # type: ignore[arg-type]
        )
        return base((any_ if feed.any else all_)(places), when, Lists(), name=feed.name)
    if isinstance(feed, meaning.Map):
        return declared(feed.source, element, known).map(feed.change)
    if isinstance(feed, meaning.Where):
        kept = "keep" if feed.keeps_failed else "drop"
        return declared(feed.source, element, known).where(feed.condition, failed=kept)  # type: ignore[call-overload, no-any-return]
    if isinstance(feed, meaning.Flatten):
        return declared(feed.source, element, known).flatten()
    if isinstance(feed, meaning.Foreach):

        def make(value: Any) -> Feed[Any]:
            feed.refuse(value)
            return declared(feed.inside, value)

        return declared(feed.source, element, known).foreach(make)
    sides = tuple(declared(side, element, known) for side in feed.sides)
    if isinstance(feed, meaning.Join):
        return Joined(sides=sides, build=feed.build, name=feed.name)
    return (Union if isinstance(feed, meaning.Union) else Failover)(sides=sides)


# --- running ---------------------------------------------------------------------------------------------------------


class Run:
    """The engine in simulated time; what it archived and emitted."""

    def __init__(self, engine: Engine, universe: Callable[[str, int], Answer]) -> None:
        self.engine = engine
        self.raws: list[Raw] = []
        self.emits: list[Emit] = []
        self._universe = universe
        self._ends: list[tuple[int, int, Fetch, Answer]] = []
        self._count = 0

    def perform(self, directives: Iterable[Directive], now_ns: int) -> None:
        for told in directives:
            if isinstance(told, Fetch):
                answer = self._universe(told.location, now_ns)
                self._count += 1
                heapq.heappush(self._ends, (now_ns + answer.latency_ns, self._count, told, answer))
            elif isinstance(told, Archive):
                self.raws.append(told.raw)
            else:
                self.emits.append(told)

    def until(self, begin_ns: int, end_ns: int) -> Run:
        """Everything that happens from begin to end."""
        while True:
            due_ns = self.engine.next_due()
            tick_ns = end_ns + 1 if due_ns is None else max(due_ns, begin_ns)
            if self._ends and self._ends[0][0] <= min(tick_ns, end_ns):
                now_ns, _, fetch, answer = heapq.heappop(self._ends)
                fetched = Fetched(answer.net, answer.body, answer.note, answer.retry_after_s)
                self.perform(self.engine.fetched(fetch, fetched, now_ns), now_ns)
            elif tick_ns <= end_ns:
                self.perform(self.engine.tick(tick_ns), tick_ns)
                begin_ns = tick_ns
            else:
                return self


def items(emits: Iterable[Emit]) -> Counter[str]:
    """Comparable: as text, since values may be anything."""
    return Counter(repr((emit.feed, emit.item.meta, emit.item.value, emit.ticks)) for emit in emits)


def same(found: Counter[str], replayed: Iterable[Emit]) -> bool:
    """Whether a replay gives what was found; of a failover it may decide what was not decided when the run ended."""
    emits = list(replayed)
    late = T0 + LASTING - 45 * NS
    more = items(emits) - found
    return not found - items(emits) and not more - items(emit for emit in emits if emit.item.meta.arrived_ns > late)


def engine_of(program: dict[str, Any], begin_ns: int = T0, **more: Any) -> Engine:
    shared: dict[int, Feed[Any]] = {}
    feeds = {name: declared(feed, None, shared) for name, feed in program.items()}
    return Engine(feeds, now_ns=begin_ns, back_off=BackOff(after=2, cap_s=20.0, retry_cap_s=15.0), **more)


def world_of(universe: Callable[[str, int], Answer]) -> World:
    return World(universe, parse, T0, T0 + LASTING + 60 * NS, patience=2, cap_s=20.0, retry_cap_s=15.0)


universes = st.builds(Universe, st.integers(0, 10**6), st.sampled_from((0.0, 0.2, 0.5)))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(programs(), universes)
def test_features_1_to_8_a_feed_is_its_denotation_and_a_replay_is_the_same(
    program: dict[str, Any], universe: Universe
) -> None:
    note(str(program))
    run = Run(engine_of(program), universe).until(T0, T0 + LASTING)
    expected = Counter(map(repr, denotation(program, world_of(universe), T0 + LASTING)))
    found = items(run.emits)
    assert found - expected == Counter(), "not in the denotation"
    assert expected - found == Counter(), "only in the denotation"
    assert run.engine.dropped == 0
    if not any(map(decides_lists, program.values())):
        assert same(found, run.engine.replay(run.raws))


def last_dues(raws: Iterable[Raw]) -> dict[tuple[str, str], int]:
    """As an archive tells them."""
    last: dict[tuple[str, str], int] = {}
    for raw in raws:
        place = (raw.meta.feed, raw.meta.location)
        last[place] = max(last.get(place, 0), raw.meta.due_ns)
    return last


@settings(deadline=None, derandomize=True, max_examples=30)
@given(programs(2), universes, st.integers(1, LASTING), st.integers(0, 25 * NS))
def test_features_2_and_8_a_restart_in_mid_run_gives_every_tick_once(
    program: dict[str, Any], universe: Universe, killed_ns: int, away_ns: int
) -> None:
    """Nothing is fetched twice, no tick between the first and the last is left out, and all that was archived is told."""
    note(str(program))
    before = Run(engine_of(program), universe).until(T0, T0 + killed_ns)
    back_ns = T0 + killed_ns + 1 + away_ns
    after = Run(engine_of(program, back_ns, last_due_ns=last_dues(before.raws)), universe)
    for recall in after.engine.recalls():
        kept = [raw for raw in before.raws if raw.meta.feed in recall.feeds and raw.meta.arrived_ns >= recall.since_ns]
        after.perform(after.engine.recalled(recall, kept, back_ns), back_ns)
    assert not after.raws
    after.until(back_ns, back_ns + LASTING)
    raws = [*before.raws, *after.raws]
    counts = Counter((raw.meta.feed, raw.meta.location, raw.meta.due_ns) for raw in raws)
    driven = {origin for raw in raws for origin in [(raw.meta.feed, bool(raw.meta.provenance))]}
    for base_feed in {id(one): one for feed in program.values() for one in bases_of(feed)}.values():
        if base_feed.any or (base_feed.name, True) in driven:
            continue
        for place in base_feed.places:
            dues = sorted(due for feed, where, due in counts if (feed, where) == (base_feed.name, place))
            assert all(counts[base_feed.name, place, due] == 1 for due in dues)
            steps = {later - earlier for earlier, later in itertools.pairwise(dues)}
            assert steps <= {round(base_feed.times.period_s * NS)}, place
    if not any(map(has_failover, program.values())):
        emitted = items(before.emits + after.emits)
        assert items(after.engine.replay(raws)) == emitted


class Part:
    """One of several shares."""

    def __init__(self, program: dict[str, Any], index: int, count: int) -> None:
        self._program = program
        self._index = index
        self._count = count

    def owns(self, feed: str, key: str) -> bool:
        return hash_text(key) % self._count == self._index

    def runs(self, feed: str) -> bool:
        return is_divided(self._program[feed]) or self.owns(feed, feed)


def shares_places(feed: Any) -> bool:
    """Whether elements of several shares may want the same place: each then fetches it at its own times."""
    if isinstance(feed, meaning.Foreach):
        return has_foreach(feed.inside) or any("{}" not in place for b in bases_of(feed.inside) for place in b.places)
    return is_divided(feed) and not isinstance(feed, meaning.Base) and any(map(shares_places, parts_of(feed)))


def is_divided(feed: Any) -> bool:
    """Whether a feed's work is divided by location or element; else it is of one piece."""
    if isinstance(feed, (meaning.Map, meaning.Where, meaning.Flatten)):
        return is_divided(feed.source)
    if isinstance(feed, meaning.Union):
        return all(map(is_divided, feed.sides))
    return isinstance(feed, meaning.Foreach) or (isinstance(feed, meaning.Base) and not feed.any)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(programs(), universes, st.integers(2, 3))
def test_feature_5_engines_that_share_the_work_emit_together_what_one_alone_does(
    program: dict[str, Any], universe: Universe, count: int
) -> None:
    note(str(program))
    assume(not any(map(shares_places, program.values())))
    alone = Run(engine_of(program), universe).until(T0, T0 + LASTING)
    runs = [Run(engine_of(program, share=Part(program, index, count)), universe) for index in range(count)]
    shared: Counter[str] = Counter()
    for run in runs:
        shared += items(run.until(T0, T0 + LASTING).emits)
    assert shared == items(alone.emits)
