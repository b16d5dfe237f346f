"""Which runs an experiment has, in which order, on which slice of the trace; what is left of it to do. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from vagus.cli.experiment.slo_results import Plan, Results
from vagus.errors import ConfigError

MAX_TRACE_BYTES = 16 << 20
MAX_TRACE_S = 7 * 86400


class Turn(NamedTuple):
    """One run: a variant on a seed's slice, which begins at offset_s of the trace."""

    variant: str
    seed: int
    offset_s: float


def turns(variants: Sequence[str], seeds: Sequence[int], offset_s: float, run_s: float, trace_s: float) -> list[Turn]:
    """All runs: seed after seed, each on the slice after the one before (around the trace's end to its begin); each
    seed begins with another variant, so that none always runs first or after the same."""
    found = []
    for number, seed in enumerate(seeds):
        at_s = (offset_s + number * run_s) % trace_s if trace_s > run_s else 0.0
        if at_s + run_s > trace_s:
            at_s = 0.0
        first = number % len(variants)
        found += [Turn(variant, seed, at_s) for variant in (*variants[first:], *variants[:first])]
    return found


def left(all_turns: Sequence[Turn], results: Results) -> list[Turn]:
    """The runs that have not been done, or went wrong."""
    done = {(run.variant, run.seed) for run in results.runs if not run.error}
    return [turn for turn in all_turns if (turn.variant, turn.seed) not in done]


def check_same(before: Plan, now: Plan, folder: Path) -> None:
    """Raises ConfigError, naming what differs, when results cannot be gone on with: a variant that is new is no matter."""
    theirs, ours = msgspec.to_builtins(before), msgspec.to_builtins(now)
    theirs["variants"] = {v["name"]: v for v in theirs["variants"]}
    ours["variants"] = {v["name"]: v for v in ours["variants"]}
    for name in theirs["variants"].keys() ^ ours["variants"].keys():
        theirs["variants"].pop(name, None)
        ours["variants"].pop(name, None)
    for key, value in ours.items():
        if theirs[key] != value:
            raise ConfigError(
                f"{folder} has results of another experiment: its {key} is {_short(theirs[key])}, now {_short(value)}; "
                "give the same, or another folder"
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"


def product(texts: Sequence[tuple[str, str]]) -> str:
    """Traces (name, text: a line a second, requests per second) multiplied, each divided by its mean; as a trace of its
    own, as long as the shortest, with a mean of 1. Raises ConfigError."""
    columns = [_rates(name, text) for name, text in texts]
    seconds = min(map(len, columns))
    whole = [math.prod(c[i] / (math.fsum(c) / len(c)) for c in columns) for i in range(seconds)]
    mean = math.fsum(whole) / seconds
    if not mean > 0:
        raise ConfigError(f"the product of {', '.join(name for name, _ in texts)} is a trace without requests")
    return "".join(f"{rate / mean:.5g}\n" for rate in whole)


def _rates(name: str, text: str) -> list[float]:
    if len(text) > MAX_TRACE_BYTES:
        raise ConfigError(f"{name}: larger than {MAX_TRACE_BYTES >> 20} MiB; a trace has a number a line")
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        try:
            rate = float(words[0])
        except ValueError:
            rate = math.nan
        if len(words) != 1 or not 0 <= rate < math.inf:
            raise ConfigError(f"{name}, line {number}: {line[:40]!r} is not a number of requests per second")
        found.append(rate)
    if not found or len(found) > MAX_TRACE_S or not math.fsum(found) > 0:
        raise ConfigError(f"{name}: {len(found)} seconds; a trace has 1 to {MAX_TRACE_S} of them, not all of them 0")
    return found


def seconds_of(name: str, text: str) -> int:
    """How long a trace is. Raises ConfigError."""
    return len(_rates(name, text))
