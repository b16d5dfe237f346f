"""Settings of decisions whose words are known only here: policies with their options, rule trees, features."""

from __future__ import annotations

import difflib

from vagus.config import Config, DecideSettings
from vagus.controllers.decide.grouping import grouping_of
from vagus.errors import ConfigError
from vagus.policies import BANDITS, CONTEXTUAL


def check_decide(config: Config, origin: str) -> None:
    """Raises ConfigError for a policy that there is not, options that it does not take, a wrong rule tree or features
    that never arrive; `origin` names the file in it.
    """
    try:
        _check(config.decide)
    except ConfigError as error:
        raise ConfigError(f"{origin}: {error}") from error


def _check(settings: DecideSettings) -> None:
    check_policy(settings)
    grouping_of(settings)
    for names, what in ((settings.reduced, "decide.reduced"), (settings.learn.features, "decide.learn.features")):
        for kept, by in ((settings.labels, "decide.labels"), (settings.reduced, "decide.reduced")):
            lost = [name for name in names if kept and name not in kept]
            if lost:
                raise ConfigError(f"{what}: {lost[0]!r} is not among {by}, so it is not kept; name it there too")


def check_policy(settings: DecideSettings) -> None:
    """Raises ConfigError unless there is such a policy and it takes these options."""
    known = sorted({*BANDITS, *CONTEXTUAL})
    if settings.policy not in known:
        close = difflib.get_close_matches(settings.policy, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
        raise ConfigError(f"decide.policy: there is no {settings.policy[:80]!r}; {hint}")
    import numpy as np

    try:
        if settings.policy in BANDITS:
            BANDITS.make(settings.policy, np.random.default_rng(0), **settings.options)
        else:
            CONTEXTUAL.make(settings.policy, **settings.options)
    except ConfigError as error:
        raise ConfigError(f"decide.options: {error}") from error
