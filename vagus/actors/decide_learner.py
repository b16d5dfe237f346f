"""The learner that settings ask for, and the features that its outcomes carry."""

from __future__ import annotations

import numpy as np

from vagus.config import DecideSettings
from vagus.controllers.decide.grouping import fields_of
from vagus.controllers.decide.learner import Learner
from vagus.controllers.decide.load import LoadBalance
from vagus.controllers.decide.records import Grouping
from vagus.policies import CONTEXTUAL


def learner_of(settings: DecideSettings, grouping: Grouping, load: LoadBalance | None) -> Learner:
    """A learner that knows nothing yet. Raises ConfigError."""
    return Learner(
        settings.policy,
        settings.options,
        np.random.default_rng(),
        grouping=grouping,
        max_groups=settings.max_groups,
        balance=load,
    )


def features_kept(settings: DecideSettings, grouping: Grouping) -> tuple[str, ...] | None:
    """The features that outcomes carry: what policies and the learning of groups need. None: all that there are."""
    if settings.policy in CONTEXTUAL:
        return settings.reduced or None
    if not settings.learn.features:
        return ()
    wanted = dict.fromkeys((*settings.learn.features, *fields_of(grouping)))
    return tuple(name for name in wanted if not settings.reduced or name in settings.reduced)
