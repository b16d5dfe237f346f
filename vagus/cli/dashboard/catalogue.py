"""Which metrics there are: read from an exposition, be it a gateway's or one made here of the collectors. Pure but for
`of_this_machine`, which reads the collectors once.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from vagus.config import CollectSettings
from vagus.errors import ConfigError
from vagus.model import Sample

MAX_BYTES = 64 << 20
READINGS = 2  # shares of the processor's time need one before
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? \S+\Z")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="(?:[^"\\]|\\.)*",?')


class Metric(NamedTuple):
    """One name of an exposition. labels: all that any of its samples has; kind: of the stream, as far as it is known."""

    name: str
    counter: bool
    unit: str
    about: str
    labels: frozenset[str]


Catalogue = Mapping[str, Metric]


def parsed(text: str) -> dict[str, Metric]:
    """The metrics of an exposition by name, in its order. Raises ConfigError for what is none."""
    if len(text) > MAX_BYTES:
        raise ConfigError(f"an exposition of {len(text)} characters; at most {MAX_BYTES} are read")
    heads: dict[str, dict[str, str]] = {}
    labels: dict[str, set[str]] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("# "):
            what, _, rest = line[2:].partition(" ")
            name, _, said = rest.partition(" ")
            if what in ("HELP", "TYPE", "UNIT"):
                heads.setdefault(name, {})[what] = said
        elif line:
            found = _SAMPLE.match(line)
            if found is None:
                raise ConfigError(f"line {number} is no sample of Prometheus' text format: {line[:80]!r}")
            labels.setdefault(found[1], set()).update(_LABEL.findall(found[2] or ""))
    return {
        name: Metric(
            name,
            heads.get(name, {}).get("TYPE") == "counter",
            heads.get(name, {}).get("UNIT", ""),
            heads.get(name, {}).get("HELP", "").replace("\\\\", "\\"),
            frozenset(has),
        )
        for name, has in labels.items()
    }


def of_samples(samples: Iterable[Sample]) -> dict[str, Metric]:
    """The metrics that a gateway makes of samples."""
    from vagus.gateway.metrics import Exposition, add_samples

    out = Exposition()
    add_samples(out, samples)
    return parsed(out.text())


def of_this_machine(settings: CollectSettings) -> dict[str, Metric]:
    """What the collectors of the settings give on this machine, by reading each twice. What fails is left out."""
    from vagus.collectors.run import Runner

    runner = Runner.from_settings("node", settings)
    try:
        found: dict[str, Sample] = {}
        for at in range(READINGS):
            for record in runner.tick(time.time_ns() + at):
                if isinstance(record, Sample):
                    found[record.stream.key] = record
    finally:
        runner.close()
    return of_samples(found.values())
