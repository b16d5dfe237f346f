"""Events by name, time, level and fields: each answer is what reading everything gives, and costs less."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from vagus.clock import NS
from vagus.errors import ConfigError
from vagus.model import Event, Level, Scalar
from vagus.store import Store, events, records
from vagus.store.predicate import Predicate, index_value
from vagus.store.reader import open_all

T0 = 1_700_000_000 * NS
NAMES = ("log.line", "log.error", "logs", "disk.full", "n" * 190, "n" * 190 + "x", "SlowStart")


def an_event(rng: Random) -> Event:
    values: list[Scalar] = [1, 2, 2.5, -3, "2", "high"]
    hosts: list[Scalar] = ["10.1.1.11", "10.1.1.12", 7, 7.0, "7", math.nan]
    fields: dict[str, Scalar] = {"VAL": rng.choice(values), "ok": rng.random() < 0.5}
    if rng.random() < 0.7:
        fields["DST"] = rng.choice(hosts)
    level = rng.choice([Level.DEBUG, Level.INFO, Level.INFO, Level.WARNING, Level.ERROR])
    return Event(T0 + rng.randrange(1000), rng.choice(NAMES), rng.choice("ab"), level, rng.choice(["", "cron"]), fields)


SELECTORS = ("*", "log.*", "log.line", "disk.*", "*o*", "n*", "n" * 190, "none", 'log.*{node="a"}', '*{DST=~"10.*"}')
PREDICATES = (
    *("VAL>2", "VAL>=2", "VAL<2", "VAL!=2", "VAL=2", 'VAL="2"', "VAL=high", "VAL<i"),
    *("DST=10.1.1.11", "DST=7", 'DST="7"', "DST=~10.*", "DST!~10.*", "DST=nan", "DST!=7"),
    *("ok=true", "ok!=true", "ok=1", "source=cron", "node=b", "level=error", "event=logs", "nothing=1"),
)


def test_every_question_gets_what_reading_everything_gives(tmp_path: Path) -> None:
    rng = Random(5)
    made = [an_event(rng) for _ in range(900)]
    levels = list(Level)
    with Store.open(tmp_path) as store:
        for event in made:
            store.put("event", event, t_ns=event.t_ns)
        store.flush()
        assert store.verify() == []
        by_time = sorted(enumerate(made), key=lambda pair: (pair[1].t_ns, pair[0]))
        nonempty = 0
        for _ in range(300):
            selector, level = rng.choice(SELECTORS), rng.choice(levels[:4])
            where = rng.sample(PREDICATES, rng.randrange(3))
            start, end = sorted((T0 + rng.randrange(-5, 1010), T0 + rng.randrange(-5, 1010)))
            limit, newest = rng.choice([0, 0, 1, 7]), rng.random() < 0.5
            asked = events.question(selector, start, end, where, level)
            expected = [e for _, e in by_time if start <= e.t_ns < end and asked.accepts(e)]
            expected = (expected[::-1] if newest else expected)[: limit or None]
            found = list(store.events(selector, start, end, where=where, level=level, limit=limit, newest_first=newest))
            assert list(map(repr, found)) == list(map(repr, expected)), (selector, where, level)
            nonempty += bool(found)
        assert nonempty > 100


@pytest.mark.parametrize(
    ("text", "matching", "others"),
    [
        ("VAL>2", [3, 2.5, math.inf], [2, "3", True, None, math.nan]),
        ("VAL = 2", [2, 2.0, "2"], ["2.0", True, 3]),
        ('VAL="2"', ["2"], [2]),
        ("VAL=true", [True, "true"], [False, 1]),
        ("VAL!=2", [3, "x"], [2, "2", None, True]),
        ("VAL<=b", ["a", "b", "B"], ["c", 1]),
        ("VAL=~err.*", ["err", "error"], ["an error", 5]),
        ('VAL!~"err.*"', ["an error"], ["err", 5]),
        ('VAL="a \\"b\\""', ['a "b"'], ["a b"]),
        ("VAL=", [""], ["x", 0]),
        ("NL.x=1e3", [1000], [1001]),
        (f"VAL={2**63 + 1}", [2**63 + 1], [2**63, float(2**63)]),
    ],
)
def test_predicates_compare_by_the_type_of_the_field(
    text: str, matching: Sequence[Scalar], others: Sequence[Scalar | None]
) -> None:
    predicate = Predicate(text)
    assert [predicate.matches(value) for value in matching] == [True] * len(matching)
    assert [predicate.matches(value) for value in others] == [False] * len(others)
    if predicate.operator == "=":
        assert {index_value(value) for value in matching} <= set(predicate.index_values())


@pytest.mark.parametrize("text", ["", "VAL", "=2", "VAL==2~", "a b=1", "VAL=~(", "VAL=~(a+)+", "V=" + "x" * 500])
def test_malformed_predicates_say_so(text: str) -> None:
    if text == "VAL==2~":
        assert Predicate(text).matches("=2~")  # an operator, then a text
        return
    with pytest.raises(ConfigError, match=r"predicate|pattern"):
        Predicate(text)


def test_malformed_questions_say_so(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for selector, where, limit in (
            ("", (), 0),
            ("a{", (), 0),
            ("x" * 2001, (), 0),
            ("*", ["V=1"] * 21, 0),
            ("*", (), -1),
        ):
            with pytest.raises(ConfigError):
                store.events(selector, where=where, limit=limit)


def test_an_index_is_walked_where_one_applies(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for k in range(3000):
            level = Level.ERROR if k % 1000 == 0 else Level.INFO
            fields: dict[str, Scalar] = {"DST": f"10.0.0.{k % 200}", "n": k}
            store.put("event", Event(T0 + k, f"tick.{k % 20}", "a", level, "", fields), t_ns=T0 + k)
        store.flush()

        def looked_at(**asked: object) -> int:
            """How many may be looked at before the answer fails."""
            for most in (1, 256, 512, 1024):
                with suppress(ConfigError):
                    list(events.read(store._env, events.question(**asked, most=most)))  # type: ignore[arg-type]
                    return most
            with pytest.raises(ConfigError, match=r"1024 events were looked at and only .* fit: narrow the time"):
                list(events.read(store._env, events.question(**asked, most=1024)))  # type: ignore[arg-type]
            return 3000

        assert looked_at() == 3000
        assert looked_at(where=["n=5"]) == 3000
        assert looked_at(where=["DST=10.0.0.7", "n=7"]) == 1
        assert looked_at(selector="tick.3") == 1
        assert looked_at(selector="tick.1*") == 3000  # eleven of twenty names
        assert looked_at(selector="tick.3*", where=["n=3"]) == 1
        assert looked_at(level=Level.WARNING) == 1
        assert looked_at(start_ns=T0 + 2000, end_ns=T0 + 2100) == 1
        assert looked_at(limit=5) == 1


def test_events_of_before_the_index_are_found_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "index_of", lambda event: {"event": event.event})
    monkeypatch.setattr(records, "_INDEXED", b"another")
    old = Event(T0, "x", "a", Level.ERROR, "", {"DST": "h"})
    with Store.open(tmp_path) as store:
        store.put("event", old, t_ns=T0)
        store.flush()
    monkeypatch.undo()
    with Store.open(tmp_path) as store:
        store.put("event", Event(T0 + 1, "x", "a", Level.ERROR, "", {"DST": "h"}), t_ns=T0 + 1)
        store.flush()
        assert len(list(store.events(where=["DST=h"]))) == 2
        assert len(list(store.events(level=Level.ERROR))) == 2
        assert len(list(store.events("x"))) == 2


def test_a_reader_joins_the_events_of_all_environments(tmp_path: Path) -> None:
    with Store.open(tmp_path / "one") as one, Store.open(tmp_path / "two") as two:
        for k in range(10):
            (one if k % 2 else two).put("event", Event(T0 + k, "x", "a", fields={"k": k}), t_ns=T0 + k)
        one.flush()
        two.flush()
        with open_all(tmp_path) as reader:
            found = reader.events(events.question("x", where=["k>=3"], limit=4))
            assert [e.fields["k"] for e in found] == [9, 8, 7, 6]
            found = reader.events(events.question("x", where=["k<3"], newest_first=False))
            assert [e.fields["k"] for e in found] == [0, 1, 2]


@pytest.mark.parametrize("letter", ["é", "網", "🜚"])
def test_patterns_of_any_alphabet_find_names_of_any_length(tmp_path: Path, letter: str) -> None:
    """The index has long names as bytes and a hash; patterns are cut where those are."""
    names = [letter * length for length in range(1, 80, 3)]
    with Store.open(tmp_path) as store:
        for k, name in enumerate(names):
            store.put("event", Event(T0 + k, name, "a"), t_ns=T0 + k)
        store.flush()
        for length in range(80):
            found = {event.event for event in store.events(letter * length + "*")}
            assert found == {name for name in names if len(name) >= length}
