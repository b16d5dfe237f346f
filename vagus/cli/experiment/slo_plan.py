"""Which runs an experiment has, in which order, on which slice of the trace; what is left of it to do. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from vagus.cli.experiment.slo_results import Plan, Results
from vagus.errors import ConfigError


class Turn(NamedTuple):
    """One run: a variant on a seed's slice, which begins at offset_s of the trace."""

    variant: str
    seed: int
    offset_s: float


def turns(variants: Sequence[str], seeds: Sequence[int], offset_s: float, run_s: float, trace_s: float) -> list[Turn]:
    """All runs: seed after seed, each on the slice after the one before (behind its end it begins anew); each
    seed begins with another variant, so that none always runs first or after the same."""
    found = []
    for number, seed in enumerate(seeds):
        at_s = (offset_s + number * run_s) % trace_s
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
    for key in ("variants", "files"):  # what only one of them has
        for name in theirs[key].keys() ^ ours[key].keys():
            theirs[key].pop(name, None)
            ours[key].pop(name, None)
    for name, digest in ours["files"].items():
        if theirs["files"][name] != digest:
            raise ConfigError(
                f"{folder} has results of another {name}: it was changed since; run them all again, in another folder"
            )
    for key, value in ours.items():
        if theirs[key] != value:
            raise ConfigError(
                f"{folder} has results of another experiment: its {key} is {_short(theirs[key])}, now {_short(value)}; "
                "give the same, or another folder"
            )


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 200 else text[:200] + "…"


def product(traces: Mapping[str, Sequence[float]]) -> str:
    """Traces (by name: requests per second, second after second) multiplied, each divided by its mean; as the text of one
    that is as long as the shortest, with a mean of 1. Raises ConfigError."""
    columns = list(traces.values())
    seconds = min(map(len, columns))
    for name, column in traces.items():
        if not math.fsum(column) > 0:
            raise ConfigError(f"{name}: a trace without requests")
    whole = [math.prod(c[i] / (math.fsum(c) / len(c)) for c in columns) for i in range(seconds)]
    mean = math.fsum(whole) / seconds
    if not mean > 0:
        raise ConfigError(f"the product of {', '.join(traces)} is a trace without requests")
    return "".join(f"{rate / mean:.5g}\n" for rate in whole)
