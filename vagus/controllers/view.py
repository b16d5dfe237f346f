"""What a controller sees at a step, built from plain data."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from vagus import selector as selectors
from vagus.model import Event, Inference, Outlook, Receipt, Sample, Status, Stream, Target


class Snapshot:
    """A `View`: the newest sample of each stream, inferences, receipts and events as they were gathered for a step."""

    def __init__(
        self,
        node: str,
        now_ns: int,
        samples: Iterable[Sample] = (),
        inferences: Sequence[Inference] = (),
        receipts: Sequence[Receipt] = (),
        events: Sequence[Event] = (),
        signals: Mapping[str, float] | None = None,
        outlooks: Sequence[tuple[Stream, Sequence[Outlook]]] = (),
        by_target: Mapping[Target, Mapping[str, float]] | None = None,
        objective: Mapping[str, float] | None = None,
    ) -> None:
        self.node = node
        self.now_ns = now_ns
        self.signals: Mapping[str, float] = signals or {}
        self.objective: Mapping[str, float] = objective or {}
        self._by_target = by_target or {}
        self._samples = list(samples)
        self._inferences = tuple(inferences)
        self._receipts = tuple(receipts)
        self._events = tuple(events)
        self._outlooks = tuple(outlooks)

    def signals_of(self, target: Target) -> Mapping[str, float]:
        """The signals of one of the targets; empty when it could not be read."""
        return self._by_target.get(target, {}) if self._by_target else self.signals

    def last(self, selector: str) -> float:
        """The newest value of the first series that matches; NaN when there is none. Raises ConfigError."""
        chosen = selectors.parse(selector)
        for sample in self._samples:
            for index in chosen.fields(sample.stream):
                return float(sample.values[index])
        return math.nan

    def all(self, selector: str) -> dict[str, float]:
        """The newest value of every series that matches, by series name. Raises ConfigError."""
        chosen = selectors.parse(selector)
        return {
            sample.stream.series(sample.stream.fields[index].name): float(sample.values[index])
            for sample in self._samples
            for index in chosen.fields(sample.stream)
        }

    def outlook(self, selector: str) -> Outlook | None:
        """What is forecast of the first series that matches; None when it is not. Raises ConfigError."""
        chosen = selectors.parse(selector)
        for stream, outlooks in self._outlooks:
            wanted = {stream.fields[index].name for index in chosen.fields(stream)}
            for outlook in outlooks:
                if outlook.field in wanted:
                    return outlook
        return None

    def status(self, subject: str) -> Status:
        """The inferred status of a subject; NA when nobody reported on it."""
        for inference in self._inferences:
            if inference.subject == subject:
                return inference.status
        return Status.NA

    def inferences(self) -> Sequence[Inference]:
        """All inferences of this node's observer."""
        return self._inferences

    def receipts(self) -> Sequence[Receipt]:
        """What became of the actions of the previous step."""
        return self._receipts

    def events(self) -> Sequence[Event]:
        """Events since the previous step."""
        return self._events
