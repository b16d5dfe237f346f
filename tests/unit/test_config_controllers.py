"""Settings of a controller that contradict each other, or that no controller could keep to."""

from __future__ import annotations

from typing import Any

import pytest

from vagus.config import ControllerSettings, LimitSettings
from vagus.errors import ConfigError


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lease": "0s"}, "controller c: lease '0s' must be from 0.1s to 1d"),
        ({"lease": "400d"}, "lease '400d' must be"),
        ({"period": 0}, "controller c: period 0 must be from 0.01s to 1d"),
        ({"limits": {"cpu_cores": LimitSettings(min=2, max=1)}}, "limits.cpu_cores: min 2 is above max 1"),
        ({"scale_out": "replicas:web"}, "set limits.replicas.min and .max"),
    ],
)
def test_what_cannot_be_kept_to_is_refused_where_it_is_written(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ControllerSettings(name="c", **changes)
