"""How features lead to their group: what the compiled grouping does on the request path, step by step for people."""

from __future__ import annotations

from collections.abc import Mapping

from vagus.controllers.decide.features import MISSING, text_of
from vagus.controllers.decide.grouping import compile_grouping
from vagus.controllers.decide.records import Grouping, Rule
from vagus.model import Scalar


def way(grouping: Grouping, features: Mapping[str, Scalar]) -> tuple[str, list[str]]:
    """The group, and the steps to it: `isp=x` for a value that a rule has or that is grouped by, `isp=y: rest` for
    one that it has not, `isp=y: no rule` and `asn=1: fallback` where none has a rest. Raises ConfigError, as compile_grouping.
    """
    group = compile_grouping(grouping)(features)
    if grouping.rules is None:
        return group, [f"{name}={_shown(features.get(name))}" for name in grouping.group_by]
    steps: list[str] = []
    at: Rule | str | None = grouping.rules
    rests: tuple[Rule | str, ...] = ()  # of the rules on the way, the nearest last
    while isinstance(at, Rule):
        rests = rests if at.rest is None else (*rests, at.rest)
        value = features.get(at.field)
        found = None if value is None else at.table.get(value if isinstance(value, str) else text_of(value))
        steps.append(f"{at.field}={_shown(value)}" + ("" if found is not None else ": rest" if rests else ": no rule"))
        if found is None:
            at, rests = (rests[-1], rests[:-1]) if rests else (None, ())
        else:
            at = found
    if at is None and grouping.fallback:
        steps.append(f"{grouping.fallback}={_shown(features.get(grouping.fallback))}: fallback")
    return group, steps


def _shown(value: Scalar | None) -> str:
    return value if isinstance(value, str) else MISSING if value is None else text_of(value)
