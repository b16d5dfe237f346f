"""A misspelt option is told with what was meant, or what there is."""

from __future__ import annotations

import numpy as np
import pytest

from vagus.controllers.decide.decider import Decider
from vagus.errors import ConfigError
from vagus.policies import BANDITS


def test_a_misspelt_option_is_told_with_what_was_meant() -> None:
    with pytest.raises(ConfigError, match="'flor' is none of its options; did you mean 'floor'"):
        BANDITS.make("auto", np.random.default_rng(0), flor=1)


def test_an_option_like_none_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"'xyz' is none of its options; there are .*window"):
        BANDITS.make("epsilon", np.random.default_rng(0), xyz=1)
    with pytest.raises(ConfigError, match="it has none"):
        BANDITS.make("uniform", np.random.default_rng(0), xyz=1)


def test_features_to_group_by_are_a_list() -> None:
    with pytest.raises(ConfigError, match="must be a list"):
        Decider(group_by="city")
