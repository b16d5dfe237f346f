"""What feeds are made of, feature by feature: meta, provenance, errors as data, names, bounds."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from vagus.clock import NS
from vagus.errors import ConfigError, NoData
from vagus.feeds import (
    Data,
    Descriptor,
    Feed,
    Fetched,
    Item,
    Net,
    Origin,
    Raw,
    State,
    all_,
    any_,
    base,
    dict_,
    every,
    failover,
    list_,
    once,
    pair,
    proc,
    refeed,
    union,
)
from vagus.feeds.contracts import ANY_SHAPE
from vagus.feeds.directives import Archive, Directive, Emit, Fetch
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Base
from vagus.feeds.naming import names_of
from vagus.feeds.operators import foreach as foreach_file
from vagus.feeds.operators import join as join_file
from vagus.feeds.schedule import Schedule
from vagus.feeds.scheduler import Scheduler, Start
from vagus.feeds.when import When, parse_start

T0 = 1_700_000_000 * NS
ONCE = once("5s")


class Lines:
    """Words by line; a line with "?" is broken."""

    name = "lines"
    shape = ANY_SHAPE

    def parse(self, body: bytes) -> tuple[list[str | None], Descriptor]:
        words = body.decode().split()
        inside = tuple((i, Descriptor(State.PARTIAL, 1, Data.SYNTAX)) for i, word in enumerate(words) if word == "?")
        code = Data.NESTED if inside else Data.GOOD
        found = Descriptor(State.PARTIAL if inside else State.NORMAL, len(inside), code, 0, len(body), inside)
        return [None if word == "?" else word for word in words], found

    def print(self, value: list[str | None]) -> bytes:
        return " ".join(word or "?" for word in value).encode()


def text(location: str, when: When = ONCE, **more: Any) -> Feed[Any]:
    return base(all_(location), when, "text", **more)


def words(location: str, when: When = ONCE) -> Feed[list[str | None]]:
    return base(all_(location), when, Lines())


Answer = Callable[[Fetch, int], Fetched]


def bodies(**by_location: str) -> Answer:
    """Each location that is a key answers its text; the others refuse."""

    def answer(fetch: Fetch, now_ns: int) -> Fetched:
        body = by_location.get(fetch.location.partition(":")[2])
        return Fetched(Net.REFUSED, note="no") if body is None else Fetched(Net.OK, body.encode())

    return answer


class Run:
    """An engine whose fetches take a second."""

    def __init__(self, feeds: dict[str, Feed[Any]], answer: Answer, **more: Any) -> None:
        self.engine = Engine(feeds, now_ns=T0, **more)
        self.emits: list[Emit] = []
        self.raws: list[Raw] = []
        self.fetches: list[Fetch] = []
        self._answer = answer
        self._ends: list[tuple[int, Fetch]] = []

    def __call__(self, lasting_s: float = 30.0) -> list[Item[Any]]:
        """The items until then, of all feeds."""
        now_ns = T0
        while True:
            due_ns = self.engine.next_due()
            times = [t for t in (due_ns, *(end for end, _ in self._ends[:1])) if t is not None]
            if not times or min(times) > T0 + lasting_s * NS:
                return [emit.item for emit in self.emits]
            now_ns = max(now_ns, min(times))
            if self._ends and self._ends[0][0] <= now_ns:
                _, fetch = self._ends.pop(0)
                self._perform(self.engine.fetched(fetch, self._answer(fetch, now_ns), now_ns), now_ns)
            else:
                self._perform(self.engine.tick(now_ns), now_ns)

    def _perform(self, directives: Any, now_ns: int) -> None:
        for told in directives:
            directive: Directive = told
            if isinstance(directive, Fetch):
                self.fetches.append(directive)
                self._ends.append((now_ns + NS, directive))
            elif isinstance(directive, Archive):
                self.raws.append(directive.raw)
            else:
                self.emits.append(directive)

    def values(self, feed: str) -> list[Any]:
        return [emit.item.value for emit in self.emits if emit.feed == feed]


def values(feed: Feed[Any], answer: Answer, lasting_s: float = 30.0) -> list[Any]:
    return [item.value for item in Run({"f": feed}, answer)(lasting_s)]


# --- feature 1: sources ----------------------------------------------------------------------------------------------


def test_feature_1_sources_of_every_kind_are_locations() -> None:
    made = base(proc("ping", "-c2", "a b; rm"), ONCE, "text")
    assert isinstance(made, Base)
    assert made.locations == ("proc:ping -c2 'a b; rm'",)
    both = base(all_("file:a", ["http://b/", "https://c/"]), ONCE, "text")
    assert isinstance(both, Base)
    assert both.locations == ("file:a", "http://b/", "https://c/")
    with pytest.raises(ConfigError, match="0 locations"):
        base(all_(), ONCE, "text")
    with pytest.raises(ConfigError, match="max_bytes"):
        text("file:a", max_bytes=0)


def test_feature_1_any_costs_only_what_is_needed() -> None:
    run = Run({"f": base(any_("file:x", "file:a", "file:b"), ONCE, "text")}, bodies(a="A", b="B"))
    [item] = run()
    assert (item.value, item.meta.location, item.meta.note) == ("A", "file:a", "file:x: refused no")
    assert [fetch.location for fetch in run.fetches] == ["file:x", "file:a"]


def test_feature_1_one_location_at_two_times_in_one_list_is_two_works() -> None:
    def two(name: str | None) -> Feed[Any]:
        return union(base(all_(f"file:{name}"), every("10s", timeout="1s"), "text", name="slow"), text(f"file:{name}"))

    run = Run({"f": words("file:l").foreach(lambda names: two(names[0]))}, bodies(l="a", a="A"))
    run(25)
    dues = [raw.meta.due_ns for raw in run.raws if raw.meta.feed == "slow"]
    assert len(dues) == len(set(dues)) > 2
    assert len([raw for raw in run.raws if raw.meta.feed == "f.1"]) == 1


# --- feature 2: schedules --------------------------------------------------------------------------------------------


def test_feature_2_once_ends() -> None:
    run = Run({"f": text("file:a")}, bodies(a="A"))
    assert not run.engine.ended
    assert [item.meta.due_ns for item in run()] == [T0]
    assert run.engine.ended


def test_feature_2_once_was_done_before_a_restart() -> None:
    run = Run({"f": text("file:a")}, bodies(a="A"), last_due_ns={("f", "file:a"): T0 - NS})
    assert run() == []
    assert run.engine.ended


@pytest.mark.parametrize(
    ("catch_up", "told"),
    [
        ("latest", [(0, "missed 10"), (0, "missed 20"), (0, "start 30"), (5, "start 40")]),
        ("all", [(0, "start 10"), (1, "start 20"), (2, "start 30"), (5, "start 40")]),
        ("none", [(0, "missed 10"), (0, "missed 20"), (0, "missed 30"), (5, "start 40")]),
    ],
)
def test_feature_2_ticks_that_passed_are_caught_up_or_missed(catch_up: Any, told: list[tuple[int, str]]) -> None:
    start = T0 - 35 * NS
    schedule = Schedule(period_s=10.0, timeout_s=1.0, start_ns=start, spread_s=0.0, catch_up=catch_up)
    scheduler = Scheduler(schedule, ["a"], last_due_ns={"a": start})
    found = []
    for second in range(8):
        for one in scheduler.due(T0 + second * NS):
            kind = "start" if isinstance(one, Start) else "missed"
            found.append((second, f"{kind} {(one.due_ns - start) // NS}"))
            if kind == "start":
                scheduler.finished("a", Fetched(Net.OK), T0 + second * NS + NS // 2)
    assert found == told


def test_feature_2_starts() -> None:
    assert parse_start("") == 0
    assert parse_start("now") is None
    assert parse_start("2023-11-14T22:13:20Z") == parse_start("2023-11-14T23:13:20+01:00") == T0
    assert parse_start("2023-11-14T22:13:20") == T0  # without a zone it is UTC
    for wrong in ("soon", "1969-01-01", "12:00"):
        with pytest.raises(ConfigError, match=r"start|1970"):
            parse_start(wrong)
    with pytest.raises(ConfigError, match="catch_up"):
        every("1s", timeout="1s", catch_up="some")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="once"):
        every(0, timeout="1s")


def test_feature_2_a_duration_bounds_the_ticks() -> None:
    run = Run({"f": text("file:a", every("10s", timeout="1s", duration="30s"))}, bodies(a="A"))
    assert [item.meta.due_ns - T0 for item in run(100)] == [0, 10 * NS, 20 * NS]
    assert run.engine.ended


# --- feature 4: map, where, flatten ----------------------------------------------------------------------------------


def test_feature_4_what_raises_costs_only_its_items_value() -> None:
    feed = words("file:l").flatten().map(lambda word: 1 / (len(word or "") - 1)).where(lambda x: x < 1)
    items = Run({"f": feed}, bodies(l="aaa b cc"))()
    assert [(item.value, item.meta.data, item.meta.part) for item in items] == [
        (0.5, Data.GOOD, "0"),
        (None, Data.SEMANTIC, "1"),
    ]
    assert items[1].meta.note == "map raised ZeroDivisionError: division by zero"
    assert items[1].meta.errors == 1


def test_feature_4_conditions_are_predicates_types_and_expressions() -> None:
    answer = bodies(l='[1, "x", {"load": 3}, {"load": 1}, null]')
    feed: Feed[Any] = base(all_("file:l"), ONCE, "json").flatten()
    assert values(feed.where(str), answer) == ["x", None]
    assert values(feed.where(str, failed="drop"), answer) == ["x"]
    assert values(feed.where("load > 2", failed="drop"), answer) == [{"load": 3}]
    assert values(feed.where(dict, failed="drop").select("load", "load * 2"), answer) == [
        {"load": 3, "load * 2": 6},
        {"load": 1, "load * 2": 2},
    ]
    with pytest.raises(ConfigError, match="failed"):
        feed.where(str, failed="maybe")  # type: ignore[call-overload]


def test_feature_4_a_failed_item_passes_and_flattens_to_itself() -> None:
    [item] = Run({"f": words("file:gone").flatten().map(str.upper).where(bool)}, bodies())()  # type: ignore[arg-type]
    assert (item.value, item.meta.net, item.meta.part, item.meta.note) == (None, Net.REFUSED, "", "no")


def test_feature_4_elements_have_their_own_descriptors_and_the_same_bytes() -> None:
    run = Run({"f": words("file:l").flatten()}, bodies(l="a ? b"))
    run()
    assert [(e.item.meta.data, e.item.meta.errors, e.item.meta.part) for e in run.emits] == [
        (Data.GOOD, 0, "0"),
        (Data.SYNTAX, 1, "1"),
        (Data.GOOD, 0, "2"),
    ]
    assert [emit.descriptor and emit.descriptor.code for emit in run.emits] == [None, Data.SYNTAX, None]
    assert len({id(emit.raw) for emit in run.emits}) == 1
    assert run.emits[0].raw is not None


def test_feature_4_nested_lists_and_lists_at_a_path() -> None:
    answer = bodies(l='{"a": {"b": [[1, 2], [], 3]}}')
    at: Feed[Any] = base(all_("file:l"), ONCE, "json").flatten("a.b")
    items = Run({"f": at.flatten()}, answer)()
    assert [(item.meta.part, item.value) for item in items] == [("0.0", 1), ("0.1", 2), ("2", None)]
    assert "int, not a list" in items[2].meta.note
    [wrong] = Run({"f": base(all_("file:l"), ONCE, "json").flatten("a.c")}, answer)()
    assert wrong.meta.note == "flatten: there is nothing at a.c, not a list"
    assert Run({"f": base(all_("file:l"), ONCE, "json").flatten("a.b")}, bodies(l='{"a": {"b": null}}'))() == []


# --- feature 5: foreach ----------------------------------------------------------------------------------------------


def hosts(period: str = "10s") -> Feed[Any]:
    return words("file:l", every(period, timeout="5s", start="now")).flatten()


def lists(*texts: str) -> Answer:
    """A list that changes each time that it is fetched; every host answers its name."""
    left = list(texts)

    def answer(fetch: Fetch, now_ns: int) -> Fetched:
        if fetch.location != "file:l":
            return Fetched(Net.OK, fetch.location.encode())
        body = left.pop(0) if len(left) > 1 else left[0]
        return Fetched(Net.REFUSED) if body == "-" else Fetched(Net.OK, body.encode())

    return answer


def fetched_of(run: Run, feed: str = "f.1") -> dict[str, list[int]]:
    """When each location was fetched, in seconds."""
    found: dict[str, list[int]] = {}
    for raw in run.raws:
        if raw.meta.feed == feed:
            found.setdefault(raw.meta.location, []).append((raw.meta.arrived_ns - T0) // NS)
    return found


def test_feature_5_dependents_live_from_their_list_until_the_next_good_one() -> None:
    feed = hosts().foreach(lambda host: text(f"file:{host}", every("1s", timeout="1s")))
    run = Run({"f": feed}, lists("a b", "b c", "-", "c"))
    run(44)
    seen = fetched_of(run)
    assert (seen["file:a"][0], max(seen["file:a"])) in ((2, 12), (2, 11), (1, 12), (1, 11), (2, 13))
    assert max(seen["file:b"]) in (31, 32, 33)  # the list that failed in between changed nothing
    assert min(seen["file:c"]) in (11, 12, 13)
    assert max(seen["file:c"]) in (43, 44)
    origins = {raw.meta.provenance[0].due_ns for raw in run.raws if raw.meta.location == "file:b"}
    assert origins == {T0, T0 + 10 * NS}  # what it comes from is always the newest list


def test_feature_5_who_is_in_both_lists_goes_on_undisturbed() -> None:
    feed = hosts("3s").foreach(lambda host: text(f"file:{host}", every("5s", timeout="1s", start="now")))
    run = Run({"f": feed}, lists("a"))
    run(33)
    dues = [raw.meta.due_ns for raw in run.raws if raw.meta.location == "file:a"]
    assert {b - a for a, b in itertools.pairwise(dues)} == {5 * NS}
    assert len(dues) >= 6


def test_feature_5_once_is_once_for_each_list() -> None:
    feed = hosts().foreach(lambda host: text(f"file:{host}"))
    run = Run({"f": feed}, lists("a b", "a", "a b"))
    run(29)
    assert fetched_of(run) == {"file:a": [2, 12, 22], "file:b": [2, 22]}


def test_feature_5_an_element_that_is_there_twice_counts_once() -> None:
    run = Run({"f": hosts().foreach(lambda host: text(f"file:{host}"))}, lists("a a b a"))
    items = run(5)
    assert [item.value for item in items] == ["file:a", "file:b"]
    assert [item.meta.provenance for item in items] == [
        (Origin("f.0", "file:l", T0, "0"),),
        (Origin("f.0", "file:l", T0, "2"),),
    ]


def test_feature_5_several_elements_may_share_what_they_want() -> None:
    def both(host: str) -> Feed[Any]:
        return pair(text(f"file:{host}"), text("file:shared"))

    run = Run({"f": hosts().foreach(both)}, lists("a b"))
    items = run(5)
    assert [item.value for item in items] == [("file:a", "file:shared"), ("file:b", "file:shared")]
    assert [fetch.location for fetch in run.fetches].count("file:shared") == 1
    assert [item.meta.provenance[1].part for item in items] == ["0", "1"]
    assert [emit.item for emit in run.engine.replay(run.raws)] == items


def test_feature_5_of_what_nothing_can_be_made_is_told() -> None:
    def make(host: str) -> Any:
        if host == "raise":
            raise ValueError("not that one")
        return 7 if host == "seven" else text(f"file:{host}")

    items = Run({"f": hosts().foreach(make)}, lists("a raise ? seven"))(5)
    notes = {item.meta.part: item.meta.note for item in items if item.value is None}
    assert notes["1"] == "foreach raised ValueError: not that one"
    assert notes["3"] == "foreach raised ConfigError: it gave int, not a feed"
    assert set(notes) == {"1", "2", "3"}
    assert [item.value for item in items if item.value] == ["file:a"]


def test_feature_5_an_empty_list_ends_all() -> None:
    feed = hosts().where(lambda host: host != "#").foreach(lambda host: text(f"file:{host}", every("1s", timeout="1s")))
    run = Run({"f": feed}, lists("a", "#"))
    run(29)
    assert max(fetched_of(run)["file:a"]) in (11, 12)
    assert run.engine.locations() == {"f.0": ("file:l",)}


def test_feature_5_inner_lists_end_with_what_they_came_of() -> None:
    def sites(site: str) -> Feed[Any]:
        return words(f"file:{site}.list", every("5s", timeout="1s", start="now")).flatten()

    def answer(fetch: Fetch, now_ns: int) -> Fetched:
        if fetch.location == "file:l":
            return Fetched(Net.OK, b"s" if now_ns < T0 + 10 * NS else b"t")
        return Fetched(Net.OK, b"h")

    def host(name: str) -> Feed[Any]:
        return text(f"file:{name}", every("1s", timeout="1s"))

    for feed in (hosts().foreach(sites).foreach(host), hosts().foreach(lambda site: sites(site).foreach(host))):
        run = Run({"f": feed}, answer)
        run(30)
        assert all(raw.meta.feed != "s.list" or raw.meta.arrived_ns < T0 + 12 * NS for raw in run.raws)
        chains = {raw.meta.provenance for raw in run.raws if raw.meta.location == "file:h"}
        assert {len(chain) for chain in chains} == {2}
        late = {chain[0].location for chain in chains if chain[0].due_ns > T0 + 14 * NS}
        assert late == {"file:t.list"}


def test_feature_5_lists_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreach_file, "MAX_ELEMENTS", 3)
    items = Run({"f": hosts().foreach(lambda host: text(f"file:{host}"))}, lists("a b c d e"))(5)
    assert [item.value for item in items if item.value] == ["file:a", "file:b", "file:c"]
    [told] = [item for item in items if not item.value]
    assert "more than 3 elements" in told.meta.note


def test_feature_5_what_makes_itself_without_end_is_ended() -> None:
    def again(host: str | None) -> Feed[Any]:
        return words("file:x").flatten().foreach(again)

    items = Run({"f": words("file:x").flatten().foreach(again)}, bodies(x="h"))(100)
    assert [item.meta.note for item in items] == [
        "foreach raised ConfigError: foreach stands in what foreach makes more than 16 deep"
    ]


# --- feature 6 and 7: several feeds ----------------------------------------------------------------------------------


def test_feature_6_a_pair_is_of_equal_due_times_and_has_the_worst_of_both() -> None:
    run = Run({"f": pair(words("file:l"), text("file:gone"))}, bodies(l="a ?"))
    [item] = run()
    assert item.value == (["a", None], None)
    meta = item.meta
    assert (meta.feed, meta.location, meta.due_ns) == ("f", "file:l + file:gone", T0)
    assert (meta.net, meta.data, meta.errors, meta.note) == (Net.REFUSED, Data.NONE, 1, "no")
    assert meta.provenance == (Origin("f.0", "file:l", T0), Origin("f.1", "file:gone", T0))
    assert values(pair(text("file:x"), text("file:y")), bodies()) == [None]  # both failed
    assert values(pair(text("file:a"), text("file:a", once("5s", start="2023-11-14T22:13:25Z"))), bodies(a="A")) == []


def test_feature_6_all_combinations_of_parts() -> None:
    feed = pair(words("file:l").flatten(), words("file:l").flatten())
    run = Run({"f": feed}, bodies(l="a b"))
    assert sorted((item.value, item.meta.part) for item in run()) == [
        (("a", "a"), "0+0"),
        (("a", "b"), "0+1"),
        (("b", "a"), "1+0"),
        (("b", "b"), "1+1"),
    ]


def test_feature_7_shared_feeds_cost_one_fetch() -> None:
    a = text("file:a")
    feeds = {"p": pair(a, a.map(str.lower)), "u": union(a, a), "l": list_([a, a, a]), "d": dict_({"x": a}), "a": a}
    run = Run(feeds, bodies(a="A"))
    run()
    assert len(run.fetches) == 1
    assert {name: run.values(name) for name in feeds} == {
        "p": [("A", "a")],
        "u": ["A", "A"],
        "l": [["A", "A", "A"]],
        "d": [{"x": "A"}],
        "a": ["A"],
    }
    assert {emit.item.meta.feed for emit in run.emits if emit.feed == "u"} == {"a"}


def test_feature_7_failover_is_decided_as_soon_as_it_can_be() -> None:
    fast, slow = text("file:a"), text("file:b")
    assert values(failover(fast, slow), bodies(a="A", b="B")) == ["A"]
    assert values(failover(fast, slow), bodies(b="B")) == ["B"]
    [item] = Run({"f": failover(fast, slow)}, bodies())()
    assert (item.value, item.meta.location) == (None, "file:b")
    never = text("file:a", every("10s", timeout="1s", start="2033-01-01"))
    assert values(failover(never, slow), bodies(a="A", b="B")) == ["B"]
    with pytest.raises(ConfigError, match="foreach"):
        Engine({"f": failover(hosts().foreach(lambda host: text("file:x")), slow)}, now_ns=T0)


def test_feature_7_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(join_file, "MAX_DUES", 3)
    fast = text("file:a", every("1s", timeout="1s", start="now"))
    rare = text("file:a", every("1000s", timeout="1s", start="2023-11-14T22:13:25Z"))
    run = Run({"f": pair(fast, rare)}, bodies(a="A"))
    run(20)
    assert run.engine.dropped in range(14, 20)


def test_feature_7_refeed_gives_the_items_of_the_archive_once_more() -> None:
    live = words("file:l", every("10s", timeout="5s", start="now"))
    before = Run({"live": live}, lists("a b", "c"))
    before(25)
    again = Run({"live": live, "again": refeed(live.flatten()).map(str.upper)}, bodies())  # type: ignore[arg-type]
    [recall] = [one for one in again.engine.recalls() if one.refeed]
    assert recall.feeds == ("live",)
    emits = list(again.engine.recalled(recall, before.raws, T0))
    assert [(emit.feed, emit.item.value) for emit in emits if isinstance(emit, Emit)] == [
        ("again", word) for word in "ABCC"
    ]


# --- feature 8: meta and names ---------------------------------------------------------------------------------------


def test_feature_8_every_part_has_a_name() -> None:
    a, b, c = (text(f"file:{name}") for name in "abc")
    named = text("file:n", name="own")
    feeds = {
        "single": a.map(str.upper),
        "two": union(b, c),
        "joined": pair(text("file:d"), list_([named, text("file:e")])),
        "driven": words("file:l").flatten().foreach(lambda host: pair(text("file:x"), text("file:y"))),
        "alone": named.flatten().foreach(lambda host: text("file:z")),
    }
    names = set(names_of(feeds).values())
    assert names == {
        *("single", "two.0", "two.1", "joined", "joined.0", "joined.1", "joined.2", "own"),
        *("driven.0", "driven.1", "alone"),
    }
    assert Engine(feeds, now_ns=T0).bases() == ("single", "two.0", "two.1", "joined.0", "own", "joined.2", "driven.0")


def test_feature_8_names_that_contradict_are_refused() -> None:
    with pytest.raises(ConfigError, match="two feeds are called 'x'"):
        Engine({"x": text("file:a"), "y": pair(text("file:b", name="x"), text("file:c"))}, now_ns=T0)
    driven = hosts().foreach(lambda host: text("file:z"))
    with pytest.raises(ConfigError, match=r"'f\.1\.0' could be one that foreach makes"):
        Engine({"f": driven, "f.1.0": text("file:a")}, now_ns=T0)
    with pytest.raises(NoData, match=r"no base feed 'x'; there are: f"):
        Engine({"f": text("file:a")}, now_ns=T0).base("x")


def test_feature_8_what_is_needed_is_told() -> None:
    options = {"http": {"allow_private": True}}
    feed = base(all_("http://a/", "file:b"), ONCE, "text", options=options)
    assert Engine({"f": feed}, now_ns=T0).schemes() == {("f", "http"): {"allow_private": True}, ("f", "file"): {}}


def test_a_fetch_that_nobody_began_is_nobodys() -> None:
    engine = Engine({"f": text("file:a")}, now_ns=T0)
    for fetch in (Fetch("f", "file:b", T0, 1.0, 10), Fetch("g", "file:a", T0, 1.0, 10)):
        assert list(engine.fetched(fetch, Fetched(Net.OK, b"x"), T0)) == []


def test_preprocessing_that_fails_is_an_item() -> None:
    run = Run({"f": text("file:a", preprocess=["gzip"])}, bodies(a="no gzip"))
    [item] = run()
    assert (item.value, item.meta.net, item.meta.data, item.meta.errors) == (None, Net.OK, Data.SYNTAX, 1)
    assert item.meta.note.startswith("preprocess gzip: ")
    assert json.loads(json.dumps(item.meta.size_bytes)) == 7
