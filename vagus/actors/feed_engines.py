"""The engine at work, and those before it as long as something that they began is under way.

Where work is shared, another share is another engine: it goes on where the one before was, and that one begins nothing
more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from vagus.feeds.directives import Archive, Directive, Emit, Fetch, Recall
from vagus.feeds.engine import Engine
from vagus.feeds.feed import Base
from vagus.feeds.item import Fetched, Net, Raw
from vagus.feeds.location import shown
from vagus.feeds.units import ANY

Place = tuple[str, str]


class Assumed(dict[Place, int]):
    """Last ticks of places; of those that nobody knows, the last that began before a time.

    bases: what is known of base feeds by name; of others the tick itself is taken for its beginning.
    """

    def __init__(self, known: Mapping[Place, int], t_ns: int, bases: Callable[[str], Base[Any] | None]) -> None:
        super().__init__(known)
        self._t_ns = t_ns
        self._bases = bases

    def get(self, key: Place, default: Any = None) -> Any:
        found = super().get(key)
        return self._assumed(*key) if found is None else found

    def _assumed(self, name: str, location: str) -> int:
        base = self._bases(name)
        if base is None or base.when.start_ns is None:
            return self._t_ns
        schedule = base.when.schedule(0)
        tick = schedule.tick_at(self._t_ns - schedule.spread_ns(f"{name}\n{ANY if base.any else location}"))
        return schedule.due_ns(tick)


class FeedEngines:
    """What the runner runs. drives: whether items of a base say what else is fetched."""

    def __init__(self, drives: Callable[[str], bool]) -> None:
        self.current: Engine | None = None
        self._before: Engine | None = None  # while there is no current one
        self._drives = drives
        self._going: dict[int, tuple[Fetch, Engine]] = {}  # by identity: what is under way, and who began it
        self._lists: list[Raw] = []  # that came while no engine was at work

    def pause(self) -> None:
        """Nothing begins until another engine is used."""
        self._before, self.current = self.current or self._before, None

    def use(self, engine: Engine, now_ns: int) -> list[Directive]:
        """From now on this engine says what is due; what it has to say at once."""
        self._before, self.current = None, engine
        lists, self._lists = self._lists, []
        return [step for raw in lists for step in self._heard(engine, raw, now_ns)]

    def next_due(self) -> int | None:
        return None if self.current is None else self.current.next_due()

    def tick(self, now_ns: int) -> list[Directive]:
        return [] if self.current is None else list(self._noted(self.current, self.current.tick(now_ns)))

    def fetched(self, fetch: Fetch, fetched: Fetched, now_ns: int) -> Iterator[Directive]:
        engine = self._going.pop(id(fetch))[1]
        steps = engine.fetched(fetch, fetched, now_ns)
        return self._noted(engine, steps) if engine is self.current else self._late(engine, fetch, steps, now_ns)

    def begun(self) -> dict[Place, int]:
        """The newest tick under way of each place."""
        dues: dict[Place, int] = {}
        for fetch, _ in self._going.values():
            place = fetch.feed, shown(fetch.location)
            dues[place] = max(fetch.due_ns, dues.get(place, 0))
        return dues

    def base(self, name: str) -> Base[Any] | None:
        """A base feed that there is, or was until now."""
        for engine in (self.current, self._before, *(engine for _, engine in self._going.values())):
            if engine is not None and name in engine.bases():
                return engine.base(name)
        return None

    def options(self, base: str) -> Mapping[str, Mapping[str, Any]]:
        """Those of a base's sources, by scheme."""
        found = self.base(base)
        return found.options if found is not None else {}

    def _noted(self, engine: Engine, directives: Iterable[Directive]) -> Iterator[Directive]:
        for directive in directives:
            if isinstance(directive, Fetch):
                self._going[id(directive)] = directive, engine
            yield directive

    def _late(self, engine: Engine, fetch: Fetch, steps: Iterable[Directive], now_ns: int) -> Iterator[Directive]:
        """What an earlier engine makes of its last fetches, without what it would begin; lists go to its successor."""
        raws: list[Raw] = []
        for step in steps:
            if isinstance(step, Fetch):
                if step.tried:  # the next location of an `any`
                    yield from self._noted(engine, (step,))
                continue
            if isinstance(step, Archive):
                if step.raw.meta.net is Net.MISSED:
                    continue
                raws.append(step.raw)
            elif isinstance(step, Emit) and step.item.meta.net is Net.MISSED:
                continue
            yield step
        for raw in raws if self._drives(fetch.feed) else ():
            if self.current is None:
                self._lists.append(raw)
            else:
                yield from self._heard(self.current, raw, now_ns)

    def _heard(self, engine: Engine, raw: Raw, now_ns: int) -> Iterator[Directive]:
        recall = Recall((raw.meta.feed,), raw.meta.arrived_ns)
        return self._noted(engine, engine.recalled(recall, (raw,), now_ns))
