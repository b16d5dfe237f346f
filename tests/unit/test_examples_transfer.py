"""The example's controller: twice the bandwidth-delay product of what is forecast, shared out among streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vagus.config import Config, load
from vagus.controllers.load import load as load_controller
from vagus.controllers.view import Snapshot
from vagus.model import Action, Field, Outlook, Stream

ROOT = Path(__file__).parents[2]
PATH = Stream("a", "transfer.path", (Field("rate_bytes_s"), Field("rtt_s")))
PROBE = Stream("a", "probe.bandwidth", (Field("bytes_s"),))


@pytest.fixture
def tune(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(ROOT)
    (settings,) = load(ROOT / "examples/transfer/tune.yaml", Config).controllers
    return load_controller(settings)


def view(rate: float, rtt: float, mse: float = 0.0, probed: float = 0.0) -> Snapshot:
    outlooks = [(PATH, (Outlook("rate_bytes_s", rate, rate, mse), Outlook("rtt_s", rtt, rtt, 0.0)))]
    if probed:
        outlooks.append((PROBE, (Outlook("bytes_s", probed, probed, 0.0),)))
    return Snapshot("a", 1, outlooks=outlooks)


def wanted(tune: Any, *args: float, **more: float) -> dict[str, float | None]:
    return {d.resource: d.value for d in tune.step(view(*args, **more)) if isinstance(d, Action)}


def test_one_stream_while_its_buffer_is_enough(tune: Any) -> None:
    assert wanted(tune, 1e6, 0.08) == {"buffer_bytes": 160_000.0, "streams": 1.0}


def test_more_streams_where_one_may_not_have_so_much(tune: Any) -> None:
    assert wanted(tune, 5e6, 0.08) == {"buffer_bytes": 200_000.0, "streams": 4.0}
    assert wanted(tune, 1e9, 0.2) == {"buffer_bytes": 212_992.0, "streams": 16.0}


def test_the_error_of_the_forecast_counts_as_room(tune: Any) -> None:
    assert wanted(tune, 1e6, 0.08, mse=0.25e12) == {"buffer_bytes": 120_000.0, "streams": 2.0}
    assert wanted(tune, 1e6, 0.08, probed=5e6)["streams"] == 4.0


def test_what_is_near_enough_is_left_be(tune: Any) -> None:
    assert wanted(tune, 1e6, 0.08)
    assert wanted(tune, 1.2e6, 0.08) == {}
    assert wanted(tune, 2e6, 0.08)


def test_nothing_is_done_without_forecasts(tune: Any) -> None:
    assert list(tune.step(Snapshot("a", 1))) == []
    assert wanted(tune, 1e6, 0.08, mse=float("nan")) == {}
    assert wanted(tune, 0.0, 0.08) == {}
